"""Tallies: statistics by issue time, which can be added."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stormcell.data.parallel import in_worker
from stormcell.data.time_axis import Times, minute
from stormcell.errors import ArgumentError
from stormcell.verification.axes import Axes
from stormcell.verification.pairs import Observed
from stormcell.verification.products import LeadProducts, Mask, Products, Rate
from stormcell.verification.statistics import STATISTICS, Found, compute_amounts, compute_statistics

Rows = NDArray[Any]
R = TypeVar("R")

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
    forecasts: Mapping[str, Rate | Products],
    observation: Rate,
    mask: Mask,
    *,
    issue_time: np.datetime64,
    axes: Axes,
) -> dict[str, Tally]:
    """Tally the forecasts of one issue time, all under one mask.

    Args:
        forecasts: By forecaster, rain rates in mm/h, ``(lead, y, x)``, or ``(realization, lead, y, x)`` of
            an ensemble, or all that the forecaster gives. The single forecast of an ensemble is its mean.
        observation: Rain rates in mm/h, ``(lead, y, x)``.
        mask: Pixels to score, ``(lead, y, x)``; a lead time without a pixel is not counted.
        issue_time: Issue time of the forecasts.
        axes: Axes of the tallies; those of a forecaster have its number of members.

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
    products = {
        name: given if isinstance(given, Products) else Products.of_values(given)
        for name, given in forecasts.items()
    }
    if mask.shape != observation.shape:
        raise ArgumentError(
            f"mask, issued {issue_time}: expected shape {observation.shape}, found {mask.shape}"
        )
    (tallies,) = tally_views(
        products,
        observation,
        lambda lead, given: [(given, mask[lead])],
        issue_time=issue_time,
        axes=axes,
    )
    return tallies


View = tuple[Mapping[str, LeadProducts], Mask]
"""What is scored at a lead time, and at which pixels."""


def tally_views(
    products: Mapping[str, Products],
    observation: Rate,
    views: Callable[[int, Mapping[str, LeadProducts]], Sequence[View]],
    *,
    issue_time: np.datetime64,
    axes: Axes,
) -> list[dict[str, Tally]]:
    """Tally the forecasts of one issue time in one or several views, such as under two masks.

    Distributions can be read only once, so that all views are tallied together. Statistics that depend only
    on the observation and the mask are computed once for all forecasters. Lead times are processed in
    parallel; each has its own row, so the result does not depend on the order.

    Args:
        products: By forecaster, what it gives.
        observation: Rain rates in mm/h, ``(lead, y, x)``.
        views: Function of a lead time's position and of what the forecasters give for it, which returns the
            views; if two have the same mask, they are the same.
        issue_time: Issue time of the forecasts.
        axes: Axes of the tallies; those of a forecaster have its number of members.

    Returns:
        For each view, by forecaster, a tally.

    Raises:
        ArgumentError: See :func:`tally_forecasts`.
    """
    shape = (len(axes.lead_minutes), *observation.shape[1:])
    for name, one in products.items():
        if not one.forecast.shape == observation.shape == shape:
            raise ArgumentError(
                f"{name}, issued {issue_time}: expected shape {shape} of forecast, observation and mask, "
                f"found {one.forecast.shape} and {observation.shape}"
            )
    own = {
        name: axes.of(members=one.count, distribution=one.distributions is not None)
        for name, one in products.items()
    }
    issued = np.array([issue_time], "datetime64[ns]")

    def of_lead(lead: int, views: Sequence[View]) -> list[tuple[dict[str, Found], dict[str, Any]]]:
        found: list[tuple[dict[str, Found], dict[str, Any]]] = []
        for k, (given, mask) in enumerate(views):
            same = [j for j in range(k) if np.array_equal(views[j][1], mask)]
            if same:
                found.append(found[same[0]])
            elif not mask.any():
                found.append(({}, {}))
            else:
                at = f"issued {issue_time} for +{axes.lead_minutes[lead]:g} min"
                _check(given, observation[lead], mask, at)
                seed = (int(issued.astype(np.int64)[0]), lead)
                found.append(compute_statistics(given, Observed(observation[lead], mask, axes, seed), own))
        return found

    def leads() -> Iterator[tuple[int, Sequence[View]]]:
        each = {name: one.by_lead(observation, axes.thresholds) for name, one in products.items()}
        for lead in range(len(observation)):
            yield lead, views(lead, {name: next(of) for name, of in each.items()})

    by_lead = list(_in_order(of_lead, leads()))
    tallies = []
    for view in range(len(by_lead[0])):
        found = [lead[view] for lead in by_lead]
        tallies.append({name: Tally(own[name], issued, _rows(name, found, own[name])) for name in products})
    return tallies


def _rows(name: str, found: Sequence[tuple[dict[str, Found], dict[str, Any]]], axes: Axes) -> dict[str, Rows]:
    """Return the rows of one forecaster at one issue time from what was found at each lead time."""
    rows: dict[str, Rows] = {
        statistic: np.zeros((1, *axes.shape(entry.axes)), entry.dtype)
        for statistic, entry in STATISTICS.items()
    }
    for lead, (statistics, _) in enumerate(found):
        for statistic, values in statistics.get(name, {}).items():
            rows[statistic][0, lead] = values
    for statistic, values in compute_amounts([rates.get(name) for _, rates in found], axes).items():
        rows[statistic][0] = values
    return rows


def _check(given: Mapping[str, LeadProducts], observation: Rate, mask: Mask, at: str) -> None:
    """Raise :class:`~stormcell.errors.ArgumentError` if a value inside the mask is not a number."""
    fields = [("observation", "a rate", observation)]
    fields += [(name, kind, field) for name, one in given.items() for kind, field in one.fields()]
    for name, kind, field in fields:
        if not (np.isfinite(field) | ~mask).all():
            raise ArgumentError(
                f"{name}, {at}: expected a number at every pixel inside the mask, found NaN or infinity"
            )
        if kind == "a probability":
            low, high = (limit(field, where=mask, initial=0.5) for limit in (np.min, np.max))
            if low < 0 or high > 1:
                found = low if low < 0 else high
                raise ArgumentError(f"{name}, {at}: expected probabilities between 0 and 1, found {found:g}")


def _in_order(function: Callable[..., R], tasks: Iterable[tuple[Any, ...]]) -> Iterator[R]:
    """Yield results in the order of the tasks; a few run in parallel, and no others are prepared."""
    threads = 1 if in_worker() else _THREADS
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        for task in tasks:
            waiting.append(pool.submit(function, *task))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
