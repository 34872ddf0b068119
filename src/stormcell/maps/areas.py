"""Polygons on the radar's grid: which cells they cover, and how much of each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from numpy.typing import NDArray
from pyproj.enums import TransformDirection

from stormcell.data.grid import Grid
from stormcell.data.projection import to_degrees
from stormcell.errors import ArgumentError, InputError, TooLargeError
from stormcell.maps.places import extent, outside

MOST_AREAS = 100
MOST_VERTICES = 20_000
MOST_CELLS = 200_000
_LONGEST_SIDE = 0.1  # degrees; a straight line on the map bends by a few metres on this length

_NEAR = 10  # degrees

Ring = NDArray[np.float64]


@dataclass(frozen=True)
class Area:
    """A polygon with a name.

    Attributes:
        name: Of the feature: its id, or its property ``name``, or its number.
        geometry: GeoJSON Polygon or MultiPolygon in degrees, as text.
        properties: Of the feature.
    """

    name: str
    geometry: str
    properties: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Covered:
    """The cells that a polygon covers.

    Attributes:
        rows: Rows of the cells, ``(cell,)``.
        columns: Columns of the cells, ``(cell,)``.
        weights: Covered area of each cell, ``(cell,)``, in areas of a whole cell.
        grid_share: Share of the polygon that lies inside of the grid.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]
    grid_share: float


def areas_of(document: Any) -> list[Area]:
    """Return the polygons of a GeoJSON document.

    Raises:
        ArgumentError: It is not GeoJSON with polygons.
        TooLargeError: There are too many areas or vertices.

    Example:
        >>> square = [[[24, 60], [25, 60], [25, 61], [24, 61], [24, 60]]]
        >>> [area.name for area in areas_of({"type": "Polygon", "coordinates": square})]
        ['1']
    """
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection":
        features = document.get("features")
    elif kind == "Feature":
        features = [document]
    else:
        features = [{"geometry": document, "properties": {}}]
    if not isinstance(features, list) or not features:
        raise ArgumentError("area: expected GeoJSON with at least one feature, found none")
    if len(features) > MOST_AREAS:
        raise TooLargeError(f"area: expected at most {MOST_AREAS} areas, found {len(features)}")
    found = [_area(feature, number) for number, feature in enumerate(features, start=1)]
    vertices = sum(len(ring) for area in found for rings in _rings(area.geometry) for ring in rings)
    if vertices > MOST_VERTICES:
        raise TooLargeError(f"area: expected at most {MOST_VERTICES} vertices, found {vertices}")
    return found


