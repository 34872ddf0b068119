"""What every forecaster shares: the contract, what it may ask of frames, and the form of its answer."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.errors import ArgumentError, FramesError


class Forecaster(Protocol):
    """Any callable that turns frames of rain into frames to come."""

    def __call__(self, frames: xr.DataArray, steps: int) -> xr.DataArray:
        """Forecast the ``steps`` frames that follow the last of ``frames``.

        Args:
            frames: Rain rates in mm/h ``(time, y, x)``, float32, row 0 northernmost, NaN where not observed:
                all gap-free frames up to the issue time, of which a forecaster uses the last it needs.
            steps: Frames to forecast, ≥ 1, at the frames' own time step.

        Returns:
            Rain rates in mm/h ``(time, y, x)`` or ``(realization, time, y, x)``, as
            :func:`forecast_array` makes them; NaN where nothing can be said.

        Raises:
            FramesError: The frames are too few, have a hole, or another time step or grid.
        """
        ...


def even_step(frames: xr.DataArray) -> np.timedelta64:
    """The one distance in time between neighbouring frames.

    Raises:
        FramesError: There are fewer than two frames, or they are not equally spaced.

    Example:
        >>> times = np.array(["2024-06-01T00:00", "2024-06-01T00:05"], "datetime64[ns]")
        >>> frames = xr.DataArray(np.zeros((2, 1, 1)), coords={"time": times}, dims=("time", "y", "x"))
        >>> even_step(frames) == np.timedelta64(5, "m")
        np.True_
    """
    times = frames["time"].values.astype("datetime64[ns]")
    if len(times) < 2:
        raise FramesError(f"frames: expected at least 2 to tell the time step, found {len(times)}")
    distances = np.diff(times)
    step = distances.min()
    if step <= np.timedelta64(0, "ns"):
        late = int(distances.argmin())
        found = f"{_minute(times[late + 1])} after {_minute(times[late])}"
        raise FramesError(f"frames: expected times in increasing order, found {found}")
    holes = np.flatnonzero(distances != step)
    if holes.size:
        hole = f"a hole between {_minute(times[holes[0]])} and {_minute(times[holes[0] + 1])}"
        raise FramesError(f"frames: expected one every {_minutes(step)}, found {hole}")
    return np.timedelta64(step)


def require(frames: xr.DataArray, count: int, *, step: np.timedelta64 | None = None) -> xr.DataArray:
    """The last ``count`` frames, loaded, as float32.

    Args:
        frames: Rain rates ``(time, y, x)``, lazily or not.
        count: How many are needed, ≥ 1.
        step: The time step they must have; None takes any.

    Raises:
        FramesError: They are too few, have a hole, or another time step.

    Example:
        >>> times = np.arange("2024-06-01T00:00", "2024-06-01T00:20", 5, dtype="datetime64[m]")
        >>> coords = {"time": times.astype("datetime64[ns]")}
        >>> frames = xr.DataArray(np.zeros((4, 2, 2)), coords=coords, dims=("time", "y", "x"))
        >>> require(frames, 3).sizes["time"]
        3
        >>> require(frames, 5)
        Traceback (most recent call last):
        ...
        stormcell.errors.FramesError: frames: expected at least 5 without a hole up to the issue time, found 4
    """
    if frames.dims != ("time", "y", "x"):
        found_dims = ", ".join(map(str, frames.dims))
        raise FramesError(f"frames: expected dimensions (time, y, x), found ({found_dims})")
    found = frames.sizes["time"]
    if found < count:
        raise FramesError(
            f"frames: expected at least {count} without a hole up to the issue time, found {found}"
        )
    last = frames.isel(time=slice(found - count, None))
    if count > 1:
        actual = even_step(last)
        if step is not None and actual != step:
            raise FramesError(
                f"frames: expected one every {_minutes(step)}, found one every {_minutes(actual)}"
            )
    return last.astype(np.float32).load()


def forecast_array(
    values: NDArray[np.float32], frames: xr.DataArray, *, attrs: Mapping[str, Any] | None = None
) -> xr.DataArray:
    """Give forecast values their times and their place on the map.

    Args:
        values: Rain rates in mm/h ``(steps, y, x)`` or ``(realization, steps, y, x)``.
        frames: The frames it was made from; the last is at the issue time.
        attrs: More attributes, such as the name of what made it.

    Returns:
        ``rainfall_rate``, with valid times, ``forecast_period``, ``forecast_reference_time`` and every
        coordinate of ``frames`` that does not depend on time. Whose data it was made from is said by the
        attributes ``license`` and ``data_source``, if ``frames`` have a ``license`` and ``source``.

    Raises:
        ArgumentError: ``values`` do not fit the grid of ``frames``.
        FramesError: ``frames`` have no single time step.

    Example:
        >>> times = np.array(["2024-06-01T00:00", "2024-06-01T00:05"], "datetime64[ns]")
        >>> frames = xr.DataArray(np.zeros((2, 3, 4)), coords={"time": times}, dims=("time", "y", "x"))
        >>> forecast = forecast_array(np.zeros((2, 3, 4), np.float32), frames)
        >>> np.datetime_as_string(forecast.time.values, unit="m").tolist()
        ['2024-06-01T00:10', '2024-06-01T00:15']
    """
    dims = ("time", "y", "x") if values.ndim == 3 else ("realization", "time", "y", "x")
    grid = (frames.sizes["y"], frames.sizes["x"])
    if values.ndim not in (3, 4) or values.shape[-2:] != grid:
        raise ArgumentError(f"forecast: expected (steps, {grid[0]}, {grid[1]}), found {values.shape}")
    issued = frames["time"].values[-1].astype("datetime64[ns]")
    step = even_step(frames.isel(time=slice(-2, None))).astype("timedelta64[ns]")
    periods = np.arange(1, values.shape[-3] + 1) * step
    coords: dict[Any, Any] = {
        name: coord.variable
        for name, coord in frames.coords.items()
        if name not in ("time", "forecast_period", "forecast_reference_time") and "time" not in coord.dims
    }
    coords["time"] = ("time", issued + periods, {"standard_name": "time", "axis": "T"})
    coords["forecast_period"] = ("time", periods, {"standard_name": "forecast_period"})
    coords["forecast_reference_time"] = ((), issued, {"standard_name": "forecast_reference_time"})
    if values.ndim == 4:
        members = np.arange(values.shape[0])
        coords["realization"] = ("realization", members, {"standard_name": "realization", "units": "1"})
    known = {"standard_name": "rainfall_flux", "long_name": "rainfall rate", "units": "kg m-2 h-1"}
    if "crs" in coords:
        known["grid_mapping"] = "crs"
    # A forecast's own ``source`` is the model; frames that are a forecast themselves have both.
    data_source = frames.attrs.get("data_source", frames.attrs.get("source"))
    origin = {"data_source": data_source, "license": frames.attrs.get("license")}
    known |= {name: value for name, value in origin.items() if value is not None}
    return xr.DataArray(
        values.astype(np.float32, copy=False),
        coords=coords,
        dims=dims,
        name="rainfall_rate",
        attrs=known | dict(attrs or {}),
    )


def _minute(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="s")).removesuffix(":00")


def _minutes(step: np.timedelta64) -> str:
    return f"{step / np.timedelta64(1, 'm'):g} min"
