"""What a network that reads frame after frame is fed: the true frame, or what it forecast in its place."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stormcell.nn.arguments import probability


class Feeding(Protocol):
    """Says which frames a network is given; of the others it reads its own forecast."""

    def given(
        self, sequences: int, inputs: int, steps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw which frames are given, for all sequences and times at once.

        Args:
            sequences: How many, B.
            inputs: How many frames are known, T.
            steps: How many are forecast.
            generator: Of the random numbers, on the CPU; None takes PyTorch's own.

        Returns:
            bool ``(B, T + steps - 1)`` on the CPU, a column for each frame that is read; the first frame
            always is given.
        """


@dataclass(frozen=True)
class FreeRunning:
    """Known frames are given, and from there on the network reads its own forecasts, as in use.

    Example:
        >>> FreeRunning().given(1, inputs=3, steps=3)
        tensor([[ True,  True,  True, False, False]])
    """

    def given(
        self,
        sequences: int,
        inputs: int,
        steps: int,
        generator: torch.Generator | None = None,  # noqa: ARG002 (nothing is drawn)
    ) -> Tensor:
        """See :class:`Feeding`."""
        return (torch.arange(inputs + steps - 1) < inputs).expand(sequences, -1)


@dataclass(frozen=True)
class TeacherForcing:
    """Every frame is given: Williams and Zipser (1989), doi:10.1162/neco.1989.1.2.270.

    Example:
        >>> TeacherForcing().given(1, inputs=3, steps=3)
        tensor([[True, True, True, True, True]])
    """

    def given(
        self,
        sequences: int,
        inputs: int,
        steps: int,
        generator: torch.Generator | None = None,  # noqa: ARG002 (nothing is drawn)
    ) -> Tensor:
        """See :class:`Feeding`."""
        return torch.ones(sequences, inputs + steps - 1, dtype=torch.bool)


@dataclass(frozen=True)
class ScheduledSampling:
    """Known frames are given, later ones with some probability: Bengio et al. (2015), arXiv:1506.03099.

    Args:
        probability: That a frame to be forecast is given, for each of them alone.

    Raises:
        ArgumentError: It is no probability.

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
        """Return what holds for an update, the first being 0, by OpenSTL's linear schedule.

        Args:
            update: How many were made before.
            start: The probability before the first.
            rate: What each takes off.
            stop: From this update on the probability is 0.
        """
        return cls(max(0.0, start - rate * (update + 1)) if update < stop else 0.0)

    def given(
        self, sequences: int, inputs: int, steps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See :class:`Feeding`."""
        return _drawn(sequences, inputs - 1, 1.0, steps - 1, self.probability, generator)


@dataclass(frozen=True)
class ReverseScheduledSampling:
    """Frames are given with one probability among the known, with another later.

    Of Wang et al. (2022), arXiv:2103.09504: the network is first made to remember more than the frame
    before, by going without some of the known frames.

    Args:
        known: The probability that a known frame but the first is given.
        later: That a frame to be forecast is.

    Raises:
        ArgumentError: One is no probability.

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
        """Return what holds for an update, the first being 0, by the paper's exponential schedule.

        Args:
            update: How many were made before.
            first: Until this update both probabilities are ½.
            second: From this update on every known frame is given and no other; in between the one
                nears 1 exponentially, and the other falls to 0 linearly.
            alpha: In how many updates the former's distance from 1 shrinks to 1 / e.
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
        """See :class:`Feeding`."""
        return _drawn(sequences, inputs - 1, self.known, steps - 1, self.later, generator)


def _drawn(
    sequences: int,
    known: int,
    p_known: float,
    later: int,
    p_later: float,
    generator: torch.Generator | None,
) -> Tensor:
    """Draw for every sequence: the first frame is given, and so many known and later ones by chance."""
    chances = torch.tensor([1.0, *[p_known] * known, *[p_later] * later])
    return torch.rand(sequences, len(chances), generator=generator) < chances  # rand is below 1


FREE_RUNNING = FreeRunning()
