"""The parts of an experiment: examples, contenders, baselines and protocols."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from numpy.typing import NDArray
from torch import Tensor

from stormcell.experiments.protocols.protocol import Column, Row
from stormcell.experiments.protocols.sequence_tally import SequenceTally
from stormcell.models.base import Network
from stormcell.training.task import Moment

Array = NDArray[Any]
Gives = Literal["logits", "pixels"]


class Batch(NamedTuple):
    """Examples along the first dimension.

    Attributes:
        x: Input frames ``(B, T, C, H, W)``, float32 in 0 … 1.
        y: Target frames ``(B, S, C, H, W)``, or int64 classes ``(B,)``.
        mask: Pixels of ``y`` that count, boolean, of its shape; None for all.
    """

    x: Tensor
    y: Tensor
    mask: Tensor | None = None


class Stream(Protocol):
    """An endless sequence of training examples."""

    def batch(self, first: int, count: int) -> Batch:
        """Return examples ``first`` … ``first + count - 1``; they do not depend on the batches before."""
        ...


class Examples(Protocol):
    """A finite sequence of examples for validation or test."""

    def __len__(self) -> int: ...

    def batch(self, first: int, count: int) -> Batch:
        """Return examples ``first`` … ``first + count - 1``; they must exist."""
        ...


class Scoring(Protocol):
    """A way to score predictions: tallies of batches, which are added and then turned into scores.

    :mod:`stormcell.experiments.protocols` has those for frames, and
    :class:`~stormcell.experiments.protocols.accuracy.Accuracy` for classes.
    """

    @property
    def takes(self) -> str:
        """The kind of prediction: ``"logits"`` or ``"pixels"``; for classes ``"logits"``."""
        ...

    @property
    def columns(self) -> Mapping[str, Column]:
        """The scores, in the order of the published table."""
        ...

    def zero(self) -> SequenceTally:
        """Return the tally of no example."""
        ...

    def count(self, prediction: Array, truth: Array, mask: Array | None = None) -> SequenceTally:
        """Return the tally of some examples."""
        ...

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """Return scores by name."""
        ...


@dataclass(frozen=True)
class Contender:
    """A network that is trained and compared.

    Attributes:
        name: Name for tables and figures.
        build: Function that returns the network, with weights drawn from PyTorch's generator.
        learning_rate: Highest learning rate, if it is not searched.
        loss: Function of network, batch and moment: a mean over the batch's examples, so that the gradients
            of processes with equal parts of a batch average to the gradient of the whole.
        predict: Function of network and inputs that returns the prediction to score.
        gives: Kind of the prediction: pixels, or logits whose sigmoid is a pixel.
    """

    name: str
    build: Callable[[], Network]
    learning_rate: float
    loss: Callable[[Any, Batch, Moment], Tensor]
    predict: Callable[[Any, Tensor], Tensor]
    gives: Gives


@dataclass(frozen=True)
class PixelBaseline:
    """A baseline that forecasts pixels.

    Attributes:
        name: Name for tables and figures.
        predict: Function of inputs ``(B, T, C, H, W)`` that returns pixels ``(B, S, C, H, W)``.
    """

    name: str
    predict: Callable[[Array], Array]


@dataclass(frozen=True)
class DataDescription:
    """The data of an experiment.

    Attributes:
        summary: One line that changes with the data; a run is resumed only with the same.
        sha256: SHA-256 of the data.
        source: Title, source, license and credit, for model files.
    """

    summary: str
    sha256: str
    source: Mapping[str, str]


@dataclass(frozen=True)
class Experiment:
    """Contenders with the same examples, the same budget and the same scores.

    Attributes:
        name: Name on the command line.
        about: A sentence about the experiment and its origin.
        data: The data.
        training: Examples to train on.
        validation: Examples for learning curves and for the search of a learning rate.
        tests: Test sets by name; the first is named "".
        contenders: The networks.
        baselines: The baselines.
        protocols: The scores.
        leading: Score that is drawn over time and that decides on the learning rate.
        on_screen: Up to six scores to show on a screen.
        batch_size: Examples per update and process.
        optimizer: RMSProp as in the ConvLSTM paper (decay 0.9), or Adam.
        learning_rates: Learning rates of the search.
        gradient_clip: Largest norm of the gradient; None for no limit.
        frames: Frames of an example, for the number of frames per second.
        drawn: Number of test examples in the pictures.
        draw: Function of those examples and of the predictions by name that returns pictures by file name.
        published: Published results with their sources.
        remarks: Sentences for the readers of the table.
    """

    name: str
    about: str
    data: DataDescription
    training: Stream
    validation: Examples
    tests: Mapping[str, Examples]
    contenders: tuple[Contender, ...]
    baselines: tuple[PixelBaseline, ...]
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

    def better(self, score: float, other: float) -> bool:
        """Return whether a leading score is better than another; any number is better than NaN."""
        if math.isnan(score) or math.isnan(other):
            return math.isnan(other) and not math.isnan(score)
        return score > other if self.columns[self.leading].best == "highest" else score < other
