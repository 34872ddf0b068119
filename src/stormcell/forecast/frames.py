"""Frames that forecasters accept: rain rates without a gap, in mm/h."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.schema import UNITS
from stormcell.data.time_axis import even_step
from stormcell.data.units import parse_unit
from stormcell.errors import FramesError


def expect_frames(frames: xr.DataArray) -> None:
    """Check what frames are, without reading them.

    Args:
        frames: Rain rates in mm/h ``(time, y, x)``, with times. The attribute ``units`` may be missing.

    Raises:
        FramesError: They are something else.

    Example:
        >>> expect_frames(np.zeros((3, 64, 64)))
        Traceback (most recent call last):
        ...
        stormcell.errors.FramesError: frames: expected a DataArray (time, y, x) of xarray, found ndarray
    """
    if not isinstance(frames, xr.DataArray):
        raise FramesError(
            f"frames: expected a DataArray (time, y, x) of xarray, found {type(frames).__name__}"
        )
    if frames.dims != ("time", "y", "x"):
        found = ", ".join(map(str, frames.dims))
        raise FramesError(f"frames: expected dimensions (time, y, x), found ({found})")
    if "time" not in frames.coords:
        raise FramesError("frames: expected a coordinate time, found none")
    dtype = frames["time"].dtype
    # pandas' own type with a time zone is of the kind M, too.
    if not isinstance(dtype, np.dtype) or dtype.kind != "M":
        raise FramesError(
            f"frames: expected times of datetime64, in UTC and without a time zone, found {dtype}"
        )
    if packed := {"scale_factor", "add_offset"} & set(frames.attrs):
        raise FramesError(
            f"frames: expected rain rates, found packed numbers with {' and '.join(sorted(packed))}; "
            "xarray unpacks them with mask_and_scale=True"
        )
    units = frames.attrs.get("units", UNITS)
    if not _are_rates(str(units)):
        raise FramesError(f"frames: expected rain rates in mm/h, found units {units!r}")


def require(frames: xr.DataArray, count: int) -> xr.DataArray:
    """Return the last ``count`` frames, loaded, as float32.

    Args:
        frames: Rain rates ``(time, y, x)``, possibly lazy.
        count: Number of frames needed, ≥ 1.

    Raises:
        FramesError: The frames are of another kind, too few, or have a gap.

    Example:
        >>> times = np.arange("2024-06-01T00:00", "2024-06-01T00:20", 5, dtype="datetime64[m]")
        >>> coords = {"time": times.astype("datetime64[ns]")}
        >>> frames = xr.DataArray(np.zeros((4, 2, 2)), coords=coords, dims=("time", "y", "x"))
        >>> require(frames, 3).sizes["time"]
        3
        >>> require(frames, 5)
        Traceback (most recent call last):
        ...
        stormcell.errors.FramesError: frames: expected at least 5 without a gap up to the issue time, found 4
    """
    expect_frames(frames)
    found = frames.sizes["time"]
    if found < count:
        raise FramesError(
            f"frames: expected at least {count} without a gap up to the issue time, found {found}"
        )
    last = frames.isel(time=slice(found - count, None))
    if count > 1:
        even_step(last["time"].values)
    return last.astype(np.float32, copy=False).load()


def _are_rates(units: str) -> bool:
    """Whether units are mm/h, or kg m-2 h-1, which is the same of water."""
    if units in (UNITS, "mm/h", "mm h-1"):
        return True
    return parse_unit(units) in (parse_unit("mm/h"), parse_unit(UNITS))


def expect_rates(rates: NDArray[np.float32]) -> None:
    """Check loaded rates ``(time, y, x)``.

    Raises:
        FramesError: A rate is below 0, or infinite.
    """
    for frame in rates:  # so that temporary arrays are small
        lowest, highest = np.fmin.reduce(frame, axis=None), np.fmax.reduce(frame, axis=None)
        wrong = lowest if lowest < 0 else highest
        if lowest < 0 or highest == np.inf:
            raise FramesError(
                f"frames: expected rates of 0 or more, or NaN where not observed, found {wrong:g}"
            )
