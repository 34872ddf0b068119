"""Semi-Lagrangian advection: follow the motion backwards to where the rain came from.

The motion field is held steady, and trajectories are integrated step by step with the midpoint rule
(Germann & Zawadzki 2002, doi:10.1175/1520-0493(2002)130<2859:SDOTPO>2.0.CO;2). Every lead time samples
the first frame once, so nothing is smoothed twice.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Field = NDArray[np.float32]
EVERYTHING = slice(None)

# A pixel made of this much or less that was not observed counts as observed: float32 coordinates of a
# continental grid are off by up to 2.4e-4 a pixel on each axis.
NEGLIGIBLE = 1e-3


def displacements(motion: Field, steps: int, *, rows: slice = EVERYTHING, cols: slice = EVERYTHING) -> Field:
    """Where the rain of each lead time was at time 0, relative to where it is.

    Rain that lead ``k`` finds at ``(y, x)`` was at ``(y + d[k-1, 1], x + d[k-1, 0])`` at time 0. With
    ``-motion`` the answer is where the rain of time 0 will be. Beyond an edge the motion is the edge's.

    Args:
        motion: Pixels per time step ``(2, y, x)``, finite: ``[0]`` along columns, ``[1]`` along rows, down.
        steps: Number of lead times, ≥ 0.
        rows: Rows to answer for.
        cols: Columns to answer for. The motion is that of the whole grid all the same.

    Returns:
        Displacements in pixels ``(steps, 2, rows, cols)``.

    Raises:
        ArgumentError: ``motion`` has another shape or is not finite.

    Example:
        >>> east = np.stack([np.full((4, 6), 2.0), np.zeros((4, 6))]).astype(np.float32)
        >>> displacements(east, 3)[:, :, 0, 0].tolist()
        [[-2.0, 0.0], [-4.0, 0.0], [-6.0, 0.0]]
    """
    paths = list(_paths(motion, steps, rows, cols))
    if not paths:
        return np.empty((0, 2, *motion[0, rows, cols].shape), np.float32)
    return np.stack(paths)


def sample(frame: Field, displacement: Field, *, rows: slice = EVERYTHING, cols: slice = EVERYTHING) -> Field:
    """Read a frame at displaced places, bilinearly.

    Args:
        frame: Values ``(y, x)`` of the whole grid, NaN where not observed.
        displacement: Pixels ``(2, rows, cols)`` from each answered pixel to where it is read.
        rows: Rows to answer for.
        cols: Columns to answer for.

    Returns:
        Values ``(rows, cols)``; NaN where a place lies outside the grid or beside a pixel not observed.

    Raises:
        ArgumentError: The shapes do not fit together, or ``displacement`` is not finite.

    Example:
        >>> frame = np.arange(4, dtype=np.float32)[None].repeat(2, axis=0)
        >>> half = np.stack([np.full((2, 4), 0.5), np.zeros((2, 4))]).astype(np.float32)
        >>> sample(frame, half)[0].tolist()
        [0.5, 1.5, 2.5, nan]
    """
    x, y = _places(frame.shape, rows, cols)
    if displacement.shape != (2, *x.shape):
        raise ArgumentError(f"displacement: expected shape {(2, *x.shape)}, found {displacement.shape}")
    x, y = x + displacement[0], y + displacement[1]
    # Of a large frame only what is near the places: the rest would be looked through for nothing.
    (left, right), (top, bottom) = _span(x, frame.shape[1]), _span(y, frame.shape[0])
    frame, x, y = frame[top:bottom, left:right], x - np.float32(left), y - np.float32(top)
    observed = np.isfinite(frame)
    values = _bilinear(np.where(observed, frame, np.float32(0)), x, y, cv2.BORDER_CONSTANT)
    weight = _bilinear(observed.astype(np.float32), x, y, cv2.BORDER_CONSTANT)
    known = weight >= 1 - NEGLIGIBLE
    return np.divide(values, weight, out=np.full(x.shape, np.nan, np.float32), where=known)


def extrapolate(frame: Field, motion: Field, steps: int) -> Field:
    """Let a frame drift along a steady motion.

    Args:
        frame: Values ``(y, x)``, NaN where not observed.
        motion: Pixels per time step ``(2, y, x)``, as :func:`displacements` takes it.
        steps: Number of lead times, ≥ 0.

    Returns:
        Values ``(steps, y, x)``; NaN where the rain would have come from a place not observed.

    Raises:
        ArgumentError: The shapes do not fit together, or ``motion`` is not finite.

    Example:
        >>> frame = np.array([[5, 0, 0]], np.float32)
        >>> east = np.stack([np.ones((1, 3)), np.zeros((1, 3))]).astype(np.float32)
        >>> extrapolate(frame, east, 2)[:, 0].tolist()
        [[nan, 5.0, 0.0], [nan, nan, 5.0]]
    """
    if motion.shape != (2, *frame.shape):
        raise ArgumentError(f"motion: expected shape {(2, *frame.shape)}, found {motion.shape}")
    drifted = np.empty((steps, *frame.shape), np.float32)
    for k, path in enumerate(_paths(motion, steps, EVERYTHING, EVERYTHING)):
        drifted[k] = sample(frame, path)
    return drifted


def _paths(motion: Field, steps: int, rows: slice, cols: slice) -> Iterator[Field]:
    """Displacements of lead 1, 2, … one at a time: a continent's would not fit in memory together."""
    if motion.ndim != 3 or len(motion) != 2:
        raise ArgumentError(f"motion: expected shape (2, y, x), found {motion.shape}")
    if not np.isfinite(motion).all():
        raise ArgumentError("motion: expected finite numbers, found NaN or infinity")
    motion = motion.astype(np.float32, copy=False)
    x, y = _places(motion.shape[1:], rows, cols)
    start = motion[:, rows, cols]
    path = np.zeros_like(start)
    for _ in range(steps):
        # The motion half a step back, guessed from that at the step's end, carries the whole step.
        halfway = path - start / 2
        path = path - _motion_at(motion, x + halfway[0], y + halfway[1])
        start = _motion_at(motion, x + path[0], y + path[1])
        yield path


def _motion_at(motion: Field, x: Field, y: Field) -> Field:
    return np.stack([_bilinear(component, x, y, cv2.BORDER_REPLICATE) for component in motion])


def _places(shape: tuple[int, ...], rows: slice, cols: slice) -> tuple[Field, Field]:
    """Column and row numbers of the answered pixels, each ``(rows, cols)``."""
    height, width = shape
    y, x = np.meshgrid(
        np.arange(height, dtype=np.float32)[rows], np.arange(width, dtype=np.float32)[cols], indexing="ij"
    )
    return x, y


def _span(places: Field, length: int) -> tuple[int, int]:
    """The pixels of an axis, one or more, between which all places on it lie, and one more on each side.

    So a place beyond an edge of what is cut out is beyond that edge of the grid, too.
    """
    lowest, highest = float(places.min()), float(places.max())
    if not np.isfinite(lowest + highest):
        raise ArgumentError("displacement: expected finite numbers, found NaN or infinity")
    first = min(max(math.floor(lowest) - 1, 0), length - 1)
    return first, min(max(math.ceil(highest) + 2, first + 1), length)


def _bilinear(values: Field, x: Field, y: Field, border: int) -> Field:
    values = np.ascontiguousarray(values)
    return np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=border, borderValue=0), np.float32)
