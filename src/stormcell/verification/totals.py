"""Statistics summed over issue times, from which scores are computed."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stormcell.verification.axes import Axes

Values = NDArray[Any]


class Totals(Protocol):
    """Something that has the sum of every statistic: a tally, or many resampled tallies.

    No score mixes lead times. So the lead times of all resampled tallies can be one long axis ``lead``.
    """

    @property
    def axes(self) -> Axes:
        """The axes of the statistics."""
        ...

    def total(self, statistic: str) -> Values:
        """Return a statistic summed over issue times, with its own axes."""
        ...


def ratio(numerator: Values, denominator: Values) -> NDArray[np.float64]:
    """Divide; the result is NaN where the denominator is 0."""
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.asarray(np.divide(numerator, denominator, where=denominator != 0, out=undefined))
