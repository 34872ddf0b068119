"""Web Mercator: pictures that lie on every web map, made from a radar's grid.

A pixel of the picture has the value of the one cell that contains its centre: nothing is interpolated. In
the middle of the picture, pixels have about the size of cells.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stormcell.data.grid import MOST_PIXELS, Grid
from stormcell.errors import InputError
from stormcell.maps.places import Extent, cell_at, cells_at, centre_of, extent

RADIUS = 6_378_137.0  # metres: the sphere of EPSG:3857
WORLD = 2 * np.pi * RADIUS  # width and height of the whole map
MOST_NORTHERN = 85.051_128_779_806_59  # degrees: where the square map ends
LARGEST = 2048  # pixels of a side, of a picture without overviews
_ROWS = 64  # that are projected at once

Metres = NDArray[np.float64]
Bounds = tuple[float, float, float, float]
T = TypeVar("T", bound=np.generic)


def to_metres(lon: ArrayLike, lat: ArrayLike) -> tuple[Metres, Metres]:
    """Return x and y of places in EPSG:3857; x continues beyond the 180th meridian.

    Example:
        >>> x, y = to_metres(180, 60)
        >>> round(float(x)), round(float(y))
        (20037508, 8399738)
    """
    north = np.clip(np.asarray(lat, np.float64), -MOST_NORTHERN, MOST_NORTHERN)
    return RADIUS * np.deg2rad(np.asarray(lon, np.float64)), RADIUS * np.arcsinh(np.tan(np.deg2rad(north)))


def to_lon_lat(x: ArrayLike, y: ArrayLike) -> tuple[Metres, Metres]:
    """Return longitude and latitude of x and y in EPSG:3857."""
    lon = np.rad2deg(np.asarray(x, np.float64) / RADIUS)
    return lon, np.rad2deg(np.arctan(np.sinh(np.asarray(y, np.float64) / RADIUS)))


@dataclass(frozen=True, eq=False)
class Warp:
    """The way from a grid to a picture.

    Attributes:
        grid: The radar's grid.
        bounds: Left, bottom, right and top of the picture's outer edges, in metres. The right edge of a
            picture across the 180th meridian is beyond the end of the world.
        shape: Rows and columns of the picture.
        overviews: Factors by which smaller pictures are coarser, ascending; empty for small pictures. Both
            sides of the picture are multiples of each, so that all have the same bounds.
        cells: Cell of each pixel, ``row * grid.columns + column`` in the grid; of pixels outside of the grid,
            the number of its cells.

    Example:
        >>> import pyproj
        >>> grid = Grid.from_centres(pyproj.CRS(3857), 500 + 1000 * np.arange(3), [500, -500])
        >>> warp = Warp.of(grid)
        >>> warp.apply(np.array([[1, 2, 3], [4, 5, 6]], np.uint8), outside=255).tolist()
        [[1, 2, 3], [4, 5, 6]]
    """

    grid: Grid
    bounds: Bounds
    shape: tuple[int, int]
    overviews: tuple[int, ...]
    cells: NDArray[np.int32]

    @staticmethod
    def of(grid: Grid) -> "Warp":
        """Return the way from a grid, which is computed once.

        Raises:
            InputError: The grid lies beyond the map, or its picture would have too many pixels.
        """
        return _warp(grid)

    def apply(self, field: NDArray[T], outside: Any) -> NDArray[T]:
        """Return the picture of a field.

        Args:
            field: Values ``(y, x)`` on the grid.
            outside: Value of the pixels outside of the grid.
        """
        # Faster than indexing.
        return np.append(field, np.asarray(outside, field.dtype)).take(self.cells)


@lru_cache(maxsize=2)
def _warp(grid: Grid) -> Warp:
    bounds, shape, overviews = _raster(grid)
    left, bottom, right, top = bounds
    x = left + (right - left) / shape[1] * (np.arange(shape[1]) + 0.5)
    y = top - (top - bottom) / shape[0] * (np.arange(shape[0]) + 0.5)
    lon, lat = to_lon_lat(x, y)
    cells = np.empty(shape, np.int32)
    # Some rows at a time, because PROJ takes and returns float64.
    for start in range(0, shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        found = cells_at(grid, lon, lat[rows, None])
        cells[rows] = np.where(found < 0, grid.rows * grid.columns, found)
    cells.flags.writeable = False
    return Warp(grid, bounds, shape, overviews, cells)


def _raster(grid: Grid) -> tuple[Bounds, tuple[int, int], tuple[int, ...]]:
    """Return bounds, shape and overviews of a grid's picture."""
    around = extent(grid)
    (left, right), (bottom, top) = to_metres([around.west, around.east], [around.south, around.north])
    if not bottom < top:
        raise InputError(
            f"map: expected a grid between {MOST_NORTHERN:.2f}° S and N, where Web Mercator ends, "
            f"found latitudes {around.south:.2f} … {around.north:.2f}"
        )
    width, height = _pixel(grid, around)
    columns, rows = round((right - left) / width), round((top - bottom) / height)
    overviews: list[int] = []
    multiple = 1
    while max(rows, columns) > LARGEST * multiple:
        multiple *= 2
        overviews.append(multiple)
    # A little more pixels, so that the overviews have the same bounds.
    shape = (-(-rows // multiple) * multiple, -(-columns // multiple) * multiple)
    if shape[0] * shape[1] > 2 * MOST_PIXELS:
        raise InputError(
            f"map: expected a picture of at most {2 * MOST_PIXELS} pixels, found {shape[0]} × {shape[1]}"
        )
    return (float(left), float(bottom), float(right), float(top)), shape, tuple(overviews)


def _pixel(grid: Grid, around: Extent) -> tuple[float, float]:
    """Return width and height on the map of the cell in the middle of a grid's bounds, or of the grid."""
    middle = (max(around.south, -MOST_NORTHERN) + min(around.north, MOST_NORTHERN)) / 2
    row, column = cell_at(grid, around.centre, middle) or (grid.rows // 2, grid.columns // 2)
    row, column = max(row, 1), max(column, 1)
    cells = [(row, column), (row, column - 1), (row - 1, column)]
    lon, lat = np.array([centre_of(grid, *cell) for cell in cells]).T
    x, y = to_metres(lon[0] + (lon - lon[0] + 180) % 360 - 180, lat)
    width, height = np.hypot(x[1:] - x[0], y[1:] - y[0])
    return float(width), float(height)
