"""``forecast``: forecast from an archive, and write the result."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr

from stormcell.cli.exit_status import ALL_DONE
from stormcell.cli.number_lists import numbers
from stormcell.data import archive
from stormcell.data.time_axis import minute
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast import export
from stormcell.forecast.contract import Analysis, steps_from
from stormcell.forecast.observed import LOOK_BACK, is_observed, latest_observed
from stormcell.forecast.probabilistic import make_products
from stormcell.forecast.resolve import forecaster, latest_run


def forecast(
    path: Path,
    model: str | None,
    out: Path,
    *,
    at: str | None = None,
    steps: int | None = None,
    members: int | None = None,
    seed: int = 0,
    probabilities: str | None = None,
    quantiles: str | None = None,
    layout: str = "cf",
) -> int:
    """Forecast from the frames up to a time, and write the result.

    Raises:
        ArgumentError: The model, the time or the layout is not valid, there is no default model, or the
            forecaster does not offer ensembles or distributions that are asked for.
        FramesError: The archive has no frame at that time, or too few before it.
    """
    export.check(out, layout)
    chosen = forecaster(model)
    thresholds = numbers("--probabilities", probabilities, "rain rates above 0 mm/h", 0, np.inf)
    levels = numbers("--quantiles", quantiles, "probabilities above 0 and below 1", 0, 1)
    rain = archive.rain(archive.open(path))
    times = rain["time"].values
    issue = times[-1] if at is None else moment("--at", at)
    if issue not in times:
        nearest = times[np.abs(times - issue).argmin()]
        raise FramesError(f"{path}: no frame at {minute(issue)}; the nearest is at {minute(nearest)}")
    _warn_if_unobserved(rain, issue)
    try:
        analysis = Analysis(latest_run(rain, chosen, issue))
        count = steps or steps_from(chosen, analysis)
        result, *further = make_products(
            chosen, analysis, count, members=members, seed=seed, thresholds=thresholds, levels=levels
        )
    except FramesError as error:
        raise FramesError(f"{path} at {minute(issue)}: {error}") from error
    export.write(result, out, *further, layout=layout)
    print(
        f"{out}: {result.sizes['time']} frames, {minute(result['time'].values[0])} to "
        f"{minute(result['time'].values[-1])} UTC"
    )
    return ALL_DONE


def _warn_if_unobserved(rain: xr.DataArray, issue: np.datetime64) -> None:
    """Warn of a frame without an observed pixel, from which every forecast is undefined."""
    if is_observed(rain.sel(time=issue)):
        return
    latest = latest_observed(rain.sel(time=slice(None, issue)))
    advice = (
        f"no frame of the {LOOK_BACK} before it is observed either"
        if latest is None
        else f"the latest observed frame is at {minute(latest)}: --at {minute(latest)}"
    )
    print(
        f"stormcell: warning: the frame at {minute(issue)} has no observed pixel, "
        f"so neither has the forecast; {advice}",
        file=sys.stderr,
    )


def from_old_order(words: Sequence[str], option: str | None) -> tuple[Path, str]:
    """Return archive and model of a command ``forecast MODEL A.zarr``, the old order, with a warning.

    Raises:
        ArgumentError: There are more than two words, or the command has ``--model`` too.
    """
    if len(words) != 2 or option is not None:
        raise ArgumentError(f"forecast: expected one archive, found {', '.join(words)}")
    model, archive = words
    print(
        f"stormcell: the archive comes first now: stormcell forecast {archive} --model {model} --out …",
        file=sys.stderr,
    )
    return Path(archive), model


def moment(option: str, text: str) -> np.datetime64:
    """Return the time that an option gives, in UTC.

    Raises:
        ArgumentError: The text is not an ISO 8601 time.
    """
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            time = time.astimezone(UTC).replace(tzinfo=None)
        if not 1678 <= time.year <= 2261:  # the range of nanoseconds in 64 bits
            raise ValueError
    except (ValueError, OverflowError):
        raise ArgumentError(f'{option}: expected a time such as 2016-09-28T17:00, found "{text}"') from None
    return np.datetime64(time, "ns")
