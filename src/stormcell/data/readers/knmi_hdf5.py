"""Composites of the Royal Netherlands Meteorological Institute: KNMI's HDF5 format 3.5, one frame per file.

The calibration formula and the codes for missing pixels are read from the file. The time of an accumulation
is the end of its period. The file gives the earth's axes and the grid in kilometres.
"""

import re
from typing import Any

import h5py
import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import MOST_PIXELS, Grid, parse_crs
from stormcell.data.quantity import to_rate
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.hdf5 import has_groups, open_hdf5
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "KNMI HDF5"
SUFFIXES = (".h5", ".hdf", ".hdf5")
# Marshall–Palmer, which KNMI uses and pysteps states for KNMI's files.
ZR = (200.0, 1.6)

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DATE = re.compile(r"(\d{2})-([A-Z]{3})-(\d{4});(\d{2}):(\d{2}):(\d{2})(?:\.\d+)?")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FORMULA = re.compile(rf"GEO=({_NUMBER})\*PV(?:({_NUMBER}))?")


def recognises(source: Source) -> bool:
    """Whether the file is HDF5 and has KNMI's groups."""
    return has_groups(source, "overview", "geographic", "image1/image_data")


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:  # noqa: ARG001
    """Return the end of the accumulation period."""
    with open_hdf5(source) as file:
        return np.array([_date(file, "product_datetime_end")])


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return the frame in mm/h: an accumulation divided by its period, or reflectivity converted by Z–R."""
    with open_hdf5(source) as file:
        end = _date(file, "product_datetime_end")
        parameter = str(_attribute(file, "image1", "image_geo_parameter"))
        values, missing = _values(file)
        if parameter == "ACCUMULATED_PRECIPITATION_[MM]":
            options.expect_agreement("amount", "mm")
            hours = (end - _date(file, "product_datetime_start")) / np.timedelta64(1, "h")
            if not hours > 0:
                raise InputError(f"product_datetime: expected an end after the start, found {hours:g} hours")
            rate, measured = to_rate(values, "amount", hours=hours, zr=options.zr)
        elif parameter == "REFLECTIVITY_[DBZ]":
            options.expect_agreement("dbz", "dBZ")
            rate, measured = to_rate(values, "dbz", zr=options.zr or ZR)
            measured["cell_methods"] = "time: point"
            # The lowest code means no echo.
            rate = np.where(values > _calibration(file)[1], rate, 0)
        else:
            raise InputError(f"image_geo_parameter: expected accumulated mm or dBZ, found {parameter}")
        return schema.build(
            np.where(missing, np.nan, rate)[None],
            [end],
            _grid(file, *values.shape),
            measured=measured,
            attributes={
                "title": f"Radar composite {_attribute(file, 'overview', 'product_group_name')}",
                "institution": "Royal Netherlands Meteorological Institute (KNMI)",
                "source": "Source: Royal Netherlands Meteorological Institute (KNMI); modified.",
                "license": "CC-BY-4.0",
            },
        ).isel(time=frames)


def _attribute(file: h5py.File, group: str, name: str) -> Any:
    """Return an attribute as str, float or int; KNMI writes numbers as arrays of one and text as bytes."""
    try:
        value = np.ravel(file[group].attrs[name])[0]
    except (KeyError, IndexError):
        raise InputError(f"{group}: expected the attribute {name}, found no such attribute") from None
    return value.decode("ascii", "replace").strip() if isinstance(value, bytes) else value.item()


def _date(file: h5py.File, name: str) -> np.datetime64:
    text = _attribute(file, "overview", name)
    found = _DATE.fullmatch(str(text))
    if not found or found[2] not in _MONTHS:
        raise InputError(f"{name}: expected DD-MON-YYYY;HH:MM:SS, found {text!r}")
    day, month, year, *clock = found.groups()
    try:
        return np.datetime64(f"{year}-{_MONTHS.index(month) + 1:02}-{day}T{':'.join(clock)}", "s")
    except ValueError:
        raise InputError(f"{name}: expected a date that exists, found {text!r}") from None


def _calibration(file: h5py.File) -> tuple[float, float]:
    formula = str(_attribute(file, "image1/calibration", "calibration_formulas")).replace(" ", "")
    found = _FORMULA.fullmatch(formula)
    if not found:
        raise InputError(f"calibration_formulas: expected GEO=a*PV+b, found {formula!r}")
    return float(found[1]), float(found[2] or 0)


def _values(file: h5py.File) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    data = file["image1/image_data"]
    if data.ndim != 2 or not 4 <= data.size <= MOST_PIXELS or data.dtype.kind not in "ui":
        raise InputError(f"image_data: expected whole numbers (y, x), found {data.dtype} {data.shape}")
    if data.chunks and np.prod(data.chunks) > MOST_PIXELS:
        raise InputError(f"image_data: expected chunks no larger than a frame, found {data.chunks}")
    codes = np.asarray(data[()])
    missing = np.isin(
        codes,
        [
            _attribute(file, "image1/calibration", name)
            for name in ("calibration_missing_data", "calibration_out_of_image")
        ],
    )
    gain, offset = _calibration(file)
    return codes * gain + offset, missing


def _grid(file: h5py.File, rows: int, columns: int) -> Grid:
    geographic = {
        name: float(_attribute(file, "geographic", f"geo_{name}"))
        for name in (
            "column_offset",
            "row_offset",
            "pixel_size_x",
            "pixel_size_y",
            "number_rows",
            "number_columns",
        )
    }
    expected = (geographic["number_rows"], geographic["number_columns"])
    if (rows, columns) != expected:
        raise InputError(
            f"image_data: expected the grid's {expected[0]:g} × {expected[1]:g}, found {rows} × {columns}"
        )
    dx, dy = geographic["pixel_size_x"], geographic["pixel_size_y"]
    unit = str(_attribute(file, "geographic", "geo_dim_pixel")).split(",")[0]
    if unit != "KM" or not dx > 0 > dy:
        raise InputError(
            f"geographic: expected pixels in KM, rows from the north, found {dx:g}, {dy:g} {unit}"
        )
    # The offsets are in pixels, from the projection's origin to the upper left corner of the image.
    west, north = (geographic["column_offset"] + 0.5) * dx, (geographic["row_offset"] + 0.5) * dy
    return Grid(_crs(file).to_wkt(), west * 1000, north * 1000, dx * 1000, -dy * 1000, columns, rows)


def _crs(file: h5py.File) -> pyproj.CRS:
    """Return the projection, with the earth's axes converted from KNMI's kilometres to metres."""
    text = str(_attribute(file, "geographic/map_projection", "projection_proj4_params"))
    words = dict(word.lstrip("+").partition("=")[::2] for word in text.split())
    try:
        for name in ("a", "b"):
            if float(words[name]) < 10_000:
                words[name] = str(round(float(words[name]) * 1000, 6))
    except (KeyError, ValueError):
        raise InputError(f"projection: expected the earth's axes a and b, found {text!r}") from None
    return parse_crs(" ".join(f"+{name}={value}" for name, value in words.items()) + " +type=crs")
