"""CF NetCDF, version 3 (classic) and 4 (HDF5), from any provider: ``(time, y, x)`` on a regular grid.

Units, standard names and the grid mapping describe the contents. If they are missing or contradict each
other, the user must give the quantity and the units. Nothing is guessed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from pyproj.exceptions import CRSError

from stormcell.data import schema
from stormcell.data.grid import Grid, parse_crs
from stormcell.data.quantity import to_rate, unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.hdf5 import MAGIC, open_hdf5
from stormcell.data.readers.rain_variable import RainVariable, find_rain
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "CF NetCDF"
SUFFIXES = (".nc", ".nc4", ".cdf")

# −30 dBZ by Z = 200 R^1.6, weaker than any weather radar detects. Some files have rates that were converted
# from reflectivity and have this value instead of zero where there was no echo. No echo is dry.
NO_ECHO = 0.0005

_LENGTHS = {"m": 1.0, "meter": 1.0, "metre": 1.0, "meters": 1.0, "metres": 1.0, "km": 1000.0}
_CREATIVE_COMMONS = re.compile(r"creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)")


def recognises(source: Source) -> bool:
    """Whether the file is HDF5 or classic NetCDF."""
    return source.head(4).startswith((MAGIC, b"CDF"))


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:  # noqa: ARG001
    """Return the times; of times with bounds, the ends of their intervals."""
    with _open(source) as ds:
        return _times(ds)


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return frames in mm/h, with rows from north to south."""
    with _open(source) as ds:
        rain = find_rain(ds, options)
        grid = _grid(ds, rain)
        moments = _times(ds)[frames]
        values = rain.array
        if "time" not in values.dims:
            values = values.expand_dims("time")
        values = values.isel(time=frames).transpose("time", rain.y, rain.x)
        # Both axes may increase or decrease in a file. In the archive, x runs east and y runs south.
        values = values.sortby(rain.x).sortby(rain.y, ascending=False)
        rate, measured = _rate(values.values, ds, rain, options, frames)
        order = np.argsort(moments, kind="stable")
        return schema.build(
            rate[order], moments[order], grid, measured=measured, attributes=_attributes(ds, source)
        )


