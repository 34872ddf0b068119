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
PER_DIGIT = 7  # random numbers of a digit: image, column, row, direction, speed, turn, growth
BORDER = 10.0  # smallest distance in pixels between a digit's centre and the edges
PERIOD = 5  # frames between changes from growing to shrinking and from dimming to brightening


@dataclass(frozen=True, eq=False)
class Turns:
    """The digits of a batch with the transformation and brightness of each frame.

    Attributes:
        which: Indices into the images, int64 ``(B, digits)``.
        affine: Matrices ``(B, T + 1, digits, 2, 3)``: in frame t, the digit's pixel at column x and row y is
            at column and row ``affine[t] @ (x, y, 1)``. The last matrix is for the frame after the sequence.
        light: Factor on the brightness, ``(B, T)``, the same for all digits.
    """

    which: NDArray[np.int64]
    affine: Numbers
    light: Numbers


@dataclass(frozen=True, eq=False)
class MovingDigitsPlus:
    """Endless MovingMNIST++ of Shi et al. (2017), arXiv:1706.03458, with the true motion.

    Each digit rotates by a constant angle per frame. It shrinks by a constant factor per frame until the
    fifth frame, then grows by that factor for five frames, and so on; with a factor below 1 it first grows.
    All digits of a sequence dim and brighten together with the same period. Digits move in straight lines. A
    step ends when the digit's centre comes within 10 pixels of the edge, and the digit turns back. The
    bounding box starts anywhere within the frame. Where digits overlap, the brighter pixel is shown; pixels
    are interpolated.

    These rules and the defaults are those of HKO-7's published generator and configurations, with two
    differences. The motion, always zero in that generator, follows here from the same equations. Brightness
    is rounded and clipped to 255; that generator does neither.

    Args:
        images: Digits to draw from, uint8 ``(N, 28, 28)``.
        digits: Digits per sequence.
        frames: Frames per sequence.
        size: Side of the square frames in pixels, above 28.
        speed: Lowest and highest speed in pixels per frame.
        turn: Lowest and highest rotation in degrees per frame; positive is anticlockwise on the screen.
        growth: Lowest and highest factor per frame on the size, > 0.
        dimming: Lowest and highest factor per frame on the brightness, > 0.
        stream: Number of the stream, one for each part of the data. Streams of the same seed have different
            sequences.

    Raises:
        ArgumentError: The images have the wrong shape, or an argument is out of range.

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
                f"moving digits: expected 1 or more digits and frames, and frames wider than {SIDE} pixels, "
                f"found {self.digits}, {self.frames} and {self.size}"
            )
        for name, above in (("speed", 0.0), ("turn", -np.inf), ("growth", 1e-9), ("dimming", 1e-9)):
            least, most = getattr(self, name)
            if not above <= least <= most < np.inf:
                raise ArgumentError(
                    f"moving digits: expected {name} from lowest to highest, found {(least, most)}"
                )

    def batch(self, seed: int, first: int, size: int) -> Frames:
        """Generate sequences: see :class:`~stormcell.experiments.moving_mnist.digits.SequenceGenerator`."""
        return self._draw(self.turns(seed, first, size))[0]

    def with_motion(self, seed: int, first: int, size: int) -> tuple[Frames, Flow]:
        """Generate the sequences of :meth:`batch` together with their motion.

        Returns:
            The frames, and the motion in pixels per frame, float32 ``(size, frames, 2, H, W)``: ``[:, :, 0]``
            along columns, ``[:, :, 1]`` along rows (down). A point at ``(y, x)`` moves to ``(y + motion[1],
            x + motion[0])`` in the next frame. The last frame has a motion too, to a frame that is not
            returned. At each pixel the motion is that of the visible digit, and zero on the background.

        Raises:
            ArgumentError: An argument is negative.
        """
        turns = self.turns(seed, first, size)
        frames, visible = self._draw(turns)
        return frames, self._flow(turns, visible)

    def turns(self, seed: int, first: int, size: int) -> Turns:
        """Return the digits and transformations of :meth:`batch` with the same arguments.

        Raises:
            ArgumentError: An argument is negative.
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
        # The centre of the digit's bounding box is mapped to the digit's centre in the frame.
        shift = centres[..., None] - linear @ (corner + extent / 2)[:, :, None, :, None]
        affine = np.concatenate([linear, shift], -1).swapaxes(1, 2)
        return Turns(which, affine, _between(self.dimming, dim) ** -swing[:-1])

    def _draw(self, turns: Turns) -> tuple[Frames, NDArray[np.int8]]:
        """Return the frames, and the index of the visible digit at each pixel, -1 on the background."""
        shape = (len(turns.which), self.frames, self.size, self.size)
        frames, visible = np.empty(shape, np.uint8), np.full(shape, -1, np.int8)
        for k, which in enumerate(turns.which):
            digits = self.images[which].astype(np.float32)
            for t in range(self.frames):
                placed = zip(digits, turns.affine[k, t], strict=True)
                layers = np.stack([cv2.warpAffine(digit, affine, shape[2:]) for digit, affine in placed])
                brightest = layers.max(0)
                frames[k, t] = np.rint(np.minimum(brightest * turns.light[k, t], 255))
                for d, layer in enumerate(layers):  # much faster than argmax
                    np.copyto(visible[k, t], d, where=(layer == brightest) & (layer > 0))
        return frames, visible

    def _flow(self, turns: Turns, visible: NDArray[np.int8]) -> Flow:
        last = np.broadcast_to(np.array([0.0, 0.0, 1.0]), (*turns.affine.shape[:-2], 1, 3))
        square = np.concatenate([turns.affine, last], -2)
        # From a position in this frame to the digit's own coordinates, and from these to the next frame.
        step = (square[:, 1:] @ np.linalg.inv(square[:, :-1]))[..., :2, :] - np.eye(2, 3)
        y, x = np.mgrid[: self.size, : self.size]
        places = np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
        flow = np.zeros((*visible.shape[:2], 2, *visible.shape[2:]), np.float32)
        for d in range(self.digits):
            moved = (step[:, :, d] @ places).reshape(flow.shape)
            np.copyto(flow, moved, where=(visible == d)[:, :, None], casting="same_kind")
        return flow


def _between(bounds: tuple[float, float], share: Numbers) -> Numbers:
    return bounds[0] + (bounds[1] - bounds[0]) * share


def _boxes(images: Images) -> tuple[Numbers, Numbers]:
    """Return corner and size (column, then row) of the bounding box of non-black pixels, ``(…, 28, 28)``."""
    corner, extent = [], []
    for axis in (-2, -1):  # columns, then rows
        occupied = images.max(axis) > 0
        begin = occupied.argmax(-1)
        end = SIDE - occupied[..., ::-1].argmax(-1)
        corner.append(begin)
        extent.append(np.where(occupied.any(-1), end - begin, SIDE))
    return np.stack(corner, -1).astype(np.float64), np.stack(extent, -1).astype(np.float64)
