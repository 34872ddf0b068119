"""Frames of any CF dataset, from whichever container: ``(time, y, x)`` on a regular grid.

Units, standard names and the grid mapping describe the contents. If they are missing or contradict each
other, the user must give the quantity and the units. Nothing is guessed.

The dataset is opened without decoding, because the decoding of the libraries cuts times, and ignores valid
ranges and NetCDF's own fill values.
"""

import itertools
import re
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import MOST_PIXELS
from stormcell.data.quantity import to_rate, unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import cf_roles
from stormcell.data.readers.cf_grid import find_grid
from stormcell.data.readers.cf_intervals import Intervals, expect_observations, find_intervals
from stormcell.data.readers.cf_packed import unpack
from stormcell.data.readers.packing import LEAST_DBZ, NO_ECHO, of_poor_quality
from stormcell.data.readers.rain_variable import RainVariable, find_rain, horizontal_axes
from stormcell.errors import InputError

# How a dataset is opened for the functions of this module.
UNDECODED: dict[str, Any] = {
    "mask_and_scale": False,
    "decode_times": False,
    "decode_timedelta": False,
    "decode_coords": False,
    "concat_characters": True,
    "create_default_indexes": False,
    "cache": False,
}

_QUALITY = re.compile(r"quality|qind|(?:^|_)qi(?:_|$)", re.IGNORECASE)
_SCALES = ("gain", "scale", "slope", "scalefactor", "scalingfactor", "multiplier")
_OFFSETS = ("offset", "intercept", "addoffset")
_MOST_TIMES = 2**24
_CREATIVE_COMMONS = re.compile(r"creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)")


def times_of(ds: xr.Dataset, options: ReadOptions, name: str) -> NDArray[np.datetime64]:
    """Return the times of the frames; of times with bounds, the ends of their intervals."""
    _check_sizes(ds)
    return find_intervals(ds, find_rain(ds, options), options, name).ends


def frames_of(ds: xr.Dataset, options: ReadOptions, frames: slice, name: str) -> xr.Dataset:
    """Return frames in mm/h in the archive's schema, in time order, with rows from north to south.

    Args:
        ds: The dataset, opened with ``UNDECODED``.
        options: Statements of the user.
        frames: The frames to read.
        name: Name of the file, for a dataset that does not give its source or time.

    Raises:
        InputError: The dataset cannot be used.
    """
    _check_sizes(ds)
    rain = find_rain(ds, options)
    _expect_no_flags(rain, options)
    _expect_names_of_cf(rain)
    intervals = find_intervals(ds, rain, options, name)
    expect_observations(ds, intervals.ends)
    grid, rows, columns, exchanged = find_grid(ds, rain, options)
    order = "xy" if exchanged else "yx"
    moments = intervals.ends[frames]

    def decoded(name: str, others: tuple[str, ...], nodata: tuple[float, ...] = ()) -> NDArray[np.float64]:
        packed = _oriented(ds.variables[name], rain, others, intervals.dim, frames, order)
        return unpack(packed, ds.variables[name], name, nodata)[:, rows][:, :, columns]

    values = decoded(rain.name, rain.others, options.nodata)
    rate, measured = _rate(values, rain, intervals, options, frames)
    if options.min_quality is not None:
        quality = _quality(ds, rain)
        others = tuple(str(dim) for dim in ds.variables[quality].dims if dim not in (rain.y, rain.x))
        rate[of_poor_quality(rate, decoded(quality, others), options.min_quality)] = np.nan
    order_of_times = np.argsort(moments, kind="stable")
    return schema.build(
        rate[order_of_times],
        moments[order_of_times],
        grid,
        measured=measured,
        attributes=_attributes(ds, name),
    )


def _expect_no_flags(rain: RainVariable, options: ReadOptions) -> None:
    """Refuse rain with numbers that the file gives another meaning, until the user says which one."""
    attributes = rain.variable.attrs
    flags, *missing = (
        np.ravel(attributes.get(key, ())).tolist() for key in ("flag_values", "_FillValue", "missing_value")
    )
    unknown = {flag for flag in flags if isinstance(flag, int | float)} - {
        *itertools.chain(options.nodata, *missing)
    }
    if unknown:
        raise InputError(
            f"{rain.name}: expected numbers of rain, found flag_values "
            f"({cf_roles.text(attributes.get('flag_meanings'))[:60]}); give those that mean not "
            f"observed with {' '.join(f'--nodata {flag:g}' for flag in sorted(unknown)[:4])}"
        )


def _expect_names_of_cf(rain: RainVariable) -> None:
    """Refuse whole numbers with a scale under another name than CF's, which other programs ignore."""
    attributes = rain.variable.attrs
    if rain.variable.dtype.kind not in "iu" or {"scale_factor", "add_offset"} & attributes.keys():
        return
    for key, value in attributes.items():
        name = str(key).lower().replace("_", "")
        neutral = 1 if name in _SCALES else 0 if name in _OFFSETS else None
        if neutral is not None and not np.array_equal(np.ravel(value), [neutral]):
            meant = "scale_factor" if neutral == 1 else "add_offset"
            raise InputError(
                f"{rain.name}: expected scale_factor and add_offset of CF with whole numbers, found {key} "
                f"{cf_roles.text(value)[:20]}; rename it, such as by ncrename -a {key},{meant}"
            )


