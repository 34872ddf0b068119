"""Conversion to coordinates that move with the rain, and back.

In *moving* coordinates every pixel keeps the place it has at the issue time: pixel ``(y, x)`` of a past or
future frame contains the rain that is at ``(y, x)`` at the issue time. Only growth, decay and change of shape
are then left to forecast (Germann & Zawadzki 2002, doi:10.1175/1520-0493(2002)130<2859:SDOTPO>2.0.CO;2).
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates

from stormcell.motion.advection import EVERYTHING, Field, displacements, row_bands, sample

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
    past = frames[-2::-1]
    paths = displacements(motion, len(past), rows=rows, cols=cols)
    moved = [sample(frame, path, rows=rows, cols=cols) for frame, path in zip(past, paths, strict=True)]
    return np.stack([*moved[::-1], frames[-1, rows, cols]])


def truths_to_moving(
    frames: Field,  # (S, y, x), lead times 1 … S
    motion: Field,  # (2, y, x)
    rows: slice = EVERYTHING,
    cols: slice = EVERYTHING,
) -> Field:  # (S, rows, cols)
    """Move future frames against the motion field to the issue time; NaN where their rain left the grid."""
    paths = displacements(-motion, len(frames), rows=rows, cols=cols)
    return np.stack(
        [sample(frame, path, rows=rows, cols=cols) for frame, path in zip(frames, paths, strict=True)]
    )


def forecast_to_fixed(
    moving: Iterable[Field],  # S frames (y, x), lead times 1 … S, without NaN
    motion: Field,  # (2, y, x)
    steps: int,
    inflow: Inflow = "mean",
) -> Iterator[Field]:  # S frames (y, x)
    """Move a forecast from moving coordinates to the places where its rain will be, lead time by lead time.

    Rain that flows in from outside the grid is unknown.

    Args:
        moving: The forecast in moving coordinates.
        motion: Pixels per time step ``(2, y, x)``.
        steps: Number of lead times S.
        inflow: ``"mean"``: rain from outside is a mean of the edge region, over an area that widens with the
            distance from the edge; ``"nan"``: it is NaN.
    """
    for frame, carry in zip(moving, carriers(motion, steps, inflow), strict=False):
        yield carry(frame)


def carriers(motion: Field, steps: int, inflow: Inflow = "mean") -> Iterator["Carrier"]:
    """Yield, for each lead time, what moves fields from moving coordinates to the places of their rain.

    Args:
        motion: Pixels per time step ``(2, y, x)``.
        steps: Number of lead times.
        inflow: As in :func:`forecast_to_fixed`.
    """
    bands = [displacements(motion, steps, rows=rows) for rows in row_bands(*motion.shape[1:])]
    for _ in range(steps):
        yield Carrier(np.concatenate([next(paths) for paths in bands], axis=1), inflow)


class Carrier:
    """Moves fields of one lead time from moving coordinates to the places of their rain.

    Args:
        path: Displacement from every pixel to the place its rain came from ``(2, y, x)``.
        inflow: As in :func:`forecast_to_fixed`.
    """

    def __init__(self, path: Field, inflow: Inflow) -> None:
        height, width = path.shape[1:]
        y, x = np.ogrid[:height, :width]
        column, row = path[0] + x.astype(np.float32), path[1] + y.astype(np.float32)
        self._columns, self._rows = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
        self.outside = (column != self._columns) | (row != self._rows)
        self._place = np.stack([column[self.outside], row[self.outside]])
        self._nearest = np.stack([self._columns[self.outside], self._rows[self.outside]])
        self._inflow = inflow

    def __call__(self, frame: Field) -> Field:
        """Return a field ``(y, x)``, without NaN, moved."""
        moved = np.asarray(
            cv2.remap(frame, self._columns, self._rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
            np.float32,
        )
        if self._place.size:
            if self._inflow == "nan":
                moved[self.outside] = np.nan
            else:
                moved[self.outside] = _inflow(_edge_means(frame), self._place, self._nearest)
        return moved


def _edge_means(frame: Field) -> list[Field]:  # 4 arrays (1 + scales, pixels of the edge)
    """Average the region along the top, bottom, left and right edge; first the edge itself, then each scale.

    Weights are Gaussian along and across the edge, so two edges agree at the corner that they share.
    """
    return [_means_along(region) for region in (frame, frame[::-1], frame.T, frame.T[::-1])]


def _means_along(region: Field) -> Field:  # (1 + scales, x), for a region (y, x) whose row 0 is the edge
    means = [region[0]]
    for scale in EDGE_SCALES:
        rows = np.arange(min(int(TRUNCATE * scale) + 1, len(region)))
        weights = np.exp(-0.5 * (rows / scale) ** 2)
        across = weights @ region[: len(rows)] / weights.sum()
        total, weight = (
            gaussian_filter1d(values, scale, mode="constant", truncate=TRUNCATE)
            for values in (across, np.ones_like(across))
        )
        means.append(total / weight)
    return np.stack(means).astype(np.float32)


def _inflow(
    means: list[Field],
    place: Field,  # (2, n): x, y outside the grid
    nearest: Field,  # (2, n): x, y of the nearest point of the grid
) -> Field:  # (n,)
    """Interpolate the means of the edge region between scales, and along the edge."""
    beyond = place - nearest
    level = np.interp(np.hypot(*beyond), (0, *EDGE_SCALES), range(len(EDGE_SCALES) + 1))
    vertical = beyond[1] != 0
    edge = np.where(vertical, beyond[1] > 0, 2 + (beyond[0] > 0))  # as _edge_means orders them
    along = np.where(vertical, nearest[0], nearest[1])
    values = np.empty(len(along), np.float32)
    for number, mean in enumerate(means):
        here = edge == number
        values[here] = map_coordinates(mean, [level[here], along[here]], order=1, mode="nearest")
    return values
