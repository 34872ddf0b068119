"""Conversion to coordinates that move with the rain, and back.

In *moving* coordinates every pixel keeps the place it has at the issue time: pixel ``(y, x)`` of a past or
future frame contains the rain that is at ``(y, x)`` at the issue time. Only growth, decay and change of shape
are then left to forecast (Germann & Zawadzki 2002, doi:10.1175/1520-0493(2002)130<2859:SDOTPO>2.0.CO;2).
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from stormcell.motion.advection import EVERYTHING, Field, area_displacements, sample
from stormcell.motion.decibels import from_moved_decibels, to_decibels


def inputs_to_moving(
    frames: Field,  # (T, y, x), the last at the issue time
    motion: Field,  # (2, y, x)
    rows: slice = EVERYTHING,
    cols: slice = EVERYTHING,
) -> Field:  # (T, rows, cols)
    """Move past frames along the motion field to the issue time; NaN where their rain came from outside."""
    moved = np.empty((len(frames), *frames[-1, rows, cols].shape), np.float32)
    moved[-1] = frames[-1, rows, cols]
    for back, path in enumerate(area_displacements(motion, len(frames) - 1, rows=rows, cols=cols), start=2):
        moved[-back] = sample(frames[-back], path, rows=rows, cols=cols)
    return moved


def rain_to_moving(
    rates: Field,  # (T, y, x) in mm/h, the last at the issue time
    motion: Field,  # (2, y, x)
    rows: slice = EVERYTHING,
    cols: slice = EVERYTHING,
) -> Field:  # (T, rows, cols) in mm/h
    """Move past rain as :func:`inputs_to_moving` does; decibels are interpolated."""
    return from_moved_decibels(inputs_to_moving(to_decibels(rates), motion, rows, cols))


def carriers(motion: Field, steps: int) -> Iterator["Carrier"]:
    """Yield, for each lead time, what moves fields from moving coordinates to the places of their rain.

    Args:
        motion: Pixels per time step ``(2, y, x)``.
        steps: Number of lead times.
    """
    for path in area_displacements(motion, steps):
        yield Carrier(path)


class Carrier:
    """Moves fields of one lead time from moving coordinates to the places of their rain.

    Args:
        path: Displacement from every pixel to the place its rain came from ``(2, y, x)``.

    Attributes:
        shape: Rows and columns.
        outside: Where rain comes from outside the grid ``(y, x)``.
        beyond: How many pixels beyond the edge it comes from there ``(n,)``, > 0.
    """

    def __init__(self, path: Field) -> None:
        self.shape = height, width = path.shape[1:]
        y, x = np.ogrid[:height, :width]
        self._columns, self._rows = path[0] + x.astype(np.float32), path[1] + y.astype(np.float32)
        self.outside = np.zeros(self.shape, np.bool_)
        for place, last in ((self._columns, width - 1), (self._rows, height - 1)):
            self.outside |= (place < 0) | (place > last)
        far = np.stack([self._columns[self.outside], self._rows[self.outside]])
        np.clip(self._columns, 0, width - 1, out=self._columns)
        np.clip(self._rows, 0, height - 1, out=self._rows)
        far -= [self._columns[self.outside], self._rows[self.outside]]
        self.beyond: Field = np.hypot(*far)

    def sample(
        self, fields: Field, rows: slice = EVERYTHING, cols: slice = EVERYTHING, *, cell: int = 1
    ) -> Field:
        """Return moved fields in an area; outside the grid, what is at its edge.

        Args:
            fields: Values without NaN, in cells that cover the grid, ``(field, y, x)``.
            rows: Rows of the area.
            cols: Columns of the area.
            cell: Side of a cell in pixels.
        """
        x, y = (in_cells(place[rows, cols], cell) for place in (self._columns, self._rows))
        found = np.empty((len(fields), *x.shape), np.float32)
        for field, moved in zip(fields, found, strict=True):
            cv2.remap(field, x, y, cv2.INTER_LINEAR, dst=moved, borderMode=cv2.BORDER_REPLICATE)
        return found

    @property
    def places(self) -> tuple[Field, Field]:
        """Column and row of the place that the rain of each pixel comes from, each ``(y, x)``.

        Rain from outside the grid has the nearest place at its edge, unless it was redirected.
        """
        return self._columns, self._rows

    def redirect(self, pixels: NDArray[np.intp], columns: Field, rows: Field) -> None:
        """Let the rain of some pixels come from other places.

        Args:
            pixels: Their numbers, row by row ``(n,)``.
            columns: Columns of the places ``(n,)``, within the grid.
            rows: Their rows.
        """
        self._columns.ravel()[pixels], self._rows.ravel()[pixels] = columns, rows

    def reach(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        """Return the rows and columns that the rain of an area comes from."""
        found = []
        for place, length in zip((self._rows, self._columns), self.shape, strict=True):
            part = place[rows, cols]
            found.append(slice(int(part.min()), min(int(part.max()) + 2, length)))
        return found[0], found[1]

    def nearest(self, frame: Field) -> Field:
        """Return a frame ``(y, x)`` moved by whole pixels; from outside comes the nearest edge pixel."""
        columns, rows = np.rint(self._columns), np.rint(self._rows)
        return np.asarray(cv2.remap(frame, columns, rows, cv2.INTER_NEAREST), np.float32)


def in_cells(places: Field, cell: int) -> Field:
    """Return places in units of cells, as their centres are counted."""
    return places if cell == 1 else (places - np.float32((cell - 1) / 2)) / np.float32(cell)
