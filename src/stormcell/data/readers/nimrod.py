"""Composites of the UK Met Office in NIMROD's binary format, one frame per field; often one field per file.

A field is two Fortran records, big-endian or, from some programs, little-endian: a header of 512 bytes and
the values, each between two marks with its length. The header is that of Met Office's NIMROD file
specification, versions 1.7 to 2.6.

**Values.** The units give a divisor: ``mm/h*32`` are 32nds of mm/h. The header's code for missing data, −1 in
the composites, and any negative number count as not observed; 0 is dry.

**Times.** The time of validity: that of the observation, or the end of an amount's period.

**Grids.** The British National Grid; a transverse Mercator projection whose numbers are in the header, as in
the European composites; or latitude and longitude. The origin is the centre of the first pixel, which is at
any corner; in the composites, it is the north-western one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import MOST_PIXELS, Grid
from stormcell.data.quantity import to_rate, unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

Order = Literal["big", "little"]

NAME = "NIMROD"
SUFFIXES = ("-composite.dat", ".nimrod")

_MARKS: dict[bytes, Order] = {b"\0\0\2\0": "big", b"\0\2\0\0": "little"}  # a record of 512 bytes
_HEADER_BYTES = 512
_MISSING = -32767
_SCAN_MINUTES = 5
# Names, formats and offsets of the numbers that are used.
_HEADER = np.dtype(
    {
        "names": [
            *("valid", "data", "kind", "size", "grid", "rows", "columns"),
            *("origin", "missing", "minutes", "ellipsoid"),
            *("north", "dy", "west", "dx", "missing_real", "offset"),
            *("latitude", "longitude", "easting", "northing", "scale"),
            *("units", "title"),
        ],
        "formats": [
            *(">6i2", ">5i2", ">i2", ">i2", ">i2", ">i2", ">i2"),
            *(">i2", ">i2", ">i2", ">i2"),
            *(">f4", ">f4", ">f4", ">f4", ">f4", ">f4"),
            *(">f4", ">f4", ">f4", ">f4", ">f4"),
            *("S8", "S24"),
        ],
        "offsets": [
            *(0, 12, 22, 24, 28, 30, 32),
            *(46, 48, 50, 54),
            *(70, 74, 78, 82, 86, 94),
            *(106, 110, 114, 118, 122),
            *(354, 386),
        ],
        "itemsize": _HEADER_BYTES,
    }
)
_NATIONAL, _DEGREES, _TRANSVERSE = 0, 1, 4
_NUMBERS = {(0, 4): "f4", (1, 2): "i2", (1, 4): "i4"}
_ELLIPSOIDS = {0: "airy", 1: "intl"}
# Latitude, longitude, easting and northing of the National Grid's true origin. Older files give kilometres.
_TRUE_ORIGIN = ((49,), (-2,), (400_000, 400), (-100_000, -100))
_UNITS = re.compile(r"(.+?) *\* *(\d{1,6})")


def recognises(source: Source) -> bool:
    """Whether the file begins with a record of 512 bytes, by its marks on both sides."""
    head = source.head(_HEADER_BYTES + 8)
    return head[:4] in _MARKS and head[_HEADER_BYTES + 4 :] == head[:4]


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:  # noqa: ARG001
    """Return the time of validity of each field of rain, in time order."""
    return np.array([field.time for field in _fields(source.contents())], "datetime64[s]")


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return the frames in mm/h: rates, amounts divided by their period, or reflectivity by Z–R."""
    fields = _fields(source.contents())[frames]
    if not fields:
        raise InputError(f"expected frames {frames.start} to {frames.stop}, found none")
    first = fields[0]
    grid = _grid(first.header)
    rates = np.empty((len(fields), grid.rows, grid.columns), np.float32)
    measured: dict[str, Any] = {}
    for place, field in enumerate(fields):
        if field.units != first.units:
            raise InputError(f"units: expected those of the first field, {first.units}, found {field.units}")
        if difference := grid.difference(_grid(field.header)):
            raise InputError(f"field of {field.time}: {difference}")
        rates[place], measured = _rate(field, options)
    return schema.build(
        rates,
        [field.time for field in fields],
        grid,
        measured=measured,
        attributes={
            "title": first.title,
            "institution": "Met Office (United Kingdom)",
            "source": "Met Office, NIMROD.",
        },
    )


