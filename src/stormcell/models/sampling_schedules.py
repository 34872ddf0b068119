"""Sampling schedules: whether a network reads the true frame or its own forecast of it."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stormcell.nn.arguments import probability


class SamplingSchedule(Protocol):
    """A rule for the frames that a network is given; it reads its own forecasts of all others."""

    def given(
        self, sequences: int, inputs: int, steps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw the frames that are given, for all sequences and times at once.

        Args:
            sequences: Number of sequences, B.
            inputs: Number of inputs, T.
            steps: Number of frames to forecast.
            generator: Random generator on the CPU; None takes PyTorch's default one.

        Returns:
            bool ``(B, T + steps - 1)`` on the CPU, a column for each frame that is read. The first frame is
            always given.
        """


@dataclass(frozen=True)
class TeacherForcing:
    """The schedule that gives every frame: Williams and Zipser (1989), doi:10.1162/neco.1989.1.2.270.

    Example:
        >>> TeacherForcing().given(1, inputs=3, steps=3)
        tensor([[True, True, True, True, True]])
    """

    def given(
        self, sequences: int, inputs: int, steps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return True for every frame; see :class:`SamplingSchedule`."""
        del generator  # nothing is drawn
        return torch.ones(sequences, inputs + steps - 1, dtype=torch.bool)


@dataclass(frozen=True)
class FreeRunning:
    """The schedule that gives the inputs only, as in a forecast: the network reads its own forecasts after.

    Example:
        >>> FreeRunning().given(1, inputs=3, steps=3)
        tensor([[ True,  True,  True, False, False]])
    """

    def given(
        self, sequences: int, inputs: int, steps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return True for the inputs; see :class:`SamplingSchedule`."""
        del generator  # nothing is drawn
        return (torch.arange(inputs + steps - 1) < inputs).expand(sequences, -1)


@dataclass(frozen=True)
class ScheduledSampling:
    """The schedule of Bengio et al. (2015), arXiv:1506.03099: later frames are given with some probability.

    Args:
        probability: Probability that a target is given, independently for each.

    Raises:
        ArgumentError: ``probability`` is not between 0 and 1.

    Example:
        >>> ScheduledSampling.at(24_999)
        ScheduledSampling(probability=0.5)
    """

    probability: float

    def __post_init__(self) -> None:
        probability("probability", self.probability)

    @classmethod
    def at(
        cls, update: int, *, start: float = 1.0, rate: float = 2e-5, stop: int = 50_000
    ) -> "ScheduledSampling":
        """Return the schedule at an update by OpenSTL's linear decay.

        Args:
            update: Number of the update, from 0.
            start: Probability before the first update.
            rate: Decrease of the probability at each update.
            stop: Update from which on the probability is 0.
        """
        return cls(max(0.0, start - rate * (update + 1)) if update < stop else 0.0)

    def given(
        self, sequences: int, inputs: int, steps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw the given frames; see :class:`SamplingSchedule`."""
        return _draw(sequences, inputs - 1, 1.0, steps - 1, self.probability, generator)


@dataclass(frozen=True)
class ReverseScheduledSampling:
    """The schedule of Wang et al. (2022), arXiv:2103.09504: inputs too are given with some probability.

    In training, the probability of the inputs rises. A network that has to do without some of them learns to
    remember more than the previous frame.

    Args:
        known: Probability that an input other than the first is given.
        later: Probability that a target is given.

    Raises:
        ArgumentError: A probability is not between 0 and 1.

    Example:
        >>> ReverseScheduledSampling.at(0)
        ReverseScheduledSampling(known=0.5, later=0.5)
        >>> ReverseScheduledSampling.at(50_000)
        ReverseScheduledSampling(known=1.0, later=0.0)
    """

    known: float
    later: float

    def __post_init__(self) -> None:
        probability("known", self.known)
        probability("later", self.later)

    @classmethod
    def at(
        cls, update: int, *, first: int = 25_000, second: int = 50_000, alpha: float = 5_000.0
    ) -> "ReverseScheduledSampling":
        """Return the schedule at an update by the paper's exponential rule.

        Both probabilities are ½ before the update ``first``. Between ``first`` and ``second`` that of the
        inputs rises to 1 exponentially, and that of the targets falls to 0 linearly.

        Args:
            update: Number of the update, from 0.
            first: Update at which the probabilities begin to change.
            second: Update from which on all inputs and no targets are given.
            alpha: Number of updates in which the distance to 1 shrinks by a factor of e.
        """
        if update < first:
            return cls(0.5, 0.5)
        if update >= second:
            return cls(1.0, 0.0)
        since = update - first
        return cls(1 - 0.5 * math.exp(-since / alpha), 0.5 * (1 - since / (second - first)))

    def given(
        self, sequences: int, inputs: int, steps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw the given frames; see :class:`SamplingSchedule`."""
        return _draw(sequences, inputs - 1, self.known, steps - 1, self.later, generator)


def _draw(
    sequences: int,
    known: int,
    p_known: float,
    later: int,
    p_later: float,
    generator: torch.Generator | None,
) -> Tensor:
    """Draw the frames given to every sequence: the first, and some of the known and the later ones."""
    chances = torch.tensor([1.0, *[p_known] * known, *[p_later] * later])
    return torch.rand(sequences, len(chances), generator=generator) < chances  # rand is below 1


FREE_RUNNING = FreeRunning()
