"""The registry of statistics: numbers that are computed from forecast and observation, and added.

What a statistic is computed from follows from its axes: an :class:`~stormcell.verification.pairs.EventPair`
if it is given by threshold, :class:`~stormcell.verification.amounts.Amounts` if it is given by area, else a
:class:`~stormcell.verification.pairs.Pair` of one lead time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stormcell.verification.amounts import AreaRates, amounts_of
from stormcell.verification.axes import Axes
from stormcell.verification.pairs import EventPair, Observed, ObservedEvents, Pair
from stormcell.verification.products import LeadProducts

Found = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Statistic:
    """A summable number.

    Attributes:
        axes: Names of its axes: the first is ``lead``; ``threshold``, or ``area`` and ``duration``, if given,
            follow.
        dtype: ``int64`` for counts, ``float64`` for sums.
        compute: Function of what the axes prescribe. It returns the numbers along the axes that remain.
        description: One line, with the unit.
    """

    axes: tuple[str, ...]
    dtype: type[np.int64] | type[np.float64]
    compute: Callable[[Any], ArrayLike]
    description: str


_LEAD = ("lead",)
_EVENT = ("lead", "threshold")
_SCALE = ("lead", "threshold", "scale")
_CLASS = ("lead", "threshold", "class")
_BAND = ("lead", "band")
_RANK = ("lead", "rank")
_AMOUNT = ("lead", "area", "duration")

STATISTICS: dict[str, Statistic] = {
    "hits": Statistic(
        _EVENT, np.int64, lambda at: at.contingency.hits, "Pixels: event forecast and observed."
    ),
    "misses": Statistic(_EVENT, np.int64, lambda at: at.contingency.misses, "Pixels: event only observed."),
    "false_alarms": Statistic(
        _EVENT, np.int64, lambda at: at.contingency.false_alarms, "Pixels: event only forecast."
    ),
    "correct_negatives": Statistic(
        _EVENT,
        np.int64,
        lambda at: at.contingency.correct_negatives,
        "Pixels: event neither forecast nor observed.",
    ),
    "pixels": Statistic(_LEAD, np.int64, lambda at: at.observed.inside.size, "Pixels scored."),
    "forecasts": Statistic(_LEAD, np.int64, lambda _: 1, "Forecasts with at least one pixel to score."),
    "absolute_error": Statistic(
        _LEAD, np.float64, lambda at: at.errors[0], "Σ |forecast − observation|, mm/h."
    ),
    "squared_error": Statistic(
        _LEAD, np.float64, lambda at: at.errors[1], "Σ (forecast − observation)², mm²/h²."
    ),
    "crps": Statistic(
        _LEAD,
        np.float64,
        lambda at: at.crps,
        "Σ CRPS of the members, else of the distribution, else |forecast − observation|, mm/h.",
    ),
    "crps_fair": Statistic(
        _LEAD, np.float64, lambda at: at.crps_fair, "Σ fair CRPS of two members or more, mm/h."
    ),
    "crps_distribution": Statistic(
        _LEAD, np.float64, lambda at: at.distribution_crps, "Σ CRPS of the distribution, mm/h."
    ),
    "variance": Statistic(
        _LEAD, np.float64, lambda at: at.ensemble.variance, "Σ variance of the members, mm²/h²."
    ),
    "ensemble_squared_error": Statistic(
        _LEAD,
        np.float64,
        lambda at: at.ensemble.squared_error,
        "Σ (mean of the members − observation)², mm²/h².",
    ),
    "ranks": Statistic(
        _RANK,
        np.int64,
        lambda at: at.ensemble.ranks,
        "Pixels by rank of the observation among the members; without those where all are dry.",
    ),
    "brier": Statistic(_EVENT, np.float64, lambda at: at.table.brier, "Σ (probability − event)²."),
    "class_pixels": Statistic(
        _CLASS, np.int64, lambda at: at.table.pixels, "Pixels by class of the probability."
    ),
    "class_events": Statistic(
        _CLASS, np.int64, lambda at: at.table.events, "Observed events by class of the probability."
    ),
    "class_probability": Statistic(
        _CLASS, np.float64, lambda at: at.table.probability, "Σ probability by class of the probability."
    ),
    "fss_numerator": Statistic(
        _SCALE, np.float64, lambda at: at.fss[0], "Σ (forecast fraction − observed fraction)²."
    ),
    "fss_denominator": Statistic(
        _SCALE, np.float64, lambda at: at.fss[1], "Σ (forecast fraction² + observed fraction²)."
    ),
    "ensemble_fss_numerator": Statistic(
        _SCALE, np.float64, lambda at: at.ensemble_fss[0], "Σ (mean probability − observed fraction)²."
    ),
    "ensemble_fss_denominator": Statistic(
        _SCALE, np.float64, lambda at: at.ensemble_fss[1], "Σ (mean probability² + observed fraction²)."
    ),
    "forecast_power": Statistic(
        _BAND,
        np.float64,
        lambda at: at.observed.power_of(at.given.rate),
        "Spectral power of the forecast.",
    ),
    "members_power": Statistic(
        _BAND, np.float64, lambda at: at.members_power, "Mean spectral power of up to four members."
    ),
    "observed_power": Statistic(
        _BAND, np.float64, lambda at: at.observed.power, "Spectral power of the observation."
    ),
    "amounts": Statistic(
        _AMOUNT, np.int64, lambda at: at.observed.size, "Squares with an amount that ends at the lead time."
    ),
    "amount_crps": Statistic(
        _AMOUNT,
        np.float64,
        lambda at: at.sums.crps,
        "Σ CRPS of the members' amounts, or |forecast − observed amount|, mm.",
    ),
    "amount_crps_fair": Statistic(
        _AMOUNT, np.float64, lambda at: at.sums.crps_fair, "Σ fair CRPS of the members' amounts, mm."
    ),
}
"""A new statistic is one more entry. Tallies, and the files they are saved in, follow from this registry."""


def compute_statistics(
    given: Mapping[str, LeadProducts], observed: Observed, axes: Mapping[str, Axes]
) -> tuple[dict[str, Found], dict[str, list[AreaRates]]]:
    """Compute all statistics of one lead time.

    Args:
        given: By forecaster, what it gives for the lead time.
        observed: The observation.
        axes: By forecaster, the axes of its statistics.

    Returns:
        By forecaster and statistic, an array with the statistic's axes without ``lead``; and by forecaster,
        the mean rates over squares of each size, from which :func:`compute_amounts` computes the others.
    """
    found: dict[str, Found] = {name: {} for name in given}
    pairs = {name: Pair(products, observed) for name, products in given.items()}
    for statistic, entry in STATISTICS.items():
        if "area" in entry.axes:
            continue
        for name, pair in pairs.items():
            values = found[name][statistic] = np.zeros(axes[name].shape(entry.axes[1:]), entry.dtype)
            if "threshold" not in entry.axes:
                values[...] = entry.compute(pair)
    # Fractions are fields. One threshold at a time, so that memory does not grow with their number.
    for k, threshold in enumerate(observed.axes.thresholds):
        observed_events = ObservedEvents(observed, threshold, k)
        for name, pair in pairs.items():
            events = EventPair(pair, observed_events)
            for statistic, entry in STATISTICS.items():
                if "threshold" in entry.axes:
                    found[name][statistic][k] = entry.compute(events)
    return found, {name: pair.area_rates for name, pair in pairs.items()}


def compute_amounts(rates: Sequence[Sequence[AreaRates] | None], axes: Axes) -> Found:
    """Compute the statistics of amounts, which are of several lead times together.

    Args:
        rates: By lead time, mean rates over squares of each size; None for a lead time without a pixel to
            score, and then amounts that include it are not counted.
        axes: The axes of the statistics.

    Returns:
        By statistic, an array with all of its axes.
    """
    entries = {name: entry for name, entry in STATISTICS.items() if "area" in entry.axes}
    found = {name: np.zeros(axes.shape(entry.axes), entry.dtype) for name, entry in entries.items()}
    for d, duration in enumerate(axes.durations):
        for lead in range(duration - 1, len(rates)):
            parts = [part for part in rates[lead + 1 - duration : lead + 1] if part is not None]
            if len(parts) < duration:
                continue
            for a in range(len(axes.areas)):
                amounts = amounts_of([part[a] for part in parts], axes.lead_minutes[0])
                for name, entry in entries.items():
                    found[name][lead, a, d] = entry.compute(amounts)
    return found
