"""The grid of an ODIM_H5 image, from the corners, the number of pixels and their size.

The corners are the outer corners of the outermost pixels, in degrees, and files round them to about 100 m.
Where the stated pixel size agrees with them, it is exact, and the corners only place the grid.
"""

import numpy as np
import pyproj

from stormcell.data.grid import Grid, parse_crs
from stormcell.data.projection import in_metres, to_degrees
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.hdf5 import number
from stormcell.data.readers.odim_levels import Levels, find, value
from stormcell.errors import InputError

_CORNERS = ("LL", "UL", "UR", "LR")
# In pixels: how far the extent may be from that of the stated pixels, and the corners from a rectangle.
_OFF = 0.5
# Some files give the centres of the outermost pixels. Then the extent is one pixel smaller, to this accuracy.
_OFF_CENTRES = 0.25
# Corners have at least two decimals; with one, they could not place a grid. A degree of latitude is 111 km on
# the ground, and more in a projection such as Mercator's.
_DECIMALS = (2, 3)
_DEGREE_METRES = 111_200.0
_LARGEST_SCALE = 2.0
# No pixel is narrower, so smaller sizes are kilometres.
_LEAST_METRES = 5.0
# No pixel is wider, so larger sizes of a grid in degrees are metres.
_LARGEST_DEGREES = 5.0


def grid_of(levels: Levels, shape: tuple[int, int], options: ReadOptions) -> Grid:
    """Return the grid of an image.

    Args:
        levels: Groups that describe the image, the innermost first.
        shape: Number of rows and columns.
        options: The projection, if the file has none, and the outer edges, which then count instead of the
            corners.

    Raises:
        InputError: Something is missing, or corners, pixel size and number of pixels contradict each other.
    """
    rows, columns = shape
    for name, size in (("xsize", columns), ("ysize", rows)):
        place = find(levels, "where", name)
        if place is not None and number(*place) != size:
            raise InputError(f"{name}: expected the image's {size} pixels, found {number(*place):g}")
    crs, unit = _projection(levels, options)
    if options.bounds is not None:
        west, south, east, north = (edge * unit for edge in options.bounds)
        width, height = (east - west) / columns, (north - south) / rows
        return Grid(crs.to_wkt(), west + width / 2, north - height / 2, width, height, columns, rows)
    dx, dy = (_scale(levels, name, crs, unit) for name in ("xscale", "yscale"))
    west, south, east, north = _edges(levels, crs, shape, None if dx is None or dy is None else (dx, dy))
    if dx is None or dy is None:
        dx, dy = (east - west) / columns, (north - south) / rows
    wide, high = (east - west) / dx, (north - south) / dy
    missing = (columns - wide, rows - high)
    if (
        max(np.abs(missing)) > _OFF + _rounding(levels, crs) / min(dx, dy)
        and max(abs(each - 1) for each in missing) > _OFF_CENTRES
    ):
        raise InputError(
            f"corners: expected a distance of {columns} × {rows} pixels of {dx:.6g} × {dy:.6g}, found "
            f"{wide:.2f} × {high:.2f} pixels; give the outer edges with --bounds"
        )
    return Grid(
        crs.to_wkt(),
        (west + east - (columns - 1) * dx) / 2,
        (south + north + (rows - 1) * dy) / 2,
        dx,
        dy,
        columns,
        rows,
    )


def _projection(levels: Levels, options: ReadOptions) -> tuple[pyproj.CRS, float]:
    text = value(levels, "where", "projdef")
    if text is None:
        text = options.crs
    if text is None:
        raise InputError("projdef: expected a projection, found none; give it with --crs")
    return in_metres(parse_crs(str(text)))


