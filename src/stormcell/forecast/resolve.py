"""Forecasters by their name on the command line, and the frames of an archive that suit them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from stormcell.data.time_axis import TimeAxis, last_run, recent_step
from stormcell.errors import ArgumentError
from stormcell.forecast.baselines import BASELINES, baseline
from stormcell.forecast.contract import DescribedForecaster


def forecaster(name: str | None, *, threads: int | None = None) -> DescribedForecaster:
    """Return the baseline or the model with a name; None takes the first shipped model.

    Args:
        name: The name.
        threads: Number of threads of a network; see
            :class:`~stormcell.forecast.network.NetworkForecaster`.

    Raises:
        ArgumentError: No baseline, file or shipped model has that name, or no model is shipped.
        ModelFileError: The file is not a model file.
        MissingExtraError: The baseline needs a package that is not installed.
    """
    if name in BASELINES:
        return baseline(name)
    # A baseline must not wait for the import of torch.
    from stormcell.forecast.network import NetworkForecaster
    from stormcell.models.shipped_models import names

    shipped = names()
    if name is None:
        name = shipped_name()
    if name not in shipped and not Path(name).suffix and not Path(name).exists():
        raise ArgumentError(
            f'forecaster: expected a model file or one of {", ".join([*BASELINES, *shipped])}, found "{name}"'
        )
    return replace(NetworkForecaster.from_file(name), threads=threads)


def shipped_name() -> str:
    """Return the name of the first shipped model.

    Raises:
        ArgumentError: No model is shipped.
    """
    from stormcell.models.shipped_models import names

    for name in names():
        return name
    raise ArgumentError(
        f"model: expected a model file or one of {', '.join(BASELINES)}, found none; no model is shipped"
    )


def for_archive(chosen: DescribedForecaster, rain: xr.DataArray) -> DescribedForecaster:
    """Return a forecaster that knows the archive to forecast, if it is a model that can know it."""
    known = getattr(chosen, "for_archive", None)
    result: DescribedForecaster = chosen if known is None else known(rain)
    return result


def latest_run(rain: xr.DataArray, chosen: DescribedForecaster, issue: np.datetime64) -> xr.DataArray:
    """Return the frames to forecast from: those up to a time, without a gap, with a step that suits.

    Args:
        rain: Rain rates ``(time, y, x)``.
        chosen: The forecaster.
        issue: Time of the last frame.
    """
    known = thinned(rain.sel(time=slice(None, issue)), [chosen], through=issue)
    return known.isel(time=slice(-last_run(known["time"].values), None))


def thinned(
    rain: xr.DataArray, forecasters: Iterable[DescribedForecaster], *, through: np.datetime64 | None = None
) -> xr.DataArray:
    """Drop frames, so that the time step becomes one that all forecasters accept.

    Args:
        rain: Rain rates ``(time, y, x)``.
        forecasters: Forecasters. Models that were trained on every third frame need every third frame.
        through: Time of a frame to keep, the last; None for the first.

    Returns:
        The rates with the shortest step that is a multiple of the archive's, or of its newest frames' with
        ``through``. They are unchanged if they have
        a step that the forecasters accept, or if there is no such multiple.

    Example:
        >>> from stormcell.forecast.baselines import baseline
        >>> times = np.arange("2024-06-01T00:00", "2024-06-01T01:00", 5, dtype="datetime64[m]")
        >>> rain = xr.DataArray(np.zeros((12, 2, 2)), {"time": times.astype("M8[ns]")}, ("time", "y", "x"))
        >>> thinned(rain, [baseline("persistence")]).sizes["time"]
        12
    """
    accepted = [
        {resolution.time_step.astype("timedelta64[s]") for resolution in one.needs.resolutions}
        for one in forecasters
        if one.needs.resolutions
    ]
    times = rain["time"].values.astype("datetime64[s]")
    if not accepted or len(times) < 2:
        return rain
    own = TimeAxis(times).step if through is None else recent_step(times)
    none = np.timedelta64(0, "s")
    steps = sorted(step for step in set.intersection(*accepted) if step % own == none)
    if not steps or steps[0] == own:
        return rain
    kept = (times - (times[0] if through is None else through.astype("datetime64[s]"))) % steps[0] == none
    return rain.isel(time=np.flatnonzero(kept))
