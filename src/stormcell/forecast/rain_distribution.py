"""A predictive distribution of the rain rate at every pixel, from the probabilities of exceeding some rates.

Let ``t_1 < … < t_K`` be the thresholds and ``p_k`` the probability of a rate of at least ``t_k``. At the
geometric mean of two thresholds, the odds ``p / (1 - p)`` are the geometric mean of theirs. In each half, the
logarithm of the probability is linear in the logarithm of the rate. With ``s`` for the thresholds and the
rates halfway, and ``q_j`` for their probabilities:

    S(r) = P(R ≥ r) = q_j · (r / s_j)^(-a_j)         for s_j ≤ r < s_{j+1}
    a_j  = min(ln(q_j / q_{j+1}), 16) / ln(s_{j+1} / s_j)

- Below ``t_1`` a forecast is dry: ``S(r) = p_1`` for ``0 < r ≤ t_1``, and the rate is 0 with ``1 - p_1``.
- Beyond ``t_K`` is a Pareto tail: the same formula with the slope of the half before, or a smallest slope if
  that is larger, up to a largest rate, which is never exceeded.
- A fall by more than a factor of e^16 (1e7) between two thresholds, such as to 0, is a jump at the upper one.
- For the rates halfway, ``1 - p`` is at least 1e-4.

So the distribution is a chain of Pareto distributions. The probabilities of the thresholds are kept exactly,
the result is monotone by construction, and the quantile, the mean and the continuous ranked probability score
have closed forms: in ``ln r``, the integrands of ``∫ S dr`` and ``∫ S² dr`` over a half are exponential.
Without the rates halfway, a rate that is nearly certain to lie between two thresholds would be expected close
to the lower one. The odds treat high and low probabilities alike; where both are low, the logarithm of the
probability is linear, and exceedance of rain rates is close to such a power law. Odds that are interpolated
everywhere have no closed forms, and gain little more. Linear in the probability overstates rare rates:
halfway from 1e-2 to 1e-4 it has 5e-3 instead of 1e-3.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.forecast.contract import Field
from stormcell.forecast.pareto_pieces import TAIL_SLOPE, ParetoPieces
from stormcell.forecast.requested import expect_levels, expect_thresholds

LARGEST = 200.0  # mm/h
ROUNDING = 1e-6  # by which probabilities of a float32 network may fail to be monotone or exceed 0 and 1

Probabilities = NDArray[np.float32] | NDArray[np.float16]

BLOCK_PIXELS = 2**15  # rows are processed in blocks whose temporary fields fit into the cache


class RainDistribution:
    """The predictive distribution of the rain rate at every pixel.

    It is a :class:`~stormcell.forecast.probabilistic.LeadDistribution`.

    Args:
        thresholds: Two or more ascending rain rates in mm/h, > 0.
        exceedance: Probabilities of a rate at or above each threshold, float32 or float16 ``(threshold, y,
            x)``: 0 to 1, not increasing with the threshold, NaN at all thresholds where the forecast is
            undefined. It is not copied. All is computed in float32.
        largest: The largest rate in mm/h, above the last threshold.
        tail_slope: The smallest slope of the tail, > 0.
        checked: Whether it is known already that the probabilities are as described, which takes long to see.

    Raises:
        ArgumentError: The thresholds, the probabilities or the slope are not as described.

    Example:
        >>> exceedance = np.array([0.5, 0.25, 0.01], np.float32).reshape(3, 1, 1)
        >>> rain = RainDistribution([0.1, 1.0, 10.0], exceedance)
        >>> rain.probability([1.0]).item()
        0.25
        >>> median, upper = rain.quantile([0.4, 0.75]).ravel()
        >>> round(float(median), 3), round(float(upper), 3)  # dry with 50 %
        (0.0, 1.0)
        >>> rain.crps(np.zeros((1, 1), np.float32)).shape
        (1, 1)
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        exceedance: Probabilities,
        *,
        largest: float = LARGEST,
        tail_slope: float = TAIL_SLOPE,
        checked: bool = False,
    ) -> None:
        rates = np.asarray(thresholds, np.float64)
        if rates.ndim != 1 or len(rates) < 2 or not (rates > 0).all() or not (np.diff(rates) > 0).all():
            raise ArgumentError(f"thresholds: expected two or more ascending rates > 0, found {thresholds}")
        if not rates[-1] < largest < np.inf:
            raise ArgumentError(f"largest: expected a rate above {rates[-1]:g} mm/h, found {largest}")
        if not 0 < tail_slope < np.inf:
            raise ArgumentError(f"tail_slope: expected a number above 0, found {tail_slope}")
        dtypes = (np.float32, np.float16)
        if exceedance.ndim != 3 or len(exceedance) != len(rates) or exceedance.dtype not in dtypes:
            raise ArgumentError(
                f"exceedance: expected float32 or float16 ({len(rates)}, y, x), "
                f"found {exceedance.dtype} {exceedance.shape}"
            )
        self.thresholds = rates
        self.largest, self.tail_slope = float(largest), float(tail_slope)
        self.exceedance = exceedance
        self._pieces = ParetoPieces(rates, self.largest, self.tail_slope)
        for block in () if checked else self._blocks():
            _check(self._probabilities(block))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, cols = self.exceedance.shape[1:]
        return rows, cols

    def part(self, rows: slice, cols: slice = slice(None)) -> "RainDistribution":
        """Return the distribution of some rows and columns in float32; it shares the memory of float32."""
        return self._with(self.exceedance[:, rows, cols])

    def _with(self, exceedance: Probabilities) -> "RainDistribution":
        """Return the same distribution with other probabilities, in float32."""
        found = object.__new__(RainDistribution)
        found.__dict__.update(self.__dict__ | {"exceedance": _single(exceedance)})
        return found

    def probability(self, thresholds: Sequence[float]) -> Field:
        """Return the probabilities of a rate at or above each threshold.

        Args:
            thresholds: Rain rates in mm/h, > 0; not necessarily those of the distribution.

        Returns:
            ``(threshold, y, x)``, 0 to 1, NaN where the forecast is undefined.

        Raises:
            ArgumentError: A threshold is not above 0.
        """
        rates = expect_thresholds(thresholds)
        found = np.empty((len(rates), *self.shape), np.float32)
        for block in self._blocks():
            exceedance = self._probabilities(block)
            for rate, field in zip(rates, found, strict=True):
                field[block] = self._pieces.probability(exceedance, rate)
        return found

    def quantile(self, levels: Sequence[float]) -> Field:
        """Return the quantiles of the distribution.

        Args:
            levels: Probabilities of not exceeding the quantile, above 0 and below 1.

        Returns:
            Rain rates in mm/h ``(quantile, y, x)``: 0, or at least the first threshold; NaN where the
            forecast is undefined.

        Raises:
            ArgumentError: A level is not between 0 and 1.
        """
        chances = np.array([1 - level for level in expect_levels(levels)], np.float32)
        return self.rates_exceeded(np.broadcast_to(chances[:, None, None], (len(chances), *self.shape)))

    def quantile_at(self, levels: Field) -> Field:
        """Return the quantile of every pixel at a level of its own.

        Args:
            levels: Probabilities of not exceeding the quantile ``(y, x)`` or ``(field, y, x)``, 0 to 1.

        Returns:
            Rain rates in mm/h of the shape of ``levels``; NaN where the forecast or the level is undefined.

        Raises:
            ArgumentError: ``levels`` has another grid.

        Example:
            >>> exceedance = np.array([0.5, 0.25, 0.01], np.float32).reshape(3, 1, 1).repeat(2, axis=2)
            >>> rain = RainDistribution([0.1, 1.0, 10.0], exceedance)
            >>> rain.quantile_at(np.array([[0.5, 0.99]], np.float32)).round(2).tolist()
            [[0.0, 10.0]]
        """
        return self.rates_exceeded(1 - levels)

    def rates_exceeded(self, chances: Field) -> Field:
        """Return the rate that every pixel exceeds with a probability of its own.

        It is the quantile at 1 minus that probability, and more precise for small ones.

        Args:
            chances: Probabilities ``(y, x)`` or ``(field, y, x)``, 0 to 1. Where one is not below the
                probability of rain, the rate is 0, and nothing is computed.

        Returns:
            Rain rates in mm/h of the shape of ``chances``; NaN where the forecast or the chance is undefined.

        Raises:
            ArgumentError: ``chances`` has another grid.
        """
        if chances.ndim not in (2, 3) or chances.shape[-2:] != self.shape:
            raise ArgumentError(f"levels: expected the grid {self.shape}, found {chances.shape}")
        fields = chances.reshape(-1, *self.shape)
        rates = np.empty(fields.shape, np.float32)
        for block in self._blocks():
            self._pieces.invert(self._probabilities(block), fields[:, block], rates[:, block])
        return rates.reshape(chances.shape)

    def rates_at_cuts(self, cuts: Sequence[float]) -> Field:
        """Return the largest rate whose probability is at least the cut of that rate, at every pixel.

        It is one field for all thresholds: it reaches a threshold where the probability of this or of a
        higher one reaches its cut.

        Args:
            cuts: A probability for each threshold, above 0 and up to 1. Between two thresholds, logarithms
                of probability and cut are interpolated over the logarithm of the rate, without the rates
                halfway: areas of rain fall like that from rate to rate. Beyond the last, the cut is constant.

        Returns:
            Rain rates in mm/h ``(y, x)``: 0, or at least the first threshold; NaN where the forecast is
            undefined.

        Raises:
            ArgumentError: The number of cuts is wrong, or one is not a probability above 0.

        Example:
            >>> exceedance = np.array([0.5, 0.25, 0.01], np.float32).reshape(3, 1, 1)
            >>> rain = RainDistribution([0.1, 1.0, 10.0], exceedance)
            >>> cuts = [0.6, 0.6, 0.6], [0.5, 0.5, 0.5], [0.4, 0.2, 0.1]
            >>> [round(rain.rates_at_cuts(one).item(), 2) for one in cuts]
            [0.0, 0.1, 1.23]
        """
        given = np.asarray(cuts, np.float32)
        if given.shape != self.thresholds.shape or not ((given > 0) & (given <= 1)).all():
            raise ArgumentError(
                f"cuts: expected {len(self.thresholds)} probabilities above 0, found {list(cuts)}"
            )
        rates = np.empty(self.shape, np.float32)
        for block in self._blocks():
            self._pieces.cut(self._probabilities(block), given, rates[block])
        return rates

    def mean(self) -> Field:
        """Return the expected rain rate in mm/h ``(y, x)``, NaN where the forecast is undefined."""
        mean = np.empty(self.shape, np.float32)
        for block in self._blocks():
            mean[block] = self._pieces.mean(self._probabilities(block))
        return mean

    def crps(self, observation: Field) -> Field:
        """Return the continuous ranked probability score of the distribution at every pixel.

        It is ``∫ (F(r) - 1{y ≤ r})² dr`` from 0, integrated exactly: ``∫ S² dr + y - 2 ∫ S dr``, the second
        integral up to the observation ``y`` (Matheson & Winkler 1976, doi:10.1287/mnsc.22.10.1087).

        Args:
            observation: Rain rates in mm/h ``(y, x)``, ≥ 0, NaN where not observed.

        Returns:
            mm/h ``(y, x)``, NaN where the forecast is undefined or the rate was not observed.

        Raises:
            ArgumentError: ``observation`` has another grid.
        """
        if observation.shape != self.shape:
            raise ArgumentError(f"observation: expected the grid {self.shape}, found {observation.shape}")
        score = np.empty(self.shape, np.float32)
        for block in self._blocks():
            observed = observation[block].astype(np.float32)
            score[block] = self._pieces.crps(self._probabilities(block), observed)
        return score

    def _probabilities(self, rows: slice) -> Field:
        """Return the probabilities of some rows in float32."""
        return _single(self.exceedance[:, rows])

    def _blocks(self) -> Iterator[slice]:
        """Yield slices of rows."""
        height, width = self.shape
        rows = max(1, BLOCK_PIXELS // max(width, 1))
        for first in range(0, height, rows):
            yield slice(first, min(first + rows, height))


def _single(exceedance: Probabilities) -> Field:
    """Return probabilities in float32; PyTorch converts them far faster than NumPy."""
    if exceedance.dtype == np.float32:
        return np.asarray(exceedance, np.float32)
    return np.asarray(torch.from_numpy(exceedance).float(), np.float32)


def _check(exceedance: Field) -> None:
    """Check the probabilities of some rows."""
    defined = int(np.count_nonzero(~np.isnan(exceedance[0])))
    rounding = np.float32(ROUNDING)
    lowest, highest = exceedance[-1].min(initial=np.inf), exceedance[0].max(initial=-np.inf)
    if defined < exceedance[0].size:
        lowest, highest = np.nanmin(exceedance[-1], initial=0), np.nanmax(exceedance[0], initial=0)
    if lowest < -rounding or highest > 1 + rounding:
        raise ArgumentError(f"exceedance: expected 0 to 1, found {min(lowest, 0):g} to {highest:g}")
    counts = [int(np.count_nonzero(upper <= lower + rounding)) for lower, upper in pairwise(exceedance)]
    counts.append(int(np.count_nonzero(~np.isnan(exceedance[-1]))))
    for count in counts:
        if count != defined:
            raise ArgumentError(
                "exceedance: expected probabilities that do not increase with the threshold, "
                "and NaN at all thresholds or at none, found others"
            )
