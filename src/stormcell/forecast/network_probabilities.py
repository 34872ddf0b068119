"""A network's probabilities of exceeding its thresholds, in coordinates that move with the rain."""

import collections
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import max_pool2d

from stormcell.data.grid import pixel_km
from stormcell.data.parallel import in_worker
from stormcell.data.time_axis import even_step, in_minutes
from stormcell.errors import FramesError
from stormcell.forecast.anchored_logits import shift_, shifts
from stormcell.forecast.contract import Analysis, Field, Needs
from stormcell.models.nowcaster import (
    LARGEST_PIXEL,
    LEAST_INPUTS,
    LONGEST_STEP,
    SHORTEST_STEP,
    SMALLEST_PIXEL,
    FirstGuess,
    Nowcaster,
    Scene,
)
from stormcell.models.rain_pyramid import DRY, SIDE, Area, part_of
from stormcell.motion.advection import row_bands
from stormcell.motion.coordinates import inputs_to_moving

# Sides of the tiles that are computed at once: few calls, and temporary fields that fit into the cache.
TILE = (128, 512)
GPU_TILE = (2048, 2048)
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

    Where no rain was near in the last three frames, they are 0; see :func:`wet_among`. Elsewhere they agree
    with the area of rain in the newest frame; see :mod:`~stormcell.forecast.anchored_logits`.

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
    threads = threads or torch.get_num_threads()
    with torch.inference_mode(), _threads(threads):
        scene = nowcaster.read(torch.from_numpy(moving)[None].to(device), step, width, steps)
    newest = torch.from_numpy(frames[-1])
    tiles = tiles_of(scene.size, TILE if device.type == "cpu" else GPU_TILE)
    wet = wet_among(tiles, scene)
    dry = [tile for tile in tiles if tile not in wet]
    with _tile_pool(threads if device.type == "cpu" else 1) as pool:
        run = map if pool is None else pool.map
        for lead in range(1, steps + 1):
            found = torch.full((len(nowcaster.thresholds), *scene.size), -math.inf)
            with torch.inference_mode(), _threads(threads):
                guess = nowcaster.first_guess(scene, torch.tensor([lead], device=device))

            def compute(tile: Area, guess: FirstGuess = guess, found: Tensor = found) -> None:
                with torch.inference_mode():
                    logits = nowcaster.logits_in(scene, guess, tile)
                    part_of(found, tile).copy_(logits[0].cpu())

            with torch.inference_mode(), _threads(threads):
                collections.deque(run(compute, wet), maxlen=0)
                by = shifts(found, newest, nowcaster.thresholds)

            def finish(tile: Area, by: Tensor = by, found: Tensor = found) -> None:
                with torch.inference_mode():
                    shift_(part_of(found, tile), by).sigmoid_()

            with _threads(threads):
                collections.deque(run(finish, wet), maxlen=0)
            for tile in dry:
                part_of(found, tile).zero_()
            yield found.numpy()
            del found, guess, compute, finish  # before the next are allocated


def tiles_of(size: tuple[int, int], sides: tuple[int, int]) -> list[Area]:
    """Return the tiles of a grid; their sides are multiples of 64, except those of the last."""
    rows, cols = (
        [slice(first, min(first + side, length)) for first in range(0, length, side)]
        for length, side in zip(size, sides, strict=True)
    )
    return [(row, col) for row in rows for col in cols]


def wet_among(tiles: Sequence[Area], scene: Scene) -> list[Area]:
    """Return the tiles with rain in or near them in the last three frames.

    Rain further than 127 pixels from a tile does not count.
    """
    wet = (scene.cascade.lows[-1] > DRY).any(dim=1, keepdim=True).float()
    # The low-pass filter of a cell of 64 pixels reaches 63 pixels beyond it; another cell is added around.
    near = max_pool2d(wet, 3, stride=1, padding=1)[0, 0].cpu().numpy()
    return [
        (rows, cols)
        for rows, cols in tiles
        if near[rows.start // SIDE : -(-rows.stop // SIDE), cols.start // SIDE : -(-cols.stop // SIDE)].any()
    ]


@contextmanager
def _tile_pool(threads: int) -> Iterator[Executor | None]:
    """Give threads that compute with one PyTorch thread each; None if one is enough."""
    if threads == 1:
        yield None
        return
    before = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield pool
        finally:
            torch.set_num_threads(before)


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
