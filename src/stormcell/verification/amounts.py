"""Amounts of rain over squares of some kilometres and some time steps, forecast and observed.

An amount is of several lead times together. So mean rates over the squares are computed at each lead time,
and are added when all lead times are there. An amount belongs to the lead time at which its duration ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stormcell.verification.ensemble_sums import EnsembleSums, ensemble_sums

Values = NDArray[np.float32]

LEAST_COVER = 0.5  # of a square's pixels that must be scored at each lead time


@dataclass(frozen=True)
class AreaRates:
    """Mean rates over the squares of one size, at one lead time.

    Attributes:
        members: mm/h ``(realization, square)``; a single forecast is one member.
        observed: mm/h ``(square,)``.
        covered: Squares with at least half of their pixels scored, boolean ``(square,)``.
    """

    members: Values
    observed: Values
    covered: NDArray[np.bool_]


def area_rates(members: Values, observed: Values, mask: NDArray[np.bool_], width: int) -> AreaRates:
    """Average rates over the scored pixels of squares.

    Squares begin in the upper left corner. Rows and columns that do not fill a square are left out.

    Args:
        members: Rain rates in mm/h ``(realization, y, x)``.
        observed: Rain rates in mm/h ``(y, x)``.
        mask: Pixels to score, ``(y, x)``; the values of the others are not used.
        width: Width of a square in pixels.

    Example:
        >>> mask = np.array([[True, True, True], [False, True, True]])
        >>> rate = np.float32([[3, 0, 9], [np.nan, 3, 9]])
        >>> found = area_rates(rate[None] * 2, rate, mask, 2)
        >>> found.members.tolist(), found.observed.tolist(), found.covered.tolist()
        ([[4.0]], [2.0], [True])
    """
    down, across = (size // width for size in mask.shape)
    if not down * across:
        return AreaRates(
            np.zeros((len(members), 0), np.float32), np.zeros(0, np.float32), np.zeros(0, np.bool_)
        )
    height, length = down * width, across * width

    def averaged(field: Values) -> Values:
        mean = cv2.resize(field[:height, :length], (across, down), interpolation=cv2.INTER_AREA)
        return np.asarray(mean, np.float32).ravel()

    share = averaged(mask.astype(np.float32))
    weight = np.divide(np.float32(1), share, where=share > 0, out=np.zeros_like(share))
    means = [averaged(np.where(mask, rate, np.float32(0))) * weight for rate in (observed, *members)]
    # Shares are means of zeros and ones; the tiny term keeps rounding from deciding about one half.
    return AreaRates(np.stack(means[1:]), means[0], share > LEAST_COVER - 1e-5)


@dataclass(frozen=True)
class Amounts:
    """Amounts over squares of one size and one duration.

    Attributes:
        members: mm ``(realization, square)``.
        observed: mm ``(square,)``.
        sums: Sums over the squares of what verifies the members.
    """

    members: NDArray[np.float64]
    observed: NDArray[np.float64]
    sums: EnsembleSums


def amounts_of(rates: Sequence[AreaRates], step_minutes: float) -> Amounts:
    """Add the mean rates of the lead times of a duration, in squares that are covered at all of them.

    Args:
        rates: Mean rates at consecutive lead times.
        step_minutes: The time step in minutes: a rate is the mean of the step that ends at its lead time.
    """
    covered = np.logical_and.reduce([rate.covered for rate in rates])
    hours = step_minutes / 60
    members = sum(rate.members[:, covered].astype(np.float64) for rate in rates) * hours
    observed = sum(rate.observed[covered].astype(np.float64) for rate in rates) * hours
    members, observed = np.asarray(members), np.asarray(observed)
    everywhere = np.ones(observed.shape, np.bool_)
    return Amounts(members, observed, ensemble_sums(members, observed, everywhere, np.zeros(observed.shape)))
