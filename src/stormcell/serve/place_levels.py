"""The levels of all layers at a place, or the highest within a radius around it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stormcell.data.grid import Grid
from stormcell.errors import TooLargeError
from stormcell.maps.levels import Levels

_DEGREE_KM = 111.2  # of latitude, on a sphere of 6371 km
_MOST_VALUES = 5_000_000  # that are read for one answer


@dataclass(frozen=True, eq=False)
class Around:
    """Cells around a place.

    Attributes:
        rows: Their rows.
        columns: Their columns.
        near: Which cells of these rows and columns are within the radius, ``(y, x)``.
    """

    rows: slice
    columns: slice
    near: NDArray[np.bool_]


def around(grid: Grid, row: int, column: int, radius: float, lat: float) -> Around:
    """Return the cells within a radius.

    Args:
        grid: The radar's grid.
        row: Of the cell in the middle.
        column: Of the cell in the middle.
        radius: In km, > 0.
        lat: Degrees north of the place.
    """
    dy, dx = grid.dy / 1000, grid.dx / 1000
    if grid.degrees:
        dy, dx = grid.dy * _DEGREE_KM, grid.dx * _DEGREE_KM * max(0.01, float(np.cos(np.deg2rad(lat))))
    high, wide = int(radius / dy), int(radius / dx)
    rows = slice(max(0, row - high), min(grid.rows, row + high + 1))
    columns = slice(max(0, column - wide), min(grid.columns, column + wide + 1))
    y = (np.arange(rows.start, rows.stop) - row) * dy
    x = (np.arange(columns.start, columns.stop) - column) * dx
    return Around(rows, columns, np.hypot(y[:, None], x) <= radius)


def reader(row: int, column: int, cells: Around | None) -> Callable[[Levels], NDArray[np.uint8]]:
    """Return a function that reads levels ``(y, x, …)`` at a place: ``(…)``.

    Args:
        row: Of the place.
        column: Of the place.
        cells: Cells among which the highest level counts; None for the place alone.
    """
    if cells is None:
        return lambda levels: levels[row, column]

    def highest(levels: Levels) -> NDArray[np.uint8]:
        window = levels[cells.rows, cells.columns]
        if window.size > _MOST_VALUES:
            raise TooLargeError(
                f"search_radius: expected at most {_MOST_VALUES} values within it, found {window.size}"
            )
        # One more, so that 255, not observed, becomes 0, below all others.
        found: NDArray[np.uint8] = (window[cells.near] + np.uint8(1)).max(axis=0) - np.uint8(1)
        return found

    return highest