def _scale(levels: Levels, name: str, crs: pyproj.CRS, unit: float) -> float | None:
    """Return the size of a pixel in metres, or in degrees; None if it is not given."""
    place = find(levels, "where", name)
    if place is None:
        return None
    size = abs(number(*place))
    if not (np.isfinite(size) and size > 0):
        raise InputError(f"{name}: expected a size above 0, found {size:g}")
    if crs.is_geographic:
        return None if size > _LARGEST_DEGREES else size
    # The specification wants metres. Some files have kilometres; the corners show whether it is so.
    if unit > 1:
        return size * unit if size < unit else size
    return size * 1000 if size < _LEAST_METRES else size


def _edges(
    levels: Levels, crs: pyproj.CRS, shape: tuple[int, int], size: tuple[float, float] | None
) -> tuple[float, float, float, float]:
    """Return the outer edges: west, south, east and north.

    Args:
        levels: Groups that describe the image.
        crs: Projection.
        shape: Number of rows and columns.
        size: Width and height of a pixel, with which one corner suffices; None if unknown.
    """
    at: dict[str, tuple[float, float]] = {}
    degrees = to_degrees(crs)
    for corner in _CORNERS:
        lon, lat = (find(levels, "where", f"{corner}_{name}") for name in ("lon", "lat"))
        if lon is None or lat is None:
            continue
        place = number(*lon), number(*lat)
        if not crs.is_geographic:
            place = degrees.transform(*place, direction="INVERSE")
        if not np.isfinite(place).all():
            raise InputError(
                f"{corner}: expected a corner on the earth, found {number(*lon):g}, {number(*lat):g}"
            )
        at[corner] = place
    opposite = {"LL", "UR"} <= at.keys() or {"UL", "LR"} <= at.keys()
    if at and size and not opposite:
        at = _opposite(at, shape[1] * size[0], shape[0] * size[1]) | at
    elif not opposite:
        raise InputError(f"corners: expected {', '.join(_CORNERS)}, found {', '.join(at) or 'none'}")
    if crs.is_geographic:
        # A grid across the date line has an eastern edge beyond 180°.
        west = min(at[name][0] for name in ("LL", "UL") if name in at)
        at = {name: (x + 360 if name[1] == "R" and x <= west else x, y) for name, (x, y) in at.items()}
    sides = [
        [at[name][axis] for name in names if name in at]
        for names, axis in ((("LL", "UL"), 0), (("LL", "LR"), 1), (("LR", "UR"), 0), (("UL", "UR"), 1))
    ]
    west, south, east, north = (float(np.mean(side)) for side in sides)
    if not (east > west and north > south):
        raise InputError(f"corners: expected west to east and south to north, found {at}")
    pixels = ((east - west) / shape[1], (north - south) / shape[0])
    for side, pixel in zip(sides, (*pixels, *pixels), strict=True):
        if max(side) - min(side) > 2 * _OFF * pixel + _rounding(levels, crs):
            raise InputError(
                f"corners: expected a rectangle in the projection, found sides that are off by "
                f"{(max(side) - min(side)) / pixel:.2g} pixels"
            )
    return west, south, east, north


def _opposite(
    at: dict[str, tuple[float, float]], width: float, height: float
) -> dict[str, tuple[float, float]]:
    """Return all corners of an image of known size, from one of them."""
    name, (x, y) = next(iter(at.items()))
    west = x if name[1] == "L" else x - width
    south = y if name[0] == "L" else y - height
    return {
        corner: (west + width * (corner[1] == "R"), south + height * (corner[0] == "U"))
        for corner in _CORNERS
    }


def _rounding(levels: Levels, crs: pyproj.CRS) -> float:
    """Return how far two corners with few decimals may be from each other's place, in metres."""
    if crs.is_geographic:
        return 0.0
    places = [find(levels, "where", f"{corner}_{name}") for corner in _CORNERS for name in ("lon", "lat")]
    degrees = np.array([number(*place) for place in places if place is not None])
    for decimals in _DECIMALS:
        # In single precision, a degree is off by up to 4e-6.
        if np.allclose(degrees, degrees.round(decimals), rtol=0, atol=5e-6):
            return 10.0**-decimals * _DEGREE_METRES * _LARGEST_SCALE
    return 0.0
