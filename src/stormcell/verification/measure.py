"""From one forecast and its truth to a tally."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scores.probability import crps_for_ensemble

from stormcell.errors import ArgumentError
from stormcell.verification.spatial import Mask, band_power, fss_sums, window_weights
from stormcell.verification.tally import Layout, Tally

Rate = NDArray[np.float32]


def measure(forecast: Rate, truth: Rate, mask: Mask, *, issue_time: np.datetime64, layout: Layout) -> Tally:
    """Tally one forecast.

    Args:
        forecast: Rain rate in mm/h, ``(lead, y, x)`` or, of an ensemble, ``(realization, lead, y, x)``.
            An ensemble is scored by the mean of its members, save for the CRPS, which takes them all.
        truth: Rain rate in mm/h, ``(lead, y, x)``.
        mask: Pixels to score, ``(lead, y, x)``; a lead time without a pixel is not counted.
        issue_time: When the forecast was made.
        layout: Lead times, thresholds and scales of the tally.

    Raises:
        ArgumentError: The shapes do not fit, or a value inside the mask is not a number: a score would
            take it for dry (NaN ≥ threshold is false) and nobody would know.

    Example:
        >>> layout = Layout((5.0,), (1.0,), ((1.0, 1),), (), 1.0)
        >>> truth = np.float32([[[0, 2], [2, np.nan]]])
        >>> issued = np.datetime64("2020-01-01T12:00")
        >>> tally = measure(truth * 2, truth, ~np.isnan(truth), issue_time=issued, layout=layout)
        >>> tally.total("hits").tolist(), tally.total("absolute_error").tolist()
        ([[2]], [4.0])
    """
    shape = (len(layout.lead_minutes), *truth.shape[1:])
    if not forecast.shape[-3:] == truth.shape == mask.shape == shape or forecast.ndim not in (3, 4):
        raise ArgumentError(
            f"forecast of {issue_time}: expected shape {shape} of forecast, truth and mask, "
            f"found {forecast.shape}, {truth.shape} and {mask.shape}"
        )
    members = forecast[None] if forecast.ndim == 3 else forecast
    rows = {name: np.zeros((1, *extent)) for name, extent in layout.shapes().items()}
    for lead, inside in enumerate(mask):
        if not inside.any():
            continue
        for name, values in (("forecast", members[:, lead]), ("truth", truth[lead])):
            if not np.isfinite(values[..., inside]).all():
                raise ArgumentError(
                    f"{name} issued {issue_time} for +{layout.lead_minutes[lead]:g} min: "
                    "expected a number at every pixel inside the mask, found NaN or infinity"
                )
        for name, value in _at_lead(members[:, lead], truth[lead], inside, layout).items():
            rows[name][0, lead] = value
    return Tally.of(layout, np.array([issue_time], "datetime64[ns]"), rows)


def _at_lead(members: Rate, truth: Rate, mask: Mask, layout: Layout) -> dict[str, ArrayLike]:
    """The statistics of one lead time: members ``(realization, y, x)``, truth and mask ``(y, x)``."""
    forecast = members[0] if len(members) == 1 else members.mean(axis=0, dtype=np.float64).astype(np.float32)
    error = forecast[mask].astype(np.float64) - truth[mask]
    absolute = np.abs(error).sum()
    edges = tuple(wavelength / layout.pixel_km for wavelength in layout.bands)
    return {
        "pixels": error.size,
        "forecasts": 1,
        "absolute_error": absolute,
        "squared_error": np.square(error).sum(),
        "crps": absolute if len(members) == 1 else _crps_sum(members[:, mask], truth[mask]),
        "forecast_power": band_power(forecast, mask, edges),
        "observed_power": band_power(truth, mask, edges),
        **_event_statistics(forecast, truth, mask, layout),
    }


def _event_statistics(forecast: Rate, truth: Rate, mask: Mask, layout: Layout) -> dict[str, ArrayLike]:
    """Contingency tables ``(threshold,)`` and FSS sums ``(threshold, scale)`` of one lead time."""
    windows = [(window, window_weights(mask, window)) for _, window in layout.windows]
    counts = np.zeros((4, len(layout.thresholds)), np.int64)
    sums = np.zeros((2, len(layout.thresholds), len(windows)))
    for k, threshold in enumerate(layout.thresholds):
        predicted, observed = (forecast >= threshold) & mask, (truth >= threshold) & mask
        hits, either = np.count_nonzero(predicted & observed), np.count_nonzero(predicted | observed)
        misses, false_alarms = np.count_nonzero(observed) - hits, np.count_nonzero(predicted) - hits
        counts[:, k] = hits, misses, false_alarms, np.count_nonzero(mask) - either
        for s, (window, weights) in enumerate(windows):
            sums[:, k, s] = fss_sums(predicted, observed, weights, window)
    names = ("hits", "misses", "false_alarms", "correct_negatives", "fss_numerator", "fss_denominator")
    return dict(zip(names, [*counts, *sums], strict=True))


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
