"""Map projections of files: coordinates in metres or degrees, and where on the earth they are valid."""

import math
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError

from stormcell.errors import InputError

# Axes of an ellipsoid below this length cannot be metres. KNMI gives the earth's axes in kilometres.
_SHORTEST_AXIS = 10_000
# Distances of neighbouring pixels on the ground, divided by those in the projection. A polar stereographic
# projection that is true at 60° has 0.54 at the equator; Mercator's has 0.17 at 80°. At places for which a
# projection is not meant, it is far outside of this range.
_SCALES = (0.1, 10.0)
# Finer than any weather radar measures. One kilometre that is taken as one metre is found by it.
_LEAST_METRES = 5.0


def in_metres(crs: pyproj.CRS) -> tuple[pyproj.CRS, float]:
    """Return a projection with coordinates in metres, or degrees, and the size of its former unit in them.

    Projections may have coordinates in kilometres (``+units=km``) or feet. An ellipsoid with axes in
    kilometres (``+a=6378.137``) counts as one in metres; the coordinates of the projection are then in
    kilometres.

    Args:
        crs: Projected or geographic coordinate reference system.

    Returns:
        The system in metres or degrees, and the factor by which the coordinates that belong to the given
        system are multiplied.

    Raises:
        InputError: The system is not a map projection, and not latitude and longitude, or its axes have
            different units.

    Example:
        >>> crs, factor = in_metres(pyproj.CRS("+proj=laea +lat_0=52 +lon_0=10 +units=km"))
        >>> factor, [axis.unit_name for axis in crs.axis_info]
        (1000.0, ['metre', 'metre'])
    """
    plain = crs.source_crs if crs.is_bound and crs.source_crs is not None else crs
    units = {axis.unit_conversion_factor for axis in plain.axis_info[:2]}
    if not (plain.is_projected or plain.is_geographic) or len(units) != 1:
        raise InputError(
            f"projection: expected a map projection or latitude and longitude, found {crs.type_name}"
        )
    degrees = plain.is_geographic
    factor = units.pop() / (math.radians(1) if degrees else 1)
    ellipsoid = plain.ellipsoid
    if ellipsoid is None:
        raise InputError(f"projection: expected one with an ellipsoid, found {crs.name}")
    kilometres = ellipsoid.semi_major_metre < _SHORTEST_AXIS
    if math.isclose(factor, 1, rel_tol=1e-12) and not kilometres:
        return crs, 1.0
    whole = crs.to_json_dict()
    described = whole["source_crs"] if crs.is_bound else whole
    for axis in described["coordinate_system"]["axis"]:
        axis["unit"] = "degree" if degrees else "metre"
    if kilometres:
        _enlarge(described)
        factor = factor if degrees else 1000.0
    try:
        return pyproj.CRS.from_json_dict(whole), factor
    except CRSError as error:
        raise InputError(f"projection: expected one that can be given in metres: {error}") from None


def _enlarge(described: dict[str, Any]) -> None:
    """Convert the axes of the ellipsoid, and the lengths among the parameters, from kilometres to metres."""
    base = described.get("base_crs", described)
    ellipsoid = base[next(name for name in ("datum", "datum_ensemble") if name in base)]["ellipsoid"]
    for name in ("semi_major_axis", "semi_minor_axis", "radius"):
        if name in ellipsoid:
            ellipsoid[name] = round(float(ellipsoid[name]) * 1000, 6)
    for parameter in described.get("conversion", {}).get("parameters", []):
        unit = parameter.get("unit")
        if unit == "metre":
            parameter["value"] *= 1000
        elif isinstance(unit, dict) and unit.get("type") == "LinearUnit":
            parameter["value"] *= 1000 * unit["conversion_factor"]
            parameter["unit"] = "metre"


