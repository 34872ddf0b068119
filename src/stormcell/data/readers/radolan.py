"""Composites of the German weather service (DWD) in RADOLAN's binary format, and RADKLIM's, one per file.

A line of text, which ends with the byte 3, gives product, time, precision, interval and size; then come the
pixels, row by row from the south. The format and the grids are DWD's "RADOLAN/RADVOR Kompositformat" and
"RADKLIM Kompositformat".

**Values.** A pixel of two bytes has a number in its 12 lower bits, and flags: 0x2000 no data; 0x8000 clutter;
0x4000 negative, which only differences can be; 0x1000 secondary, a number from another source than the
radar at its usual height, such as a gauge. The first three count as not observed, because the number of a
clutter pixel is 0 or a remainder of the echo. A secondary number counts. One-byte products have 249 for
clutter and 250 for no data. A sum is the number × 10^PR mm in the interval. Reflectivity is in RVP6 units,
dBZ = number / 2 − 32.5, and the number 0 is no echo, which is dry.

**Times.** The time in the text is the end of the interval: RW of 12:50 has the rain from 11:50 to 12:50, and
RY of 12:50 that from 12:45. It is the time of measurement for reflectivity. Forecasts (VV above 0) are
refused. The first image of the nowcasts (VV 0: RV, RQ, RS, WN) is an analysis, and is read.

**Grids.** Polar stereographic, true at 60° N, with the meridian 10° E, on a sphere of 6370.04 km, and since
format version 5 (2022) on WGS 84. Distances are counted from 9° E, 51° N.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import Grid
from stormcell.data.quantity import to_rate
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "RADOLAN"
SUFFIXES = ("---bin",)
# DWD's relation for all reflectivities, where RADOLAN's refined relations are not applied.
ZR = (256.0, 1.42)

# The first two lines have sums of minutes to one hour, the third longer ones.
SUMS = frozenset(
    (
        *("RZ", "RY", "RH", "RB", "RW", "RL", "RU", "RV", "RQ", "RS", "YW", "TZ", "TH", "TW"),
        *("EZ", "EY", "EH", "EB", "EW"),
        *("SQ", "SH", "SF", "S2", "S3", "D2", "D3", "W1", "W2", "W3", "W4"),
    )
)
BYTES_DBZ = frozenset(("RX", "WX", "EX"))
WORDS_DBZ = frozenset(("FX", "FZ", "WN", "HX"))
CLASSES = frozenset(("PG", "PC"))

# Rows and columns: pixel size, distance of the reference point from the southern and the western edge, in km.
GRIDS = {
    (900, 900): (1.0, 450.0, 450.0),
    (1100, 900): (1.0, 550.0, 370.0),
    (1500, 1400): (1.0, 800.0, 600.0),
    (1200, 1100): (1.0, 600.0, 470.0),
    (4800, 4400): (0.25, 600.0, 470.0),
    (450, 450): (2.0, 450.0, 450.0),
    (460, 460): (2.0, 460.0, 460.0),
}
_REFERENCE = (9.0, 51.0)
_WGS84_VERSION = 5

_HEADER = re.compile(rb"([A-Z%][A-Z0-9])(\d{6})\d{5}(\d{4})BY *\d+([^\x03]{0,900})\x03")
_START = re.compile(rb"[A-Z%][A-Z0-9]\d{6}\d{5}\d{4}BY")
_NO_DATA, _CLUTTER, _NEGATIVE, _NUMBER = 0x2000, 0x8000, 0x4000, 0x0FFF
_LAST_BYTE_VALUE = 248
_MEMBER = re.compile(rb"(?:\./)?(?:raa0\d-|(?:DE1200_)?(?:RV|WN|RS|RQ|YW|RW|RY|SF)[-_\d])")


def recognises(source: Source) -> bool:
    """Whether the file begins with RADOLAN's text, or is a tar file of RADOLAN's files."""
    head = source.head(2048)
    if source.is_tar:
        return any(_MEMBER.match(head, at) for at in range(0, 2048, 512))
    return bool(_START.match(head))


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:  # noqa: ARG001
    """Return the end of the interval, or the time of measurement of reflectivity."""
    return np.array([_text(source).time], "datetime64[s]")


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return the frame in mm/h: a sum divided by its interval, or reflectivity converted by Z–R."""
    text = _text(source)
    table, measured = _table(text, options)
    rate = table[_codes(source, text)[::-1]]  # rows run from the south
    if np.isinf(rate).any():
        raise InputError(f"PR: expected a precision of rain, found E{text.exponent:+03} and infinite rates")
    return schema.build(
        rate[None],
        [text.time],
        composite_grid(text.rows, text.columns, text.version >= _WGS84_VERSION),
        measured=measured,
        attributes=origin(text.product),
    ).isel(time=frames)


def origin(product: str) -> dict[str, str]:
    """Return the attributes that name DWD and a product, with the credit that DWD asks for."""
    return {
        "title": f"Radar composite {product}",
        "institution": "Deutscher Wetterdienst (DWD)",
        "source": "Source: Deutscher Wetterdienst; data modified.",
        "license": "GeoNutzV",
    }


@dataclass(frozen=True)
class _Text:
    """The text before the pixels."""

    product: str
    time: np.datetime64
    version: int
    exponent: int
    minutes: int
    rows: int
    columns: int
    length: int