@dataclass(frozen=True)
class _Field:
    """A field: its header, the unit and its divisor, and its packed values."""

    header: np.void
    units: str
    divisor: float
    title: str
    time: np.datetime64
    packed: memoryview


def _fields(contents: bytes) -> list[_Field]:
    """Return the fields of rain or reflectivity, in time order."""
    found = list(_records(memoryview(contents)))
    fields = [field for header, packed in found if (field := _field(header, packed)) is not None]
    if not fields:
        others = ", ".join(
            sorted({f"{_text(header['title'])} ({_text(header['units'])})" for header, _ in found})
        )
        raise InputError(f"expected a field of rain or reflectivity, found {others}")
    fields.sort(key=lambda field: field.time)
    for one, other in pairwise(fields):
        if one.time == other.time:
            raise InputError(
                f"expected one field per time, found {one.title} and {other.title} of {one.time}"
            )
    return fields


def _records(contents: memoryview) -> Iterator[tuple[np.void, memoryview]]:
    at, order = 0, _MARKS.get(bytes(contents[:4]), "big")
    layout = _HEADER if order == "big" else _HEADER.newbyteorder()
    while at < len(contents):
        record, at = _record(contents, at, order)
        if len(record) != _HEADER_BYTES:
            raise InputError(f"header: expected a record of {_HEADER_BYTES} bytes, found {len(record)}")
        header: np.void = np.frombuffer(record, layout)[0]
        packed, at = _record(contents, at, order)
        yield header, packed


def _record(contents: memoryview, at: int, order: Order) -> tuple[memoryview, int]:
    """Return the record that begins at a position, between two equal marks, and the position after it."""
    length = int.from_bytes(contents[at : at + 4], order)
    end = at + 4 + length
    mark = contents[end : end + 4]
    if end + 4 > len(contents) or mark != contents[at : at + 4]:
        raise InputError(f"expected a record of {length} bytes between equal marks, found other marks")
    return contents[at + 4 : end], end + 4


def _text(characters: bytes) -> str:
    return bytes(characters).decode("ascii", "replace").strip(" \0")


def _field(header: np.void, packed: memoryview) -> _Field | None:
    """Return a field of rain or reflectivity; None if the units are of another quantity."""
    text = _text(header["units"])
    found = _UNITS.fullmatch(text)
    units, divisor = (found[1], float(found[2])) if found else (text, 1.0)
    try:
        unit(units)
    except InputError:
        return None
    if units == "m":
        return None  # a height
    if not divisor > 0:
        raise InputError(f"units: expected a divisor above 0, found {text!r}")
    return _Field(header, units, divisor, _text(header["title"]), _time(header), packed)


def _time(header: np.void) -> np.datetime64:
    year, month, day, hour, minute, second = (int(number) for number in header["valid"])
    try:
        # Older files have no seconds.
        valid = datetime(year, month, day, hour, minute, max(second, 0))
    except ValueError:
        raise InputError(
            f"time: expected a date that exists, found {year}-{month}-{day} {hour}:{minute}:{second}"
        ) from None
    data = [int(number) for number in header["data"]]
    if data[0] > 0:
        try:
            made = datetime(data[0], data[1], data[2], data[3], data[4])
        except ValueError:
            raise InputError(f"time of the data: expected a date that exists, found {data}") from None
        # The data may be as old as the beginning of an amount's period, or of the radars' scan.
        ahead = (valid - made).total_seconds() / 60
        if ahead > max(int(header["minutes"]), _SCAN_MINUTES):
            raise InputError(f"time: expected an observation, found a forecast {ahead:g} minutes ahead")
    return np.datetime64(valid, "s")


def _rate(field: _Field, options: ReadOptions) -> tuple[NDArray[np.float32], dict[str, Any]]:
    values = _values(field)
    quantity, factor, hours = unit(field.units)
    options.expect_agreement(quantity, field.units)
    if quantity != "dbz":
        values[values < 0] = np.nan
    minutes = int(field.header["minutes"])
    if quantity == "amount" and hours is None:
        if not 0 < minutes < -_MISSING:
            raise InputError(f"period: expected the minutes of an amount, found {minutes}")
        hours = minutes / 60
    rate, measured = to_rate(values * (factor / field.divisor), quantity, hours=hours, zr=options.zr)
    if quantity != "amount":
        measured["cell_methods"] = "time: mean" if 0 < minutes < -_MISSING else "time: point"
    if np.isinf(rate).any():
        raise InputError("values: expected finite numbers, found infinite ones")
    return rate.astype(np.float32), measured


