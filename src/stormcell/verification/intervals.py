"""Intervals of scores, and comparisons with a reference, in the form of ``scores.json``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from stormcell.verification.axes import AXES, Axes
from stormcell.verification.bootstrap import (
    COMPARED,
    LEVEL,
    Compared,
    Resampling,
    comparisons,
    interval,
    mean_over_leads,
)
from stormcell.verification.scores import SCORES
from stormcell.verification.tally import Tally
from stormcell.verification.totals import Values

_DIGITS = 6  # significant; a report has many thousand of these numbers


def with_intervals(
    tallies: Mapping[str, Tally], resampling: Resampling, reference: str | None = None
) -> dict[str, dict[str, Any]]:
    """Return intervals of all scores by lead time, and comparisons with a reference.

    Args:
        tallies: By forecaster, its tally; all have the issue times that were resampled.
        resampling: Samples of issue times.
        reference: Name of a forecaster to compare the others with; None for no comparison.

    Returns:
        By forecaster, ``intervals`` and, of all but the reference, ``against_reference``. Where there are too
        few units to resample, ``intervals`` is None, and comparisons have no limits.
    """
    probabilistic = any(tally.axes.probability_of != "forecast" for tally in tallies.values())
    keys = tuple(
        key
        for key, score in SCORES.items()
        if score.best is not None and (probabilistic or not score.probabilistic)
    )
    values = {
        name: {key: np.asarray(SCORES[key].compute(tally), np.float64) for key in keys}
        for name, tally in tallies.items()
    }
    samples = {
        name: resampling.scores(tally, keys) if resampling.enough else {} for name, tally in tallies.items()
    }
    found: dict[str, dict[str, Any]] = {}
    for name, tally in tallies.items():
        limits = {key: _limits(sampled, key, tally.axes) for key, sampled in samples[name].items()}
        found[name] = {"intervals": limits or None}
        if reference is None or name == reference:
            continue
        pair = values[name], samples[name], values[reference], samples[reference]
        found[name]["against_reference"] = {"reference": reference} | {
            kind: {key: _compared(kind, key, tally.axes, *pair) for key in keys if kind in comparisons(key)}
            for kind in COMPARED
        }
    return found


def about(resampling: Resampling) -> dict[str, Any]:
    """Return a description of the intervals."""
    return {
        "level": LEVEL,
        "drawn": resampling.unit,
        "block_minutes": resampling.minutes,
        "n_drawn": len(resampling.starts),
        "samples": len(resampling.counts),
        "seed": resampling.seed,
    }


def _limits(samples: Values, key: str, axes: Axes) -> Any:
    low, high = map(_lead_last, interval(samples))
    return _leaves(key, axes, lambda at: {"low": _list(low[at]), "high": _list(high[at])})


def _compared(
    kind: Compared,
    key: str,
    axes: Axes,
    values: Mapping[str, Values],
    samples: Mapping[str, Values],
    reference: Mapping[str, Values],
    resampled: Mapping[str, Values],
) -> Any:
    """Return a comparison by lead time, and of the means over those lead times at which both are defined."""
    compare = COMPARED[kind]
    both = ~np.isnan(values[key]) & ~np.isnan(reference[key])

    def means(value: Values) -> Values:
        return mean_over_leads(value, both)

    value = compare(values[key], reference[key])
    mean = compare(means(values[key][None]), means(reference[key][None]))[0]
    low = high = np.full(value.shape, np.nan)
    mean_low = mean_high = np.full(mean.shape, np.nan)
    if key in samples:
        low, high = interval(compare(samples[key], resampled[key]))
        mean_low, mean_high = interval(compare(means(samples[key]), means(resampled[key])))
    value, low, high = map(_lead_last, (value, low, high))
    return _leaves(
        key,
        axes,
        lambda at: {
            "value": _list(value[at]),
            "low": _list(low[at]),
            "high": _list(high[at]),
            "mean": _number(mean[at]),
            "mean_low": _number(mean_low[at]),
            "mean_high": _number(mean_high[at]),
        },
    )


def _leaves(key: str, axes: Axes, leaf: Callable[[tuple[int, ...]], Any]) -> Any:
    """Return a dictionary for each axis of a score but ``lead``, and in the innermost what ``leaf`` gives."""

    def inner(keys: Sequence[Sequence[str]], at: tuple[int, ...]) -> Any:
        if not keys:
            return leaf(at)
        return {name: inner(keys[1:], (*at, k)) for k, name in enumerate(keys[0])}

    return inner([AXES[name].keys(axes) for name in SCORES[key].axes[1:]], ())


def _lead_last(values: Values) -> Values:
    return np.moveaxis(values, 0, -1)


def _list(values: Values) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
