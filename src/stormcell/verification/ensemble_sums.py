"""Sums over pixels of what verifies an ensemble: CRPS, ranks of the observation, spread and error.

The members of each pixel are sorted once, and all sums follow from that. Pixels where the observation and all
members are 0 add nothing to any sum, and are skipped.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 16  # pixels that are sorted together; the result of a sum depends on it


class EnsembleSums(NamedTuple):
    """Sums over the scored pixels, or squares.

    Attributes:
        crps: Σ CRPS of the members' empirical distribution, in the unit of the values.
        crps_fair: Σ fair CRPS; of one member the same as ``crps``.
        variance: Σ variance of the members with the divisor M − 1; 0 of one member.
        squared_error: Σ (mean of the members − observation)².
        ranks: int64 ``(M + 1,)``: how often the observation has each rank among the members.
    """

    crps: float
    crps_fair: float
    variance: float
    squared_error: float
    ranks: NDArray[np.int64]


def ensemble_sums(
    members: NDArray[np.floating],
    observed: NDArray[np.floating],
    mask: NDArray[np.bool_],
    ties: NDArray[np.floating],
) -> EnsembleSums:
    r"""Compute the sums for an ensemble of M members.

    With the members in ascending order, :math:`x_1 \\le … \\le x_M`, the observation y and
    :math:`g = \\sum_i (2i - M - 1) x_i`:

    - CRPS = mean \|x_i − y\| − g / M², doi:10.1007/s11004-017-9709-7;
    - fair CRPS = mean \|x_i − y\| − g / (M (M − 1)), doi:10.1002/qj.2270: its expectation does not depend on
      M, and is the CRPS of the distribution that the members are drawn from.

    The rank is one more than the number of members below the observation. Where k members equal the
    observation, most of all where both are dry, one of the k + 1 possible ranks is taken at random. Pixels
    where the observation and all members are 0 have no rank: there, all ranks would be equally frequent
    whatever the ensemble's quality. If the members are calibrated, the histogram is flat without them, too,
    because the observation is left out exactly as often as any member would be in its place.

    Args:
        members: ``(realization, pixel)``, ≥ 0.
        observed: ``(pixel,)``, ≥ 0.
        mask: Pixels to score, boolean ``(pixel,)``; the values of the others are not used.
        ties: Random numbers ``(pixel,)``, uniform in [0, 1), that decide between equal ranks.

    Example:
        >>> members, observed = np.float32([[1, 0], [3, 0]]), np.float32([2, 0])
        >>> sums = ensemble_sums(members, observed, observed >= 0, np.zeros(2))
        >>> sums.crps, sums.crps_fair, sums.variance, sums.squared_error, sums.ranks.tolist()
        (0.5, 0.0, 2.0, 0.0, [0, 1, 0])
    """
    count = len(members)
    order = 2.0 * np.arange(1, count + 1) - count - 1
    pixels = np.flatnonzero(mask & ((observed > 0) | (members.max(axis=0) > 0)))
    sums, ranks = np.zeros(4), np.zeros(count + 1, np.int64)
    for start in range(0, len(pixels), _CHUNK):
        chosen = pixels[start : start + _CHUNK]
        values, truth = np.sort(members[:, chosen].T, axis=1), observed[chosen, None]
        below = np.count_nonzero(values < truth, axis=1)
        equal = np.count_nonzero(values == truth, axis=1)
        drawn = np.minimum((ties[chosen] * (equal + 1)).astype(np.int64), equal)  # the product is rounded
        ranks += np.bincount(below + drawn, minlength=count + 1)
        exact = values.astype(np.float64)
        distance = np.abs(exact - truth).sum() / count
        half_spread = (exact @ order).sum()
        sums += (
            distance - half_spread / count**2,
            distance - half_spread / (count * (count - 1)) if count > 1 else distance,
            exact.var(axis=1, ddof=1).sum() if count > 1 else 0.0,
            np.square(exact.mean(axis=1) - truth[:, 0]).sum(),
        )
    crps, crps_fair, variance, squared_error = sums.tolist()
    return EnsembleSums(crps, crps_fair, variance, squared_error, ranks)
