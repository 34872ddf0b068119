"""Baselines without a network: the last frame, and optical flow in place of ROVER."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stormcell.errors import ArgumentError
from stormcell.experiments.dense_flow import dense_flow
from stormcell.experiments.protocols.reflectivity import Pixels
from stormcell.motion.advection import extrapolate


@dataclass(frozen=True)
class Extrapolation:
    """A forecast of pixels without trained parameters.

    Attributes:
        name: Name in tables.
        needs: Number of input frames used.
        compute: Function from pixels ``(needs, H, W)`` and a number of steps to pixels ``(steps, H, W)``.

    Example:
        >>> frames = np.random.default_rng(0).random((2, 5, 32, 32), np.float32)
        >>> forecast = LAST_FRAME(frames, steps=3)
        >>> forecast.shape, bool((forecast[:, 2] == frames[:, -1]).all())
        ((2, 3, 32, 32), True)
    """

    name: str
    needs: int
    compute: Callable[[Pixels, int], Pixels]

    def __call__(self, frames: Pixels, steps: int) -> Pixels:
        """Forecast the next frames.

        Args:
            frames: Pixels 0…1, ``(B, T, H, W)``, oldest first.
            steps: Frames to forecast, ≥ 1.

        Returns:
            Pixels 0…1, ``(B, steps, H, W)``.

        Raises:
            ArgumentError: ``steps`` is below 1, there are too few frames, or their values are not in 0…1.
        """
        if steps < 1:
            raise ArgumentError(f"steps: expected 1 or more, found {steps}")
        if frames.ndim != 4 or frames.shape[1] < self.needs:
            expected = f"(B, T, H, W) with T of {self.needs} or more"
            raise ArgumentError(f"{self.name}, frames: expected {expected}, found shape {frames.shape}")
        forecast = np.empty((len(frames), steps, *frames.shape[2:]), np.float32)
        for k, sequence in enumerate(frames):
            forecast[k] = self.compute(np.asarray(sequence[-self.needs :], np.float32), steps)
        return forecast


def _last_frame(frames: Pixels, steps: int) -> Pixels:
    return np.repeat(frames[-1:], steps, axis=0)


def _optical_flow(*weights: float) -> Callable[[Pixels, int], Pixels]:
    """Return semi-Lagrangian advection of the last frame by a weighted mean of flows, newest first."""

    def compute(frames: Pixels, steps: int) -> Pixels:
        pairs = zip(frames[-2::-1], frames[:0:-1], strict=True)  # newest first
        flows = [dense_flow(before, after) for before, after in pairs]
        motion = np.tensordot(np.asarray(weights, np.float32), np.stack(flows), axes=1)
        # As in the papers, rain from outside the frame is unknown and counts as dry.
        return np.nan_to_num(extrapolate(frames[-1], motion, steps), nan=0.0)

    return compute


def _rover_substitute(variant: int, *weights: float) -> Extrapolation:
    name = f"optical flow {variant} (OpenCV DIS, in ROVER{variant}'s place)"
    return Extrapolation(name, len(weights) + 1, _optical_flow(*weights))


LAST_FRAME = Extrapolation("last frame", 1, _last_frame)
OPTICAL_FLOWS = (
    _rover_substitute(1, 1.0),
    _rover_substitute(2, 0.5, 0.5),
    _rover_substitute(3, 0.7, 0.2, 0.1),
)
"""Optical flow as in table 2 of arXiv:1506.04214. The first moves the last frame with the flow between the
last two frames, the second with the mean of the last two flows, and the third with the last three flows,
weighted 0.7, 0.2, 0.1. The paper's flow is ROVER's (Woo & Wong 2017, doi:10.3390/atmos8030048); this one is
OpenCV's."""
