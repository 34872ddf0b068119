"""Tallies: statistics by issue time, which can be added."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormcell.data.parallel import in_worker
from stormcell.data.time_axis import Times, minute
from stormcell.errors import ArgumentError
from stormcell.verification.axes import Axes
from stormcell.verification.spatial import Mask
from stormcell.verification.statistics import STATISTICS, Observed, Rate, compute_statistics

Rows = NDArray[Any]

_THREADS = 4  # with more, lead times wait for memory and not for a processor


@dataclass(frozen=True, eq=False)
class Tally:
    """Statistics of forecasts, one row per issue time, in time order.

    Counts are int64. Sums are float64; they have one row per issue time and are added in time order only.
    So neither the order in which tallies are added nor the way in which the work was divided changes a
    bit of any score. ``+`` is associative and commutative, and :meth:`zero` is its neutral element.

    Attributes:
        axes: Values along the axes.
        issue_times: ``(issue,)``, strictly ascending, ``datetime64[ns]``.
        rows: By statistic, an array ``(issue, *axes of the statistic)``, read-only; see
            :data:`~stormcell.verification.statistics.STATISTICS`. A statistic that is not given is zero.

    Raises:
        ArgumentError: A statistic is unknown, its array has another shape, or two tallies are added that
            have different axes or share an issue time.

    Example:
        >>> axes = Axes((5.0,), (1.0,), ((2.0, 3),), (), 1.0)
        >>> (Tally.zero(axes) + Tally.zero(axes)).total("hits").tolist()
        [[0]]
    """

    axes: Axes
    issue_times: Times
    rows: Mapping[str, Rows]

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.rows) - set(STATISTICS)):
            raise ArgumentError(f"tally: expected {', '.join(STATISTICS)}, found {', '.join(unknown)}")
        complete = {}
        for name, statistic in STATISTICS.items():
            expected = (len(self.issue_times), *self.axes.shape(statistic.axes))
            array = np.array(self.rows.get(name, np.zeros(expected)), statistic.dtype)
            if array.shape != expected:
                raise ArgumentError(f"tally {name}: expected shape {expected}, found {array.shape}")
            array.flags.writeable = False
            complete[name] = array
        object.__setattr__(self, "rows", MappingProxyType(complete))
        object.__setattr__(self, "issue_times", np.array(self.issue_times, "datetime64[ns]"))

    @classmethod
    def zero(cls, axes: Axes) -> "Tally":
        """Return the tally of no forecast."""
        return cls(axes, np.empty(0, "datetime64[ns]"), {})

    @classmethod
    def sum(cls, tallies: "Sequence[Tally]") -> "Tally":
        """Add one or more tallies, in any order."""
        axes = tallies[0].axes
        for tally in tallies:
            for name, expected in vars(axes).items():
                if (found := getattr(tally.axes, name)) != expected:
                    raise ArgumentError(f"tallies: {name} differ: {expected} and {found}")
        times = np.concatenate([tally.issue_times for tally in tallies])
        order = np.argsort(times)
        twice = times[order][1:][np.diff(times[order]) == np.timedelta64(0)]
        if twice.size:
            # A forecast that is counted twice would weigh double and look like more evidence.
            raise ArgumentError(f"tally: expected every issue time once, found {minute(twice[0])} twice")
        rows = {name: np.concatenate([tally.rows[name] for tally in tallies])[order] for name in STATISTICS}
        return cls(axes, times[order], rows)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally.sum([self, other])

    def __eq__(self, other: object) -> bool:
        """Whether two tallies are equal to the bit."""
        if not isinstance(other, Tally):
            return NotImplemented
        return (
            self.axes == other.axes
            and np.array_equal(self.issue_times, other.issue_times)
            and all(np.array_equal(self.rows[name], other.rows[name]) for name in STATISTICS)
        )

    __hash__ = None  # type: ignore[assignment]

    def total(self, statistic: str) -> Rows:
        """Return a statistic summed over issue times, with its own axes."""
        rows = self.rows[statistic]
        result = np.zeros(rows.shape[1:], rows.dtype)
        for row in rows:  # one after the other: the order of additions is the order of time
            result += row
        return result

    def where(self, counted: NDArray[np.bool_]) -> "Tally":
        """Return the tally of some lead times only; all others become zero.

        Args:
            counted: Lead times of every issue time to count, ``(issue, lead)``.
        """
        rows = {
            name: array * counted.reshape(counted.shape + (1,) * (array.ndim - 2))
            for name, array in self.rows.items()
        }
        return Tally(self.axes, self.issue_times, rows)


def tally_forecasts(
    forecasts: Mapping[str, Rate], observation: Rate, mask: Mask, *, issue_time: np.datetime64, axes: Axes
) -> dict[str, Tally]:
    """Tally the forecasts of one issue time, all under one mask.

    Statistics that depend only on the observation and the mask are computed once for all forecasts. Lead
    times are processed in parallel; each has its own row, so the result does not depend on the order.

    Args:
        forecasts: By forecaster, rain rates in mm/h, ``(lead, y, x)``, or ``(realization, lead, y, x)`` of
            an ensemble. An ensemble is scored by its mean, except for the CRPS, which uses all members.
        observation: Rain rates in mm/h, ``(lead, y, x)``.
        mask: Pixels to score, ``(lead, y, x)``; a lead time without a pixel is not counted.
        issue_time: Issue time of the forecasts.
        axes: Axes of the tallies.

    Raises:
        ArgumentError: The shapes do not match, or a value inside the mask is NaN or infinite. (It would be
            counted as dry, because NaN ≥ threshold is false.)

    Example:
        >>> axes = Axes((5.0,), (1.0,), ((1.0, 1),), (), 1.0)
        >>> observation = np.float32([[[0, 2], [2, np.nan]]])
        >>> issued = np.datetime64("2020-01-01T12:00")
        >>> doubled = {"doubled": observation * 2}
        >>> tallies = tally_forecasts(doubled, observation, observation >= 0, issue_time=issued, axes=axes)
        >>> tallies["doubled"].total("hits").tolist(), tallies["doubled"].total("absolute_error").tolist()
        ([[2]], [4.0])
    """
    shape = (len(axes.lead_minutes), *observation.shape[1:])
    for name, forecast in forecasts.items():
        if not forecast.shape[-3:] == observation.shape == mask.shape == shape or forecast.ndim not in (3, 4):
            raise ArgumentError(
                f"{name}, issued {issue_time}: expected shape {shape} of forecast, observation and mask, "
                f"found {forecast.shape}, {observation.shape} and {mask.shape}"
            )
    members = {name: forecast.reshape(-1, *shape) for name, forecast in forecasts.items()}

    def of_lead(lead: int) -> dict[str, dict[str, Rows]]:
        for name, values in {"observation": observation[None], **members}.items():
            if not (np.isfinite(values[:, lead]) | ~mask[lead]).all():
                raise ArgumentError(
                    f"{name}, issued {issue_time} for +{axes.lead_minutes[lead]:g} min: "
                    "expected a number at every pixel inside the mask, found NaN or infinity"
                )
        forecasts_then = {name: values[:, lead] for name, values in members.items()}
        return compute_statistics(forecasts_then, Observed(observation[lead], mask[lead], axes))

    rows: dict[str, dict[str, Rows]] = {
        name: {
            statistic: np.zeros((1, *axes.shape(entry.axes)), entry.dtype)
            for statistic, entry in STATISTICS.items()
        }
        for name in forecasts
    }
    leads = [lead for lead, inside in enumerate(mask) if inside.any()]
    with ThreadPoolExecutor(1 if in_worker() else _THREADS) as pool:
        for lead, found in zip(leads, pool.map(of_lead, leads), strict=True):
            for name, statistics in found.items():
                for statistic, values in statistics.items():
                    rows[name][statistic][0, lead] = values
    issued = np.array([issue_time], "datetime64[ns]")
    return {name: Tally(axes, issued, statistics) for name, statistics in rows.items()}