def _text(source: Source) -> _Text:
    head = source.head(1024)
    if source.is_tar:
        raise InputError("expected one composite, found a tar file of several; unpack it first")
    found = _HEADER.match(head)
    if not found:
        raise InputError("header: expected a product, a time, and the byte 3 at its end, found other text")
    product = found[1].decode()
    if product in CLASSES:
        raise InputError(f"{product}: expected numbers, found classes in run-length code, which are not read")
    if product not in SUMS | BYTES_DBZ | WORDS_DBZ:
        raise InputError(f"{product}: expected a composite of rain or reflectivity, found another product")
    fields = found[4].partition(b"MS")[0].decode("ascii", "replace")
    if (lead := _field(fields, r"VV *(\d{1,4})", optional=True)) > 0:
        raise InputError(f"VV: expected an observation, found a forecast {lead} minutes ahead")
    unit = _field(fields, r"INT *\d{1,5}U(\d)", optional=True)
    if unit not in (0, 1):
        raise InputError(f"U: expected 0 (minutes) or 1 (days), found {unit}")
    exponent = _field(fields, r"PR *E([+-]\d\d)")
    if abs(exponent) > 3:
        raise InputError(f"PR: expected E-03 to E+03, found E{exponent:+03}")
    return _Text(
        product,
        _time(found[2] + found[3]),
        _field(fields, r"VS *(\d{1,2})"),
        exponent,
        _field(fields, r"INT *(\d{1,5})") * (1440 if unit == 1 else 1),
        _field(fields, r"GP *(\d{1,5}) *x"),
        _field(fields, r"GP *\d{1,5} *x *(\d{1,5})"),
        found.end(),
    )


def _field(fields: str, pattern: str, *, optional: bool = False) -> int:
    found = re.search(pattern, fields)
    if found:
        return int(found[1])
    if optional:
        return 0
    raise InputError(f"header: expected {pattern[:3].strip(' *')} and a number, found {fields[:80]!r}")


def _time(digits: bytes) -> np.datetime64:
    text = digits.decode()
    try:
        return np.datetime64(datetime.strptime(text, "%d%H%M%m%y"), "s")
    except ValueError:
        raise InputError(f"time: expected DDHHMM and MMYY of a date that exists, found {text}") from None


def _table(text: _Text, options: ReadOptions) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return the rate in mm/h of every code that a pixel can have, and how it was converted."""
    if text.product in BYTES_DBZ:
        codes = np.arange(256)
        numbers, observed = codes.astype(np.float64), codes <= _LAST_BYTE_VALUE
    else:
        codes = np.arange(65536)
        numbers = (codes & _NUMBER).astype(np.float64)
        observed = codes & (_NO_DATA | _CLUTTER | _NEGATIVE) == 0
    with np.errstate(over="ignore"):  # most codes do not occur
        if text.product in SUMS:
            options.expect_agreement("amount", "mm")
            if not text.minutes > 0:
                raise InputError(f"INT: expected an interval above 0 minutes, found {text.minutes}")
            values, hours = numbers * 10.0**text.exponent, text.minutes / 60
            rates, measured = to_rate(values, "amount", hours=hours, zr=options.zr)
        else:
            options.expect_agreement("dbz", "dBZ")
            precision = 10.0**text.exponent if text.product in WORDS_DBZ else 1
            rates, measured = to_rate(numbers * precision / 2 - 32.5, "dbz", zr=options.zr or ZR)
            measured["cell_methods"] = "time: point"
            rates[numbers == 0] = 0
        rates[~observed] = np.nan
        return rates.astype(np.float32), measured


def _codes(source: Source, text: _Text) -> NDArray[np.uint8] | NDArray[np.uint16]:
    shape = (text.rows, text.columns)
    if shape not in GRIDS:
        known = ", ".join(f"{rows} × {columns}" for rows, columns in GRIDS)
        raise InputError(f"GP: expected a grid of {known}, found {text.rows} × {text.columns}")
    pixel = np.dtype("u1" if text.product in BYTES_DBZ else "<u2")
    contents = source.contents()
    size, expected = len(contents) - text.length, text.rows * text.columns * pixel.itemsize
    if size != expected:
        raise InputError(f"pixels: expected {expected} bytes after the header, found {size}")
    return np.frombuffer(contents, pixel, offset=text.length).reshape(shape)


@lru_cache(maxsize=4)
def composite_grid(rows: int, columns: int, wgs84: bool) -> Grid:
    """Return one of DWD's grids.

    Args:
        rows: Number of rows; with ``columns`` a key of ``GRIDS``.
        columns: Number of columns.
        wgs84: Whether the earth is WGS 84, or else a sphere.

    Example:
        >>> composite_grid(900, 900, wgs84=False).dx
        1000.0
    """
    size, south, west = (1000 * length for length in GRIDS[rows, columns])
    earth = {"ellps": "WGS84"} if wgs84 else {"R": 6_370_040}
    crs = pyproj.CRS.from_dict(
        {"proj": "stere", "lat_0": 90, "lat_ts": 60, "lon_0": 10, **earth, "units": "m"}
    )
    x, y = pyproj.Proj(crs)(*_REFERENCE)
    north = y - south + rows * size
    return Grid(crs.to_wkt(), x - west + size / 2, north - size / 2, size, size, columns, rows)
