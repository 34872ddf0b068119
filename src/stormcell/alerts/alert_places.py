"""The places of rules: their shape, and the cells that they cover."""

import json
from typing import Any

import numpy as np
import pyproj

from stormcell.alerts.rules import Polygon, Spot
from stormcell.data.grid import Grid
from stormcell.maps.areas import Covered, covered
from stormcell.maps.places import cell_at, extent, outside

_VERTICES = 64  # of a circle


def geometry(place: Spot | Polygon) -> dict[str, Any]:
    """Return a place as GeoJSON; a circle is a polygon of 64 vertices.

    Example:
        >>> geometry(Spot(lat=52, lon=10))
        {'type': 'Point', 'coordinates': [10.0, 52.0]}
    """
    if isinstance(place, Polygon):
        return place.model_dump()
    if place.radius_km is None:
        return {"type": "Point", "coordinates": [place.lon, place.lat]}
    # Clockwise azimuths, downwards: GeoJSON's outer rings are anticlockwise.
    azimuths = np.linspace(360, 0, _VERTICES + 1)
    lon, lat, _ = pyproj.Geod(ellps="WGS84").fwd(
        np.full_like(azimuths, place.lon),
        np.full_like(azimuths, place.lat),
        azimuths,
        np.full_like(azimuths, 1000 * place.radius_km),
    )
    ring = np.column_stack([np.unwrap(lon, period=360), lat]).round(6)
    ring[-1] = ring[0]
    return {"type": "Polygon", "coordinates": [ring.tolist()]}


def cells_of(place: Spot | Polygon, grid: Grid) -> Covered:
    """Return the cells that a place covers; a point has the cell that contains it.

    Raises:
        OutsideGridError: It is outside of the grid.
        TooLargeError: It covers too many cells.
    """
    if isinstance(place, Polygon) or place.radius_km is not None:
        return covered(grid, json.dumps(geometry(place)))
    cell = cell_at(grid, place.lon, place.lat)
    if cell is None:
        raise outside(extent(grid))
    row, column = (np.array([index], np.int32) for index in cell)
    return Covered(row, column, np.ones(1, np.float32), 1.0)
