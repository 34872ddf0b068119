"""Digits that move in straight lines and bounce off the walls: Moving MNIST."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.experiments.mnist import SIDE, Images
from stormcell.experiments.moving_mnist.counter_rng import Numbers, uniforms

Frames = NDArray[np.uint8]
Walls = Literal["reflect", "stop"]
PER_DIGIT = 5  # random numbers: which, column, row, direction, speed


@dataclass(frozen=True, eq=False)
class Paths:
    """Which digits a batch shows, where they are, and how they move.

    Attributes:
        which: Indices into the images, int64 ``(B, digits)``.
        positions: Upper left corners of the digits' boxes in pixels, ``(B, digits, T, 2)``: column, then row;
            0 to ``size`` - 28, not rounded.
        velocities: Pixels per frame with which each digit leaves each frame, laid out alike.
    """

    which: NDArray[np.int64]
    positions: Numbers
    velocities: Numbers


@dataclass(frozen=True, eq=False)
class MovingDigits:
    """Moving MNIST without end (Srivastava et al. 2015, arXiv:1502.04681; Shi et al. 2015, arXiv:1506.04214).

    Every digit is chosen at random, starts anywhere in the frame with equal chance, in any direction, and
    keeps its speed. Where digits overlap the brighter pixel is seen. Digits are drawn at whole pixels: the
    position is kept exactly, and its fraction dropped for drawing, so that speeds hold on average over
    frames, not from each to the next. The usual generators do both so, and published models were trained on
    frames like these.

    Args:
        images: Digits to draw from, uint8 ``(N, 28, 28)``.
        digits: How many in a sequence.
        frames: In a sequence.
        size: Side of the square frames in pixels, above 28.
        speed: Pixels per frame: the least, and the bound that is not reached; both alike for one speed.
        walls: ``"reflect"``: the part of a step beyond a wall leads back from it, and the first frame shows
            the start, as in the generator that the ConvLSTM paper's authors published with HKO-7. Positions
            are uniform at all times. ``"stop"``: a step ends at the wall, and the first frame is one step
            after the start, as in OpenSTL's. Digits are at the walls more often than elsewhere.
        stream: Another stream of the same seed gives other sequences: one for each part of the data.

    Raises:
        ArgumentError: The images have another shape, or an argument is out of its range.

    Example:
        >>> moving = MovingDigits(np.full((3, 28, 28), 255, np.uint8), frames=10)
        >>> batch = moving.batch(seed=1, first=0, size=4)
        >>> batch.shape, batch.dtype
        ((4, 10, 64, 64), dtype('uint8'))
        >>> bool((moving.batch(seed=1, first=2, size=1) == batch[2:3]).all())
        True
    """

    images: Images
    digits: int = 2
    frames: int = 20
    size: int = 64
    speed: tuple[float, float] = (3.0, 5.0)
    walls: Walls = "reflect"
    stream: int = 0

    def __post_init__(self) -> None:
        check_images(self.images)
        if min(self.digits, self.frames) < 1 or self.size <= SIDE:
            raise ArgumentError(
                f"moving digits: expected 1 digit and frame or more and frames wider than {SIDE} pixels, "
                f"found {self.digits}, {self.frames} and {self.size}"
            )
        if not 0 <= self.speed[0] <= self.speed[1] < float("inf"):
            raise ArgumentError(f"moving digits: expected speeds 0 ≤ least ≤ most, found {self.speed}")
        if self.walls not in ("reflect", "stop"):
            raise ArgumentError(f'moving digits: expected walls "reflect" or "stop", found "{self.walls}"')

    def batch(self, seed: int, first: int, size: int) -> Frames:
        """Sequences ``first`` … ``first + size - 1`` of a seed.

        Args:
            seed: ≥ 0; the same seed gives the same sequences, however they are cut into batches.
            first: ≥ 0.
            size: How many, ≥ 0.

        Returns:
            Brightness, 0 to 255, uint8 ``(size, frames, H, W)``.

        Raises:
            ArgumentError: Something is negative.
        """
        return self.drawn(self.numbers(seed, first, size))

    def paths(self, seed: int, first: int, size: int) -> Paths:
        """How the digits of the same :meth:`batch` move.

        Raises:
            ArgumentError: Something is negative.
        """
        return self._paths(self.numbers(seed, first, size))

    def numbers(self, seed: int, first: int, size: int) -> Numbers:
        """The random numbers of sequences, of which :meth:`drawn` makes frames: ``(size, numbers)``.

        Raises:
            ArgumentError: Something is negative.
        """
        return uniforms(seed, first, size, PER_DIGIT * self.digits, stream=self.stream)

    def drawn(self, numbers: Numbers) -> Frames:
        """The frames that random numbers stand for.

        Args:
            numbers: A row for each sequence, ``(size, numbers)``, in [0, 1).

        Returns:
            Brightness, 0 to 255, uint8 ``(size, frames, H, W)``.
        """
        paths = self._paths(numbers)
        frames = np.zeros((len(numbers), self.frames, self.size, self.size), np.uint8)
        corners = paths.positions.astype(np.int64)  # none is negative: the fraction is dropped
        # A view of every 28 × 28 window of every frame.
        windows = np.lib.stride_tricks.sliding_window_view(frames, (SIDE, SIDE), axis=(2, 3), writeable=True)
        time = np.arange(self.frames)
        for k, which in enumerate(paths.which):  # sequence by sequence, so that one stays in the caches
            for digit, corner in zip(which, corners[k], strict=True):
                place = (k, time, corner[:, 1], corner[:, 0])
                windows[place] = np.maximum(windows[place], self.images[digit])
        return frames

    def _paths(self, numbers: Numbers) -> Paths:
        draw = numbers.reshape(len(numbers), self.digits, PER_DIGIT)
        which = (draw[..., 0] * len(self.images)).astype(np.int64)
        room = float(self.size - SIDE)
        start = draw[..., 1:3] * room
        least, most = self.speed
        speed, angle = least + (most - least) * draw[..., 4], 2 * np.pi * draw[..., 3]
        velocity = speed[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        if self.walls == "reflect":
            return Paths(which, *_reflected(start, velocity, self.frames, room))
        places, velocities = stopped(start, velocity, self.frames, 0.0, room)
        return Paths(which, places[:, :, 1:], velocities[:, :, 1:])


def _reflected(start: Numbers, velocity: Numbers, frames: int, room: float) -> tuple[Numbers, Numbers]:
    """Places and velocities between 0 and ``room``: a straight line, folded at both."""
    time = np.arange(frames)[:, None]
    line = (start[..., None, :] + velocity[..., None, :] * time) % (2 * room)
    out = line <= room
    return np.where(out, line, 2 * room - line), np.where(out, 1.0, -1.0) * velocity[..., None, :]


def stopped(
    start: Numbers, velocity: Numbers, steps: int, least: float, most: float
) -> tuple[Numbers, Numbers]:
    """Places and velocities, before the first step and after each, of what turns round where it meets a wall.

    Args:
        start: ``(…, 2)``.
        velocity: Alike.
        steps: How many.
        least: Where the walls at the left and the top are.
        most: Where those at the right and the bottom are.

    Returns:
        ``(…, steps + 1, 2)`` both.
    """
    places, velocities = [start], [velocity]
    for _ in range(steps):
        ahead = places[-1] + velocities[-1]
        met = (ahead <= least) | (ahead >= most)
        places.append(np.clip(ahead, least, most))
        velocities.append(np.where(met, -velocities[-1], velocities[-1]))
    return np.stack(places, -2), np.stack(velocities, -2)


def check_images(images: Images) -> None:
    """Refuse what is not digits.

    Raises:
        ArgumentError: The images are not uint8 ``(N, 28, 28)``, or none.
    """
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise ArgumentError(
            f"moving digits: expected uint8 images (N, {SIDE}, {SIDE}), found {images.dtype} {images.shape}"
        )