def read_areas(path: Path) -> dict[str, Area]:
    """Return the areas of a GeoJSON file by name.

    Raises:
        InputError: It cannot be read, has no polygons or too many, or two areas have the same name.
    """
    try:
        areas = areas_of(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a GeoJSON file with polygons: {error}") from None
    named = {area.name: area for area in areas}
    if len(named) < len(areas):
        raise InputError(f"{path}: expected areas with different names, found the same name twice")
    return named


@lru_cache(maxsize=64)
def covered(grid: Grid, geometry: str) -> Covered:
    """Return the cells that a polygon covers, exactly.

    Args:
        grid: The radar's grid.
        geometry: GeoJSON Polygon or MultiPolygon in degrees, as text.

    Raises:
        ArgumentError: The polygon is not one, or lies where the grid's projection is not valid.
        OutsideGridError: It lies outside of the grid.
        TooLargeError: It covers too many cells.
    """
    places = _rings(geometry)
    _expect_near(grid, np.concatenate([ring for rings in places for ring in rings]))
    polygons = [[_project(grid, ring) for ring in rings] for rings in places]
    x, y = np.concatenate([ring for rings in polygons for ring in rings]).T
    edges = _edges(grid)
    inside = (
        min(x.max(), edges[2]) - max(x.min(), edges[0]),
        min(y.max(), edges[3]) - max(y.min(), edges[1]),
    )
    if min(inside) <= 0:
        raise outside(extent(grid))
    cells = inside[0] / grid.dx * inside[1] / grid.dy
    if cells > MOST_CELLS:
        raise TooLargeError(f"area: expected at most {MOST_CELLS} cells within its bounds, found {cells:.0f}")
    index, share = _extract(grid, polygons)
    if not len(index):
        raise outside(extent(grid))
    rows, columns = np.divmod(index, grid.columns)
    whole = sum(abs(_signed(rings[0])) - sum(abs(_signed(hole)) for hole in rings[1:]) for rings in polygons)
    weights = share * np.cos(np.deg2rad(grid.y[rows])) if grid.degrees else share
    grid_share = min(1.0, float(share.sum()) * grid.dx * grid.dy / whole) if whole > 0 else 1.0
    return Covered(
        rows.astype(np.int32), columns.astype(np.int32), weights.astype(np.float32), round(grid_share, 4)
    )


def _area(feature: Any, number: int) -> Area:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        found = geometry.get("type") if isinstance(geometry, dict) else None
        raise ArgumentError(f"area {number}: expected a Polygon or MultiPolygon, found {str(found)[:40]}")
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise ArgumentError(f"area {number}: expected properties by name, found something else")
    name = feature.get("id") or properties.get("id") or properties.get("name") or number
    text = json.dumps({"type": geometry["type"], "coordinates": geometry.get("coordinates")})
    _rings(text)
    return Area(str(name)[:80], text, properties)


def _rings(geometry: str) -> list[list[Ring]]:
    """Return the rings ``(vertex, 2)`` of each polygon."""
    document = json.loads(geometry)
    polygons = document["coordinates"]
    if document["type"] == "Polygon":
        polygons = [polygons]
    try:
        found = [
            [np.array([place[:2] for place in ring], np.float64) for ring in rings] for rings in polygons
        ]
    except (TypeError, ValueError, IndexError, KeyError):
        found = []
    rings = [ring for polygon in found for ring in polygon]
    if not rings or not all(found) or not all(_is_ring(ring) for ring in rings):
        raise ArgumentError(
            "area: expected rings of at least 3 longitudes and latitudes in degrees, found something else"
        )
    return found


def _is_ring(ring: Ring) -> bool:
    if ring.ndim != 2 or ring.shape[1] != 2 or len(np.unique(ring, axis=0)) < 3:
        return False
    return bool((np.abs(ring[:, 0]) <= 540).all() and (np.abs(ring[:, 1]) <= 90).all())


def _expect_near(grid: Grid, places: Ring) -> None:
    """Refuse places so far away that the grid's projection may not be valid there."""
    bounds = extent(grid)
    lon = (places[:, 0] - bounds.centre + 180) % 360 - 180 + bounds.centre
    lat = places[:, 1]
    if (
        lon.max() < bounds.west
        or lon.min() > bounds.east
        or lat.max() < bounds.south
        or lat.min() > bounds.north
    ):
        raise outside(bounds)
    beyond = max(
        bounds.west - lon.min(), lon.max() - bounds.east, bounds.south - lat.min(), lat.max() - bounds.north
    )
    if beyond > _NEAR:
        raise ArgumentError(
            f"area: expected vertices within {_NEAR}° of the radar's grid, found one {beyond:.0f}° away"
        )


def _project(grid: Grid, ring: Ring) -> Ring:
    """Return a ring, closed, in the coordinates of a grid."""
    closed = np.vstack([ring, ring[:1]]) if (ring[0] != ring[-1]).any() else ring
    if grid.degrees:
        west, east = _edges(grid)[::2]
        middle = (closed[:, 0].min() + closed[:, 0].max()) / 2
        turns = np.round(((west + east) / 2 - middle) / 360)
        moved: Ring = closed + np.array([360 * turns, 0])
        return moved
    lon, lat = _with_short_sides(closed).T
    x, y = _transformer(grid.crs_wkt).transform(lon, lat, direction=TransformDirection.INVERSE)
    projected = np.column_stack([x, y])
    if not np.isfinite(projected).all():
        raise outside(extent(grid))
    return projected


def _with_short_sides(ring: Ring) -> Ring:
    """Divide long sides, which are straight in degrees and curved on the map."""
    pieces = [
        np.linspace(
            start, end, max(1, int(np.ceil(np.abs(end - start).max() / _LONGEST_SIDE))), endpoint=False
        )
        for start, end in pairwise(ring)
    ]
    return np.vstack([*pieces, ring[-1:]])


def _extract(grid: Grid, polygons: Sequence[Sequence[Ring]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    coordinates = [[ring.tolist() for ring in rings] for rings in polygons]
    feature = {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "MultiPolygon", "coordinates": coordinates},
    }
    try:
        found = exact_extract(_blank(grid), [feature], ["cell_id", "coverage"])[0]["properties"]
    except RuntimeError as error:
        raise ArgumentError(f"area: expected a polygon, found one that is not valid: {error}") from None
    return np.asarray(found["cell_id"], np.int64), np.asarray(found["coverage"], np.float64)


@lru_cache(maxsize=2)
def _blank(grid: Grid) -> NumPyRasterSource:
    """Return a raster without values: only its cells are asked for."""
    return NumPyRasterSource(np.zeros((grid.rows, grid.columns), np.uint8), *_edges(grid))


def _edges(grid: Grid) -> tuple[float, float, float, float]:
    left, top = grid.west - grid.dx / 2, grid.north + grid.dy / 2
    return left, top - grid.rows * grid.dy, left + grid.columns * grid.dx, top


def _signed(ring: Ring) -> float:
    x, y = (ring - ring[0]).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2


@lru_cache(maxsize=4)
def _transformer(crs_wkt: str) -> pyproj.Transformer:
    return to_degrees(pyproj.CRS.from_wkt(crs_wkt))
