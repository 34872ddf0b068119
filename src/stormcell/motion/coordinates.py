"""Conversion to coordinates that move with the rain, and back.

In *moving* coordinates every pixel keeps the place it has at the issue time: pixel ``(y, x)`` of a past or
future frame contains the rain that is at ``(y, x)`` at the issue time. Only growth, decay and change of shape
are then left to forecast (Germann & Zawadzki 2002, doi:10.1175/1520-0493(2002)130<2859:SDOTPO>2.0.CO;2).
"""

from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from stormcell.motion.advection import EVERYTHING, Field, area_displacements, sample
from stormcell.motion.decibels import from_moved_decibels, to_decibels

Inflow = Literal["mean", "nan"]

# Standard deviations in pixels of the Gaussian weights for means of the edge region. Rain from d pixels
# beyond the edge is the mean with standard deviation d, or with the largest if d is larger.
EDGE_SCALES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
TRUNCATE = 3.0  # standard deviations: Gaussian weights beyond are zero


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


def carriers(motion: Field, steps: int, inflow: Inflow = "mean") -> Iterator["Carrier"]:
    """Yield, for each lead time, what moves fields from moving coordinates to the places of their rain.

    Args:
        motion: Pixels per time step ``(2, y, x)``.
        steps: Number of lead times.
        inflow: Rain from outside the grid, which is unknown. ``"mean"``: a mean of the edge region, over an
            area that widens with the distance from the edge; ``"nan"``: NaN.
    """
    for path in area_displacements(motion, steps):
        yield Carrier(path, inflow)


