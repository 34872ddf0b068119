"""Examples in order: endless streams to train on, finite sets to validate and test on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormcell.experiments.experiment import Array, Batch
from stormcell.experiments.moving_mnist.counter_rng import shuffled
from stormcell.experiments.moving_mnist.digits import SequenceGenerator


@dataclass(frozen=True)
class Endless:
    """Sequences of a generator, one after the other, to train on.

    Attributes:
        source: The generator.
        seed: Seed of the generator.
        inputs: Number of input frames; the frames after them are the targets.
    """

    source: SequenceGenerator
    seed: int
    inputs: int

    def batch(self, first: int, count: int) -> Batch:
        """See :class:`~stormcell.experiments.experiment.Stream`."""
        return frame_batch(self.source.batch(self.seed, first, count), self.inputs)


@dataclass(frozen=True)
class Finite:
    """A fixed number of sequences, to validate or test on.

    Attributes:
        sequences: Function of the first sequence and the number of sequences; returns their brightness, 0 to
            255, uint8 ``(size, frames, H, W)``.
        count: Number of sequences in the set.
        inputs: Number of input frames; the frames after them are the targets.
    """

    sequences: Callable[[int, int], Array]
    count: int
    inputs: int

    def __len__(self) -> int:
        return self.count

    def batch(self, first: int, count: int) -> Batch:
        """See :class:`~stormcell.experiments.experiment.Examples`."""
        return frame_batch(self.sequences(first, count), self.inputs)


@dataclass(frozen=True)
class Epochs:
    """A finite set as an endless stream: epoch after epoch, each in another random order.

    Attributes:
        some: Function from indices into the set to a batch of those examples.
        count: Number of examples in the set.
        seed: Seed of the orders.

    Example:
        >>> import torch
        >>> stream = Epochs(lambda indices: Batch(torch.tensor(indices), torch.empty(0)), 5, seed=0)
        >>> first, second = stream.batch(0, 5).x.tolist(), stream.batch(5, 5).x.tolist()
        >>> sorted(first), sorted(second), first == second
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], False)
        >>> stream.batch(3, 4).x.tolist() == first[3:] + second[:2]
        True
    """

    some: Callable[[list[int]], Batch]
    count: int
    seed: int

    def batch(self, first: int, count: int) -> Batch:
        """See :class:`~stormcell.experiments.experiment.Stream`."""
        return self.some(epoch_indices(self.seed, first, count, self.count))


def epoch_indices(seed: int, first: int, count: int, size: int) -> list[int]:
    """Return indices into a shuffled set, epoch after epoch, each epoch in another order.

    Args:
        seed: Seed of the orders, ≥ 0.
        first: First position in the stream of all epochs, ≥ 0.
        count: Number of indices to return.
        size: Number of examples in the set.

    Raises:
        ArgumentError: ``seed`` or ``first`` is negative.
    """
    places = [divmod(place, size) for place in range(first, first + count)]
    return [int(shuffled(seed, epoch, size)[place]) for epoch, place in places]


def frame_batch(
    frames: Array,  # uint8 (B, T, H, W)
    inputs: int,
) -> Batch:
    """Split grey frames into inputs and targets.

    Example:
        >>> batch = frame_batch(np.full((2, 20, 8, 8), 255, np.uint8), inputs=10)
        >>> batch.x.shape, batch.y.shape, batch.y.max().item()
        (torch.Size([2, 10, 1, 8, 8]), torch.Size([2, 10, 1, 8, 8]), 1.0)
    """
    return Batch(grey(frames[:, :inputs]), grey(frames[:, inputs:]))


def grey(
    frames: Array,  # uint8 (B, T, H, W)
) -> Tensor:  # float32 (B, T, 1, H, W), 0 to 1
    """Convert brightness from 0 to 255 into one channel from 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).unsqueeze(2).float() / 255
