"""What an experiment is made of: examples, contenders, baselines, and the protocol that scores them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stormcell.experiments.protocols.protocol import Column, Row
from stormcell.experiments.protocols.tally import SequenceTally

Array = NDArray[Any]
Gives = Literal["logits", "pixels"]


class Batch(NamedTuple):
    """Examples side by side.

    Attributes:
        x: What is given: frames ``(B, T, C, H, W)``, float32 in 0 … 1.
        y: What is asked for: the frames that follow, ``(B, S, C, H, W)``, or int64 classes ``(B,)``.
        mask: Which pixels of ``y`` count, bool of its shape; None for all.
    """

    x: Tensor
    y: Tensor
    mask: Tensor | None = None


class Stream(Protocol):
    """An endless row of training examples."""

    def batch(self, first: int, count: int) -> Batch:
        """The examples at places ``first`` … ``first + count - 1``: always the same, however they are cut."""
        ...


class Examples(Protocol):
    """A finite row of examples to validate or test on."""

    def __len__(self) -> int: ...

    def batch(self, first: int, count: int) -> Batch:
        """The examples at places ``first`` … ``first + count - 1``, which are there."""
        ...


class Scoring(Protocol):
    """How predictions are scored: counted batch by batch, summed, and turned into scores at the end.

    Those of :mod:`stormcell.experiments.protocols` for frames, :class:`Accuracy
    <stormcell.experiments.protocols.accuracy.Accuracy>` for classes.
    """

    @property
    def takes(self) -> str:
        """What a prediction is: ``"logits"``, or ``"pixels"``; of classes ``"logits"``."""
        ...

    @property
    def columns(self) -> Mapping[str, Column]:
        """The scores, in the order of the published table."""
        ...

    def zero(self) -> SequenceTally:
        """The tally of nothing."""
        ...

    def count(self, prediction: Array, truth: Array, mask: Array | None = None) -> SequenceTally:
        """The tally of some examples."""
        ...

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """Scores by name."""
        ...


@dataclass(frozen=True)
class Moment:
    """When in a training run an update is made, and whose part of it this process makes.

    Attributes:
        seed: Of the run.
        update: How many were made before.
        progress: Share of the budget that is used up, 0 … 1.
        rank: Which process this is.
        processes: How many there are.
    """

    seed: int
    update: int
    progress: float
    rank: int = 0
    processes: int = 1

    def generator(self) -> torch.Generator:
        """Random numbers that are a function of seed and update, the same in every process."""
        (seed,) = np.random.SeedSequence([self.seed, self.update]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seed >> np.uint64(1)))


@dataclass(frozen=True)
class Contender:
    """A network that learns, as the experiment has it.

    Attributes:
        name: In tables and pictures.
        build: Makes it, its weights drawn from PyTorch's generator.
        learning_rate: The highest, where none is searched.
        loss: What an update makes small: a mean over the batch's examples, so that processes with a part of
            a batch each have the gradient of the whole.
        predict: What is scored, made from ``x`` alone.
        gives: What a prediction is: its sigmoid is a pixel, or it is one itself.
    """

    name: str
    build: Callable[[], nn.Module]
    learning_rate: float
    loss: Callable[[Any, Batch, Moment], Tensor]
    predict: Callable[[Any, Tensor], Tensor]
    gives: Gives


@dataclass(frozen=True)
class Baseline:
    """A prediction that nobody learns.

    Attributes:
        name: In tables and pictures.
        predict: Pixels ``(B, S, C, H, W)``, from ``x`` ``(B, T, C, H, W)``.
    """

    name: str
    predict: Callable[[Array], Array]


@dataclass(frozen=True)
class Experiment:
    """Contenders side by side: same examples, same budget, same scores.

    Attributes:
        name: On the command line.
        about: A sentence on what is done and where it is from.
        data: What is learned from, in words; a run goes on only with the same.
        training: What contenders learn from.
        validation: What learning curves, and the search for a learning rate, look at.
        tests: What the table is about, by name; "" for the first.
        contenders: Who learns.
        baselines: Who does not.
        protocols: How they are scored.
        leading: The score that is drawn over time, and by which a learning rate is chosen.
        on_screen: The scores that are shown where there is little room, up to six.
        batch_size: Examples per update and process.
        optimizer: RMSProp as the ConvLSTM paper (decay 0.9), or Adam.
        learning_rates: Those that a search tries.
        gradient_clip: Largest norm of the gradient; None for any.
        frames: Frames that an example consists of, for frames per second.
        drawn: Test examples that pictures are made of.
        draw: Pictures by file name, from those examples and everyone's predictions of them.
        published: What others found, and where they say so.
        remarks: What a reader of the table must know.
    """

    name: str
    about: str
    data: str
    training: Stream
    validation: Examples
    tests: Mapping[str, Examples]
    contenders: tuple[Contender, ...]
    baselines: tuple[Baseline, ...]
    protocols: tuple[Scoring, ...]
    leading: str
    on_screen: tuple[str, ...]
    batch_size: int
    optimizer: Literal["rmsprop", "adam"]
    learning_rates: tuple[float, ...]
    gradient_clip: float | None
    frames: int
    drawn: int
    draw: Callable[[Batch, Mapping[str, Array]], Mapping[str, bytes]]
    published: tuple[Row, ...]
    remarks: tuple[str, ...] = ()

    @property
    def columns(self) -> dict[str, Column]:
        """The scores of all protocols."""
        return {name: column for protocol in self.protocols for name, column in protocol.columns.items()}

    def better(self, one: float, other: float) -> bool:
        """Whether the first is the better leading score; a number is better than none."""
        if math.isnan(one) or math.isnan(other):
            return math.isnan(other) and not math.isnan(one)
        return one > other if self.columns[self.leading].best == "highest" else one < other
