"""The grid of a CF dataset: its projection, and the places of columns and rows.

Each axis is converted by its own unit. Axes in degrees need no projection. A projected grid that has only
two-dimensional latitude and longitude is projected, and must come out regular.
"""

from typing import Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from pyproj.exceptions import ProjError

from stormcell.data.grid import Grid, crs_name, parse_crs
from stormcell.data.projection import in_metres
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import cf_roles
from stormcell.data.readers.cf_packed import unpack
from stormcell.data.readers.cf_projection import stated_projection
from stormcell.data.readers.rain_variable import RainVariable
from stormcell.data.units import angle, is_degrees, length
from stormcell.errors import InputError


def find_grid(
    ds: xr.Dataset, rain: RainVariable, options: ReadOptions
) -> tuple[Grid, NDArray[np.intp], NDArray[np.intp], bool]:
    """Return the grid, the orders of rows and columns from north to south and from west to east, and more.

    The last value says whether rows and columns are exchanged: ``rain.y`` runs along a row.

    Raises:
        InputError: The projection or a unit is missing or unknown, or the pixels are not evenly spaced.
    """
    axes = [_coordinate(ds, name) for name in (rain.x, rain.y)]
    crs, factor, found = _projection(ds, rain, axes, options)
    if axes[0] is None or axes[1] is None:
        x, y, exchanged = _from_bounds(rain, options) if options.bounds else _projected(ds, rain, crs)
    else:
        x, y = (_in_units_of(crs, axis, factor, found) for axis in axes if axis is not None)
        exchanged = False
    grid = Grid.from_centres(crs, x, y)
    return grid, np.argsort(-y, kind="stable"), np.argsort(x, kind="stable"), exchanged


def _coordinate(ds: xr.Dataset, dim: str) -> xr.Variable | None:
    """Return the coordinates along a dimension, which has their name then; None without them."""
    name, variable = cf_roles.along(ds, dim)
    if variable is None or variable.dims != (dim,) or variable.dtype.kind not in "iuf":
        return None
    if cf_roles.counts_pixels(variable):
        return None
    return xr.Variable((name,), variable.values, variable.attrs)


def _in_units_of(crs: pyproj.CRS, axis: xr.Variable, factor: float, found: str) -> NDArray[np.float64]:
    """Return coordinates in metres or degrees.

    Args:
        crs: The projection, in metres or degrees.
        axis: The coordinates.
        factor: Metres per unit of the projection, for coordinates that have no units.
        found: The origin of the projection, for a message.
    """
    name, unit = str(axis.dims[0]), cf_roles.units(axis)
    if cf_roles.standard_name(axis) in ("grid_latitude", "grid_longitude"):
        raise InputError(
            f"{name}: expected metres of a projection or degrees, found degrees of a rotated pole; "
            "interpolate the frames to a projection first"
        )
    values = unpack(axis.values, axis, name)
    degrees = is_degrees(unit) or cf_roles.standard_name(axis) in ("latitude", "longitude")
    if crs.is_geographic:
        if unit and not degrees:
            raise InputError(f"{name}: expected degrees, as {found} has, found {unit!r}")
        return np.unwrap(values, period=360) if cf_roles.axis(name, axis) == "x" else values
    if degrees:
        raise InputError(f"{name}: expected a length, as {found} has, found degrees")
    height = _satellite_height(crs)
    if height is not None and (radians := angle(unit)) is not None:
        return values * radians * height
    try:
        return values * (length(unit) if unit else factor)
    except InputError:
        raise InputError(f"{name}: expected m or km, found {unit!r}") from None


def _satellite_height(crs: pyproj.CRS) -> float | None:
    """Return the height of the satellite in metres; None for other projections than its view.

    CF has the coordinates of this projection as angles. In PROJ they are these angles times the height.
    """
    operation = crs.coordinate_operation
    if operation is None or not operation.method_name.lower().startswith("geostationary satellite"):
        return None
    heights = [float(parameter.value) for parameter in operation.params if "height" in parameter.name.lower()]
    return heights[0] if len(heights) == 1 else None


