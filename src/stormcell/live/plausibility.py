"""Whether a forecast can be rain: a check before it is published."""

import numpy as np
import xarray as xr

from stormcell.errors import FramesError

# The mean rate may change by this factor in one time step …
_FACTOR = 5.0
# … and by this much besides, in mm/h, which is all of the rain of a nearly dry frame.
_SLACK = 0.1


def expect_plausible(forecast: xr.DataArray, observed: xr.DataArray) -> None:
    """Refuse a forecast that cannot be rain.

    Args:
        forecast: Rain rates in mm/h ``(time, y, x)`` or ``(realization, time, y, x)``.
        observed: The newest frame ``(y, x)``.

    Raises:
        FramesError: It has negative or infinite rates, no defined pixel, or a mean rate at the first lead
            time that is far from the observed one.

    Example:
        >>> observed = xr.DataArray(np.ones((2, 2)), dims=("y", "x"))
        >>> expect_plausible(observed.expand_dims(time=3), observed)
        >>> expect_plausible(20 * observed.expand_dims(time=3), observed)
        Traceback (most recent call last):
        ...
        stormcell.errors.FramesError: forecast: expected a mean rate near the observed 1 mm/h, found 20 mm/h
    """
    values = forecast.values
    if np.isnan(values).all():
        raise FramesError("forecast: expected rain rates, found no defined pixel")
    if np.isinf(values).any():
        raise FramesError("forecast: expected rain rates, found infinity")
    if (lowest := float(np.nanmin(values))) < 0:
        raise FramesError(f"forecast: expected rain rates of 0 mm/h or more, found {lowest:g}")
    first = values[..., 0, :, :]
    first = first.mean(axis=0) if first.ndim == 3 else first
    both = np.isfinite(first) & np.isfinite(observed.values)
    if not both.any():
        raise FramesError("forecast: expected values where the newest frame is observed, found none")
    before = float(observed.values[both].mean(dtype=np.float64))
    after = float(first[both].mean(dtype=np.float64))
    if not before / _FACTOR - _SLACK <= after <= before * _FACTOR + _SLACK:
        raise FramesError(
            f"forecast: expected a mean rate near the observed {before:.3g} mm/h, found {after:.3g} mm/h"
        )
