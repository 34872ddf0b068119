"""Random changes of training crops, such that what is changed could have been observed.

A crop is flipped and transposed (the latter on square pixels only), which is the crop of an archive that is
flipped. Its rates are multiplied by a factor, as another Z–R relation would. Its pixels are joined to larger
ones. Its motion is changed a little, as motion is estimated with errors. The oldest frames are missing, a
sector is not observed, or light rain is not detected, as happens with other radars. Time is not reversed,
because rain grows and decays in different ways.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stormcell.motion.optical_flow import Vectors

Field = NDArray[np.float32]

_RATE_OCTAVES = 0.7  # rates are multiplied by 2^U(-0.7, 0.7)
_MOTION_SHARE, _MOTION_PIXELS = 0.05, 0.2  # standard deviations of the error of motion
_DETECTED = (0.05, 0.2)  # mm/h: range of the lightest rain that is detected


@dataclass(frozen=True)
class Augmentation:
    """The changes of one crop.

    Attributes:
        flips: Whether it is flipped up, flipped left, and transposed.
        coarser: Number of pixels, along each side, that become one.
        rate: Factor of the rates.
        motion: Factor of the motion, and pixels per time step added along columns and along rows.
        missing: Number of the oldest frames that are not observed.
        sector: Share of rows and columns where a sector begins, and its first and last angle in radians;
            None for no sector.
        detected: Lightest rain in mm/h that is detected; 0 for all.
    """

    flips: tuple[bool, bool, bool] = (False, False, False)
    coarser: int = 1
    rate: float = 1.0
    motion: tuple[float, float, float] = (1.0, 0.0, 0.0)
    missing: int = 0
    sector: tuple[float, float, float, float] | None = None
    detected: float = 0.0

    def jittered(self, vectors: Vectors) -> Vectors:
        """Return motion vectors with the error of their motion."""
        factor, along_columns, along_rows = self.motion
        changed = vectors.copy()
        changed[:, 2:] = changed[:, 2:] * factor + (along_columns, along_rows)
        return changed

    def apply(
        self,
        inputs: Field,  # (T, h, w) mm/h, NaN where not observed
        targets: Field,  # (L, h, w)
    ) -> tuple[Field, Field]:
        """Return a changed crop.

        Example:
            >>> rate = np.array([[[1, 2], [3, 4]]], np.float32)
            >>> Augmentation(flips=(True, False, False), rate=2.0).apply(rate, rate)[0].tolist()
            [[[6.0, 8.0], [2.0, 4.0]]]
        """
        inputs, targets = (
            _joined(frames, self.coarser) * np.float32(self.rate) for frames in (inputs, targets)
        )
        if self.detected:
            for frames in (inputs, targets):
                frames[frames < self.detected] = 0
        inputs[: self.missing] = np.nan
        if self.sector is not None:
            inputs[:, self._sector(*inputs.shape[1:])] = np.nan
        return _flipped(inputs, self.flips), _flipped(targets, self.flips)

    def _sector(self, height: int, width: int) -> NDArray[np.bool_]:
        assert self.sector is not None
        row, column, first, last = self.sector
        y, x = np.mgrid[:height, :width]
        angle = np.arctan2(y - row * height, x - column * width)
        inside: NDArray[np.bool_] = (angle >= first) & (angle < last)
        return inside


NO_CHANGE = Augmentation()


def draw(rng: np.random.Generator, *, inputs: int, square: bool) -> Augmentation:
    """Draw the changes of a crop.

    Args:
        rng: Random numbers; the same amount of them is used whatever is drawn.
        inputs: Number of input frames; three are never missing.
        square: Whether the crop may be transposed.
    """
    flips, chances = rng.integers(0, 2, size=3), rng.random(5)
    octaves, angle = rng.uniform(-1, 1), rng.uniform(-math.pi, math.pi)
    factor, motion = rng.normal(), rng.normal(size=2)
    row, column, width, detected = rng.random(4)
    missing = int(rng.integers(0, inputs - 2))
    return Augmentation(
        flips=(bool(flips[0]), bool(flips[1]), bool(flips[2]) and square),
        coarser=2 if chances[0] < 0.2 else 1,
        rate=2 ** (_RATE_OCTAVES * octaves) if chances[1] < 0.5 else 1.0,
        motion=(
            1 + _MOTION_SHARE * factor,
            _MOTION_PIXELS * float(motion[0]),
            _MOTION_PIXELS * float(motion[1]),
        ),
        missing=missing if chances[2] < 0.3 else 0,
        sector=(row, column, angle, angle + 0.2 + 0.6 * width) if chances[3] < 0.1 else None,
        detected=_DETECTED[0] + detected * (_DETECTED[1] - _DETECTED[0]) if chances[4] < 0.3 else 0.0,
    )


def _joined(frames: Field, count: int) -> Field:
    """Return means over squares of pixels in place of the pixels; NaN around them, so that sizes stay."""
    if count == 1:
        return frames.copy()
    steps, height, width = frames.shape
    rows, cols = height // count, width // count
    squares = frames[:, : rows * count, : cols * count].reshape(steps, rows, count, cols, count)
    joined = np.full_like(frames, np.nan)
    joined[:, :rows, :cols] = squares.mean(axis=(2, 4))
    return joined


def _flipped(frames: Field, flips: tuple[bool, bool, bool]) -> Field:
    """Return one of the eight symmetries of a square, or of the four of a rectangle."""
    up, left, transposed = flips
    if up:
        frames = frames[:, ::-1]
    if left:
        frames = frames[:, :, ::-1]
    return frames.swapaxes(1, 2) if transposed else frames
