"""Clips of a digit that performs one of eight actions. A single frame does not identify the action."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.experiments.mnist import SIDE, Images
from stormcell.experiments.moving_mnist.counter_rng import Numbers, uniforms
from stormcell.experiments.moving_mnist.digits import Frames, check_images

ACTIONS = ("right", "left", "down", "up", "clockwise", "anticlockwise", "growing", "shrinking")
# For each action: the property that changes (column, row, angle, logarithm of the size), and its sign.
PROPERTY, SIGN = (0, 0, 1, 1, 2, 2, 3, 3), (1, -1, 1, -1, 1, -1, 1, -1)
NUMBERS = 7  # random numbers of a clip: image, action, pace, and the start of the four properties


@dataclass(frozen=True, eq=False)
class MovingActions:
    """Clips of one moving digit that performs one of the :data:`ACTIONS`, as labels.

    A digit has a column, a row, an angle and a size, and all four are periodic: a digit that leaves at one
    side comes in at the other, and a digit that has reached the largest size becomes smallest. The four start
    values are independent and uniform over the period. An action changes one of them at a constant pace.
    *Every* frame of *every* action therefore has exactly the same distribution, and a single frame contains
    no information on the action. Frames without their order reveal at best which of the four properties
    changes, which is enough to guess half of the clips.

    Args:
        images: Digits to draw from, uint8 ``(N, 28, 28)``.
        frames: Frames per clip.
        size: Side of the square frames in pixels, 28 or more.
        scale: Smallest and largest size of a digit, as a factor on its 28 pixels, at most 1.
        pace: Lowest and highest fraction of a period per frame. It is below 1/2: at 1/2 the two directions
            are the same.
        stream: Number of the stream, one for each part of the data. Streams of the same seed have different
            clips.

    Raises:
        ArgumentError: The images have the wrong shape, or an argument is out of range.

    Example:
        >>> clips = MovingActions(np.full((3, 28, 28), 200, np.uint8))
        >>> frames, labels = clips.batch(seed=1, first=0, size=4)
        >>> frames.shape, labels.shape, labels.dtype
        ((4, 10, 32, 32), (4,), dtype('int64'))
        >>> bool((clips.batch(seed=1, first=2, size=2)[0] == frames[2:]).all())
        True
    """

    images: Images
    frames: int = 10
    size: int = 32
    scale: tuple[float, float] = (0.5, 1.0)
    pace: tuple[float, float] = (0.03, 0.06)
    stream: int = 0

    def __post_init__(self) -> None:
        check_images(self.images)
        if self.frames < 1 or self.size < SIDE:
            raise ArgumentError(
                f"moving actions: expected 1 or more frames, {SIDE} or more pixels wide, "
                f"found {self.frames} of {self.size}"
            )
        if not 0 < self.scale[0] < self.scale[1] <= 1:
            raise ArgumentError(
                f"moving actions: expected scales 0 < smallest < largest ≤ 1, found {self.scale}"
            )
        if not 0 < self.pace[0] <= self.pace[1] < 0.5:
            raise ArgumentError(
                f"moving actions: expected paces 0 < lowest ≤ highest < 0.5, found {self.pace}"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return ACTIONS

    def batch(self, seed: int, first: int, size: int) -> tuple[Frames, NDArray[np.int64]]:
        """Generate clips ``first`` to ``first + size - 1`` of a seed.

        Args:
            seed: ≥ 0. The same seed gives the same clips for any size of the batches.
            first: Number of the first clip, ≥ 0.
            size: Number of clips, ≥ 0.

        Returns:
            Brightness, 0 to 255, uint8 ``(size, frames, H, W)``, and the actions, int64 ``(size,)``.

        Raises:
            ArgumentError: An argument is negative.
        """
        which, labels, states = self.states(seed, first, size)
        frames = np.zeros((size, self.frames, self.size, self.size), np.uint8)
        # Margin for digits that cross the edge: a corner is at most half the diagonal from the centre.
        margin = math.ceil(SIDE / math.sqrt(2)) + 1
        for k, states_of_clip in enumerate(states):
            image = self.images[which[k]]
            for t, state in enumerate(states_of_clip):
                affine = self._affine(state, margin)
                wide = np.asarray(cv2.warpAffine(image, affine, (self.size + 2 * margin,) * 2), np.uint8)
                frames[k, t] = _folded(_folded(wide, margin).T, margin).T
        return frames, labels

    def states(
        self, seed: int, first: int, size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Numbers]:
        """Return the state of the digits in :meth:`batch` with the same arguments.

        Returns:
            Indices into the images ``(size,)``; the actions ``(size,)``; and column, row, angle and logarithm
            of the size as fractions of their periods, in [0, 1), ``(size, frames, 4)``.

        Raises:
            ArgumentError: An argument is negative.
        """
        draw = uniforms(seed, first, size, NUMBERS, stream=self.stream)
        which = (draw[:, 0] * len(self.images)).astype(np.int64)
        labels = (draw[:, 1] * len(ACTIONS)).astype(np.int64)
        pace = self.pace[0] + (self.pace[1] - self.pace[0]) * draw[:, 2]
        step = np.zeros((size, 4))
        step[np.arange(size), np.take(PROPERTY, labels)] = pace * np.take(SIGN, labels)
        states = (draw[:, None, 3:] + step[:, None] * np.arange(self.frames)[:, None]) % 1.0
        return which, labels, states

    def _affine(self, state: Numbers, margin: int) -> Numbers:
        """Return the matrix from a digit's pixel to the frame: scale, rotate, and move the centre."""
        x, y, turned, grown = state
        scale = self.scale[0] * (self.scale[1] / self.scale[0]) ** grown
        cos, sin = scale * np.cos(2 * np.pi * turned), scale * np.sin(2 * np.pi * turned)
        linear = np.array([[cos, -sin], [sin, cos]])  # clockwise on the screen, because rows count downwards
        centre = np.array([x, y]) * self.size + margin
        shift = centre - linear @ np.full(2, (SIDE - 1) / 2)
        return np.column_stack([linear, shift])


def _folded(wide: Frames, margin: int) -> Frames:
    """Return the rows of the frame; rows beyond the top or bottom are added at the other side."""
    inside = wide[margin:-margin].copy()
    inside[-margin:] = np.maximum(inside[-margin:], wide[:margin])
    inside[:margin] = np.maximum(inside[:margin], wide[-margin:])
    return inside