class Carrier:
    """Moves fields of one lead time from moving coordinates to the places of their rain.

    Args:
        path: Displacement from every pixel to the place its rain came from ``(2, y, x)``.
        inflow: As in :func:`carriers`.
    """

    def __init__(self, path: Field, inflow: Inflow = "mean") -> None:
        self.shape = height, width = path.shape[1:]
        y, x = np.ogrid[:height, :width]
        self._columns, self._rows = path[0] + x.astype(np.float32), path[1] + y.astype(np.float32)
        self.outside = np.zeros(self.shape, np.bool_)
        for place, last in ((self._columns, width - 1), (self._rows, height - 1)):
            self.outside |= (place < 0) | (place > last)
        far = np.stack([self._columns[self.outside], self._rows[self.outside]])
        np.clip(self._columns, 0, width - 1, out=self._columns)
        np.clip(self._rows, 0, height - 1, out=self._rows)
        self._nearest: Field | None = None
        if inflow == "mean" and self.outside.any():
            self._nearest = np.stack([self._columns[self.outside], self._rows[self.outside]])
            self._beyond = far - self._nearest

    def __call__(self, fields: Field) -> Field:
        """Return fields ``(y, x)`` or ``(field, y, x)``, without NaN, moved."""
        many = fields if fields.ndim == 3 else fields[None]
        moved = self.sample(many)
        self.fill_inflow(moved, many)
        return moved.reshape(fields.shape)

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
        x, y = (_in_cells(place[rows, cols], cell) for place in (self._columns, self._rows))
        found = np.empty((len(fields), *x.shape), np.float32)
        for field, moved in zip(fields, found, strict=True):
            cv2.remap(field, x, y, cv2.INTER_LINEAR, dst=moved, borderMode=cv2.BORDER_REPLICATE)
        return found

    @property
    def places(self) -> tuple[Field, Field]:
        """Column and row of the place that the rain of each pixel comes from, each ``(y, x)``.

        Rain from outside the grid has the nearest place at its edge.
        """
        return self._columns, self._rows

    def reach(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        """Return the rows and columns that the rain of an area comes from."""
        found = []
        for place, length in zip((self._rows, self._columns), self.shape, strict=True):
            part = place[rows, cols]
            found.append(slice(int(part.min()), min(int(part.max()) + 2, length)))
        return found[0], found[1]

    def fill_inflow(self, moved: Field, fields: Field, *, cell: int = 1) -> None:
        """Replace, in moved fields, the rain from outside the grid.

        Args:
            moved: The moved fields ``(field, y, x)``.
            fields: The fields before, in cells that cover the grid.
            cell: Side of a cell in pixels.
        """
        if self._nearest is None:
            moved[:, self.outside] = np.nan
            return
        height, width = fields.shape[1:]
        nearest = np.clip(_in_cells(self._nearest, cell), 0, [[width - 1], [height - 1]]).astype(np.float32)
        weights = _EdgeWeights(self._beyond / np.float32(cell), nearest, (height, width))
        places = np.flatnonzero(self.outside)
        for field, means in zip(moved.reshape(len(moved), -1), _edge_means(fields), strict=True):
            field[places] = weights.values(means)

    def nearest(self, frame: Field) -> Field:
        """Return a frame ``(y, x)`` moved by whole pixels; from outside comes the nearest edge pixel."""
        columns, rows = np.rint(self._columns), np.rint(self._rows)
        return np.asarray(cv2.remap(frame, columns, rows, cv2.INTER_NEAREST), np.float32)


def _in_cells(places: Field, cell: int) -> Field:
    """Return places in units of cells, as their centres are counted."""
    return places if cell == 1 else (places - np.float32((cell - 1) / 2)) / np.float32(cell)


class _EdgeWeights:
    """Weights of the means of the edge region for places outside the grid.

    Args:
        beyond: Cells beyond the nearest point of the grid ``(2, n)``: along columns, along rows.
        nearest: That point ``(2, n)``.
        shape: Rows and columns of the grid.
    """

    def __init__(self, beyond: Field, nearest: Field, shape: tuple[int, int]) -> None:
        scales = len(EDGE_SCALES) + 1
        level = np.interp(np.hypot(*beyond), (0, *EDGE_SCALES), range(scales)).astype(np.float32)
        vertical = beyond[1] != 0
        # In the order of _edge_means.
        edge = np.where(vertical, beyond[1] > 0, 2 + (beyond[0] > 0))
        along = np.where(vertical, nearest[0], nearest[1])
        length = max(shape) + 1  # of a row of means
        lower, first = (
            np.minimum(values.astype(np.intp), most)
            for values, most in ((level, scales - 2), (along, np.where(vertical, shape[1], shape[0]) - 2))
        )
        first = np.maximum(first, 0)  # of a grid with one row or column
        place = (edge * scales + lower) * length + first
        up, right = (level - lower).astype(np.float32), (along - first).astype(np.float32)
        self._places = [place, place + 1, place + length, place + length + 1]
        self._weights = [(1 - up) * (1 - right), (1 - up) * right, up * (1 - right), up * right]

    def values(self, means: Field) -> Field:
        """Return what flows in at these places ``(n,)``, given the means of :func:`_edge_means`."""
        found: Field = self._weights[0] * means.take(self._places[0])
        for weight, place in zip(self._weights[1:], self._places[1:], strict=True):
            found += weight * means.take(place)
        return found


def _edge_means(fields: Field) -> Field:  # (field, 4 edges × (1 + scales) × (pixels of the longest edge + 1))
    """Average the region along the top, bottom, left and right edge; first the edge itself, then each scale.

    Weights are Gaussian along and across the edge, so two edges agree at the corner that they share.
    """
    means = np.zeros((len(fields), 4, len(EDGE_SCALES) + 1, max(fields.shape[1:]) + 1), np.float32)
    turned = fields.swapaxes(1, 2)
    for number, region in enumerate((fields, fields[:, ::-1], turned, turned[:, ::-1])):
        means[:, number, :, : region.shape[2]] = _means_along(region)
    return means.reshape(len(fields), -1)


def _means_along(region: Field) -> Field:  # (field, 1 + scales, x), for (field, y, x) whose row 0 is the edge
    rows = np.arange(min(int(TRUNCATE * EDGE_SCALES[-1]) + 1, region.shape[1]))
    scales = np.array(EDGE_SCALES)[:, None]
    weights = np.exp(-0.5 * (rows / scales) ** 2) * (rows <= (TRUNCATE * scales).astype(int))
    weights /= weights.sum(axis=1, keepdims=True)
    across = np.matmul(weights.astype(np.float32), region[:, : len(rows)])
    means = [region[:, 0]]
    for number, scale in enumerate(EDGE_SCALES):
        total, weight = (
            gaussian_filter1d(values, scale, mode="constant", truncate=TRUNCATE)
            for values in (across[:, number], np.ones_like(across[:1, 0]))
        )
        means.append(total / weight)
    return np.stack(means, axis=1)
