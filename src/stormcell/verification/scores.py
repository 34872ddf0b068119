"""The registry of scores: functions of a tally.

The formulas of the contingency table are those of the ``scores`` package. Formulas that it offers only for
whole fields (FSS, RMSE) are applied to a tally's sums. An undefined ratio is NaN, and ``null`` in JSON.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scores.categorical import BasicContingencyManager

from stormcell.verification import probability_scores as of_probabilities
from stormcell.verification.axes import AXES
from stormcell.verification.contingency import Contingency
from stormcell.verification.score import Score, probabilistic
from stormcell.verification.totals import Totals, Values, ratio


def contingency_manager(counts: Contingency) -> BasicContingencyManager:
    """Return the contingency table of the ``scores`` package, which offers every categorical score.

    Args:
        counts: Integer arrays ``(lead, threshold)``.

    Example:
        >>> nothing = np.zeros((1, 1), np.int64)
        >>> table = contingency_manager(Contingency(nothing, nothing, nothing, nothing))
        >>> table.critical_success_index().values.tolist()
        [[nan]]
    """
    tables = [xr.DataArray(count, dims=("lead", "threshold")) for count in counts]
    hits, misses, false_alarms, correct_negatives = tables
    return BasicContingencyManager(
        {
            "tp_count": hits,
            "fn_count": misses,
            "fp_count": false_alarms,
            "tn_count": correct_negatives,
            "total_count": sum(tables, start=xr.zeros_like(hits)),
        }
    )


def csi(tally: Totals) -> Values:
    """Critical success index, hits / (hits + misses + false alarms), ``(lead, threshold)``, 0 to 1."""
    return np.asarray(_table(tally).critical_success_index().values)


def pod(tally: Totals) -> Values:
    """Probability of detection, hits / (hits + misses), ``(lead, threshold)``, 0 to 1."""
    return np.asarray(_table(tally).probability_of_detection().values)


def far(tally: Totals) -> Values:
    """False alarm ratio, false alarms / (hits + false alarms), ``(lead, threshold)``, 0 to 1."""
    return np.asarray(_table(tally).false_alarm_ratio().values)


def bias(tally: Totals) -> Values:
    """Frequency bias, (hits + false alarms) / (hits + misses), ``(lead, threshold)``, ≥ 0, best 1."""
    value = np.asarray(_table(tally).frequency_bias().values)
    return np.where(np.isinf(value), np.nan, value)  # undefined if no event was observed


def mae(tally: Totals) -> Values:
    """Mean absolute error in mm/h, ``(lead,)``."""
    return ratio(tally.total("absolute_error"), tally.total("pixels"))


def rmse(tally: Totals) -> Values:
    """Root of the mean squared error in mm/h, ``(lead,)``."""
    return np.sqrt(ratio(tally.total("squared_error"), tally.total("pixels")))


def crps(tally: Totals) -> Values:
    """Continuous ranked probability score in mm/h, ``(lead,)``.

    It is that of the members, else of the distribution, else the MAE of the single forecast; see
    :attr:`~stormcell.verification.axes.Axes.crps_of`.
    """
    return ratio(tally.total("crps"), tally.total("pixels"))


def fss(tally: Totals) -> Values:
    """Fractions skill score, doi:10.1175/2007MWR2123.1, ``(lead, threshold, scale)``, 0 to 1."""
    share = ratio(tally.total("fss_numerator"), tally.total("fss_denominator"))
    return np.maximum(1 - share, 0)  # rounding can make the share larger than 1


def power_ratio(tally: Totals) -> Values:
    """Spectral power of the forecast relative to the observation's, ``(lead, band)``, ≥ 0, best 1."""
    return ratio(tally.total("forecast_power"), tally.total("observed_power"))


_LEAD = ("lead",)
_EVENT = ("lead", "threshold")
_SCALE = ("lead", "threshold", "scale")
_CLASS = ("lead", "threshold", "class")
_AMOUNT = ("lead", "area", "duration")


