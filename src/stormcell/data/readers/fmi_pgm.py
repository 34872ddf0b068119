"""Reflectivity composites of the Finnish Meteorological Institute: PGM, one frame per file.

The file is an 8-bit grey-scale image whose comments give time and place. dBZ = (v − 64) / 2; 255 is no data,
and 0 is no echo, which is dry. The comments name the parameter but not its scale, so other parameters and
other numbers of grey values are refused. The comments do not give the earth's radius. With 6371288 m, the
distance between the given corners agrees with ``metersperpixel`` and the number of pixels; this is checked.
"""

import re
from datetime import datetime

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import Grid
from stormcell.data.quantity import to_rate
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.picture import opened
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "FMI PGM"
SUFFIXES = (".pgm",)
# Leinonen et al. 2012, doi:10.1175/JAMC-D-11-056.1, from five years of drop sizes measured in Finland.
ZR = (223.0, 1.53)

_HEADER_BYTES = 65536
_BETWEEN = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"P5" + _BETWEEN + rb"(\d+)" + _BETWEEN + rb"(\d+)" + _BETWEEN + rb"(\d+)\s")
_EARTH_RADIUS = 6371288
_NO_ECHO, _NO_DATA = 0, 255
# Differential reflectivity, for one, is another quantity.
_PARAMETERS = ("correctedreflectivity", "reflectivity", "totalreflectivity")


def recognises(source: Source) -> bool:
    """Whether the file is a binary PGM."""
    head = source.head(3)
    return head[:2] == b"P5" and head[2:].isspace()


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:  # noqa: ARG001
    """Return the observation time, from the comments."""
    return _times(_comments(source.head(_HEADER_BYTES)))


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return the frame in mm/h, by the Z–R relation of this network or that of the options."""
    options.expect_no_quality(NAME)
    comments = _comments(source.head(_HEADER_BYTES))
    parameter = " ".join(comments.get("param", ["nothing"]))
    if parameter.lower() not in _PARAMETERS:
        raise InputError(f"param: expected {', '.join(_PARAMETERS)}, found {parameter[:60]}")
    options.expect_agreement("dbz", "dBZ")
    values = _pixels(source)
    # A lookup table, because there are only 256 values.
    rates, measured = to_rate((np.arange(256) - 64) / 2, "dbz", zr=options.zr or ZR)
    rates[_NO_ECHO], rates[_NO_DATA] = 0, np.nan
    return schema.build(
        rates.astype(np.float32)[values][None],
        _times(comments),
        _grid(comments, *values.shape),
        measured=measured | {"cell_methods": "time: point"},
        attributes=origin(" ".join(comments.get("projection_name", []))),
    ).isel(time=frames)


def origin(place: str) -> dict[str, str]:
    """Return the attributes that name FMI and a composite, with the credit that FMI asks for."""
    return {
        "title": f"Radar composite {place}".strip(),
        "institution": "Finnish Meteorological Institute",
        "source": "Finnish Meteorological Institute open data; modified.",
        "license": "CC-BY-4.0",
    }


def _comments(header: bytes) -> dict[str, list[str]]:
    """Return the comment lines of the header: first word → other words. The last of repeated ones counts."""
    comments = {}
    for line in header.split(b"\n")[1:]:
        if not line.startswith(b"#"):
            break
        words = line[1:].decode("ascii", "replace").split()
        if words:
            comments[words[0]] = words[1:]
    return comments


def _times(comments: dict[str, list[str]]) -> NDArray[np.datetime64]:
    try:
        moment = datetime.strptime(comments["obstime"][0], "%Y%m%d%H%M")
    except (KeyError, IndexError, ValueError):
        raise InputError(
            f"obstime: expected the comment YYYYmmddHHMM, found {comments.get('obstime', 'no such comment')}"
        ) from None
    return np.array([moment], "datetime64[s]")


def _pixels(source: Source) -> NDArray[np.uint8]:
    """Return the grey values. Those of another maximum than 255 would be scaled by Pillow."""
    match = _HEADER.match(source.head(_HEADER_BYTES))
    if match is None or int(match[3]) != 255:
        found = "no maximum" if match is None else f"{int(match[3])}"
        raise InputError(f"expected 8-bit grey with a maximum of 255, found {found}")
    grey = opened(source, "PPM", ("L",))[0]
    # A program that changes the ends of lines adds bytes, and all pixels after them move.
    size = len(source.contents()) - match.end()
    if grey.size != size:
        raise InputError(f"expected {match[1].decode()} × {match[2].decode()} pixels, found {size} bytes")
    return grey


def _grid(comments: dict[str, list[str]], rows: int, columns: int) -> Grid:
    try:
        kind = comments["type"][0]
        lon_0, lat_0, lat_ts = (
            float(comments[name][0]) for name in ("centrallongitude", "centrallatitude", "truelatitude")
        )
        corners = [[float(word) for word in comments[name][:2]] for name in ("bottomleft", "topright")]
        stated = [float(comments[f"metersperpixel_{axis}"][0]) for axis in "xy"]
        (left_lon, bottom_lat), (right_lon, top_lat) = corners
    except (KeyError, IndexError, ValueError):
        raise InputError(
            "projection: expected the comments type, centre, corners and metersperpixel, found not all "
            "of them"
        ) from None
    if kind != "stereographic":
        raise InputError(f"projection: expected stereographic, found {kind}")
    crs = pyproj.CRS.from_dict(
        {"proj": "stere", "lat_0": lat_0, "lon_0": lon_0, "lat_ts": lat_ts, "R": _EARTH_RADIUS, "units": "m"}
    )
    project = pyproj.Proj(crs)
    left, bottom = project(left_lon, bottom_lat)
    right, top = project(right_lon, top_lat)
    dx, dy = (right - left) / columns, (top - bottom) / rows
    # Corners are rounded to 0.001°: 50 to 100 m, or 0.01 % of the width of the image.
    if not np.allclose([dx, dy], stated, rtol=2e-4, atol=0):
        raise InputError(
            f"corners: expected a distance of {stated} metersperpixel, found [{dx:.6g}, {dy:.6g}]"
        )
    # The corners are the outer corners of the outermost pixels, not their centres.
    return Grid(crs.to_wkt(), left + dx / 2, top - dy / 2, dx, dy, columns, rows)
