"""The predictive distribution that published probabilities describe."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import NotOfferedError

Field = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PublishedDistribution:
    """A distribution of the rain rate at every pixel, as probabilities of exceeding a few rates describe it.

    Between two rates, the probability is interpolated. Rates below the lowest are dry. Beyond the highest
    rate, the probability falls to 0 at twice that rate.

    Attributes:
        rate: The single forecast, mm/h ``(y, x)``.
        thresholds: Rates in mm/h, ascending.
        probabilities: Of a rate at or above each of them, ``(threshold, y, x)``.

    Example:
        >>> certain = PublishedDistribution(np.float32([[1.5]]), (1.0, 2.0), np.float32([[[1.0]], [[0.0]]]))
        >>> f"{certain.crps(np.float32([[1.5]])).item():.4f}"
        '0.0833'
    """

    rate: Field
    thresholds: tuple[float, ...]
    probabilities: Field

    def single(self) -> Field:
        """Return the single forecast."""
        return self.rate

    def probability(self, thresholds: Sequence[float]) -> Field:
        """Return the probabilities at published thresholds, ``(threshold, y, x)``."""
        return self.probabilities[[self.thresholds.index(threshold) for threshold in thresholds]]

    def quantile(self, levels: Sequence[float]) -> Field:
        """Raise an error: quantiles are not verified.

        Raises:
            NotOfferedError: Always.
        """
        raise NotOfferedError(f"quantiles {levels}: a published distribution has probabilities only")

    def crps(self, observation: Field) -> Field:
        """Return the continuous ranked probability score in mm/h ``(y, x)``.

        It is the integral over all rates of (probability of exceeding it − whether it was exceeded)².

        Args:
            observation: Rain rates in mm/h ``(y, x)``, NaN where not observed.
        """
        rates = (0.0, *self.thresholds, 2 * self.thresholds[-1])
        lowest, none = self.probabilities[:1], np.zeros_like(self.probabilities[:1])
        known = np.concatenate([lowest, self.probabilities, none]).astype(np.float64)
        score = np.maximum(observation.astype(np.float64) - rates[-1], 0)
        for (low, high), (before, after) in zip(pairwise(rates), pairwise(known), strict=True):
            middle = np.clip(observation.astype(np.float64), low, high)
            there = before + (after - before) * (middle - low) / (high - low)
            score += _squares(before - 1, there - 1, middle - low) + _squares(there, after, high - middle)
        return score.astype(np.float32)


def _squares(
    first: NDArray[np.float64], last: NDArray[np.float64], width: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the integral of the square of a line between two values."""
    integral: NDArray[np.float64] = width * (first**2 + first * last + last**2) / 3
    return integral
