"""The cell of a radar's grid at a longitude and latitude, and the place of a cell.

Longitudes are continuous across the 180th meridian: the bounds of a grid that crosses it end beyond 180°.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyproj
from numpy.typing import ArrayLike, NDArray
from pyproj.enums import TransformDirection

from stormcell.data.grid import Grid
from stormcell.data.projection import to_degrees
from stormcell.errors import OutsideGridError

Degrees = NDArray[np.float64]


@dataclass(frozen=True)
class Extent:
    """Bounds of a grid in degrees.

    Attributes:
        west: In -180 … 180.
        south: In -90 … 90.
        east: In ``west`` … ``west`` + 360.
        north: In -90 … 90.
    """

    west: float
    south: float
    east: float
    north: float

    @property
    def centre(self) -> float:
        """Longitude of the middle."""
        return (self.west + self.east) / 2


def cells_at(grid: Grid, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int64]:
    """Return the cells at places, as ``row * grid.columns + column``, -1 outside of the grid.

    Args:
        grid: Pixels in any projection, or in degrees.
        lon: Degrees east, of any shape.
        lat: Degrees north, of the same shape.

    Example:
        >>> grid = Grid.from_centres(pyproj.CRS(4326), [24.0, 24.1, 24.2], [60.1, 60.0])
        >>> cells_at(grid, [24.0, 24.21, 384.1, 25], [60.0, 60.1, 60.1, 60]).tolist()
        [3, 2, 1, -1]
    """
    east, north = np.broadcast_arrays(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
    west_edge, north_edge = grid.west - grid.dx / 2, grid.north + grid.dy / 2
    with np.errstate(invalid="ignore"):  # infinite places are outside
        if grid.degrees:
            x, y = west_edge + (east - west_edge) % 360, north
        else:
            x, y = _transformer(grid.crs_wkt).transform(east, north, direction=TransformDirection.INVERSE)
        column, row = np.floor((x - west_edge) / grid.dx), np.floor((north_edge - y) / grid.dy)
        inside = (column >= 0) & (column < grid.columns) & (row >= 0) & (row < grid.rows)
        inside &= _near(extent(grid), east, north)
        return np.where(inside, row * grid.columns + column, -1.0).astype(np.int64)


def cell_at(grid: Grid, lon: float, lat: float) -> tuple[int, int] | None:
    """Return row and column of the cell at a place, None outside of the grid.

    Example:
        >>> grid = Grid.from_centres(pyproj.CRS(4326), [24.0, 24.1, 24.2], [60.1, 60.0])
        >>> cell_at(grid, 24.19, 60.01), cell_at(grid, 0, 0)
        ((1, 2), None)
    """
    cell = int(cells_at(grid, lon, lat))
    return None if cell < 0 else divmod(cell, grid.columns)


def centre_of(grid: Grid, row: int, column: int) -> tuple[float, float]:
    """Return longitude, in -180 … 180, and latitude of a cell's centre."""
    lon, lat = _lon_lat(grid, grid.west + grid.dx * column, grid.north - grid.dy * row)
    return (float(lon) + 180) % 360 - 180, float(lat)


@lru_cache(maxsize=8)
def extent(grid: Grid) -> Extent:
    """Return the bounds of the outer edges of a grid's pixels in degrees."""
    lon, lat = _border(grid)
    south, north = max(float(lat.min()), -90.0), min(float(lat.max()), 90.0)
    if round((lon[-1] - lon[0]) / 360) != 0:  # The border goes around a pole.
        south, north = (south, 90.0) if lat.mean() > 0 else (-90.0, north)
        return Extent(-180.0, south, 180.0, north)
    west, east = float(lon.min()), float(lon.max())
    shift = (west + 180) // 360 * 360
    return Extent(west - shift, south, east - shift, north)


def outside(bounds: Extent) -> OutsideGridError:
    """Return the error of a place outside of a grid with these bounds."""
    west, south, east, north = (round(v, 4) for v in (bounds.west, bounds.south, bounds.east, bounds.north))
    return OutsideGridError(
        f"place: expected one inside of the radar's grid, {south:g} to {north:g}° N and "
        f"{west:g} to {east:g}° E, found one outside",
        (west, south, east, north),
    )


def outline(grid: Grid, points: int = 16) -> list[tuple[float, float]]:
    """Return longitude and latitude along the outer edges of a grid, once around; the last is the first.

    Args:
        grid: Pixels in any projection, or in degrees.
        points: On each side.
    """
    lon, lat = _border(grid)
    bounds = extent(grid)
    lon = lon + 360 * np.round((bounds.centre - (lon.min() + lon.max()) / 2) / 360)
    columns, rows = grid.columns + 1, grid.rows + 1
    starts = [0, columns, columns + rows, 2 * columns + rows]
    some = [
        start + round((side - 1) * k / points)
        for start, side in zip(starts, (columns, rows, columns, rows), strict=True)
        for k in range(points)
    ]
    around = [(round(float(lon[k]), 5), round(float(lat[k]), 5)) for k in some]
    return [*around, around[0]]


def _border(grid: Grid) -> tuple[Degrees, Degrees]:
    """Return longitude and latitude along the outer edges, once around, at every corner of a pixel."""
    x = grid.west + grid.dx * (np.arange(grid.columns + 1) - 0.5)
    y = grid.north - grid.dy * (np.arange(grid.rows + 1) - 0.5)
    around = [(x, y[0]), (x[-1], y), (x[::-1], y[-1]), (x[0], y[::-1])]
    sides = [np.broadcast_arrays(east, north) for east, north in around]
    lon, lat = _lon_lat(grid, np.concatenate([s[0] for s in sides]), np.concatenate([s[1] for s in sides]))
    return (lon if grid.degrees else np.unwrap(lon, period=360)), lat


def _lon_lat(grid: Grid, x: ArrayLike, y: ArrayLike) -> tuple[Degrees, Degrees]:
    if grid.degrees:
        return np.asarray(x, np.float64), np.asarray(y, np.float64)
    lon, lat = _transformer(grid.crs_wkt).transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def _near(bounds: Extent, lon: Degrees, lat: Degrees) -> NDArray[np.bool_]:
    """Whether places are in or near bounds: projections may map distant places into a grid."""
    slack = (bounds.north - bounds.south) / 100
    east = (lon - bounds.west + slack) % 360 <= bounds.east - bounds.west + 2 * slack
    return east & (bounds.south - slack <= lat) & (lat <= bounds.north + slack)


@lru_cache(maxsize=8)
def _transformer(crs_wkt: str) -> pyproj.Transformer:
    return to_degrees(pyproj.CRS.from_wkt(crs_wkt))