SCORES: dict[str, Score] = {
    "csi": Score("Critical success index", "CSI", _EVENT, "highest", csi, drawn=((),)),
    "pod": Score("Probability of detection", "POD", _EVENT, "highest", pod),
    "far": Score("False alarm ratio", "FAR", _EVENT, "lowest", far),
    "bias": Score("Frequency bias", "frequency bias", _EVENT, "one", bias, drawn=(("0.5", "1.0", "5.0"),)),
    "mae": Score("Mean absolute error", "MAE", _LEAD, "lowest", mae, "mm/h", drawn=()),
    "rmse": Score("Root mean squared error", "RMSE", _LEAD, "lowest", rmse, "mm/h"),
    "fss": Score(
        "Fractions skill score",
        "FSS",
        _SCALE,
        "highest",
        fss,
        drawn=(("1.0",), ("16km",)),
    ),
    "crps": Score("Continuous ranked probability score", "CRPS", _LEAD, "lowest", crps, "mm/h", drawn=()),
    "crps_fair": probabilistic(
        "Fair CRPS", "fair CRPS", _LEAD, "lowest", of_probabilities.crps_fair, "mm/h", drawn=()
    ),
    "crps_distribution": probabilistic(
        "CRPS of the distribution",
        "CRPS of the distribution",
        _LEAD,
        "lowest",
        of_probabilities.crps_distribution,
        "mm/h",
    ),
    "spread": probabilistic("Spread", "spread", _LEAD, None, of_probabilities.spread, "mm/h"),
    "ensemble_rmse": probabilistic(
        "RMSE of the members' mean",
        "RMSE of the members' mean",
        _LEAD,
        "lowest",
        of_probabilities.ensemble_rmse,
        "mm/h",
    ),
    "spread_error": probabilistic(
        "Spread / error", "spread / error", _LEAD, "one", of_probabilities.spread_error, drawn=()
    ),
    "brier": probabilistic(
        "Brier score", "Brier score", _EVENT, "lowest", of_probabilities.brier, drawn=(("1.0",),), digits=5
    ),
    "brier_reliability": probabilistic(
        "Brier score: reliability",
        "reliability",
        _EVENT,
        "lowest",
        of_probabilities.brier_reliability,
        digits=5,
    ),
    "brier_resolution": probabilistic(
        "Brier score: resolution",
        "resolution",
        _EVENT,
        "highest",
        of_probabilities.brier_resolution,
        digits=5,
    ),
    "brier_uncertainty": probabilistic(
        "Brier score: uncertainty", "uncertainty", _EVENT, None, of_probabilities.brier_uncertainty
    ),
    "roc_area": probabilistic(
        "Area under the ROC curve",
        "ROC area",
        _EVENT,
        "highest",
        of_probabilities.roc_area,
        drawn=(("1.0",),),
    ),
    "ensemble_fss": probabilistic(
        "Fractions skill score of probabilities",
        "probability FSS",
        _SCALE,
        "highest",
        of_probabilities.ensemble_fss,
        drawn=(("1.0",), ("16km",)),
    ),
    "amount_crps": probabilistic(
        "CRPS of amounts", "CRPS of amounts", _AMOUNT, "lowest", of_probabilities.amount_crps, "mm", digits=4
    ),
    "amount_crps_fair": probabilistic(
        "Fair CRPS of amounts",
        "fair CRPS of amounts",
        _AMOUNT,
        "lowest",
        of_probabilities.amount_crps_fair,
        "mm",
        digits=4,
    ),
    "rank_histogram": probabilistic(
        "Rank of the observation", "ranks", ("lead", "rank"), None, lambda tally: tally.total("ranks")
    ),
    "reliability_pixels": probabilistic(
        "Pixels by class", "pixels", _CLASS, None, lambda tally: tally.total("class_pixels")
    ),
    "reliability_probability": probabilistic(
        "Mean probability", "probability", _CLASS, None, of_probabilities.reliability_probability
    ),
    "reliability_frequency": probabilistic(
        "Observed frequency", "frequency", _CLASS, None, of_probabilities.reliability_frequency
    ),
    "roc_pod": probabilistic("POD", "POD", _CLASS, None, of_probabilities.roc_pod),
    "roc_pofd": probabilistic("POFD", "POFD", _CLASS, None, of_probabilities.roc_pofd),
    "power_ratio": Score("Sharpness", "sharpness", ("lead", "band"), "one", power_ratio, drawn=(("4-8km",),)),
    "members_power_ratio": probabilistic(
        "Sharpness of members",
        "sharpness of members",
        ("lead", "band"),
        "one",
        of_probabilities.members_power_ratio,
        drawn=(("4-8km",),),
    ),
    "n_pixels": Score("pixels", "pixels", _LEAD, None, lambda tally: tally.total("pixels")),
    "n_forecasts": Score("forecasts", "forecasts", _LEAD, None, lambda tally: tally.total("forecasts")),
    "n_events": Score(
        "observed", "events", _EVENT, None, lambda tally: tally.total("hits") + tally.total("misses")
    ),
}
"""By key in ``scores.json``. A new score is one more entry; the report's tables and curves follow from it."""


def to_dict(tally: Totals) -> dict[str, Any]:
    """Return all scores of a tally in the form of ``scores.json``, with lists by lead time.

    Example:
        >>> from stormcell.verification.axes import Axes
        >>> from stormcell.verification.tally import Tally
        >>> nothing = Tally.zero(Axes((5.0, 10.0), (0.5,), ((16.0, 17),), (2.0, 4.0), 1.0))
        >>> scores = to_dict(nothing)
        >>> scores["csi"], scores["fss"], scores["n_pixels"]
        ({'0.5': [None, None]}, {'0.5': {'16km': [None, None]}}, [0, 0])
    """
    leads = [int(lead) if lead == int(lead) else lead for lead in tally.axes.lead_minutes]
    found: dict[str, Any] = {
        "lead_minutes": leads,
        "crps_of": tally.axes.crps_of,
        "probability_of": tally.axes.probability_of,
    }
    for key, score in SCORES.items():
        keys = [AXES[name].keys(tally.axes) for name in score.axes[1:]]
        found[key] = _nested(np.moveaxis(score.compute(tally), 0, -1), keys)
    return found


def mean_over_leads(values: Sequence[float | None]) -> tuple[float | None, int]:
    """Return the mean over the lead times at which a score is defined, and the number of the others.

    Two such means can be compared only if the score is undefined at the same lead times.

    Args:
        values: A score by lead time, as in ``scores.json``.

    Returns:
        The mean, None if no value is defined, and the number of undefined values.

    Example:
        >>> mean_over_leads([0.5, 0.25, None]), mean_over_leads([None, None])
        ((0.375, 1), (None, 2))
    """
    defined = [value for value in values if value is not None]
    mean = math.fsum(defined) / len(defined) if defined else None
    return mean, len(values) - len(defined)


def _table(tally: Totals) -> BasicContingencyManager:
    return contingency_manager(Contingency(*(tally.total(name) for name in Contingency._fields)))


def _nested(values: Values, keys: Sequence[Sequence[str]]) -> Any:
    """Return lists by lead time, the last axis, in a dictionary per axis."""
    if keys:
        return {key: _nested(inner, keys[1:]) for key, inner in zip(keys[0], values, strict=True)}
    return [value if math.isfinite(value) else None for value in values.tolist()]
