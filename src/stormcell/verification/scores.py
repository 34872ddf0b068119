"""Scores: every one a function of a tally.

The formulas of the contingency table are those of the ``scores`` package; what it computes only from
whole fields (FSS, RMSE) is the same formula on a tally's sums. An undefined ratio is NaN, in JSON ``null``.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scores.categorical import BasicContingencyManager

from stormcell.verification.tally import Counts, Tally

Score = NDArray[np.float64]


def contingency(tally: Tally) -> BasicContingencyManager:
    """The contingency table, dims ``(lead, threshold)``, with every categorical score of ``scores``.

    Example:
        >>> from stormcell.verification.tally import Layout
        >>> nothing = Tally.zero(Layout((5.0,), (1.0,), (), (), 1.0))
        >>> contingency(nothing).critical_success_index().values.tolist()
        [[nan]]
    """
    coordinates = {"lead": list(tally.layout.lead_minutes), "threshold": list(tally.layout.thresholds)}
    counts = {
        key: xr.DataArray(tally.total(name), coordinates, ("lead", "threshold"))
        for key, name in (
            ("tp_count", "hits"),
            ("tn_count", "correct_negatives"),
            ("fp_count", "false_alarms"),
            ("fn_count", "misses"),
        )
    }
    counts["total_count"] = sum(counts.values(), start=xr.zeros_like(counts["tp_count"]))
    return BasicContingencyManager(counts)


def csi(tally: Tally) -> Score:
    """Critical success index, hits / (hits + misses + false alarms), ``(lead, threshold)``, 0..1."""
    return np.asarray(contingency(tally).critical_success_index().values)


def pod(tally: Tally) -> Score:
    """Probability of detection, hits / (hits + misses), ``(lead, threshold)``, 0..1."""
    return np.asarray(contingency(tally).probability_of_detection().values)


def far(tally: Tally) -> Score:
    """False alarm ratio, false alarms / (hits + false alarms), ``(lead, threshold)``, 0..1."""
    return np.asarray(contingency(tally).false_alarm_ratio().values)


def bias(tally: Tally) -> Score:
    """Frequency bias, (hits + false alarms) / (hits + misses), ``(lead, threshold)``, ≥ 0, best 1."""
    ratio = np.asarray(contingency(tally).frequency_bias().values)
    return np.where(np.isinf(ratio), np.nan, ratio)  # events forecast, none observed: undefined


def mae(tally: Tally) -> Score:
    """Mean absolute error in mm/h, ``(lead,)``."""
    return _ratio(tally.total("absolute_error"), tally.total("pixels"))


def rmse(tally: Tally) -> Score:
    """Root of the mean squared error in mm/h, ``(lead,)``."""
    return np.sqrt(_ratio(tally.total("squared_error"), tally.total("pixels")))


def crps(tally: Tally) -> Score:
    """Continuous ranked probability score in mm/h, ``(lead,)``; of a single forecast it is the MAE."""
    return _ratio(tally.total("crps"), tally.total("pixels"))


def fss(tally: Tally) -> Score:
    """Fractions skill score, doi:10.1175/2007MWR2123.1, ``(lead, threshold, scale)``, 0..1."""
    ratio = _ratio(tally.total("fss_numerator"), tally.total("fss_denominator"))
    return np.maximum(1 - ratio, 0)  # rounding can take a ratio of 1 a hair above it


def power_ratio(tally: Tally) -> Score:
    """Spectral power of the forecast over that of the truth, ``(lead, band)``, ≥ 0; below 1 is smoother."""
    return _ratio(tally.total("forecast_power"), tally.total("observed_power"))


def mean_over_leads(values: Sequence[float | None]) -> tuple[float | None, int]:
    """The mean over the lead times at which a score is defined, and how many were left out.

    Two such means compare like with like only where the same lead times were left out.

    Args:
        values: A score by lead time, as ``scores.json`` holds it.

    Returns:
        The mean, None where no value is defined, and the number of undefined values.

    Example:
        >>> mean_over_leads([0.5, 0.25, None]), mean_over_leads([None, None])
        ((0.375, 1), (None, 2))
    """
    defined = [value for value in values if value is not None]
    mean = math.fsum(defined) / len(defined) if defined else None
    return mean, len(values) - len(defined)


def to_dict(tally: Tally) -> dict[str, Any]:
    """All scores of a tally, ready for JSON; lists run over lead time.

    Example:
        >>> from stormcell.verification.tally import Layout
        >>> nothing = Tally.zero(Layout((5.0, 10.0), (0.5,), ((16.0, 17),), (2.0, 4.0), 1.0))
        >>> scores = to_dict(nothing)
        >>> scores["csi"], scores["fss"], scores["n_pixels"]
        ({'0.5': [None, None]}, {'0.5': {'16km': [None, None]}}, [0, 0])
    """
    layout = tally.layout
    keys = [str(float(threshold)) for threshold in layout.thresholds]
    scales = [f"{scale:g}km" for scale, _ in layout.windows]
    bands = [f"{low:g}-{high:g}km" for low, high in zip(layout.bands[:-1], layout.bands[1:], strict=True)]
    by_threshold = {
        name: {key: _json(values[:, k]) for k, key in enumerate(keys)}
        for name, values in (
            ("csi", csi(tally)),
            ("pod", pod(tally)),
            ("far", far(tally)),
            ("bias", bias(tally)),
        )
    }
    skill = fss(tally)
    power = power_ratio(tally)
    return {
        "lead_minutes": [int(lead) if lead == int(lead) else lead for lead in layout.lead_minutes],
        **by_threshold,
        "mae": _json(mae(tally)),
        "rmse": _json(rmse(tally)),
        "fss": {
            key: {scale: _json(skill[:, k, s]) for s, scale in enumerate(scales)}
            for k, key in enumerate(keys)
        },
        "crps": _json(crps(tally)),
        "power_ratio": {band: _json(power[:, b]) for b, band in enumerate(bands)},
        "n_pixels": tally.total("pixels").tolist(),
        "n_forecasts": tally.total("forecasts").tolist(),
        "n_events": {key: tally.n_events[:, k].tolist() for k, key in enumerate(keys)},
    }


def _ratio(numerator: Score, denominator: Score | Counts) -> Score:
    """NaN where the denominator is 0."""
    undefined = np.full(numerator.shape, np.nan)
    return np.asarray(np.divide(numerator, denominator, where=denominator != 0, out=undefined))


def _json(values: Score) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]
