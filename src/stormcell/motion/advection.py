"""Semi-Lagrangian advection: follow the motion backwards to the place that the rain came from.

The motion field is steady, and trajectories are integrated step by step with the midpoint rule (Germann &
Zawadzki 2002, doi:10.1175/1520-0493(2002)130<2859:SDOTPO>2.0.CO;2). Every lead time samples the first frame
once, so interpolation smooths only once. Large grids are processed in bands of rows to bound memory.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Field = NDArray[np.float32]
EVERYTHING = slice(None)

# An interpolated value is defined if unobserved pixels have no more than this weight in it: float32
# coordinates on a continental grid are off by up to 2.4e-4 pixels along each axis.
NEGLIGIBLE = 1e-3

BAND_PIXELS = 2**16  # a band's ten or so temporary fields fit into the cache


def row_bands(height: int, width: int) -> list[slice]:
    """Split the rows of a grid into bands of up to ``BAND_PIXELS`` pixels, one row at least.

    Example:
        >>> row_bands(5000, 1000)[:2]
        [slice(0, 65, None), slice(65, 130, None)]
    """
    rows = max(1, BAND_PIXELS // width)
    return [slice(first, min(first + rows, height)) for first in range(0, height, rows)]


def displacements(
    motion: Field, steps: int, *, rows: slice = EVERYTHING, cols: slice = EVERYTHING
) -> Iterator[Field]:
    """Yield, for each lead time, the displacement from every pixel to the place its rain came from.

    Rain at ``(y, x)`` at lead time ``k`` was at ``(y + d[1], x + d[0])`` at time 0, where ``d`` is the
    ``k``-th displacement. With ``-motion``, rain at ``(y, x)`` at time 0 will be there at lead time ``k``.
    Beyond an edge of the grid, the motion is that at the edge. One displacement is in memory at a time.

    Args:
        motion: Pixels per time step ``(2, y, x)``, finite: ``[0]`` along columns, ``[1]`` along rows, down.
        steps: Number of lead times, ≥ 0.
        rows: Rows for which displacements are computed.
        cols: Columns for which displacements are computed. Trajectories still use the whole motion field.

    Yields:
        Displacements in pixels ``(2, rows, cols)``.

    Raises:
        ArgumentError: ``motion`` has another shape or is not finite.

    Example:
        >>> east = np.stack([np.full((4, 6), 2.0), np.zeros((4, 6))]).astype(np.float32)
        >>> [displacement[:, 0, 0].tolist() for displacement in displacements(east, 3)]
        [[-2.0, 0.0], [-4.0, 0.0], [-6.0, 0.0]]
    """
    for path in area_displacements(motion, steps, rows=rows, cols=cols):
        yield path.copy()


def area_displacements(
    motion: Field, steps: int, *, rows: slice = EVERYTHING, cols: slice = EVERYTHING
) -> Iterator[Field]:
    """Yield the displacements of an area, as :func:`displacements` does, in one array.

    The array is changed for each lead time, so it is to be used before the next.

    Args:
        motion: As for :func:`displacements`.
        steps: Number of lead times, ≥ 0.
        rows: Rows for which displacements are computed.
        cols: Columns for which displacements are computed.

    Raises:
        ArgumentError: As for :func:`displacements`.
    """
    motion = _checked(motion)
    path = np.zeros_like(motion[:, rows, cols])
    for _ in range(steps):
        _step_back(motion, path, rows, cols)
        yield path


def _checked(motion: Field) -> Field:
    if motion.ndim != 3 or len(motion) != 2:
        raise ArgumentError(f"motion: expected shape (2, y, x), found {motion.shape}")
    if not np.isfinite(motion).all():
        raise ArgumentError("motion: expected finite numbers, found NaN or infinity")
    return motion.astype(np.float32, copy=False)


def _step_back(motion: Field, path: Field, rows: slice, cols: slice) -> None:
    """Change the displacements of a lead time ``(2, rows, cols)`` to those of the next."""
    x, y = _pixel_coordinates(motion.shape[1:], rows, cols)
    for band in row_bands(*path.shape[1:]):
        across, down = path[0, band], path[1, band]
        half_x, half_y = _motion_at(motion, x + across, y[band] + down)
        # Midpoint rule: the motion half a step back, at a place guessed from the motion at the step's end.
        for half, part, place in ((half_x, across, x), (half_y, down, y[band])):
            half *= np.float32(-0.5)
            half += part
            half += place
        for part, velocity in zip((across, down), _motion_at(motion, half_x, half_y), strict=True):
            part -= velocity


def sample(frame: Field, displacement: Field, *, rows: slice = EVERYTHING, cols: slice = EVERYTHING) -> Field:
    """Interpolate a frame bilinearly at displaced pixels.

    Args:
        frame: Values ``(y, x)`` of the whole grid, NaN where not observed.
        displacement: Pixels ``(2, rows, cols)`` from each pixel to the place where the frame is read.
        rows: Rows of the result.
        cols: Columns of the result.

    Returns:
        Values ``(rows, cols)``; NaN where a place is outside the grid or next to an unobserved pixel.

    Raises:
        ArgumentError: The shapes do not match, or ``displacement`` is not finite.

    Example:
        >>> frame = np.arange(4, dtype=np.float32)[None].repeat(2, axis=0)
        >>> half = np.stack([np.full((2, 4), 0.5), np.zeros((2, 4))]).astype(np.float32)
        >>> sample(frame, half)[0].tolist()
        [0.5, 1.5, 2.5, nan]
    """
    x, y = _coordinates_of(frame.shape, displacement, rows, cols)
    found = np.empty(displacement.shape[1:], np.float32)
    for band in row_bands(*displacement.shape[1:]):
        found[band] = _sample_at(frame, x + displacement[0, band], y[band] + displacement[1, band])
    return found


def _sample_at(frame: Field, x: Field, y: Field) -> Field:
    """Interpolate a frame at columns ``x`` and rows ``y``; NaN next to an unobserved pixel."""
    # Only the part of the frame near the places is searched for unobserved pixels.
    (left, right), (top, bottom) = _span(x, frame.shape[1]), _span(y, frame.shape[0])
    frame, x, y = frame[top:bottom, left:right], x - np.float32(left), y - np.float32(top)
    observed = np.isfinite(frame)
    values = _bilinear(np.where(observed, frame, np.float32(0)), x, y, cv2.BORDER_CONSTANT)
    weight = _bilinear(observed.astype(np.float32), x, y, cv2.BORDER_CONSTANT)
    defined = weight >= 1 - NEGLIGIBLE
    return np.divide(values, weight, out=np.full(x.shape, np.nan, np.float32), where=defined)


def sample_nearest(
    frame: Field, displacement: Field, *, rows: slice = EVERYTHING, cols: slice = EVERYTHING
) -> Field:
    """Read a frame at displaced pixels, each at the nearest pixel, so that no values are mixed.

    Args:
        frame: Values ``(y, x)`` of the whole grid, NaN where not observed.
        displacement: Pixels ``(2, rows, cols)`` from each pixel to the place where the frame is read.
        rows: Rows of the result.
        cols: Columns of the result.

    Returns:
        Values ``(rows, cols)``; NaN where a place is outside the grid or was not observed.

    Raises:
        ArgumentError: The shapes do not match.

    Example:
        >>> frame = np.array([[0, 5, 0]], np.float32)
        >>> displacement = np.stack([np.full((1, 3), 0.6), np.zeros((1, 3))]).astype(np.float32)
        >>> sample_nearest(frame, displacement).tolist()
        [[5.0, 0.0, nan]]
    """
    # OpenCV rounds half pixels in its own way, so they are rounded here.
    x, y = _coordinates_of(frame.shape, displacement, rows, cols)
    x, y = np.rint(x + displacement[0]), np.rint(y + displacement[1])
    values = np.ascontiguousarray(frame, np.float32)
    found = cv2.remap(
        values, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan")
    )
    return np.asarray(found, np.float32)


def extrapolate(frame: Field, motion: Field, steps: int) -> Field:
    """Move a frame along a steady motion field.

    Args:
        frame: Values ``(y, x)``, NaN where not observed.
        motion: Pixels per time step ``(2, y, x)``, as in :func:`displacements`.
        steps: Number of lead times, ≥ 0.

    Returns:
        Values ``(steps, y, x)``; NaN where the rain would have come from a place that was not observed.

    Raises:
        ArgumentError: The shapes do not match, or ``motion`` is not finite.

    Example:
        >>> frame = np.array([[5, 0, 0]], np.float32)
        >>> east = np.stack([np.ones((1, 3)), np.zeros((1, 3))]).astype(np.float32)
        >>> extrapolate(frame, east, 2)[:, 0].tolist()
        [[nan, 5.0, 0.0], [nan, nan, 5.0]]
    """
    if motion.shape != (2, *frame.shape):
        raise ArgumentError(f"motion: expected shape {(2, *frame.shape)}, found {motion.shape}")
    forecast = np.empty((steps, *frame.shape), np.float32)
    for lead, displacement in enumerate(area_displacements(motion, steps)):
        forecast[lead] = sample(frame, displacement)
    return forecast


def _motion_at(motion: Field, x: Field, y: Field) -> tuple[Field, Field]:
    columns, rows = (_bilinear(component, x, y, cv2.BORDER_REPLICATE) for component in motion)
    return columns, rows


def _coordinates_of(
    shape: tuple[int, ...], displacement: Field, rows: slice, cols: slice
) -> tuple[Field, Field]:
    """Return what :func:`_pixel_coordinates` does, for displacements of that area."""
    x, y = _pixel_coordinates(shape, rows, cols)
    expected = (2, y.size, x.size)
    if displacement.shape != expected:
        raise ArgumentError(f"displacement: expected shape {expected}, found {displacement.shape}")
    return x, y


def _pixel_coordinates(shape: tuple[int, ...], rows: slice, cols: slice) -> tuple[Field, Field]:
    """Return the column numbers ``(1, cols)`` and the row numbers ``(rows, 1)`` of the pixels."""
    height, width = shape
    return np.arange(width, dtype=np.float32)[None, cols], np.arange(height, dtype=np.float32)[rows, None]


def _span(places: Field, length: int) -> tuple[int, int]:
    """Return the range of pixels along an axis that contains all places, with a margin of one pixel.

    The range has at least one pixel. The margin puts a place beyond an edge of the range only if it is also
    beyond that edge of the grid.
    """
    lowest, highest = float(places.min()), float(places.max())
    if not np.isfinite(lowest + highest):
        raise ArgumentError("displacement: expected finite numbers, found NaN or infinity")
    first = min(max(math.floor(lowest) - 1, 0), length - 1)
    return first, min(max(math.ceil(highest) + 2, first + 1), length)


def _bilinear(values: Field, x: Field, y: Field, border: int) -> Field:
    values = np.ascontiguousarray(values)
    return np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=border, borderValue=0), np.float32)
