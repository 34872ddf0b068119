"""Sequences of frames, cut into what is given and what is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stormcell.experiments.experiment import Array, Batch


class Generator(Protocol):
    """What makes sequences: those of :mod:`stormcell.experiments.moving_mnist` do."""

    def batch(self, seed: int, first: int, size: int) -> Array:
        """Brightness, 0 to 255, uint8 ``(size, frames, H, W)``; a function of seed and number."""
        ...


@dataclass(frozen=True)
class Endless:
    """Sequences of a generator, one after the other, to learn from.

    Attributes:
        source: The generator.
        seed: Its seed.
        inputs: Frames that are given; the others are asked for.
    """

    source: Generator
    seed: int
    inputs: int

    def batch(self, first: int, count: int) -> Batch:
        """See :class:`~stormcell.experiments.experiment.Stream`."""
        return cut(self.source.batch(self.seed, first, count), self.inputs)


@dataclass(frozen=True)
class Finite:
    """The first so many sequences of something, to validate or test on.

    Attributes:
        sequences: Takes the first and how many, gives brightness, 0 to 255, uint8 ``(size, frames, H, W)``.
        count: How many there are.
        inputs: Frames that are given; the others are asked for.
    """

    sequences: Callable[[int, int], Array]
    count: int
    inputs: int

    def __len__(self) -> int:
        return self.count

    def batch(self, first: int, count: int) -> Batch:
        """See :class:`~stormcell.experiments.experiment.Examples`."""
        return cut(self.sequences(first, count), self.inputs)


def cut(
    frames: Array,  # uint8 (B, T, H, W)
    inputs: int,
) -> Batch:
    """Make a batch of grey frames: the first are given, the others asked for.

    Example:
        >>> batch = cut(np.full((2, 20, 8, 8), 255, np.uint8), inputs=10)
        >>> batch.x.shape, batch.y.shape, batch.y.max().item()
        (torch.Size([2, 10, 1, 8, 8]), torch.Size([2, 10, 1, 8, 8]), 1.0)
    """
    return Batch(grey(frames[:, :inputs]), grey(frames[:, inputs:]))


def grey(
    frames: Array,  # uint8 (B, T, H, W)
) -> Tensor:  # float32 (B, T, 1, H, W), 0 … 1
    """Brightness of 0 to 255 as a channel of 0 … 1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).unsqueeze(2).float() / 255
