"""Measure what rules compare: statistics of the published levels at a place, over times to come."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stormcell.alerts.place_rates import PlaceRates, Sampled
from stormcell.alerts.rules import Rule
from stormcell.errors import NotPublishedError, StormcellError
from stormcell.published.reading import Shelf

_LEAST_COVER = 0.5  # of a place that must be observed for its values to be known

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """The value of a rule.

    Attributes:
        rule: Name of the rule.
        value: What is compared with the limit of the rule; a lower bound if it is not known.
        known: Whether all that the value depends on is known.
        reason: Why it is not.
        expected: First time at which the limit is reached.
        peak: Time of the highest value.
    """

    rule: str
    value: float | None
    known: bool
    reason: str | None = None
    expected: datetime | None = None
    peak: datetime | None = None


@dataclass(frozen=True)
class Measurement:
    """The values of all rules by a publication.

    Attributes:
        issue: Issue time of the publication.
        run: Its run.
        values: In the order of the rules.
    """

    issue: datetime
    run: str
    values: tuple[Measured, ...]


@dataclass(frozen=True)
class MeasureRules:
    """Measure rules by the newest publication. It can be sent to another process.

    Attributes:
        root: The published folder.
        rules: The rules.
    """

    root: Path
    rules: tuple[Rule, ...]

    def __call__(self) -> Measurement:
        """Do it.

        Raises:
            PublicationError: Nothing is published, or it is damaged.
        """
        shelf = Shelf(self.root)
        latest = shelf.latest()
        if latest is None:
            raise NotPublishedError(f"{self.root}: expected a publication, found none")
        return Measurement(latest.issue, latest.run, tuple(_measured(shelf, rule) for rule in self.rules))


def _measured(shelf: Shelf, rule: Rule) -> Measured:
    """Return the value of a rule; a rule that cannot be measured does not stop the others."""
    try:
        return _value(PlaceRates(shelf, rule.place), rule)
    except StormcellError as error:
        return Measured(rule.name, None, False, str(error))


def _value(rates: PlaceRates, rule: Rule) -> Measured:
    end = rates.issue + timedelta(minutes=rule.within_minutes)
    if rule.probability is None:
        steps = list(_statistics(rule, rates.weights, rates.forecast(), rates.issue, end))
        chances = np.array([step.value for step in steps])
        by_then = chances
    elif rates.members:
        each = [
            list(_statistics(rule, rates.weights, rates.member(name), rates.issue, end))
            for name in rates.members
        ]
        steps = each[0]
        exceeds = np.array([[step.value >= rule.level for step in member] for member in each])
        chances = exceeds.mean(axis=0)
        by_then = np.logical_or.accumulate(exceeds, axis=1).mean(axis=0)
    else:
        steps = list(_chances(rule, rates, end))
        chances = np.array([step.value for step in steps])
        by_then = chances
    reached = np.flatnonzero(by_then >= rule.limit)
    blind = next((step.time for step in steps if not step.known), None)
    reason = None if blind is None else f"less than half of the place is known at {blind:%H:%M} UTC"
    if rates.horizon < end:
        ahead = (rates.horizon - rates.issue) // timedelta(minutes=1)
        reason = f"the forecast ends after {ahead} minutes, and the rule looks {rule.within_minutes} ahead"
    return Measured(
        rule.name,
        round(float(by_then.max()), 4),
        reason is None,
        reason,
        steps[reached[0]].time if len(reached) else None,
        steps[int(chances.argmax())].time if chances.max() > 0 else None,
    )


@dataclass(frozen=True)
class _Step:
    time: datetime
    value: float
    known: bool


def _statistics(
    rule: Rule, weights: Values, samples: Sequence[Sampled], issue: datetime, end: datetime
) -> Iterator[_Step]:
    """Yield the statistic at the issue time and at each time of the forecast until an end."""
    for last in samples:
        if not issue <= last.time <= end:
            continue
        if rule.window_minutes is None:
            yield _statistic(rule, last.time, last.rates, weights)
            continue
        length = timedelta(minutes=rule.window_minutes)
        amounts = np.zeros(len(weights))
        known = np.zeros(len(weights))  # hours of the window
        for one in samples:
            if last.time - length < one.time <= last.time:
                hours = one.step / timedelta(hours=1)
                amounts += np.nan_to_num(one.rates) * hours
                known += np.isfinite(one.rates) * hours
        whole = known >= length / timedelta(hours=1) * (1 - 1e-6)
        yield _statistic(rule, last.time, amounts, weights, whole)


def _chances(rule: Rule, rates: PlaceRates, end: datetime) -> Iterator[_Step]:
    """Yield the highest published probability at the place; that of the observation is 0 or 1.

    Raises:
        NotPublishedError: The probability of the threshold is not published.
    """
    if rule.quantity != "rate" or rule.statistic != "maximum":
        raise NotPublishedError("expected members, from which the probability follows, found none")
    samples = rates.probability(rule.threshold)
    seen = rates.observed[-1]
    exceeds = np.where(np.isnan(seen.rates), np.nan, seen.rates >= rule.threshold)
    for sample in (Sampled(seen.time, seen.step, exceeds), *samples):
        if sample.time <= end:
            yield _statistic(rule, sample.time, sample.rates, rates.weights)


def _statistic(
    rule: Rule, time: datetime, values: Values, weights: Values, known: NDArray[np.bool_] | None = None
) -> _Step:
    """Return the statistic of the known values, if they are at least half; a lower bound of it otherwise."""
    known = np.isfinite(values) if known is None else known
    enough = bool(weights[known].sum() >= _LEAST_COVER * weights.sum())
    if enough:
        values, weights = values[known], weights[known]
    values = np.nan_to_num(values)
    if rule.statistic == "maximum":
        value = values.max()
    elif rule.statistic == "mean":
        value = np.average(values, weights=weights)
    elif rule.statistic == "share":
        value = weights[values >= rule.threshold].sum() / weights.sum()
    else:
        order = np.argsort(values)
        below = np.cumsum(weights[order]) / weights.sum()
        value = values[order][np.searchsorted(below, 0.95 - 1e-9)]
    return _Step(time, float(value), enough)
