"""Digits that move in straight lines and bounce off the walls: Moving MNIST."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.experiments.mnist import SIDE, Images
from stormcell.experiments.moving_mnist.counter_rng import Numbers, uniforms

Frames = NDArray[np.uint8]
Walls = Literal["reflect", "stop"]
PER_DIGIT = 5  # random numbers of a digit: image, column, row, direction, speed


class SequenceGenerator(Protocol):
    """A generator of sequences that depend only on the seed and on their number."""

    def batch(self, seed: int, first: int, size: int) -> Frames:
        """Generate sequences ``first`` to ``first + size - 1`` of a seed.

        Args:
            seed: ≥ 0. The same seed gives the same sequences for any size of the batches.
            first: Number of the first sequence, ≥ 0.
            size: Number of sequences, ≥ 0.

        Returns:
            Brightness, 0 to 255, uint8 ``(size, frames, H, W)``.

        Raises:
            ArgumentError: An argument is negative.
        """
        ...


@dataclass(frozen=True, eq=False)
class Paths:
    """The digits of a batch with their positions and velocities.

    Attributes:
        which: Indices into the images, int64 ``(B, digits)``.
        positions: Upper left corners of the digits' boxes in pixels, ``(B, digits, T, 2)``: column, then row;
            0 to ``size`` - 28, not rounded.
        velocities: Velocities from each frame to the next, in pixels per frame, with the same shape.
    """

    which: NDArray[np.int64]
    positions: Numbers
    velocities: Numbers


@dataclass(frozen=True, eq=False)
class MovingDigits:
    """Endless Moving MNIST (Srivastava et al. 2015, arXiv:1502.04681; Shi et al. 2015, arXiv:1506.04214).

    The image, the start and the direction of every digit are random and uniform; its speed is constant.
    Where digits overlap, the brighter pixel is shown. Digits are drawn at whole pixels: positions are exact,
    and their fractions are dropped only for drawing. The drawn speed is therefore right on average over
    several frames, not between two. The usual generators do the same, and published models were trained on
    such frames.

    Args:
        images: Digits to draw from, uint8 ``(N, 28, 28)``.
        digits: Digits per sequence.
        frames: Frames per sequence.
        size: Side of the square frames in pixels, above 28.
        speed: Lower bound (inclusive) and upper bound (exclusive) of the speed in pixels per frame. Two equal
            values give one speed.
        walls: ``"reflect"``: digits are reflected at the walls, and the first frame shows the start, as in
            the generator that the ConvLSTM paper's authors published with HKO-7. Positions are uniform at
            all times. ``"stop"``: a step ends at the wall, and the first frame is one step after the start,
            as in OpenSTL's generator. Digits are at the walls more often than elsewhere.
        stream: Number of the stream, one for each part of the data. Streams of the same seed have different
            sequences.

    Raises:
        ArgumentError: The images have the wrong shape, or an argument is out of range.

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
                f"moving digits: expected 1 or more digits and frames, and frames wider than {SIDE} pixels, "
                f"found {self.digits}, {self.frames} and {self.size}"
            )
        if not 0 <= self.speed[0] <= self.speed[1] < float("inf"):
            raise ArgumentError(f"moving digits: expected speeds 0 ≤ lowest ≤ highest, found {self.speed}")
        if self.walls not in ("reflect", "stop"):
            raise ArgumentError(f'moving digits: expected walls "reflect" or "stop", found "{self.walls}"')

    def batch(self, seed: int, first: int, size: int) -> Frames:
        """Generate sequences: see :class:`SequenceGenerator`."""
        return self.draw(self.numbers(seed, first, size))

    def paths(self, seed: int, first: int, size: int) -> Paths:
        """Return the paths of the digits in :meth:`batch` with the same arguments.

        Raises:
            ArgumentError: An argument is negative.
        """
        return self._paths(self.numbers(seed, first, size))

    def numbers(self, seed: int, first: int, size: int) -> Numbers:
        """Return the random numbers of sequences, ``(size, numbers)``, for :meth:`draw`.

        Raises:
            ArgumentError: An argument is negative.
        """
        return uniforms(seed, first, size, PER_DIGIT * self.digits, stream=self.stream)

    def draw(self, numbers: Numbers) -> Frames:
        """Draw the frames of sequences from their random numbers.

        Args:
            numbers: One row for each sequence, ``(size, numbers)``, in [0, 1).

        Returns:
            Brightness, 0 to 255, uint8 ``(size, frames, H, W)``.
        """
        paths = self._paths(numbers)
        frames = np.zeros((len(numbers), self.frames, self.size, self.size), np.uint8)
        corners = paths.positions.astype(np.int64)  # rounds down, for none is negative
        # A view of every 28 × 28 window of every frame.
        windows = np.lib.stride_tricks.sliding_window_view(frames, (SIDE, SIDE), axis=(2, 3), writeable=True)
        time = np.arange(self.frames)
        for k, which in enumerate(paths.which):  # a single sequence fits into the processor's cache
            for digit, corner in zip(which, corners[k], strict=True):
                place = (k, time, corner[:, 1], corner[:, 0])
                windows[place] = np.maximum(windows[place], self.images[digit])
        return frames

    def _paths(self, numbers: Numbers) -> Paths:
        per_digit = numbers.reshape(len(numbers), self.digits, PER_DIGIT)
        which = (per_digit[..., 0] * len(self.images)).astype(np.int64)
        room = float(self.size - SIDE)
        start = per_digit[..., 1:3] * room
        lowest, highest = self.speed
        speed, angle = lowest + (highest - lowest) * per_digit[..., 4], 2 * np.pi * per_digit[..., 3]
        velocity = speed[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        if self.walls == "reflect":
            return Paths(which, *_reflected(start, velocity, self.frames, room))
        positions, velocities = stopped(start, velocity, self.frames, 0.0, room)
        return Paths(which, positions[:, :, 1:], velocities[:, :, 1:])


def _reflected(start: Numbers, velocity: Numbers, frames: int, room: float) -> tuple[Numbers, Numbers]:
    """Return positions and velocities of a straight path that is reflected at 0 and at ``room``."""
    time = np.arange(frames)[:, None]
    line = (start[..., None, :] + velocity[..., None, :] * time) % (2 * room)
    out = line <= room
    return np.where(out, line, 2 * room - line), np.where(out, 1.0, -1.0) * velocity[..., None, :]


def stopped(
    start: Numbers, velocity: Numbers, steps: int, least: float, most: float
) -> tuple[Numbers, Numbers]:
    """Return positions and velocities of points whose steps end at the walls, where they turn back.

    Args:
        start: First positions, ``(…, 2)``: column, then row.
        velocity: First velocities, ``(…, 2)``.
        steps: Number of steps.
        least: Position of the left and upper walls.
        most: Position of the right and lower walls.

    Returns:
        Positions and velocities, each ``(…, steps + 1, 2)``: at the start and after each step.
    """
    positions, velocities = [start], [velocity]
    for _ in range(steps):
        ahead = positions[-1] + velocities[-1]
        met = (ahead <= least) | (ahead >= most)
        positions.append(np.clip(ahead, least, most))
        velocities.append(np.where(met, -velocities[-1], velocities[-1]))
    return np.stack(positions, -2), np.stack(velocities, -2)


def check_images(images: Images) -> None:
    """Check the shape and type of digits.

    Raises:
        ArgumentError: The images are not uint8 ``(N, 28, 28)``, or there are no images.
    """
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise ArgumentError(
            f"moving digits: expected uint8 images (N, {SIDE}, {SIDE}), found {images.dtype} {images.shape}"
        )
