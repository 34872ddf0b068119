"""The forecaster contract: what a forecaster is given, what it needs, and the form of its forecasts.

A forecaster is any callable that turns frames into a forecast. :func:`make_forecast` runs it. Stormcell's own
forecasters also take an :class:`Analysis`, so that several of them share the frames and the motion field of
an issue time.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.time_axis import even_step, in_minutes, last_run
from stormcell.errors import ArgumentError
from stormcell.forecast.frames import expect_frames, expect_rates, require
from stormcell.forecast.requested import check_steps
from stormcell.forecast.resolution import Resolution, expect_resolution
from stormcell.motion import optical_flow

Field = NDArray[np.float32]

DEFAULT_STEPS = 12  # of a call: an hour of frames that are five minutes apart
_LEAST_STEPS = 4
MOTION_FRAMES = 3  # from which a motion field is estimated


class Forecaster(Protocol):
    """Any callable that turns frames into a forecast; it needs no base class."""

    def __call__(self, frames: xr.DataArray, steps: int) -> xr.DataArray:
        """Forecast the ``steps`` frames that follow the last of ``frames``.

        Args:
            frames: Rain rates in mm/h ``(time, y, x)``, float32, row 0 northernmost, NaN where not observed:
                all gap-free frames up to the issue time. A forecaster uses as many of the last as it needs.
            steps: Number of lead times, ≥ 1, at the frames' time step.

        Returns:
            Rain rates in mm/h ``(time, y, x)`` or ``(realization, time, y, x)``, in the form that
            :func:`forecast_array` gives them; NaN where the forecast is undefined.

        Raises:
            FramesError: The frames are too few, have a gap, or have the wrong time step or grid spacing.
        """
        ...


@dataclass(frozen=True)
class Needs:
    """Requirements of a forecaster on the frames.

    Attributes:
        frames: Number of frames, ≥ 1.
        resolutions: Accepted resolutions; empty accepts any.
    """

    frames: int
    resolutions: tuple[Resolution, ...] = ()


class Analysis:
    """The frames known at an issue time, and the motion field estimated from them.

    Frames are read when they are first needed, and a motion field is estimated only once.

    Args:
        frames: All gap-free frames up to the issue time: rain rates in mm/h ``(time, y, x)``, possibly lazy.

    Raises:
        FramesError: They are no data array of that kind.

    Example:
        >>> from stormcell.data.synthetic import generate
        >>> analysis = Analysis(generate(seed=1, steps=6).rainfall_rate)
        >>> analysis.latest(Needs(frames=4)).sizes["time"]
        4
        >>> analysis.motion().shape  # pixels per time step, along columns and along rows
        (2, 128, 128)
    """

    def __init__(self, frames: xr.DataArray) -> None:
        expect_frames(frames)
        self.frames = frames
        self._loaded: xr.DataArray | None = None
        self._motions: dict[int, Field] = {}
        self._computed: dict[Hashable, Any] = {}

    def latest(self, needs: Needs) -> xr.DataArray:
        """Return the last frames, loaded, as float32.

        Raises:
            FramesError: The frames do not meet the needs.
        """
        if self._loaded is None or self._loaded.sizes["time"] < needs.frames:
            loaded = require(self.frames, needs.frames)
            expect_rates(loaded.values)
            self._loaded = loaded
        found = require(self._loaded, needs.frames)
        expect_resolution(found, needs.resolutions)
        return found

    @property
    def available(self) -> int:
        """Number of the last frames that follow each other without a gap."""
        return last_run(self.frames["time"].values)

    def once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return the result of a function of the analysis that may be needed twice; it is called once.

        Args:
            key: Name of what is computed, and its arguments.
            compute: The function.
        """
        if key not in self._computed:
            self._computed[key] = compute()
        return self._computed[key]

    def motion(self, count: int = MOTION_FRAMES) -> Field:
        """Return the motion field ``(2, y, x)`` that :func:`~stormcell.motion.optical_flow.estimate` finds.

        Args:
            count: Number of frames to estimate it from, ≥ 2.

        Raises:
            FramesError: There are fewer frames.
        """
        if count not in self._motions:
            self._motions[count] = optical_flow.estimate(self.latest(Needs(count)).values, count=count)
        return self._motions[count]


