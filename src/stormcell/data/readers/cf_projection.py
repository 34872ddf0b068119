"""The projection that a CF dataset states: as a CF grid mapping, or as text in an attribute.

Providers give the attribute many names, and place it in the grid mapping, in the rain variable or in the
dataset. Attributes come first that always have a projection, such as ``crs_wkt``; then CF's own; then those
that may have one, such as ``crs``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from pyproj.exceptions import CRSError

from stormcell.data.grid import parse_crs
from stormcell.data.readers import cf_roles
from stormcell.data.readers.rain_variable import RainVariable
from stormcell.data.units import length
from stormcell.errors import InputError

_CERTAIN = (
    *("crs_wkt", "spatial_ref", "proj_string", "proj4_string", "proj4", "proj4_params", "proj4text"),
    *("proj4_projection", "proj4string", "proj_params", "epsg_code", "epsg", "srid"),
)
_POSSIBLE = re.compile(r"proj|crs|epsg|srid|spatial_?ref|esri_pe|grid_mapping", re.IGNORECASE)
_PROJECTION = re.compile(
    r"\+?(?:proj|init)=|(?:PROJ|GEOG|GEOD|BOUND|COMP)[A-Z]*\s*\[|(?:EPSG|ESRI|OGC):|urn:ogc:def:crs:"
    r"|https?://www\.opengis\.net/def/crs/",
    re.IGNORECASE,
)
_AROUND_THE_EARTH = 4.0e7
_CODE = re.compile(r"(\d{4,6})(?:\.0)?")


def stated_projection(
    ds: xr.Dataset, rain: RainVariable, axes: Sequence[xr.Variable | None]
) -> tuple[pyproj.CRS, str] | None:
    """Return the projection that the file states, and the name of the variable or attribute that has it.

    Args:
        ds: The dataset.
        rain: Its rain variable.
        axes: Coordinates x and y, None where they are missing.

    Raises:
        InputError: It cannot be read.
    """
    mapping = _grid_mapping(ds, rain)
    variables = [ds.variables[mapping].attrs] if mapping else []
    for attributes in (*variables, rain.variable.attrs, ds.attrs):
        certain, possible = _texts(attributes)
        if certain:
            key, stated = certain
            return parse_crs(stated), mapping or key
        if "grid_mapping_name" in attributes:
            try:
                return pyproj.CRS.from_cf(_with_origin_in_metres(_plain(attributes), axes)), mapping
            except (CRSError, KeyError, TypeError, ValueError):
                raise InputError(
                    f"{mapping}: expected a CF grid mapping, found {str(dict(attributes))[:300]}"
                ) from None
        if possible:
            key, stated = possible
            return parse_crs(stated), mapping or key
    return None


def _texts(attributes: Mapping[Any, Any]) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
    """Return the first certain and the first possible text of a projection, each with its attribute."""
    texts = {str(key): cf_roles.text(value) for key, value in attributes.items()}
    names = {key.lower(): key for key in texts}
    certain = possible = None
    for key in (names[name] for name in _CERTAIN if name in names):
        if texts[key] and certain is None:
            certain = key, _coded(texts[key])
    for key, stated in texts.items():
        if _POSSIBLE.search(key) and _PROJECTION.match(stated) and possible is None:
            possible = key, stated
    return certain, possible


def _coded(stated: str) -> str:
    code = _CODE.fullmatch(stated)
    return f"EPSG:{code[1]}" if code else stated


def _grid_mapping(ds: xr.Dataset, rain: RainVariable) -> str:
    """Return the name of the grid mapping variable of the rain's axes; empty if it has none."""
    # Either "crs", or "crs: x y other: lat lon".
    words = cf_roles.text(rain.variable.attrs.get("grid_mapping")).split()
    mapping = ""
    chosen = ""
    for word in words:
        if word.endswith(":"):
            mapping = word[:-1]
        elif not mapping:
            chosen = word
        elif word in (rain.x, rain.y):
            chosen = mapping
    chosen = chosen or mapping
    if chosen in ds.variables:
        return chosen
    others = [
        str(name)
        for name, variable in ds.variables.items()
        if variable.size <= 1 and ("grid_mapping_name" in variable.attrs or any(_texts(variable.attrs)))
    ]
    return others[0] if len(others) == 1 else ""


def _with_origin_in_metres(attributes: dict[str, Any], axes: Sequence[xr.Variable | None]) -> dict[str, Any]:
    """Convert false easting and northing, which CF has in the units of the axes, to metres.

    Some files have kilometres there, but metres here. The number would lie beyond the earth as kilometres.
    """
    converted = dict(attributes)
    for name, axis in zip(("false_easting", "false_northing"), axes, strict=True):
        if axis is None or not isinstance(attributes.get(name), int | float):
            continue
        try:
            metres = attributes[name] * length(cf_roles.units(axis))
        except InputError:
            continue  # degrees or no units
        if abs(metres) < _AROUND_THE_EARTH:
            converted[name] = metres
    return converted


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as Python's own numbers, lists and text."""
    plain = {}
    for key, value in attributes.items():
        if isinstance(value, np.ndarray | np.generic) and np.asarray(value).dtype.kind in "iuf":
            numbers = np.ravel(value).tolist()
            plain[str(key)] = numbers[0] if len(numbers) == 1 else numbers
        else:
            plain[str(key)] = value if isinstance(value, int | float) else cf_roles.text(value)
    return plain
