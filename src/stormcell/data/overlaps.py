"""The areas in which the pixels of two grids overlap.

The corners of target pixels are projected to the source grid, where a target pixel is a quadrilateral with
straight sides. Its overlaps with the source pixels are computed exactly, not sampled: the quadrilateral is
cut into vertical slices in which both boundaries are straight, and the mean of a boundary within a row of
pixels has a closed form. (GDAL's average takes the box around two corners of the target pixel, which is wrong
where one grid is turned against the other.)
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyproj
from numpy.typing import NDArray
from scipy import sparse

from stormcell.data.grid import Grid
from stormcell.errors import InputError

Points = NDArray[np.float64]

_BLOCK_PIXELS = 2**18  # target pixels whose overlaps are computed at once
_WIDEST = 512  # source pixels along a side of a target pixel
_WHOLE = 1e-4  # columns by which a whole number may be missed, because coordinates are rounded


@lru_cache(maxsize=2)
def overlaps(source: Grid, target: Grid) -> sparse.csr_array:
    """Return the share of each target pixel's area that each source pixel covers.

    Returns:
        A sparse matrix ``(target pixel, source pixel)``, row by row of the grids. The sum over the source
        pixels is the share of the target pixel inside the source grid, 0 … 1.

    Raises:
        InputError: The grids do not overlap.
    """
    to_source = pyproj.Transformer.from_crs(target.crs_wkt, source.crs_wkt, always_xy=True)
    # Columns of a grid around the earth, which has no first one.
    turn = round(360 / source.dx) if source.degrees and _is_whole(360 / source.dx) else None
    step = max(1, _BLOCK_PIXELS // target.columns)
    parts = []
    for first in range(0, target.rows, step):
        rows = min(step, target.rows - first)
        quads = _quads(source, target, to_source, first, rows)
        weights, pixels, cells = _areas(quads, source.rows, source.columns, turn)
        parts.append(
            sparse.csr_array(
                # With 32 bits, the matrix takes two thirds of the memory; no grid has more pixels.
                (weights, (pixels.astype(np.int32), cells.astype(np.int32))),
                shape=(rows * target.columns, source.rows * source.columns),
                dtype=np.float32,
            )
        )
    matrix = sparse.csr_array(sparse.vstack(parts, format="csr"))
    if not matrix.nnz:
        raise InputError("grid: expected a grid that overlaps the file's, found one that does not")
    return matrix


def _quads(
    source: Grid, target: Grid, to_source: pyproj.Transformer, first: int, rows: int
) -> tuple[Points, Points]:
    """Return the corners of some rows of target pixels, in pixels of the source grid.

    Returns:
        x and y, each ``(corner, pixel)``, from the outer corner of source pixel (0, 0); NaN where a corner
        cannot be projected.
    """
    sides = target.west + target.dx * (np.arange(target.columns + 1) - 0.5)
    ends = target.north - target.dy * (np.arange(first, first + rows + 1) - 0.5)
    east, north = to_source.transform(*np.meshgrid(sides, ends))
    if source.degrees:  # the same meridian has many longitudes
        east = _nearest_turn(east, source.west + source.dx * (source.columns - 1) / 2)
    across = (east - source.west) / source.dx + 0.5
    down = (source.north - north) / source.dy + 0.5
    bad = ~(np.isfinite(across) & np.isfinite(down))
    across[bad] = down[bad] = np.nan

    def corners(values: Points) -> Points:
        sides = values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1]
        return np.stack([side.ravel() for side in sides])

    x, y = corners(across), corners(down)
    if source.degrees:  # a pixel may lie across the seam
        x = _nearest_turn(x * source.dx, x[:1] * source.dx) / source.dx
    return x, y


def _nearest_turn(longitude: Points, to: Points | float) -> Points:
    """Return longitudes plus or minus whole turns, at most half a turn from a place."""
    return to + (longitude - to + 180) % 360 - 180


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < _WHOLE


def _areas(
    quads: tuple[Points, Points], rows: int, columns: int, turn: int | None
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the overlaps of quadrilaterals with the cells of a grid, as shares of the quadrilaterals.

    Args:
        quads: x and y of the corners, in cells.
        rows: Rows of the grid.
        columns: Columns of the grid.
        turn: Number of columns after which they repeat; None if they do not.

    Returns:
        Share, number of the quadrilateral and number of the cell, one entry for each overlapping pair.
    """
    x, y = quads
    area = np.abs((x[2] - x[0]) * (y[3] - y[1]) - (x[3] - x[1]) * (y[2] - y[0])) / 2
    with np.errstate(invalid="ignore"):
        reach = np.maximum(np.ptp(x, axis=0), np.ptp(y, axis=0))
        # A quadrilateral across the edge of a projection can span the whole grid.
        usable = (reach <= _WIDEST) & (area > 0)
        usable &= (x.max(0) > 0) & (x.min(0) < columns) & (y.max(0) > 0) & (y.min(0) < rows)
    number = np.flatnonzero(usable)
    x, y, area = x[:, number], y[:, number], area[number]
    shares, pixels, cells = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for active, column, low, high, width in _slices(x, y):
        top = np.floor(np.minimum(low.min(0), high.min(0))).astype(np.int64)
        bottom = np.ceil(np.maximum(low.max(0), high.max(0))).astype(np.int64)
        for offset in range(int((bottom - top).max(initial=0))):
            row = top + offset
            if turn is not None:
                column = column % turn
            part = width * (_mean_clamped(high, row) - _mean_clamped(low, row))
            inside = (part > 0) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            shares.append((part[inside] / area[active[inside]]).astype(np.float32))
            pixels.append(number[active[inside]])
            cells.append(row[inside] * columns + column[inside])
    return np.concatenate(shares), np.concatenate(pixels), np.concatenate(cells)


