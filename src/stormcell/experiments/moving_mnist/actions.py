"""Clips of a digit that does one of eight things, which no single frame tells apart."""

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
# Of a digit's column, row, angle and logarithm of its size, which changes, and which way.
MOVED, WAY = (0, 0, 1, 1, 2, 2, 3, 3), (1, -1, 1, -1, 1, -1, 1, -1)
NUMBERS = 7  # for each clip: which digit, which action, how fast, and where it starts in the four


@dataclass(frozen=True, eq=False)
class MovingActions:
    """Clips of one moving digit, by what it does: one of :data:`ACTIONS`.

    A digit has a column, a row, an angle and a size. Each of them goes round in a circle: what leaves at
    one side comes in at the other, and what has become largest is smallest again. All four start anywhere
    on their circles, with equal chance and independently, and an action moves one of them on at a constant
    pace. So *every* frame of *every* action has the same distribution, exactly, and one frame tells nothing.
    Frames without their order tell at best which of the four moves: half of the clips are then right by
    guessing.

    Args:
        images: Digits to draw from, uint8 ``(N, 28, 28)``.
        frames: In a clip.
        size: Side of the square frames in pixels, 28 or more.
        scale: Smallest and largest size of a digit, as a factor on its 28 pixels, at most 1.
        pace: Share of a circle that an action goes round in one frame, least and most, below 1/2, where one
            way round cannot be told from the other.
        stream: Another stream of the same seed gives other clips: one for each part of the data.

    Raises:
        ArgumentError: The images have another shape, or an argument is out of its range.

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
                f"moving actions: expected 1 frame or more, {SIDE} pixels wide or more, "
                f"found {self.frames} of {self.size}"
            )
        if not 0 < self.scale[0] < self.scale[1] <= 1:
            raise ArgumentError(
                f"moving actions: expected scales 0 < smallest < largest ≤ 1, found {self.scale}"
            )
        if not 0 < self.pace[0] <= self.pace[1] < 0.5:
            raise ArgumentError(f"moving actions: expected paces 0 < least ≤ most < 0.5, found {self.pace}")

    @property
    def classes(self) -> tuple[str, ...]:
        """What the labels stand for, in their order."""
        return ACTIONS

    def batch(self, seed: int, first: int, size: int) -> tuple[Frames, NDArray[np.int64]]:
        """Clips ``first`` … ``first + size - 1`` of a seed.

        Args:
            seed: ≥ 0; the same seed gives the same clips, however they are cut into batches.
            first: ≥ 0.
            size: How many, ≥ 0.

        Returns:
            Brightness, 0 to 255, uint8 ``(size, frames, H, W)``; and the actions, int64 ``(size,)``.

        Raises:
            ArgumentError: Something is negative.
        """
        which, labels, states = self.states(seed, first, size)
        frames = np.zeros((size, self.frames, self.size, self.size), np.uint8)
        # Room for what hangs over the edge: a digit's corner is at most half its diagonal from its middle.
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
        """What the same :meth:`batch` shows.

        Returns:
            Indices into the images ``(size,)``; the actions ``(size,)``; and, as shares of their circles, in
            [0, 1), column, row, angle and logarithm of the size, ``(size, frames, 4)``.

        Raises:
            ArgumentError: Something is negative.
        """
        draw = uniforms(seed, first, size, NUMBERS, stream=self.stream)
        which = (draw[:, 0] * len(self.images)).astype(np.int64)
        labels = (draw[:, 1] * len(ACTIONS)).astype(np.int64)
        pace = self.pace[0] + (self.pace[1] - self.pace[0]) * draw[:, 2]
        step = np.zeros((size, 4))
        step[np.arange(size), np.take(MOVED, labels)] = pace * np.take(WAY, labels)
        states = (draw[:, None, 3:] + step[:, None] * np.arange(self.frames)[:, None]) % 1.0
        return which, labels, states

    def _affine(self, state: Numbers, margin: int) -> Numbers:
        """Where the digit's pixels are: the middle of its box at the column and row, turned, and scaled."""
        x, y, turned, grown = state
        scale = self.scale[0] * (self.scale[1] / self.scale[0]) ** grown
        cos, sin = scale * np.cos(2 * np.pi * turned), scale * np.sin(2 * np.pi * turned)
        linear = np.array([[cos, -sin], [sin, cos]])  # clockwise as seen, for rows count downwards
        centre = np.array([x, y]) * self.size + margin
        shift = centre - linear @ np.full(2, (SIDE - 1) / 2)
        return np.column_stack([linear, shift])


def _folded(wide: Frames, margin: int) -> Frames:
    """Rows within the frame, with what hung over the top and the bottom come in at the other side."""
    inside = wide[margin:-margin].copy()
    inside[-margin:] = np.maximum(inside[-margin:], wide[:margin])
    inside[:margin] = np.maximum(inside[:margin], wide[-margin:])
    return inside
