"""Digits that turn, grow, shrink, dim and brighten as they move: HKO-7's variants of Moving MNIST."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.experiments.mnist import SIDE, Images
from stormcell.experiments.moving_mnist.counter_rng import Numbers, uniforms
from stormcell.experiments.moving_mnist.digits import Frames, check_images, stopped

Flow = NDArray[np.float32]
PER_DIGIT = 7  # random numbers: which, column, row, direction, speed, turn, growth
BORDER = 10.0  # pixels that a digit's centre keeps from the edges
PERIOD = 5  # frames after which growth becomes shrinking, and dimming brightening


@dataclass(frozen=True, eq=False)
class Turns:
    """What the digits of a batch are, and where each of their pixels is.

    Attributes:
        which: Indices into the images, int64 ``(B, digits)``.
        affine: ``(B, T + 1, digits, 2, 3)``: a digit's pixel at column x and row y is, in frame t, at column
            and row ``affine[t] @ (x, y, 1)``. The last is that of the frame after the last.
        light: Factor on the brightness, ``(B, T)``, the same for all digits.
    """

    which: NDArray[np.int64]
    affine: Numbers
    light: Numbers


@dataclass(frozen=True, eq=False)
class MovingDigitsPlus:
    """MovingMNIST++ of Shi et al. (2017), arXiv:1706.03458, without end, with the true motion.

    Each digit turns by an angle of its own per frame. It shrinks by a factor of its own per frame up to the
    fifth frame, then grows by it for five, and so on, or the other way round for a factor below 1; all
    digits of a sequence dim and brighten together in the same rhythm. They move straight; a step ends where a
    digit's centre comes within 10 pixels of the edge, and the digit goes back. It starts with its bounding
    box anywhere within the frame. Where digits overlap the brighter pixel is seen; pixels are interpolated.

    All of that, and the defaults, are read from HKO-7's published generator and configurations. Two things
    are not as there: the motion, which it gives as zero throughout, follows here from the same equations;
    and brightness, of which it keeps fractions and lets pass what is above 255, is rounded and cut to 255.

    Args:
        images: Digits to draw from, uint8 ``(N, 28, 28)``.
        digits: How many in a sequence.
        frames: In a sequence.
        size: Side of the square frames in pixels, above 28.
        speed: Pixels per frame, least and most.
        turn: Degrees per frame, least and most; positive is anticlockwise as seen.
        growth: Factor per frame on the size, least and most, > 0.
        dimming: Factor per frame on the brightness, least and most, > 0.
        stream: Another stream of the same seed gives other sequences: one for each part of the data.

    Raises:
        ArgumentError: The images have another shape, or an argument is out of its range.

    Example:
        >>> moving = MovingDigitsPlus(np.full((3, 28, 28), 200, np.uint8), digits=1, frames=4)
        >>> frames, flow = moving.with_motion(seed=1, first=0, size=2)
        >>> frames.shape, flow.shape
        ((2, 4, 64, 64), (2, 4, 2, 64, 64))
    """

    images: Images
    digits: int = 3
    frames: int = 20
    size: int = 64
    speed: tuple[float, float] = (0.0, 3.6)
    turn: tuple[float, float] = (-30.0, 30.0)
    growth: tuple[float, float] = (1 / 1.1, 1.1)
    dimming: tuple[float, float] = (0.6, 1.0)
    stream: int = 0

    def __post_init__(self) -> None:
        check_images(self.images)
        if min(self.digits, self.frames) < 1 or self.size <= SIDE:
            raise ArgumentError(
                f"moving digits: expected 1 digit and frame or more and frames wider than {SIDE} pixels, "
                f"found {self.digits}, {self.frames} and {self.size}"
            )
        for name, above in (("speed", 0.0), ("turn", -np.inf), ("growth", 1e-9), ("dimming", 1e-9)):
            least, most = getattr(self, name)
            if not above <= least <= most < np.inf:
                raise ArgumentError(
                    f"moving digits: expected a {name} from least to most, found {(least, most)}"
                )

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
        return self._drawn(self.turns(seed, first, size))[0]

    def with_motion(self, seed: int, first: int, size: int) -> tuple[Frames, Flow]:
        """The same :meth:`batch`, and its motion.

        Returns:
            The frames, and the motion in pixels per frame, float32 ``(size, frames, 2, H, W)``: ``[:, :, 0]``
            along columns, ``[:, :, 1]`` along rows, down. What is at ``(y, x)`` is at ``(y + motion[1],
            x + motion[0])`` in the next frame, the last frame's next included. The motion is that of the
            digit which is seen there, and zero where none is.

        Raises:
            ArgumentError: Something is negative.
        """
        turns = self.turns(seed, first, size)
        frames, seen = self._drawn(turns)
        return frames, self._flow(turns, seen)

    def turns(self, seed: int, first: int, size: int) -> Turns:
        """What the digits of the same :meth:`batch` are, and where.

        Raises:
            ArgumentError: Something is negative.
        """
        draw = uniforms(seed, first, size, PER_DIGIT * self.digits + 1, stream=self.stream)
        dim, draw = draw[:, -1:], draw[:, :-1].reshape(size, self.digits, PER_DIGIT)
        which = (draw[..., 0] * len(self.images)).astype(np.int64)
        corner, extent = _boxes(self.images[which])
        start = draw[..., 1:3] * (self.size - extent) + extent / 2
        speed, angle = _between(self.speed, draw[..., 4]), 2 * np.pi * draw[..., 3]
        velocity = speed[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        centres, _ = stopped(start, velocity, self.frames, BORDER, self.size - BORDER)
        time = np.arange(self.frames + 1)
        swing = np.cumsum(np.where(time // PERIOD % 2, 1, -1)) + 1  # 0, -1, … -4, -3, … 1, 0, …
        turned = np.radians(_between(self.turn, draw[..., 5]))[..., None] * time
        scale = _between(self.growth, draw[..., 6])[..., None] ** swing
        cos, sin = scale * np.cos(turned), scale * np.sin(turned)
        linear = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
        # The middle of the digit's box goes to where its centre is.
        shift = centres[..., None] - linear @ (corner + extent / 2)[:, :, None, :, None]
        affine = np.concatenate([linear, shift], -1).swapaxes(1, 2)
        return Turns(which, affine, _between(self.dimming, dim) ** -swing[:-1])

    def _drawn(self, turns: Turns) -> tuple[Frames, NDArray[np.int8]]:
        """Frames, and which of the sequence's digits is seen at each pixel, -1 for none."""
        shape = (len(turns.which), self.frames, self.size, self.size)
        frames, seen = np.empty(shape, np.uint8), np.full(shape, -1, np.int8)
        for k, which in enumerate(turns.which):
            digits = self.images[which].astype(np.float32)
            for t in range(self.frames):
                placed = zip(digits, turns.affine[k, t], strict=True)
                layers = np.stack([cv2.warpAffine(digit, affine, shape[2:]) for digit, affine in placed])
                brightest = layers.max(0)
                frames[k, t] = np.rint(np.minimum(brightest * turns.light[k, t], 255))
                for d, layer in enumerate(layers):  # which is faster by far than argmax
                    np.copyto(seen[k, t], d, where=(layer == brightest) & (layer > 0))
        return frames, seen

    def _flow(self, turns: Turns, seen: NDArray[np.int8]) -> Flow:
        last = np.broadcast_to(np.array([0.0, 0.0, 1.0]), (*turns.affine.shape[:-2], 1, 3))
        square = np.concatenate([turns.affine, last], -2)
        # From a place in this frame to the digit's own, and on to the place in the next.
        step = (square[:, 1:] @ np.linalg.inv(square[:, :-1]))[..., :2, :] - np.eye(2, 3)
        y, x = np.mgrid[: self.size, : self.size]
        places = np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
        flow = np.zeros((*seen.shape[:2], 2, *seen.shape[2:]), np.float32)
        for d in range(self.digits):
            moved = (step[:, :, d] @ places).reshape(flow.shape)
            np.copyto(flow, moved, where=(seen == d)[:, :, None], casting="same_kind")
        return flow


def _between(bounds: tuple[float, float], share: Numbers) -> Numbers:
    return bounds[0] + (bounds[1] - bounds[0]) * share


def _boxes(images: Images) -> tuple[Numbers, Numbers]:
    """Upper left corner, and extent, of what is not black in images ``(…, 28, 28)``: column, then row."""
    corner, extent = [], []
    for axis in (-2, -1):  # over rows, which leaves columns, and over columns
        occupied = images.max(axis) > 0
        begin = occupied.argmax(-1)
        end = SIDE - occupied[..., ::-1].argmax(-1)
        corner.append(begin)
        extent.append(np.where(occupied.any(-1), end - begin, SIDE))
    return np.stack(corner, -1).astype(np.float64), np.stack(extent, -1).astype(np.float64)