def _slices(
    x: Points, y: Points
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Points, Points, Points]]:
    """Cut quadrilaterals into vertical slices, in which lower and upper boundary are straight lines.

    Slices end at the corners and at the borders of columns.

    Yields:
        Numbers of the quadrilaterals, their column, the lower and the upper boundary at both ends of the
        slice ``(end, quadrilateral)``, and the width of the slice.
    """
    breaks = np.sort(x, axis=0)
    for left, right in pairwise(breaks):
        start = np.floor(left).astype(np.int64)
        for offset in range(int((np.ceil(right) - start).max(initial=0))):
            column = start + offset
            west, east = np.maximum(left, column), np.minimum(right, column + 1)
            active = np.flatnonzero(east - west > 1e-9)
            if not active.size:
                continue
            west, width = west[active], (east - west)[active]
            # At two places inside the slice, where exactly two sides cross, neither of them vertical.
            near = _boundaries(x[:, active], y[:, active], west + width / 4)
            far = _boundaries(x[:, active], y[:, active], west + 3 * width / 4)
            low, high = (
                np.stack([1.5 * one - 0.5 * two, 1.5 * two - 0.5 * one])
                for one, two in zip(near, far, strict=True)
            )
            yield active, column[active], low, high, width


def _boundaries(x: Points, y: Points, at: Points) -> tuple[Points, Points]:
    """Return the lowest and the highest y of quadrilaterals at an x that no corner has."""
    low, high = np.full(at.shape, np.inf), np.full(at.shape, -np.inf)
    for one, two in ((0, 1), (1, 2), (2, 3), (3, 0)):
        crosses = (x[one] < at) != (x[two] < at)
        run = np.where(crosses, x[two] - x[one], 1)
        height = y[one] + (at - x[one]) / run * (y[two] - y[one])
        low = np.where(crosses, np.minimum(low, height), low)
        high = np.where(crosses, np.maximum(high, height), high)
    return low, high


def _mean_clamped(line: Points, row: NDArray[np.int64]) -> Points:
    """Return the mean along straight lines, given at both ends, of their height in a row of cells, 0 … 1."""
    one, two = line[0] - row, line[1] - row
    rise = two - one
    level = np.abs(rise) < 1e-7
    clamped = np.clip((one + two) / 2, 0, 1)
    return np.where(level, clamped, (_integral(two) - _integral(one)) / np.where(level, 1, rise))


def _integral(height: Points) -> Points:
    """Return the integral of ``clip(h, 0, 1)`` from 0 to a height."""
    inside = np.clip(height, 0, 1)
    return inside**2 / 2 + np.maximum(height - 1, 0)