@runtime_checkable
class DescribedForecaster(Protocol):
    """A forecaster that describes itself and can share an analysis, such as a baseline or a loaded model."""

    @property
    def title(self) -> str:
        """Name for figures and tables."""
        ...

    @property
    def needs(self) -> Needs:
        """Requirements on the frames."""
        ...

    @property
    def default_steps(self) -> int | None:
        """Number of lead times it was trained on; None for a baseline."""
        ...

    @property
    def blocks(self) -> tuple[Mapping[str, tuple[str, str]], ...]:
        """First and last time (UTC) of the blocks train, validation and test, by archive of its training.

        Empty for a baseline.
        """
        ...

    def __call__(self, frames: xr.DataArray, steps: int) -> xr.DataArray:
        """Forecast from frames; see :class:`Forecaster`."""
        ...

    def forecast_from(self, analysis: Analysis, steps: int) -> xr.DataArray:
        """Forecast from an analysis; the result is that of a call with the analysis's frames."""
        ...


def usual_steps(forecasters: Iterable[DescribedForecaster], step: np.timedelta64) -> int:
    """Return how many lead times to forecast by default.

    Args:
        forecasters: Forecasters. Some were trained on a number of lead times: the largest counts.
        step: Time step of the frames. For other forecasters, the lead times cover an hour; there are at least
            four of them.

    Example:
        >>> from stormcell.forecast.baselines import baseline
        >>> [usual_steps([baseline("sprog")], np.timedelta64(minutes, "m")) for minutes in (2, 5, 15, 60)]
        [30, 12, 4, 4]
    """
    trained = [one.default_steps for one in forecasters if one.default_steps]
    return max(trained, default=max(_LEAST_STEPS, round(60 / in_minutes(step))))


def steps_from(forecaster: DescribedForecaster, analysis: Analysis) -> int:
    """Return how many lead times to forecast by default from an analysis; see :func:`usual_steps`.

    Raises:
        FramesError: The frames do not meet the forecaster's needs, or there is one frame only.
    """
    needs = forecaster.needs
    frames = analysis.latest(replace(needs, frames=max(needs.frames, 2)))
    return usual_steps([forecaster], even_step(frames["time"].values))


def make_forecast(forecaster: Forecaster, analysis: Analysis, steps: int) -> xr.DataArray:
    """Run any forecaster on an analysis.

    Args:
        forecaster: Any callable. Every :class:`DescribedForecaster` uses the analysis's one motion field.
        analysis: The frames known at the issue time.
        steps: Number of lead times, ≥ 1.

    Returns:
        The forecast, as the forecaster made it.

    Raises:
        ArgumentError: ``steps`` is less than 1.
        FramesError: The frames do not meet the forecaster's needs.

    Example:
        >>> from stormcell.data.synthetic import generate
        >>> from stormcell.forecast.baselines import baseline
        >>> analysis = Analysis(generate(seed=1, steps=6).rainfall_rate)
        >>> make_forecast(baseline("extrapolation"), analysis, steps=2).shape
        (2, 128, 128)
    """
    check_steps(steps)
    if isinstance(forecaster, DescribedForecaster):
        return forecaster.forecast_from(analysis, steps)
    return forecaster(analysis.frames, steps)


def forecast_array(
    values: Field, frames: xr.DataArray, *, attrs: Mapping[str, Any] | None = None
) -> xr.DataArray:
    """Give forecast values their valid times and their place on the map.

    Args:
        values: Rain rates in mm/h ``(steps, y, x)`` or ``(realization, steps, y, x)``.
        frames: The frames that the forecast was made from; the last is at the issue time.
        attrs: Further attributes, such as the forecaster's name.

    Returns:
        ``rainfall_rate`` with valid times, ``forecast_period``, ``forecast_reference_time`` and every
        coordinate of ``frames`` that does not depend on time. The ``license`` and ``source`` of ``frames``
        become the attributes ``license`` and ``data_source``.

    Raises:
        ArgumentError: The shape of ``values`` does not match the grid of ``frames``.
        FramesError: ``frames`` are not evenly spaced in time.

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
    step = even_step(frames["time"].values[-2:]).astype("timedelta64[ns]")
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
    # The ``source`` of a forecast is its model, so the source of its data is another attribute. Frames that
    # are a forecast themselves have both.
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
