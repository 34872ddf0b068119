"""Crops of an archive's windows in the coordinates of training, read without the rest of the frames.

Crops are in coordinates that move with the rain, so they need the motion field around them. It is that of
forecasting: :func:`~stormcell.motion.optical_flow.estimate` of the newest input frames. If the frames of an
archive stay in memory, it is estimated from whole frames, once for each issue time. Otherwise it is estimated
from the neighbourhood of the crop, which makes little difference; see :data:`MARGIN`.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.splits import Window
from stormcell.motion.advection import displacements, sample, sample_nearest
from stormcell.motion.decibels import from_moved_decibels, to_decibels
from stormcell.motion.optical_flow import Vectors, motion_field, track

Field = NDArray[np.float32]
Area = tuple[slice, slice]  # rows and columns of the grid
Read = Callable[[tuple[int, ...], Area], Field]  # reads an area of the frames at some positions

MEMORY = 3 * 2**29  # bytes for the frames of all archives of a training together
# Pixels around a crop from which its motion is estimated, too. With it, the motion of the Finnish event of
# 2016-09-28 differs by 0.03 pixels per step on average from that of whole frames (without it, by 0.17).
MARGIN = 64
_TRACKED = 3  # frames from which motion is estimated, as in forecasting
_ISSUES = 4096  # issue times whose motion vectors stay in memory: 64 kB each at most


class CropReader:
    """Reads crops of one archive.

    Args:
        rain: Rain rates in mm/h ``(time, y, x)``, lazy.
        in_memory: Whether frames are read whole and stay in memory.

    Attributes:
        in_memory: Likewise.
        shape: Rows and columns of the grid.
    """

    def __init__(self, rain: xr.DataArray, *, in_memory: bool) -> None:
        self._rain = rain.variable
        self.shape = (rain.sizes["y"], rain.sizes["x"])
        self.in_memory = in_memory

        @cache
        def frame(position: int) -> Field:
            return np.asarray(self._rain[position].values, np.float32)

        @lru_cache(maxsize=_ISSUES)
        def whole_motion(positions: tuple[int, ...]) -> Vectors:
            return track(self._read(positions, (slice(0, self.shape[0]), slice(0, self.shape[1]))))

        self._frame, self._whole_motion = frame, whole_motion

    def crop(
        self,
        window: Window,
        rows: slice,
        cols: slice,
        leads: Sequence[int],
        jitter: Callable[[Vectors], Vectors] = lambda vectors: vectors,
    ) -> tuple[Field, Field]:
        """Return the inputs ``(inputs, rows, cols)`` and some targets ``(leads, rows, cols)`` of a window.

        Inputs are interpolated, as in forecasting. Targets are read at the nearest pixels, because
        interpolation would make the rain smoother than that which forecasts are verified against.

        Args:
            window: Positions of the frames.
            rows: Rows of the crop, inside the grid.
            cols: Columns of the crop.
            leads: Lead times of the targets in time steps, from 1 to the number of the window's targets.
            jitter: Change of the motion vectors.

        Returns:
            Rain rates in mm/h, NaN where not observed, and where the rain came from outside the grid or left
            it.
        """
        read = self._read if self.in_memory else self._reading_once(window.inputs, (rows, cols))
        vectors = jitter(self._motion(window.inputs[-_TRACKED:], (rows, cols), read))
        past, last = window.inputs[:-1], max(leads)
        motion, inner = self._field(vectors, (rows, cols), max(len(past), last))
        to_past = list(displacements(motion, len(past), rows=inner[0], cols=inner[1]))[::-1]
        to_future = list(displacements(-motion, last, rows=inner[0], cols=inner[1]))
        inputs = self._displaced(past, to_past, (rows, cols), _sample_decibels, read)
        newest = read(window.inputs[-1:], (rows, cols))
        future = tuple(window.targets[lead - 1] for lead in leads)
        paths = [to_future[lead - 1] for lead in leads]
        targets = self._displaced(future, paths, (rows, cols), sample_nearest, self._read)
        return np.concatenate([inputs, newest]), targets

    def _around(self, crop: Area, margin: int) -> Area:
        """Return the area around a crop, as far as it is inside the grid."""
        rows, cols = (_grown(part, margin, length) for part, length in zip(crop, self.shape, strict=True))
        return rows, cols

    def _reading_once(self, positions: tuple[int, ...], crop: Area) -> Read:
        """Read frames around a crop; return a function that reads the archive again only beyond that."""
        around = self._around(crop, MARGIN)
        frames = self._read(positions, around)

        def read(wanted: tuple[int, ...], area: Area) -> Field:
            if not all(_contains(outer, inner) for outer, inner in zip(around, area, strict=True)):
                return self._read(wanted, area)
            rows, cols = (_moved(part, -outer.start) for part, outer in zip(area, around, strict=True))
            return frames[[positions.index(position) for position in wanted], rows, cols]

        return read

    def _motion(self, positions: tuple[int, ...], crop: Area, read: Read) -> Vectors:
        """Return the motion vectors on the whole grid, or around a crop."""
        if self.in_memory:
            return self._whole_motion(positions)
        rows, cols = self._around(crop, MARGIN)
        vectors = track(read(positions, (rows, cols)))
        vectors += np.array([cols.start, rows.start, 0, 0])
        return vectors

    def _field(self, vectors: Vectors, crop: Area, steps: int) -> tuple[Field, Area]:
        """Return the motion field as far around a crop as rain moves in ``steps``, and the crop's place.

        No interpolated motion is faster than the fastest vector, so that a path never leaves the field.
        """
        speed = np.abs(vectors[:, 2:]).max(initial=0.0)
        rows, cols = self._around(crop, math.ceil(speed * steps) + 2)
        field = motion_field(vectors, *self.shape, rows=rows, cols=cols)
        return field, (_moved(crop[0], -rows.start), _moved(crop[1], -cols.start))

    def _displaced(
        self,
        positions: tuple[int, ...],
        paths: list[Field],
        crop: Area,
        sampled: Callable[..., Field],
        read: Read,
    ) -> Field:
        """Return frames at displaced pixels of a crop, a displacement for each frame."""
        box = []
        for axis, (part, length) in enumerate(zip(crop, self.shape, strict=True)):
            shift = [path[1 - axis] for path in paths]
            lowest = math.floor(min(float(values.min()) for values in shift)) - 1
            highest = math.ceil(max(float(values.max()) for values in shift)) + 2
            first = max(0, part.start + min(lowest, 0))
            box.append(slice(first, min(length, part.stop + max(highest, 0))))
        frames = read(positions, (box[0], box[1]))
        rows, cols = (_moved(part, -around.start) for part, around in zip(crop, box, strict=True))
        return np.stack(
            [sampled(frame, path, rows=rows, cols=cols) for frame, path in zip(frames, paths, strict=True)]
        )

    def _read(self, positions: tuple[int, ...], area: Area) -> Field:
        """Return an area of some frames, ``(frame, rows, cols)``."""
        if self.in_memory:
            return np.stack([self._frame(position)[area] for position in positions])
        steps = np.diff(positions)
        if len(steps) and steps[0] > 0 and (steps == steps[0]).all():
            # One request, so that the frames are read together.
            chosen = [slice(positions[0], positions[-1] + 1, int(steps[0]))]
        else:
            chosen = [slice(position, position + 1) for position in positions]
        return np.concatenate(
            [np.asarray(self._rain[frames, area[0], area[1]].values, np.float32) for frames in chosen]
        )


def crop_readers(rains: Sequence[xr.DataArray]) -> list[CropReader]:
    """Return a reader of each archive: as many as fit in :data:`MEMORY` together keep their frames.

    The smallest come first, so that few archives are left that are read anew for each crop.

    Args:
        rains: Rain rates in mm/h ``(time, y, x)``, lazy.
    """
    sizes = [4 * rain.size for rain in rains]  # in float32
    kept, free = set(), MEMORY
    for number in sorted(range(len(rains)), key=sizes.__getitem__):
        free -= sizes[number]
        if free < 0:
            break
        kept.add(number)
    return [CropReader(rain, in_memory=number in kept) for number, rain in enumerate(rains)]


def _sample_decibels(frame: Field, path: Field, *, rows: slice, cols: slice) -> Field:
    """Return rates at displaced pixels, their decibels interpolated."""
    return from_moved_decibels(sample(to_decibels(frame), path, rows=rows, cols=cols))


def _grown(part: slice, margin: int, length: int) -> slice:
    return slice(max(0, part.start - margin), min(length, part.stop + margin))


def _contains(outer: slice, inner: slice) -> bool:
    return bool(outer.start <= inner.start and inner.stop <= outer.stop)


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