def _values(field: _Field) -> NDArray[np.float64]:
    """Return the numbers of a field ``(rows, columns)``, NaN where missing."""
    header = field.header
    rows, columns = int(header["rows"]), int(header["columns"])
    number = _NUMBERS.get((int(header["kind"]), int(header["size"])))
    if number is None:
        raise InputError(
            "values: expected whole numbers of 2 or 4 bytes, or real ones of 4, found kind "
            f"{header['kind']} of {header['size']} bytes"
        )
    pixel = np.dtype(number).newbyteorder(header.dtype["size"].byteorder)
    expected = rows * columns * pixel.itemsize
    if min(rows, columns) < 2 or rows * columns > MOST_PIXELS or len(field.packed) != expected:
        raise InputError(
            f"values: expected {rows} × {columns} numbers of {pixel.itemsize} bytes, found "
            f"{len(field.packed)} bytes"
        )
    if header["offset"] not in (0, _MISSING):
        raise InputError(f"values: expected no offset, found {header['offset']:g}")
    values = np.frombuffer(field.packed, pixel).reshape(rows, columns).astype(np.float64)
    missing = header["missing_real"] if header["kind"] == 0 else header["missing"]
    values[(values == missing) | (values == _MISSING)] = np.nan
    south, east = _corner(header)
    return values[:: -1 if south else 1, :: -1 if east else 1]


def _corner(header: np.void) -> tuple[bool, bool]:
    """Return whether the first pixel is in the southernmost row, and in the easternmost column."""
    if header["origin"] not in (0, 1, 2, 3):
        raise InputError(f"origin: expected a corner (0 to 3), found {header['origin']}")
    return bool(header["origin"] & 1), bool(header["origin"] & 2)


def _grid(header: np.void) -> Grid:
    south, east = _corner(header)
    columns, rows = int(header["columns"]), int(header["rows"])
    north, west, dy, dx = (float(header[name]) for name in ("north", "west", "dy", "dx"))
    # Degrees are float32 too, so that 0.01 is 0.0099999998.
    if header["grid"] == _DEGREES:
        north, west, dy, dx = (round(number, 6) for number in (north, west, dy, dx))
    north += (rows - 1) * dy if south else 0
    west -= (columns - 1) * dx if east else 0
    return Grid(_crs(header).to_wkt(), west, north, dx, dy, columns, rows)


def _crs(header: np.void) -> pyproj.CRS:
    names = ("latitude", "longitude", "easting", "northing")
    place = [float(header[name]) for name in names]
    if header["grid"] == _NATIONAL:
        for name, number, allowed in zip(names, place, _TRUE_ORIGIN, strict=True):
            if number not in (*allowed, _MISSING):
                raise InputError(f"{name}: expected {allowed[0]} of the National Grid, found {number:g}")
        return pyproj.CRS(27700)
    ellipsoid = _ELLIPSOIDS.get(int(header["ellipsoid"]))
    if header["grid"] not in (_DEGREES, _TRANSVERSE) or ellipsoid is None:
        raise InputError(
            "grid: expected the National Grid (0), degrees (1) or transverse Mercator (4) on the ellipsoid "
            f"of Airy (0) or Hayford (1), found grid {header['grid']}, ellipsoid {header['ellipsoid']}"
        )
    if header["grid"] == _DEGREES:
        return pyproj.CRS.from_dict({"proj": "longlat", "ellps": ellipsoid})
    scale = float(header["scale"])
    if _MISSING in place or not 0.9 < scale < 1.1:
        raise InputError(f"grid: expected the true origin and its scale, found {place} and {scale:g}")
    origin = dict(zip(("lat_0", "lon_0", "x_0", "y_0"), place, strict=True))
    return pyproj.CRS.from_dict({"proj": "tmerc", **origin, "k": scale, "ellps": ellipsoid})