def _projection(
    ds: xr.Dataset, rain: RainVariable, axes: list[xr.Variable | None], options: ReadOptions
) -> tuple[pyproj.CRS, float, str]:
    """Return the projection in metres or degrees, the size of its own unit, and its origin for a message."""
    stated = stated_projection(ds, rain, axes)
    if stated is None:
        if options.crs is not None:
            return *in_metres(parse_crs(options.crs)), "--crs"
        if all(axis is not None and _is_place(axis) for axis in axes):
            return pyproj.CRS(4326), 1.0, "latitude and longitude"
        incomplete = any(axis is None for axis in axes) and options.bounds is None
        if incomplete and _is_regular_in_degrees(ds, rain):
            return pyproj.CRS(4326), 1.0, "latitude and longitude"
        raise InputError(
            "projection: expected a grid mapping or a PROJ string in proj_string, found neither; "
            "give it with --crs"
        )
    crs, name = stated
    if crs.is_derived and crs.is_geographic:
        raise InputError(
            f"{name}: expected a map projection or latitude and longitude, found a rotated pole; "
            "interpolate the frames to a projection first"
        )
    found, factor = in_metres(crs)
    if options.crs is not None and in_metres(parse_crs(options.crs))[0] != found:
        raise InputError(
            f"projection: expected the file's {crs_name(found.to_wkt())}, found {options.crs} in the options"
        )
    # Some files have latitude and longitude as axes, and the projection of the radar's own grid.
    if not found.is_geographic and all(axis is not None and _is_place(axis) for axis in axes):
        geodetic = found.geodetic_crs
        assert geodetic is not None
        return geodetic, 1.0, "latitude and longitude"
    return found, factor, name


def _is_place(axis: xr.Variable) -> bool:
    """Whether a coordinate is latitude or longitude."""
    if cf_roles.standard_name(axis):
        return cf_roles.standard_name(axis) in ("latitude", "longitude")
    unit, name = cf_roles.units(axis), str(axis.dims[0]).lower()
    return is_degrees(unit) if unit else name.startswith(("lat", "lon"))


def _projected(
    ds: xr.Dataset, rain: RainVariable, crs: pyproj.CRS
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return x and y of a grid that has latitude and longitude of every pixel."""
    places: dict[str, xr.Variable] = {}
    for name, variable in ds.variables.items():
        pixels = variable.ndim == 2 and set(variable.dims) == {rain.y, rain.x}
        if pixels and cf_roles.is_latitude_or_longitude(str(name), variable):
            places.setdefault(cf_roles.axis(str(name), variable), variable.transpose(rain.y, rain.x))
    if not {"y", "x"} <= places.keys():
        raise InputError(
            f"{rain.y}, {rain.x}: expected coordinates of the pixels, found none; "
            "give the outer edges with --bounds, and the projection with --crs"
        )
    lat, lon = (unpack(places[one].values, places[one], one) for one in ("y", "x"))
    if not (np.isfinite(lat).all() and np.isfinite(lon).all()):
        raise InputError("lat, lon: expected numbers for every pixel, found missing ones")
    if crs.is_geographic:
        east, north = np.unwrap(lon, period=360), lat
    else:
        try:
            east, north = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(
                lon, lat, errcheck=True
            )
        except ProjError as error:
            raise InputError(f"lat, lon: expected places where the projection is valid: {error}") from None
    exchanged = bool(np.ptp(east, axis=0).max() > np.ptp(east, axis=1).max())
    if exchanged:
        east, north = east.T, north.T
    x, y = np.asarray(east.mean(axis=0), np.float64), np.asarray(north.mean(axis=1), np.float64)
    step = min(np.ptp(axis) / max(len(axis) - 1, 1) for axis in (x, y))
    off = max(np.abs(east - x).max(), np.abs(north - y[:, None]).max())
    # Latitudes in single precision are off by half a metre.
    if not off <= max(step / 100, 1e-5 if crs.is_geographic else 1):
        raise InputError(
            "lat, lon: expected the places of a regular grid in the projection, "
            f"found pixels up to {off:.3g} {'degrees' if crs.is_geographic else 'm'} away from it"
        )
    return _even(x), _even(y), exchanged


def _is_regular_in_degrees(ds: xr.Dataset, rain: RainVariable) -> bool:
    """Whether latitude and longitude of every pixel are those of a grid that needs no projection."""
    try:
        _projected(ds, rain, pyproj.CRS(4326))
    except InputError:
        return False
    return True


def _even(centres: NDArray[Any]) -> NDArray[np.float64]:
    """Return centres without the rounding of the latitudes that they were computed from."""
    index = np.arange(len(centres))
    if len(centres) < 2:
        return np.asarray(centres, np.float64)
    slope, start = np.polyfit(index, centres, 1)
    return np.asarray(start + slope * index, np.float64)


def _from_bounds(
    rain: RainVariable, options: ReadOptions
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return x and y between the outer edges that the user gives; row 0 is the northernmost."""
    assert options.bounds is not None
    west, south, east, north = options.bounds
    columns, rows = rain.variable.sizes[rain.x], rain.variable.sizes[rain.y]
    x = west + (np.arange(columns) + 0.5) * (east - west) / columns
    y = north - (np.arange(rows) + 0.5) * (north - south) / rows
    return np.asarray(x, np.float64), np.asarray(y, np.float64), False