def _check_sizes(ds: xr.Dataset) -> None:
    """Refuse impossible sizes before memory is allocated for them."""
    for name, variable in ds.variables.items():
        frame = int(np.prod(variable.shape[-2:], dtype=object)) if variable.ndim > 1 else 0
        chunks = variable.encoding.get("chunks") or variable.encoding.get("chunksizes") or (0,)
        chunk = int(np.prod(chunks, dtype=object))
        if (variable.ndim and variable.shape[0] > _MOST_TIMES) or max(frame, chunk) > MOST_PIXELS:
            raise InputError(
                f"{name}: expected a size that a radar file can have, "
                f"found {variable.shape} in chunks {chunks}"
            )


def _oriented(
    variable: xr.Variable,
    rain: RainVariable,
    others: tuple[str, ...],
    time: str | None,
    frames: slice,
    order: str,
) -> NDArray[Any]:
    """Return packed values ``(time or 1, y, x)``, read from the file."""
    one: dict[str, int | slice] = {name: 0 for name in others if name != time}
    if time in others:
        one[str(time)] = frames
    part = variable.isel(one)
    axes = {"y": rain.y, "x": rain.x}
    dims = [*([time] if time in others else []), *(axes[axis] for axis in order)]
    values: NDArray[Any] = np.asarray(part.transpose(*dims).values)
    return values if time in others else values[np.newaxis]


def _rate(
    values: NDArray[np.float64],
    rain: RainVariable,
    intervals: Intervals,
    options: ReadOptions,
    frames: slice,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return rates in mm/h, and the attributes that describe the conversion."""
    quantity, factor, hours = unit(rain.units)
    if factor != 1:
        values = values * factor
    if quantity == "dbz" and (unknown := values[np.isfinite(values) & (values < LEAST_DBZ)]).size:
        raise InputError(
            f"{rain.name}: expected {LEAST_DBZ:g} dBZ or more, found {unknown.min():g}; is it a code that "
            "_FillValue does not list?"
        )
    period = _hours(rain, intervals, frames) if quantity == "amount" and hours is None else hours
    if hours is not None:
        for known in np.unique(_known_hours(rain, intervals, frames)):
            options.expect_period(known if known > 0 else None)
    rate, measured = to_rate(values, quantity, hours=period, zr=options.zr)
    # A file in the archive's schema describes the measured quantity; its rates were converted before.
    attributes = rain.variable.attrs
    for name in ("source_quantity", "accumulation_minutes", "zr_a", "zr_b", "cell_methods"):
        if name in attributes and (name == "source_quantity" or name not in measured):
            stated = attributes[name]
            measured[name] = (
                cf_roles.text(stated) if isinstance(stated, str | bytes) else float(np.ravel(stated)[0])
            )
    if (lowest := np.fmin.reduce(rate, axis=None, initial=np.inf)) < -NO_ECHO:
        raise InputError(
            f"{rain.name}: expected 0 or more, found {lowest:g}; is it a code that _FillValue does not list?"
        )
    # Files in the archive's schema have exact zeros already.
    floor = 0 if "source_quantity" in attributes else NO_ECHO
    return np.where(rate < floor, 0, rate).astype(np.float32), measured


def _known_hours(rain: RainVariable, intervals: Intervals, frames: slice) -> NDArray[np.float64]:
    """Return the accumulation periods in hours that the file states ``(time or 1,)``, NaN for none."""
    if intervals.hours is not None:
        return intervals.hours[frames]
    stated = np.ravel(rain.variable.attrs.get("accum_time_h", np.nan))
    return np.array([float(stated[0]) if stated.dtype.kind in "iuf" else np.nan])


def _hours(rain: RainVariable, intervals: Intervals, frames: slice) -> NDArray[np.float64]:
    """Return the accumulation period in hours of every frame, or of all, ``(time or 1, 1, 1)``."""
    hours = _known_hours(rain, intervals, frames)
    if not (hours > 0).all():
        raise InputError(
            f"{rain.name}: expected time bounds or accum_time_h for the accumulation period of "
            f'{rain.units}, found neither; give it with the units: --units "mm/5min"'
        )
    if np.ptp(hours) > 0:
        raise InputError(
            f"{rain.name}: expected one accumulation period for all frames, "
            f"found {hours.min() * 60:g} to {hours.max() * 60:g} min"
        )
    return hours.reshape(-1, 1, 1)


def _quality(ds: xr.Dataset, rain: RainVariable) -> str:
    """Return the name of the variable with the quality of the rain, as a number that grows with it.

    Flags are not numbers of this kind: their codes have no order.
    """
    linked = cf_roles.text(rain.variable.attrs.get("ancillary_variables")).split()
    found = []
    for name, variable in ds.variables.items():
        if (
            variable.dtype.kind in "fiu"
            and horizontal_axes(ds, variable) == (rain.y, rain.x)
            and not any(str(key).startswith("flag_") for key in variable.attrs)
            and any(_QUALITY.search(text) for text in (str(name), cf_roles.standard_name(variable)))
        ):
            found.append(str(name))
    found = [name for name in found if name in linked] or found
    if len(found) != 1:
        raise InputError(
            "min_quality: expected one variable whose quality grows with its number, "
            f"found {', '.join(found) or 'no such variable'}"
        )
    return found[0]


def _attributes(ds: xr.Dataset, name: str) -> dict[str, str]:
    stated = {key: cf_roles.text(ds.attrs[key]) for key in ds.attrs}
    attributes = {
        key: stated[key] for key in ("title", "institution", "license", "references") if stated.get(key)
    }
    licence = stated.get("license") or stated.get("licence", "")
    if found := _CREATIVE_COMMONS.search(licence):
        attributes["license"] = f"CC-{found[1].upper()}-{found[2]}"
    elif licence:
        attributes["license"] = licence
    return {"source": stated.get("source") or name, **attributes}