@contextmanager
def _open(source: Source) -> Iterator[xr.Dataset]:
    magic = source.head(4)
    if magic == MAGIC:
        with open_hdf5(source):  # checks the sizes
            pass
    elif magic[3:] not in (b"\x01", b"\x02"):
        raise InputError(f"expected NetCDF of version 1, 2 or 4, found version {magic[3:]!r}")
    try:
        ds = xr.open_dataset(
            source.file(),
            engine="h5netcdf" if magic == MAGIC else "scipy",
            # HDF5 that is not NetCDF has dimensions without names.
            backend_kwargs={"phony_dims": "sort"} if magic == MAGIC else None,
            decode_timedelta=False,
            cache=False,
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
        raise InputError(f"expected complete CF NetCDF: {error}") from None
    with ds:
        yield ds


def _times(ds: xr.Dataset) -> NDArray[np.datetime64]:
    if "time" not in ds.variables:
        raise InputError("time: expected this coordinate of CF NetCDF, found HDF5 or NetCDF without it")
    time = ds["time"]
    bounds = time.attrs.get("bounds", time.encoding.get("bounds"))
    values = ds[bounds].values[..., 1] if bounds in ds.variables else time.values
    moments = np.atleast_1d(values)
    if moments.dtype.kind != "M" or np.isnat(moments).any():
        raise InputError("time: expected dates of the standard calendar in CF units, found other values")
    return moments.astype("datetime64[s]")


def _rate(
    values: NDArray[Any], ds: xr.Dataset, rain: RainVariable, options: ReadOptions, frames: slice
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return rates in mm/h, and the attributes that describe the conversion."""
    quantity, factor, hours = unit(rain.units)
    period = _hours(ds, rain, frames) if quantity == "amount" and hours is None else hours
    rate, measured = to_rate(np.asarray(values, np.float64) * factor, quantity, hours=period, zr=options.zr)
    # A file in the archive's schema describes the measured quantity; its rates were converted before.
    attributes = rain.array.attrs
    for name in ("source_quantity", "accumulation_minutes", "zr_a", "zr_b", "cell_methods"):
        if name in attributes and (name == "source_quantity" or name not in measured):
            measured[name] = attributes[name]
    if (lowest := np.fmin.reduce(rate, axis=None, initial=np.inf)) < -NO_ECHO:
        raise InputError(
            f"{rain.array.name}: expected 0 or more, found {lowest:g}; is it a code that _FillValue does "
            "not list?"
        )
    # Files in the archive's schema have exact zeros already.
    floor = 0 if "source_quantity" in attributes else NO_ECHO
    return np.where(rate < floor, 0, rate).astype(np.float32), measured


def _hours(ds: xr.Dataset, rain: RainVariable, frames: slice) -> NDArray[np.float64]:
    """Return the accumulation period in hours of every frame, or of all, ``(time or 1, 1, 1)``."""
    bounds = ds["time"].attrs.get("bounds", ds["time"].encoding.get("bounds"))
    if bounds in ds.variables:
        start, end = np.moveaxis(np.atleast_2d(ds[bounds].values), -1, 0)
        hours: NDArray[np.float64] = ((end - start) / np.timedelta64(1, "h"))[frames]
    else:
        hours = np.array([float(rain.array.attrs.get("accum_time_h", np.nan))])
    if not (hours > 0).all():
        raise InputError(
            f"{rain.array.name}: expected time bounds or accum_time_h for the accumulation period of "
            f'{rain.units}, found neither; give it with the units: --units "mm/5min"'
        )
    return hours.reshape(-1, 1, 1)


def _grid(ds: xr.Dataset, rain: RainVariable) -> Grid:
    x, y = ds[rain.x], ds[rain.y]
    crs, unit_of_crs = _crs(ds, rain)
    if crs.is_geographic:
        return Grid.from_centres(crs, x.values, y.values)
    unit = str(x.attrs.get("units", unit_of_crs))
    if unit not in _LENGTHS:
        raise InputError(f"{rain.x}: expected m or km, found {unit!r}")
    return Grid.from_centres(crs, x.values * _LENGTHS[unit], y.values * _LENGTHS[unit])


def _crs(ds: xr.Dataset, rain: RainVariable) -> tuple[pyproj.CRS, str]:
    """Return the projection, and the unit of coordinates that have no units.

    The projection is given by the grid mapping or by a PROJ string. Axes in degrees need neither.
    """
    mapping = str(rain.array.attrs.get("grid_mapping", rain.array.encoding.get("grid_mapping", "")))
    attributes = ds[mapping].attrs if mapping in ds.variables else ds.attrs
    for name in ("crs_wkt", "spatial_ref", "proj_string", "proj4_string", "proj4"):
        if name in attributes:
            text = str(attributes[name])
            # The coordinates of a PROJ string in kilometres are in kilometres. The archive's are in metres.
            return parse_crs(text.replace("+units=km", "+units=m")), "km" if "+units=km" in text else "m"
    if mapping in ds.variables:
        try:
            return pyproj.CRS.from_cf(attributes), "m"
        except (CRSError, KeyError):
            raise InputError(f"{mapping}: expected a CF grid mapping, found {dict(attributes)}") from None
    if rain.degrees:
        return pyproj.CRS(4326), "degree"
    raise InputError("projection: expected a grid mapping or a PROJ string in proj_string, found neither")


def _attributes(ds: xr.Dataset, source: Source) -> dict[str, str]:
    attributes = {
        name: str(ds.attrs[name])
        for name in ("title", "institution", "license", "references")
        if name in ds.attrs
    }
    licence = str(ds.attrs.get("license", ds.attrs.get("licence", "")))
    if found := _CREATIVE_COMMONS.search(licence):
        attributes["license"] = f"CC-{found[1].upper()}-{found[2]}"
    elif licence:
        attributes["license"] = licence
    return {"source": str(ds.attrs.get("source", source.name)), **attributes}
