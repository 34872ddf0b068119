"""A network's probabilities of exceeding its thresholds, in coordinates that move with the rain."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import xarray as xr

from stormcell.data.grid import pixel_km
from stormcell.data.parallel import in_worker
from stormcell.data.time_axis import even_step, in_minutes
from stormcell.errors import FramesError
from stormcell.forecast.contract import Analysis, Field, Needs
from stormcell.models.nowcaster import (
    LARGEST_PIXEL,
    LEAST_INPUTS,
    LONGEST_STEP,
    SHORTEST_STEP,
    SMALLEST_PIXEL,
    Nowcaster,
)
from stormcell.models.rain_pyramid import SIDE
from stormcell.motion.advection import row_bands
from stormcell.motion.coordinates import inputs_to_moving

# Pixels of a lead time that the network computes at once, to bound memory. Around them are 128 rows more.
BLOCK_PIXELS = 2**19
_TOLERANCE = 1.02  # of the limits of pixels, whose width varies within a grid


def recent_frames(analysis: Analysis, inputs: int) -> xr.DataArray:
    """Return the frames that a network reads: the last ones, at least three.

    Args:
        analysis: The frames known at the issue time.
        inputs: Number of frames that it was trained on.

    Raises:
        FramesError: The frames are too few, have a gap, or their time step or pixels are out of range.
    """
    available = analysis.frames.sizes.get("time", 0)
    recent = analysis.latest(Needs(max(min(inputs, available), LEAST_INPUTS)))
    step, width = _step_minutes(recent), _pixel_km(recent)
    if not SHORTEST_STEP <= step <= LONGEST_STEP:
        raise FramesError(
            f"frames: expected one every {SHORTEST_STEP:g} to {LONGEST_STEP:g} min, "
            f"found one every {step:g} min"
        )
    if not SMALLEST_PIXEL / _TOLERANCE <= width <= LARGEST_PIXEL * _TOLERANCE:
        raise FramesError(
            f"frames: expected pixels of {SMALLEST_PIXEL:g} to {LARGEST_PIXEL:g} km, found {width:.3g} km"
        )
    return recent


def lead_probabilities(
    nowcaster: Nowcaster, recent: xr.DataArray, motion: Field, steps: int, *, threads: int | None = None
) -> Iterator[Field]:
    """Yield the probabilities ``(threshold, y, x)`` of each lead time, in moving coordinates.

    Args:
        nowcaster: The network.
        recent: Frames of :func:`recent_frames`.
        motion: Pixels per time step ``(2, y, x)``.
        steps: Number of lead times, ≥ 1.
        threads: Number of threads on a CPU; None for that of PyTorch.
    """
    frames, device = recent.values, next(nowcaster.parameters()).device
    moving = np.empty_like(frames)
    for rows in row_bands(*frames.shape[1:]):
        moving[:, rows] = inputs_to_moving(frames, motion, rows)
    step, width = (
        torch.tensor([number], dtype=torch.float32, device=device)
        for number in (_step_minutes(recent), _pixel_km(recent))
    )
    with torch.inference_mode(), _threads(threads):
        scene = nowcaster.read(torch.from_numpy(moving)[None].to(device), step, width, steps)
    height, columns = scene.size
    block_rows = max(BLOCK_PIXELS // columns // SIDE, 1) * SIDE
    for lead in range(1, steps + 1):
        found = np.empty((len(nowcaster.thresholds), height, columns), np.float32)
        number = torch.tensor([lead], device=device)
        with torch.inference_mode(), _threads(threads):
            for first in range(0, height, block_rows):
                block = slice(first, min(first + block_rows, height))
                logits = nowcaster.logits(scene.part(block), number)
                found[:, block] = torch.sigmoid(logits)[0].cpu().numpy()
        yield found
        del found  # before the next is allocated


def _step_minutes(frames: xr.DataArray) -> float:
    return in_minutes(even_step(frames["time"].values))


def _pixel_km(frames: xr.DataArray) -> float:
    return float(np.mean(pixel_km(frames)))


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let PyTorch compute with a number of threads."""
    before = torch.get_num_threads()
    if count in (None, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        # In a worker process, other threads may be computing now, and all of them with the same number.
        if not in_worker():
            torch.set_num_threads(before)
