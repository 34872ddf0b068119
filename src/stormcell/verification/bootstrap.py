"""Intervals of scores, and of their differences and ratios between forecasters, by resampling issue times.

Issue times are not independent: two that are closer than the longest lead time are verified against some of
the same observations, and the rain of an hour ago is that of now. So blocks of neighbouring issue times are
drawn with replacement (doi:10.1214/aos/1176350057), all with the same blocks for all forecasters. A block is
as long as the longest lead time, and at least an hour. Rain that lasts longer than a block still makes
intervals too narrow; with several events in a report, whole events can be drawn.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from stormcell.data.time_axis import Times
from stormcell.errors import ArgumentError
from stormcell.verification.axes import Axes
from stormcell.verification.scores import SCORES
from stormcell.verification.tally import Tally
from stormcell.verification.totals import Values

Unit = Literal["issue", "block", "event"]

UNITS: tuple[Unit, ...] = ("issue", "block", "event")
LEVEL = 0.95
SAMPLES = 1000
LEAST_UNITS = 5  # with fewer, an interval says little
LEAST_DEFINED = 0.95  # of the samples; with fewer, an interval is undefined
_SHORTEST_BLOCK = 60.0  # minutes
_TOGETHER = 100  # samples whose totals are in memory together


@dataclass(frozen=True, eq=False)
class Resampling:
    """Random samples of issue times.

    Attributes:
        unit: What is drawn: single issue times, blocks or events.
        minutes: Length of a block, which is also the gap that separates two events.
        starts: Position of the first issue time of each unit, ascending.
        counts: How often each sample has each unit, ``(sample, unit)``.
        seed: Seed of the samples.
    """

    unit: Unit
    minutes: float
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    seed: int

    @classmethod
    def of(
        cls,
        issue_times: Times,
        axes: Axes,
        *,
        unit: Unit = "block",
        samples: int = SAMPLES,
        seed: int = 0,
    ) -> "Resampling":
        """Draw samples.

        Args:
            issue_times: Issue times, ascending.
            axes: Axes with the lead times.
            unit: What to draw. A block begins at the first issue time after the last block, and at every
                gap between issue times that is longer than a block. An event ends only at such a gap.
            samples: Number of samples, ≥ 1.
            seed: Seed.

        Raises:
            ArgumentError: The unit is unknown.

        Example:
            >>> times = np.arange("2024-06-01T00:00", "2024-06-01T03:00", 15, "datetime64[m]")
            >>> Resampling.of(times, Axes((5.0, 60.0), (1.0,), (), (), 1.0)).starts.tolist()
            [0, 4, 8]
        """
        if unit not in UNITS:
            raise ArgumentError(f'resampling: expected one of {", ".join(UNITS)}, found "{unit}"')
        minutes = max(_SHORTEST_BLOCK, axes.lead_minutes[-1])
        starts: list[int] = []
        since = np.asarray(issue_times, "datetime64[ns]").astype(np.int64) / 60e9  # in minutes
        for k, time in enumerate(since):
            gap = k > 0 and time - since[k - 1] > minutes
            full = bool(starts) and time - since[starts[-1]] >= minutes
            if k == 0 or unit == "issue" or gap or (unit == "block" and full):
                starts.append(k)
        number = len(starts)
        shares = np.full(number, 1 / number) if number else np.zeros(0)
        counts = np.random.default_rng(seed).multinomial(number, shares, samples)
        return cls(unit, minutes, np.array(starts, np.int64), counts, seed)

    @property
    def enough(self) -> bool:
        """Whether there are enough units for intervals."""
        return len(self.starts) >= LEAST_UNITS

    def scores(self, tally: Tally, keys: tuple[str, ...]) -> dict[str, Values]:
        """Return scores of every sample, ``(sample, lead, *other axes of the score)``.

        Args:
            tally: A tally with the issue times that were resampled.
            keys: Of the scores.
        """
        parts: dict[str, list[Values]] = {key: [] for key in keys}
        for first in range(0, len(self.counts), _TOGETHER):
            counts = self.counts[first : first + _TOGETHER]
            resampled = _Resampled(tally.axes, tally.rows, self.starts, counts)
            for key, found in parts.items():
                values = SCORES[key].compute(resampled)
                found.append(values.reshape(len(counts), len(tally.axes.lead_minutes), *values.shape[1:]))
        return {key: np.concatenate(found) for key, found in parts.items()}


class _Resampled:
    """The totals of several samples, whose lead times are one long axis; see ``Totals``."""

    def __init__(
        self,
        axes: Axes,
        rows: Mapping[str, Values],
        starts: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> None:
        self.axes, self._rows, self._starts = axes, rows, starts
        self._counts = counts.astype(np.float64)  # products of counts below 2⁵³ are exact, and much faster
        self._totals: dict[str, Values] = {}

    def total(self, statistic: str) -> Values:
        if statistic not in self._totals:
            rows = self._rows[statistic]
            units = np.add.reduceat(rows, self._starts, axis=0).reshape(len(self._starts), -1)
            totals = self._counts @ units.astype(np.float64)
            self._totals[statistic] = totals.reshape(-1, *rows.shape[2:])
        return self._totals[statistic]


def interval(samples: Values, level: float = LEVEL) -> tuple[Values, Values]:
    """Return the lower and the upper limit of the central interval of samples.

    Args:
        samples: ``(sample, …)``, NaN where undefined.
        level: Probability of the interval.

    Returns:
        Two arrays of the other axes; NaN where more than 5 % of the samples are undefined.

    Example:
        >>> [round(float(limit[0]), 6) for limit in interval(np.arange(101.0)[:, None], 0.9)]
        [5.0, 95.0]
    """
    ordered = np.sort(samples, axis=0)  # NaN last
    defined = np.count_nonzero(~np.isnan(samples), axis=0)
    limits = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        position = share * np.maximum(defined - 1, 0)
        low = position.astype(np.int64)
        high = np.minimum(low + 1, np.maximum(defined - 1, 0))
        below, above = (np.take_along_axis(ordered, k[None], axis=0)[0] for k in (low, high))
        # Limits that are equal must not differ by rounding.
        value = np.where(below == above, below, below + (above - below) * (position - low))
        limits.append(np.where(defined >= LEAST_DEFINED * len(samples), value, np.nan))
    return limits[0], limits[1]


Compared = Literal["difference", "ratio", "skill"]

COMPARED: dict[Compared, Callable[[Values, Values], Values]] = {
    "difference": lambda value, reference: value - reference,
    "ratio": lambda value, reference: _divided(value, reference),
    "skill": lambda value, reference: 1 - _divided(value, reference),
}
"""Comparisons of a score with that of a reference. Skill is for scores whose best value is 0."""


def comparisons(key: str) -> Iterator[Compared]:
    """Yield the comparisons that make sense for a score."""
    yield "difference"
    yield "ratio"
    if SCORES[key].best == "lowest":
        yield "skill"


def mean_over_leads(values: Values, where: NDArray[np.bool_]) -> Values:
    """Return means over lead times, the second axis, of those lead times at which a score is defined.

    Args:
        values: ``(sample, lead, …)``.
        where: Lead times to use, ``(lead, …)``.
    """
    count = where.sum(axis=0)
    total = np.where(where, values, 0).sum(axis=1)
    return _divided(total, np.broadcast_to(count.astype(np.float64), total.shape))


def _divided(numerator: Values, denominator: Values) -> Values:
    undefined = np.full(numerator.shape, np.nan)
    return cast(Values, np.divide(numerator, denominator, where=denominator != 0, out=undefined))
