"""Roles of the variables in a CF dataset: coordinates, times, qualities and bounds, by what the file says.

The datasets are opened without decoding. Attributes of CF count first: the standard name, the axis, the
units. Names count if the attributes are missing.
"""

import re
from typing import Any

import numpy as np
import xarray as xr

from stormcell.data.readers.cf_times import is_time
from stormcell.data.units import is_degrees

_STANDARD = {
    "y": ("projection_y_coordinate", "latitude", "grid_latitude"),
    "x": ("projection_x_coordinate", "longitude", "grid_longitude"),
}
# Names of dimensions: x, xc, x0, nx, dim_x, x_coordinate, projection_x_coordinate, columns, easting …
_NAMES = {
    one: re.compile(
        rf"(?:projection_|dim_|n)?{one}(?:_?(?:c|cells?|coord(?:inate)?s?|dim|axis|\d))?|(?:{others})",
        re.IGNORECASE,
    )
    for one, others in (
        ("y", "j|rows?|nrows?|lines?|northings?|south_north|lats?|latitude|rlat|nav_lat|xlat"),
        ("x", "i|col(?:umn)?s?|ncols?|pixels?|eastings?|west_east|lons?|long|longitude|rlon|nav_lon|xlong"),
    )
}
# Latitude and longitude as parts of longer names: lat_2d, lon2d, geolat, pixel_longitude.
_PLACE_IN_NAME = re.compile(
    r"(?:.*_)?(?:geo)?(lat|lon)(?:s|itudes?|gitudes?)?(?:_?2d|_?\d|_(?:grid|cent(?:er|re)s?|points?|deg))?",
    re.IGNORECASE,
)
_TIME_NAMES = ("time", "valid_time", "validity_time", "t", "datetime", "date")
_DEGREES_OF_AXIS = re.compile(r"deg(?:ree)?s?[_ ]?(n|e)(?:orth|ast)?", re.IGNORECASE)
_OTHER_TIMES = re.compile(
    r"start|begin|stop|end|reference|forecast|analysis|created|production", re.IGNORECASE
)
_QUALITY_NAME = re.compile(
    r"quality|qind|(?:^|_)qi(?:_|$)|^q$|flag|mask|error|uncertain|count|probab", re.IGNORECASE
)


def text(value: Any, default: str = "") -> str:
    r"""Return an attribute as text; bytes that are not UTF-8 are replaced.

    Example:
        >>> text(b"M\xc3\xa9t\xe9o"), text(np.array(["mm"], object)), text(None)
        ('Mét�o', 'mm', '')
    """
    if value is None:
        return default
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    # Text of a library that could not decode some bytes has lone surrogates in their places.
    return str(value).encode("utf-8", "replace").decode("utf-8").strip().rstrip("\0")


def standard_name(variable: xr.Variable) -> str:
    """Return the standard name of a variable, empty if it has none."""
    return text(variable.attrs.get("standard_name"))


def units(variable: xr.Variable) -> str:
    """Return the units of a variable, empty if it has none."""
    return text(variable.attrs.get("units"))


def axis(name: str, variable: xr.Variable | None) -> str:
    """Return the axis ``"y"``, ``"x"`` or ``"t"`` of a dimension or coordinate; empty if it is another.

    Args:
        name: Name of the dimension.
        variable: Its coordinate variable; None if it has none.
    """
    if variable is not None:
        stated = text(variable.attrs.get("axis")).lower()
        if stated in ("y", "x", "t"):
            return stated
        if standard_name(variable) == "time" or is_time(units(variable)):
            return "t"
        for one, standard in _STANDARD.items():
            if standard_name(variable) in standard:
                return one
        if found := _DEGREES_OF_AXIS.fullmatch(units(variable)):
            return "y" if found[1] in "nN" else "x"
    for one, names in _NAMES.items():
        if names.fullmatch(name):
            return one
    if found := _PLACE_IN_NAME.fullmatch(name):
        return "y" if found[1].lower() == "lat" else "x"
    return "t" if name.lower() in _TIME_NAMES else ""


def along(ds: xr.Dataset, dim: str) -> tuple[str, xr.Variable | None]:
    """Return the coordinates along a dimension, and their name; None if it has none.

    These are in the variable of its name; or, if there is no such variable, or one that only counts pixels,
    in the only variable that has places along this dimension alone, such as ``lat (y)``.
    """
    own = ds.variables.get(dim)
    if own is not None and not counts_pixels(own):
        return dim, own
    places = [
        (str(name), variable)
        for name, variable in ds.variables.items()
        if variable.dims == (dim,)
        and name != dim
        and variable.dtype.kind in "iuf"
        and axis(str(name), variable) in ("y", "x")
    ]
    return places[0] if len(places) == 1 else (dim, own)


def counts_pixels(variable: xr.Variable) -> bool:
    """Whether coordinates are the numbers of the pixels, from 0 or 1, and nothing says that they are more."""
    described = units(variable) or standard_name(variable)
    if described or variable.ndim != 1 or variable.size < 2 or variable.dtype.kind not in "iuf":
        return False
    values = variable.values
    return bool(values[0] in (0, 1)) and np.array_equal(values, values[0] + np.arange(values.size))


def is_latitude_or_longitude(name: str, variable: xr.Variable) -> bool:
    """Whether a variable is a coordinate in degrees, or another place of the pixels."""
    place = {name for names in _STANDARD.values() for name in names}
    if standard_name(variable) in place or is_degrees(units(variable)):
        return True
    if units(variable):
        return False
    return axis(name, None) in ("y", "x") or text(variable.attrs.get("long_name")).lower() in place


def is_quality(ds: xr.Dataset, name: str) -> bool:
    """Whether a variable describes others: their quality, error or flags."""
    variable = ds.variables[name]
    modified = standard_name(variable).split(" ")[1:]  # "rainfall_rate status_flag"
    if modified or standard_name(variable) in ("quality_flag", "status_flag"):
        return True
    flags = any(key.startswith("flag_") for key in map(str, variable.attrs))
    if flags and not standard_name(variable):
        return True
    named = (text(other.attrs.get("ancillary_variables")).split() for other in ds.variables.values())
    if any(name in names for names in named):
        return True
    return not standard_name(variable) and _QUALITY_NAME.search(name) is not None


def is_bounds(ds: xr.Dataset, name: str) -> bool:
    """Whether a variable has the bounds of another."""
    return any(
        name == text(other.attrs.get(key))
        for other in ds.variables.values()
        for key in ("bounds", "climatology")
    )


def time_rank(name: str, variable: xr.Variable) -> int:
    """Return how well a variable qualifies as the valid time of frames; 0 if it is another time."""
    if standard_name(variable) == "time":
        return 1 if _OTHER_TIMES.search(name) else 5
    if standard_name(variable) or _OTHER_TIMES.search(name):
        return 0
    if text(variable.attrs.get("axis")).lower() == "t":
        return 4
    if variable.dims == (name,):
        return 3
    return 2 if name.lower() in _TIME_NAMES else 1
