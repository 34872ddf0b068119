"""Overlapping tiles of a grid, so that a network needs bounded memory on a grid of any size."""

from collections.abc import Iterator
from typing import NamedTuple


class Tile(NamedTuple):
    """A tile, and the larger area that the network reads to forecast it.

    Attributes:
        rows: Rows of the tile.
        cols: Columns of the tile.
        read_rows: Rows that are read, ``rows`` included.
        read_cols: Columns that are read, ``cols`` included.
    """

    rows: slice
    cols: slice
    read_rows: slice
    read_cols: slice

    @property
    def crop(self) -> tuple[slice, slice]:
        """Rows and columns of the tile, counted from the first that is read."""
        return (
            slice(self.rows.start - self.read_rows.start, self.rows.stop - self.read_rows.start),
            slice(self.cols.start - self.read_cols.start, self.cols.stop - self.read_cols.start),
        )


def tiles(height: int, width: int, *, side: int, overlap: int, multiple: int = 1) -> Iterator[Tile]:
    """Yield tiles that cover a grid, each with an overlap that is cut off at the edges of the grid.

    Args:
        height: Rows of the grid.
        width: Columns of the grid.
        side: Largest side of the area that is read, in pixels, if the overlap leaves room for a tile in it.
        overlap: Pixels that are read beyond each side of a tile.
        multiple: Every area that is read begins at a multiple of this number, in rows and columns.

    Example:
        >>> for tile in tiles(10, 20, side=18, overlap=4, multiple=2):
        ...     print(tile.cols, tile.read_cols)
        slice(0, 10, None) slice(0, 14, None)
        slice(10, 20, None) slice(6, 20, None)
    """
    for rows, read_rows in _ranges(height, side, overlap, multiple):
        for cols, read_cols in _ranges(width, side, overlap, multiple):
            yield Tile(rows, cols, read_rows, read_cols)


def _ranges(length: int, side: int, overlap: int, multiple: int) -> Iterator[tuple[slice, slice]]:
    if length <= side:
        yield slice(0, length), slice(0, length)
        return
    overlap += -overlap % multiple
    most = side - 2 * overlap
    most = max(most - most % multiple, multiple)
    count = -(-length // most)
    inner = -(-length // count)
    inner += -inner % multiple
    for first in range(0, length, inner):
        last = min(first + inner, length)
        yield slice(first, last), slice(max(first - overlap, 0), min(last + overlap, length))
