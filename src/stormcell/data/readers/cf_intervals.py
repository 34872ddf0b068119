"""Times of the frames of a CF dataset, and the intervals that accumulations cover.

The time of a frame is the end of its interval: the later of its bounds, in whichever order the file has them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import cf_roles
from stormcell.data.readers.cf_packed import unpack
from stormcell.data.readers.cf_times import decode_times, is_time
from stormcell.data.readers.rain_variable import RainVariable
from stormcell.data.time_text import nearest_second, parse_step, parse_time, time_in_name
from stormcell.errors import InputError

_SECOND = np.timedelta64(1, "s")
# Bounds may be rounded differently from the time between them.
_SLACK = 60 * _SECOND


@dataclass(frozen=True)
class Intervals:
    """The times of frames.

    Attributes:
        dim: Name of the time dimension; None if the file has one frame without it.
        ends: Times of the frames ``(T,)``, UTC.
        hours: Lengths of their intervals ``(T,)``; None if the file does not give intervals.
    """

    dim: str | None
    ends: NDArray[np.datetime64]
    hours: NDArray[np.float64] | None


def find_intervals(ds: xr.Dataset, rain: RainVariable, options: ReadOptions, name: str = "") -> Intervals:
    """Return the times of the frames of the rain variable.

    Args:
        ds: The dataset, opened without decoding.
        rain: Its rain variable.
        options: Statements of the user.
        name: Name of the file, which may have the time of a single frame.

    Raises:
        InputError: Times are missing, cannot be decoded, or contradict their bounds; or the rain has another
            dimension with several entries.
    """
    found = _time_variable(ds, rain, options)
    if found is None:
        return _stated(rain, options, name)
    name, variable = found
    dim = str(variable.dims[0]) if variable.ndim == 1 and variable.dims[0] in rain.others else None
    _expect_one(rain, dim)
    moments = np.atleast_1d(_decoded(name, variable))
    if options.start is not None and parse_time(options.start) != moments.min():
        raise InputError(f"start: expected the file's {moments.min()}, found {options.start} in the options")
    if dim is None and len(moments) != 1:
        raise InputError(
            f"{name}: expected one time for {rain.name} without a time dimension, found {len(moments)}"
        )
    start = _bounds(ds, name, variable, moments)
    if start is not None:
        starts, ends = start
        return Intervals(dim, ends, (ends - starts) / np.timedelta64(1, "h"))
    return Intervals(dim, moments, _since_start(ds, moments))


def _expect_one(rain: RainVariable, dim: str | None) -> None:
    for other in rain.others:
        if other != dim and rain.variable.sizes[other] != 1:
            raise InputError(
                f"{rain.name}: expected one entry along {other}, found {rain.variable.sizes[other]}"
            )


def _time_variable(
    ds: xr.Dataset, rain: RainVariable, options: ReadOptions
) -> tuple[str, xr.Variable] | None:
    """Return the valid times of the frames; None without them, or if the user states what they lack."""
    ranked: dict[int, list[str]] = {}
    for name, variable in ds.variables.items():
        along = [dim for dim in variable.dims if variable.sizes[dim] != 1 or dim in rain.others]
        fits = variable.ndim <= 1 and all(dim in rain.others for dim in along)
        times = is_time(cf_roles.units(variable)) or (
            variable.dtype.kind in "OSU" and cf_roles.axis(str(name), variable) == "t"
        )
        if fits and times and not cf_roles.is_bounds(ds, str(name)):
            ranked.setdefault(cf_roles.time_rank(str(name), variable), []).append(str(name))
    ranked.pop(0, None)
    if not ranked:
        if options.start is not None:
            return None
        for name in map(str, rain.others):
            if name in ds.variables and cf_roles.axis(name, ds.variables[name]) == "t":
                return name, ds.variables[name]
        return None
    best = ranked[max(ranked)]
    if len(best) > 1:
        raise InputError(f"time: expected one variable with the times of the frames, found {', '.join(best)}")
    return best[0], ds.variables[best[0]]


def _decoded(
    name: str, variable: xr.Variable, units: str | None = None, calendar: str | None = None
) -> NDArray[np.datetime64]:
    units = units or cf_roles.units(variable)
    values: NDArray[Any] = np.asarray(variable.values)
    if values.dtype.kind in "OSU":
        return _from_text(name, values)
    if values.dtype.kind == "M":  # decoded by an engine of xarray
        if np.isnat(values).any():
            raise InputError(f"{name}: expected a time for every frame, found missing ones")
        return nearest_second(values)
    if not is_time(units):
        raise InputError(
            f"{name}: expected dates of the standard calendar in CF units, found "
            f"{repr(units) if units else 'no units'}; "
            "give the first time and the step with --start and --step"
        )
    if {"scale_factor", "add_offset"} & variable.attrs.keys():
        values = unpack(values, variable, name)
    else:
        missing = np.isnan(unpack(values, variable, name))
        if missing.any():
            raise InputError(f"{name}: expected a time for every frame, found {int(missing.sum())} missing")
    calendar = calendar or cf_roles.text(variable.attrs.get("calendar")) or "standard"
    return decode_times(values, units, calendar)


def _from_text(name: str, values: NDArray[Any]) -> NDArray[np.datetime64]:
    """Return times that a file has as text."""
    try:
        times = [parse_time(cf_roles.text(value)) for value in values.ravel()]
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return np.array(times, "datetime64[s]").reshape(values.shape)


def _bounds(
    ds: xr.Dataset, name: str, variable: xr.Variable, moments: NDArray[np.datetime64]
) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]] | None:
    """Return starts and ends of the intervals, or None."""
    bounds = cf_roles.text(variable.attrs.get("bounds"))
    if bounds not in ds.variables:
        # Some programs lose the attribute, and keep the variable.
        named = (f"{name}_{ending}" for ending in ("bnds", "bounds"))
        bounds = next(
            (other for other in named if other in ds.variables and ds.variables[other].shape[-1:] == (2,)), ""
        )
        if not bounds:
            return None
    both = ds.variables[bounds]
    if both.shape != (len(moments), 2) and (both.shape != (2,) or len(moments) != 1):
        raise InputError(
            f"{bounds}: expected two bounds for each of {len(moments)} times, found {both.shape}"
        )
    calendar = cf_roles.text(variable.attrs.get("calendar"), "standard")
    units = cf_roles.units(both) or cf_roles.units(variable)
    decoded = _decoded(bounds, both, units, calendar).reshape(-1, 2)
    starts, ends = decoded.min(axis=1), decoded.max(axis=1)
    if ((moments < starts - _SLACK) | (moments > ends + _SLACK)).any():
        raise InputError(
            f"{bounds}: expected bounds around {name}, found {starts[0]} to {ends[0]} for {moments[0]}"
        )
    return starts, ends


def expect_observations(ds: xr.Dataset, ends: NDArray[np.datetime64]) -> None:
    """Refuse forecasts, whose valid times are those of observations too.

    Raises:
        InputError: A lead time is above 0, or a frame is later than the time at which a forecast was made.
    """
    for name, variable in ds.variables.items():
        if cf_roles.standard_name(variable) == "forecast_period" and variable.size:
            ahead = np.nanmax(np.asarray(variable.values, np.float64))
            if ahead > 0:
                raise InputError(
                    f"{name}: expected observations, found a forecast up to {ahead:g} "
                    f"{cf_roles.units(variable)} ahead"
                )
        if cf_roles.standard_name(variable) == "forecast_reference_time" and variable.size in (1, len(ends)):
            try:
                late = (ends - np.ravel(_decoded(str(name), variable))).max()
            except InputError:
                continue  # not needed, unless it can be read
            if late > _SLACK:
                raise InputError(
                    f"{name}: expected observations, found a forecast up to {late / _SLACK:g} min ahead"
                )


def _since_start(ds: xr.Dataset, moments: NDArray[np.datetime64]) -> NDArray[np.float64] | None:
    """Return the hours since the time in ``start_time``, as Rainfields has it; None without it."""
    variable = ds.variables.get("start_time")
    if variable is None or not is_time(cf_roles.units(variable)) or variable.size not in (1, len(moments)):
        return None
    starts = np.atleast_1d(_decoded("start_time", variable)).ravel()
    hours: NDArray[np.float64] = (moments - starts) / np.timedelta64(1, "h")
    return hours


def _stated(rain: RainVariable, options: ReadOptions, name: str) -> Intervals:
    """Return the times that the user gives for a file without times, or the one in its name."""
    several = [name for name in rain.others if rain.variable.sizes[name] != 1]
    dim = several[0] if several else (rain.others[0] if rain.others else None)
    _expect_one(rain, dim)
    frames = rain.variable.sizes[dim] if dim else 1
    named = time_in_name(name) if frames == 1 and options.start is None else None
    if named is not None:
        return Intervals(dim, np.array([named], "datetime64[s]"), None)
    if options.start is None or (frames > 1 and options.step is None):
        raise InputError(
            "time: expected this coordinate of CF, found no times; give the first with --start, and the "
            "distance with --step"
        )
    step = parse_step(options.step) if options.step else np.timedelta64(0, "s")
    return Intervals(dim, parse_time(options.start) + np.arange(frames) * step, None)
