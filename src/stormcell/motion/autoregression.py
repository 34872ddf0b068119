"""Autoregression of second order: the forecast of a process from its last two values, and its error.

A process with mean 0 and variance 1 follows x(t+1) = φ₁ x(t) + φ₂ x(t−1) + φ₀ ε, with white noise ε of
variance 1. The Yule–Walker equations give φ from the correlations γ₁ and γ₂ with the values one and two steps
before (Pulkkinen et al. 2019, doi:10.5194/gmd-12-4185-2019, equations 5 and 6).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Values = NDArray[np.float64]

# A correlation closer to 1 is indistinguishable from 1 in fields of float32.
HIGHEST = 1 - 1e-6


@dataclass(frozen=True)
class Autoregression:
    """The coefficients of one process, or of one at every element of an array.

    Attributes:
        phi1: Weight φ₁ of the newest value, of any shape.
        phi2: Weight φ₂ of the value before, of the same shape.
        noise: Weight φ₀ of the noise, of the same shape, ≥ 0.
    """

    phi1: Values
    phi2: Values
    noise: Values

    @classmethod
    def from_correlations(cls, lag1: Values, lag2: Values) -> "Autoregression":
        """Solve the Yule–Walker equations.

        Args:
            lag1: Correlation γ₁ one step apart, −1 to 1; NaN if it is not known.
            lag2: Correlation γ₂ two steps apart, −1 to 1; NaN if it is not known. An unknown correlation
                makes the process one of first order; if both are unknown, its correlation is 1. A γ₂ with
                which the process would oscillate or not be stationary is raised
                (:func:`lowest_lag2`), as pysteps does.

        Raises:
            ArgumentError: The shapes differ.

        Example:
            >>> process = Autoregression.from_correlations(np.array(0.9), np.array(0.78))
            >>> float(process.phi1.round(3)), float(process.phi2.round(3))
            (1.042, -0.158)
        """
        lag1, lag2 = np.asarray(lag1, np.float64), np.asarray(lag2, np.float64)
        if lag1.shape != lag2.shape:
            raise ArgumentError(f"correlations: expected one shape, found {lag1.shape} and {lag2.shape}")
        known = np.where(np.isnan(lag2), 1.0, np.sqrt(np.maximum(lag2, 0)))
        first = np.clip(np.where(np.isnan(lag1), known, lag1), -HIGHEST, HIGHEST)
        second = np.where(np.isnan(lag1) | np.isnan(lag2), first**2, lag2)
        second = np.minimum(np.maximum(second, lowest_lag2(first)), HIGHEST)
        phi1 = first * (1 - second) / (1 - first**2)
        phi2 = (second - first**2) / (1 - first**2)
        return cls(phi1, phi2, np.sqrt(np.maximum(1 - phi1 * first - phi2 * second, 0)))

    def forecast_weights(self, steps: int) -> Iterator[tuple[Values, Values]]:
        """Yield the weights of the newest value and of the value before in the forecast of each lead time.

        The forecast is the expected value, without noise.

        Example:
            >>> process = Autoregression(np.array(0.5), np.array(0.25), np.array(0.8))
            >>> [(float(newest), float(before)) for newest, before in process.forecast_weights(2)]
            [(0.5, 0.25), (0.5, 0.125)]
        """
        one, zero = np.ones_like(self.phi1), np.zeros_like(self.phi1)
        now, last = (one, zero), (zero, one)
        for _ in range(steps):
            of_newest = self.phi1 * now[0] + self.phi2 * last[0]
            of_before = self.phi1 * now[1] + self.phi2 * last[1]
            now, last = (of_newest, of_before), now
            yield now

    def errors(self, steps: int) -> Iterator[Values]:
        """Yield the standard deviation of the forecast's error at each lead time, 0 to 1.

        Example:
            >>> process = Autoregression.from_correlations(np.array(0.8), np.array(0.64))
            >>> [float(error.round(3)) for error in process.errors(3)]  # √(1 − .8²), √(1 − .8⁴) …
            [0.6, 0.768, 0.859]
        """
        # The noise of j steps ago has the weight ψ(j) φ₀, where ψ(j) is the forecast from 1 and 0.
        now, before = np.ones_like(self.phi1), np.zeros_like(self.phi1)
        variance = np.zeros_like(self.phi1)
        for _ in range(steps):
            variance = variance + (self.noise * now) ** 2
            now, before = self.phi1 * now + self.phi2 * before, now
            yield np.sqrt(np.minimum(variance, 1))


def lowest_lag2(lag1: Values) -> Values:
    """Return the lowest correlation two steps apart with which the process decays without oscillation.

    It is the one with which the characteristic polynomial has a double root, as in pysteps. It is at least
    2 γ₁² − 1, below which no process is stationary.

    Args:
        lag1: Correlation one step apart, −1 to 1.

    Example:
        >>> lowest_lag2(np.array([0.0, 0.8, 1.0])).round(4).tolist()
        [0.0, 0.55, 1.0]
    """
    square = np.asarray(lag1, np.float64) ** 2
    # Near 0, the numerator is the difference of equal numbers; it is 3/4 γ₁⁴ there.
    safe = np.maximum(square, 1e-4)
    exact = (3 * safe - 2 + 2 * (1 - np.minimum(safe, 1)) ** 1.5) / safe
    return np.where(square < 1e-4, 0.75 * square, exact)
