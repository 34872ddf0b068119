"""From forecasts and their truth to tallies."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scores.probability import crps_for_ensemble

from stormcell.errors import ArgumentError
from stormcell.verification.spatial import Mask, band_power, fss_sums, window_fractions, window_weights
from stormcell.verification.tally import Layout, Tally

Rate = NDArray[np.float32]
Statistics = dict[str, ArrayLike]


_THREADS = 4  # with more, lead times wait for memory and not for a core


def measure(
    forecasts: Mapping[str, Rate], truth: Rate, mask: Mask, *, issue_time: np.datetime64, layout: Layout
) -> dict[str, Tally]:
    """Tally forecasts of one issue time, all under one mask.

    What depends on truth and mask alone is worked out once for all of them. Lead times are shared out to
    threads; each is a row of its own, so that this cannot change a bit.

    Args:
        forecasts: By forecaster, rain rate in mm/h, ``(lead, y, x)`` or, of an ensemble,
            ``(realization, lead, y, x)``. An ensemble is scored by the mean of its members, save for the
            CRPS, which takes them all.
        truth: Rain rate in mm/h, ``(lead, y, x)``.
        mask: Pixels to score, ``(lead, y, x)``; a lead time without a pixel is not counted.
        issue_time: When the forecasts were made.
        layout: Lead times, thresholds and scales of the tallies.

    Raises:
        ArgumentError: The shapes do not fit, or a value inside the mask is not a number: a score would
            take it for dry (NaN ≥ threshold is false) and nobody would know.

    Example:
        >>> layout = Layout((5.0,), (1.0,), ((1.0, 1),), (), 1.0)
        >>> truth = np.float32([[[0, 2], [2, np.nan]]])
        >>> issued = np.datetime64("2020-01-01T12:00")
        >>> tallies = measure({"twice": truth * 2}, truth, truth >= 0, issue_time=issued, layout=layout)
        >>> tallies["twice"].total("hits").tolist(), tallies["twice"].total("absolute_error").tolist()
        ([[2]], [4.0])
    """
    shape = (len(layout.lead_minutes), *truth.shape[1:])
    for name, forecast in forecasts.items():
        if not forecast.shape[-3:] == truth.shape == mask.shape == shape or forecast.ndim not in (3, 4):
            raise ArgumentError(
                f"{name}, issued {issue_time}: expected shape {shape} of forecast, truth and mask, "
                f"found {forecast.shape}, {truth.shape} and {mask.shape}"
            )
    members = {name: forecast.reshape(-1, *shape) for name, forecast in forecasts.items()}

    def row(lead: int) -> dict[str, Statistics]:
        for name, values in {"truth": truth[None], **members}.items():
            if not (np.isfinite(values[:, lead]) | ~mask[lead]).all():
                raise ArgumentError(
                    f"{name}, issued {issue_time} for +{layout.lead_minutes[lead]:g} min: "
                    "expected a number at every pixel inside the mask, found NaN or infinity"
                )
        here = {name: values[:, lead] for name, values in members.items()}
        return _at_lead(here, truth[lead], mask[lead], layout)

    rows = {
        name: {statistic: np.zeros((1, *extent)) for statistic, extent in layout.shapes().items()}
        for name in forecasts
    }
    leads = [lead for lead, inside in enumerate(mask) if inside.any()]
    with ThreadPoolExecutor(_THREADS) as pool:
        for lead, found in zip(leads, pool.map(row, leads), strict=True):
            for name, statistics in found.items():
                for statistic, value in statistics.items():
                    rows[name][statistic][0, lead] = value
    issued = np.array([issue_time], "datetime64[ns]")
    return {name: Tally.of(layout, issued, statistics) for name, statistics in rows.items()}


def _at_lead(members: Mapping[str, Rate], truth: Rate, mask: Mask, layout: Layout) -> dict[str, Statistics]:
    """The statistics of one lead time: members ``(realization, y, x)``, truth and mask ``(y, x)``."""
    forecasts = {
        name: each[0] if len(each) == 1 else each.mean(axis=0, dtype=np.float64).astype(np.float32)
        for name, each in members.items()
    }
    edges = tuple(wavelength / layout.pixel_km for wavelength in layout.bands)
    observed_power, inside = band_power(truth, mask, edges), truth[mask]
    found = _event_statistics(forecasts, truth, mask, layout)
    for name, forecast in forecasts.items():
        error = forecast[mask].astype(np.float64) - inside
        absolute = np.abs(error).sum()
        found[name] |= {
            "pixels": error.size,
            "forecasts": 1,
            "absolute_error": absolute,
            "squared_error": np.square(error).sum(),
            "crps": absolute if len(members[name]) == 1 else _crps_sum(members[name][:, mask], inside),
            "forecast_power": band_power(forecast, mask, edges),
            "observed_power": observed_power,
        }
    return found


def _event_statistics(
    forecasts: Mapping[str, Rate], truth: Rate, mask: Mask, layout: Layout
) -> dict[str, Statistics]:
    """Contingency tables ``(threshold,)`` and FSS sums ``(threshold, scale)`` of one lead time."""
    windows = [(window, window_weights(mask, window)) for _, window in layout.windows]
    counts = {name: np.zeros((4, len(layout.thresholds)), np.int64) for name in forecasts}
    sums = {name: np.zeros((2, len(layout.thresholds), len(windows))) for name in forecasts}
    for k, threshold in enumerate(layout.thresholds):
        observed = (truth >= threshold) & mask
        # Of all forecasters together only the truth's fractions are kept: one field per window.
        fractions = [window_fractions(observed, weights, window) for window, weights in windows]
        for name, forecast in forecasts.items():
            predicted = (forecast >= threshold) & mask
            hits, either = np.count_nonzero(predicted & observed), np.count_nonzero(predicted | observed)
            misses, false_alarms = np.count_nonzero(observed) - hits, np.count_nonzero(predicted) - hits
            counts[name][:, k] = hits, misses, false_alarms, np.count_nonzero(mask) - either
            for s, (window, weights) in enumerate(windows):
                sums[name][:, k, s] = fss_sums(window_fractions(predicted, weights, window), fractions[s])
    names = ("hits", "misses", "false_alarms", "correct_negatives", "fss_numerator", "fss_denominator")
    return {name: dict(zip(names, [*counts[name], *sums[name]], strict=True)) for name in forecasts}


def _crps_sum(members: Rate, truth: Rate) -> float:
    """Σ CRPS of the members' empirical distribution, doi:10.1007/s11004-017-9709-7."""
    crps = crps_for_ensemble(
        xr.DataArray(members.astype(np.float64), dims=("realization", "pixel")),
        xr.DataArray(truth.astype(np.float64), dims="pixel"),
        "realization",
        method="ecdf",
        preserve_dims="all",
    )
    return float(crps.values.sum())