def to_degrees(crs: pyproj.CRS) -> pyproj.Transformer:
    """Return the transformation of x and y to longitude and latitude.

    The degrees are those of the system's own datum; of a system that gives its shift to WGS 84
    (``+towgs84``), those of WGS 84.

    Example:
        >>> swiss = "+proj=somerc +lat_0=46.95 +lon_0=7.44 +x_0=600000 +y_0=200000 +ellps=bessel"
        >>> degrees = to_degrees(pyproj.CRS(f"{swiss} +towgs84=674.374,15.056,405.346"))
        >>> [round(value, 4) for value in degrees.transform(600_000, 200_000)]
        [7.439, 46.9487]
    """
    geodetic = crs.target_crs if crs.is_bound else crs.geodetic_crs
    return pyproj.Transformer.from_crs(crs, geodetic, always_xy=True)


def expect_on_earth(crs: pyproj.CRS, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Check that pixels lie on the earth, where their projection is valid.

    The first, middle and last pixels along each axis are projected to latitude and longitude and back, and
    the distance to their neighbours on the ground is compared with that in the projection.

    Args:
        crs: Coordinate reference system in metres or degrees.
        x: Columns, ``(X,)`` with at least two, increasing.
        y: Rows, ``(Y,)`` with at least two, decreasing.

    Raises:
        InputError: A latitude is beyond a pole, the longitudes span more than the earth, or the projection is
            not valid at a pixel.

    Example:
        >>> crs = pyproj.CRS("+proj=stere +lat_0=90 +lat_ts=60 +units=m")
        >>> expect_on_earth(crs, np.array([0.0, 1000]), np.array([-3.650e6, -3.651e6]))
    """
    corners = f"x = {x[0]:.7g} … {x[-1]:.7g}, y = {y[-1]:.7g} … {y[0]:.7g}"
    problem = _beyond_earth(x, y) if crs.is_geographic else _distortion(crs, x, y)
    if problem:
        raise InputError(
            f"grid: expected pixels on the earth where the projection is valid, found {corners}: {problem}"
        )


def _beyond_earth(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> str:
    # The centres of pixels that touch a pole are half a pixel away from it; rounded, a little less.
    if np.abs(lat).max() > 90 or np.abs(lon).max() > 540 or lon[-1] - lon[0] > 360:
        return "latitudes or longitudes that do not exist"
    return ""


def _distortion(crs: pyproj.CRS, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Describe the distortion of a projection that is not valid at all of these places; else nothing."""
    assert crs.ellipsoid is not None
    degrees = to_degrees(crs)
    columns, rows = (
        np.unique([0, 1, len(axis) // 2, len(axis) - 2, len(axis) - 1]).clip(0) for axis in (x, y)
    )
    east, north = np.meshgrid(x[columns], y[rows])
    dx, dy = abs(x[-1] - x[0]) / (len(x) - 1), abs(y[-1] - y[0]) / (len(y) - 1)
    try:
        lon, lat = degrees.transform(east, north, errcheck=True)
        back = degrees.transform(lon, lat, errcheck=True, direction="INVERSE")
    except ProjError as error:
        return str(error)
    off = max(np.abs(back[0] - east).max(), np.abs(back[1] - north).max())
    if not off <= min(dx, dy) / 100:
        return "positions that no latitude and longitude have"
    earth = pyproj.Geod(a=crs.ellipsoid.semi_major_metre, b=crs.ellipsoid.semi_minor_metre)
    _, _, along = earth.inv(lon[:, :-1], lat[:, :-1], lon[:, 1:], lat[:, 1:])
    _, _, down = earth.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])
    for ground, step in ((along[:, np.diff(columns) == 1], dx), (down[np.diff(rows) == 1], dy)):
        if not (_SCALES[0] * step <= ground.min() and ground.max() <= _SCALES[1] * step):
            return f"{step:.3g} m of the projection are {ground.min():.3g} … {ground.max():.3g} m there"
        if not ground.min() >= _LEAST_METRES:
            return f"neighbouring pixels are only {ground.min():.3g} m apart"
    return ""
