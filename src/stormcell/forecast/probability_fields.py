"""Probabilities and quantiles of all lead times, with their place on the map."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from stormcell.forecast.contract import Analysis, Field, forecast_array
from stormcell.forecast.probabilistic import DistributionForecaster, LeadDistribution


def probability(
    forecaster: DistributionForecaster, analysis: Analysis, steps: int, thresholds: Sequence[float]
) -> xr.DataArray:
    """Return the probabilities of rates at or above thresholds.

    Args:
        forecaster: A forecaster with predictive distributions.
        analysis: The frames known at the issue time.
        steps: Number of lead times, ≥ 1.
        thresholds: Rain rates in mm/h, > 0.

    Returns:
        ``(threshold, time, y, x)``, 0 to 1, NaN where the forecast is undefined.

    Raises:
        ArgumentError: ``steps`` is less than 1, or a threshold is not above 0.
        FramesError: The frames do not meet the forecaster's needs.
    """
    coordinate = ("threshold", np.asarray(thresholds, np.float64), {"units": "kg m-2 h-1"})
    attributes = {
        "standard_name": "probability_of_rainfall_rate_above_threshold",
        "long_name": "probability of a rainfall rate at or above the threshold",
        "units": "1",
    }
    return _collected(
        forecaster,
        analysis,
        steps,
        lambda rain: rain.probability(thresholds),
        coordinate,
        "rainfall_rate_probability",
        attributes,
    )


def quantile(
    forecaster: DistributionForecaster, analysis: Analysis, steps: int, levels: Sequence[float]
) -> xr.DataArray:
    """Return quantiles of the rain rate.

    Args:
        forecaster: A forecaster with predictive distributions.
        analysis: The frames known at the issue time.
        steps: Number of lead times, ≥ 1.
        levels: Probabilities of not exceeding the quantile, above 0 and below 1.

    Returns:
        mm/h ``(quantile, time, y, x)``, NaN where the forecast is undefined.

    Raises:
        ArgumentError: ``steps`` is less than 1, or a level is not between 0 and 1.
        FramesError: The frames do not meet the forecaster's needs.
    """
    coordinate = ("quantile", np.asarray(levels, np.float64), {"standard_name": "quantile", "units": "1"})
    return _collected(
        forecaster,
        analysis,
        steps,
        lambda rain: rain.quantile(levels),
        coordinate,
        "rainfall_rate_quantile",
        {"long_name": "quantile of the rainfall rate"},
    )


def _collected(
    forecaster: DistributionForecaster,
    analysis: Analysis,
    steps: int,
    product: Callable[[LeadDistribution], Field],
    coordinate: tuple[str, Any, dict[str, str]],
    name: str,
    attributes: dict[str, str],
) -> xr.DataArray:
    """Return a product of every lead time, with the coordinates and attributes of a forecast."""
    fields = np.stack([product(rain) for rain in forecaster.distributions_from(analysis, steps)], axis=1)
    # An ensemble has the same dimensions but the first.
    made = forecast_array(fields, analysis.frames).drop_vars("realization")
    made = made.rename({"realization": coordinate[0]}).rename(name)
    return made.assign_coords({coordinate[0]: coordinate}).assign_attrs(attributes)
