"""The part of a source that a query asks for: cells, times and parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import NotPublishedError, TooLargeError
from stormcell.maps.areas import areas_of, covered
from stormcell.maps.levels import MISSING
from stormcell.maps.places import cell_at, extent, outside
from stormcell.serve import edr_query
from stormcell.serve.edr_query import Period
from stormcell.serve.edr_source import Parameter, Source

MOST_VALUES = 1_000_000


@dataclass(frozen=True, eq=False)
class Block:
    """A block of cells.

    Attributes:
        rows: Its rows.
        columns: Its columns.
        inside: Cells of the block that are asked for, ``(y, x)``; None for all.
    """

    rows: slice
    columns: slice
    inside: NDArray[np.bool_] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters that have the same times.

    Attributes:
        times: Their times.
        parameters: The parameters.
        levels: Levels of each parameter in the block, ``(time, y, x)``.
    """

    times: tuple[datetime, ...]
    parameters: tuple[Parameter, ...]
    levels: tuple[NDArray[np.uint8], ...]


def position(source: Source, coords: str) -> Block:
    """Return the cell at a place.

    Raises:
        ArgumentError: The place is not one.
        OutsideGridError: It is outside of the grid.
    """
    lon, lat = edr_query.point(coords)
    cell = cell_at(source.grid, lon, lat)
    if cell is None:
        raise outside(extent(source.grid))
    row, column = cell
    return Block(slice(row, row + 1), slice(column, column + 1))


def area(source: Source, coords: str) -> Block:
    """Return the cells that a polygon covers, also in part.

    Raises:
        ArgumentError: The polygon is not one.
        OutsideGridError: It is outside of the grid.
        TooLargeError: It is too large.
    """
    return _block(source, edr_query.polygon(coords), whole=False)


def cube(source: Source, bbox: str) -> Block:
    """Return the smallest block of cells that has all of a bounding box.

    Raises:
        ArgumentError: The box is not one.
        OutsideGridError: It is outside of the grid.
        TooLargeError: It is too large.
    """
    bounds, (west, south, east, north) = extent(source.grid), edr_query.box(bbox)
    turn = 360 * round((bounds.centre - (west + east) / 2) / 360)
    west, east = max(west + turn, bounds.west), min(east + turn, bounds.east)
    south, north = max(south, bounds.south), min(north, bounds.north)
    if west >= east or south >= north:
        raise outside(bounds)
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return _block(source, {"type": "Polygon", "coordinates": [corners]}, whole=True)


def _block(source: Source, polygon: dict[str, object], *, whole: bool) -> Block:
    (asked,) = areas_of(polygon)
    cells = covered(source.grid, asked.geometry)
    rows = slice(int(cells.rows.min()), int(cells.rows.max()) + 1)
    columns = slice(int(cells.columns.min()), int(cells.columns.max()) + 1)
    if whole:
        return Block(rows, columns)
    inside = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    inside[cells.rows - rows.start, cells.columns - columns.start] = True
    return Block(rows, columns, inside)


def select(source: Source, block: Block, period: Period, names: Sequence[str]) -> list[Group]:
    """Return the levels that a query asks for, parameters with the same times together.

    Raises:
        NotPublishedError: No parameter has a time within the period.
        TooLargeError: They are too many.
    """
    by_times: dict[tuple[datetime, ...], list[Parameter]] = {}
    for name in names:
        by_times.setdefault(source.parameters[name].times, []).append(source.parameters[name])
    chosen = {times: [k for k, time in enumerate(times) if period.includes(time)] for times in by_times}
    by_times = {times: group for times, group in by_times.items() if chosen[times]}
    if not by_times:
        first, last = source.times[0], source.times[-1]
        raise NotPublishedError(
            f"datetime: expected a time from {first:%Y-%m-%dT%H:%MZ} to {last:%Y-%m-%dT%H:%MZ}, found another"
        )
    cells = block.shape[0] * block.shape[1]
    values = cells * sum(len(chosen[times]) * len(group) for times, group in by_times.items())
    if values > MOST_VALUES:
        raise TooLargeError(f"query: expected at most {MOST_VALUES} values, found {values}")
    return [
        Group(
            tuple(times[k] for k in chosen[times]),
            tuple(group),
            tuple(_levels(parameter, chosen[times], block) for parameter in group),
        )
        for times, group in by_times.items()
    ]


def _levels(parameter: Parameter, times: list[int], block: Block) -> NDArray[np.uint8]:
    levels = parameter.read(block.rows, block.columns, times)
    if block.inside is not None:
        levels[:, ~block.inside] = MISSING
    return levels
