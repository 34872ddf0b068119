"""Frames without an observed pixel, from which no forecast can be made."""

import numpy as np
import xarray as xr

LOOK_BACK = 288  # frames that are read in search of an observed one: a day of 5-minute frames


def is_observed(frame: xr.DataArray) -> bool:
    """Whether a frame ``(y, x)`` has an observed pixel; every forecast from another frame is undefined."""
    return bool(np.isfinite(frame.values).any())


def latest_observed(frames: xr.DataArray) -> np.datetime64 | None:
    """Return the time of the newest frame with an observed pixel, among the last ``LOOK_BACK`` frames.

    Args:
        frames: Rain rates ``(time, y, x)``, possibly lazy; frames are read one by one, the newest first.

    Example:
        >>> from stormcell.data.synthetic import generate
        >>> frames = generate(seed=1, steps=3).rainfall_rate.copy()
        >>> frames[2] = np.nan
        >>> bool(latest_observed(frames) == frames.time.values[1])
        True
    """
    for position in reversed(range(max(0, frames.sizes["time"] - LOOK_BACK), frames.sizes["time"])):
        if is_observed(frames[position]):
            time: np.datetime64 = frames["time"].values[position]
            return time
    return None
