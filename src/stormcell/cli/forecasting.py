"""``forecast``."""

from pathlib import Path

import numpy as np

from stormcell.cli import ALL_DONE
from stormcell.data import archive
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast import export
from stormcell.forecast.named import DEFAULT_STEPS, forecaster


def forecast(model: str, path: Path, out: Path, *, at: str | None, steps: int | None) -> int:
    """Forecast from the frames up to a time, and write the result."""
    chosen = forecaster(model)
    rain = archive.rain(archive.open(path))
    times = rain["time"].values
    issue = times[-1] if at is None else moment("--at", at)
    if issue not in times:
        nearest = times[np.abs(times - issue).argmin()]
        raise FramesError(f"{path}: no frame at {issue}; the nearest is at {np.datetime64(nearest, 's')}")
    result = chosen.call(rain.sel(time=slice(None, issue)), steps or chosen.steps or DEFAULT_STEPS)
    export.write(result, out)
    print(
        f"{out}: {result.sizes['time']} frames, {np.datetime64(result['time'].values[0], 'm')} to "
        f"{np.datetime64(result['time'].values[-1], 'm')} UTC"
    )
    return ALL_DONE


def moment(option: str, text: str) -> np.datetime64:
    """A time as the command line gives it, UTC.

    Raises:
        ArgumentError: It is not an ISO 8601 time.
    """
    try:
        return np.datetime64(text.removesuffix("Z"), "ns")
    except ValueError:
        raise ArgumentError(f'{option}: expected a time such as 2016-09-28T17:00, found "{text}"') from None
