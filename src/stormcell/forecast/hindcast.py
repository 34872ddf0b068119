"""A forecast of the newest frame, which shows how sure a network can be.

How well rain can be forecast depends on the radars, their product and the weather, and a network cannot know
all of it: on most radars that it was not trained on, its probabilities are too near the middle, on some too
near 0 and 1. So it forecasts the newest frame from frames that end some minutes before, and what was then
observed shows by how much the logits are too flat or too steep (:mod:`stormcell.forecast.logit_slopes`).
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from stormcell.data.time_axis import in_minutes
from stormcell.forecast.anchored_logits import sample_step
from stormcell.forecast.contract import MOTION_FRAMES, Analysis, Field, Needs
from stormcell.forecast.known_rain import known_rain
from stormcell.forecast.lead_threads import using_threads, worker_threads
from stormcell.forecast.logit_slopes import MINUTES, joined_slopes
from stormcell.forecast.network_probabilities import forecast_cells, pixel_width, step_minutes, wet_among
from stormcell.models.nowcaster import LEAST_INPUTS, Nowcaster
from stormcell.models.rain_cascade import CELL
from stormcell.models.rain_pyramid import Area
from stormcell.motion import optical_flow
from stormcell.motion.advection import displacements, sample_nearest

SIDE = 256  # pixels of a tile, as of the crops of the training
TILES = 4

_PIXELS = 2**17  # of all tiles, that suffice to find the slopes


def hindcast_frames(analysis: Analysis, inputs: int) -> xr.DataArray | None:
    """Return the frames that a forecast of the newest one needs, and the newest; None if there are too few.

    Args:
        analysis: The frames known at the issue time.
        inputs: Number of frames that the network was trained on.
    """
    available, times = analysis.available, analysis.frames["time"].values
    if available < 2 or times[-1] <= times[-2]:  # the latter is refused elsewhere
        return None
    back = _steps_back(in_minutes(times[-1] - times[-2]))
    count = min(inputs + back, available)
    return None if count - back < LEAST_INPUTS else analysis.latest(Needs(count))


def hindcast_slopes(
    nowcaster: Nowcaster, given: xr.DataArray | None, motion: Field, threads: int | None = None
) -> Tensor:
    """Return the slope of the logits of each threshold that a forecast of the newest frame shows ``(K,)``.

    Of a large grid, some tiles are forecast: each has a part of the rain, however it is spread.

    Args:
        nowcaster: The network.
        given: Frames of :func:`hindcast_frames`.
        motion: Pixels per time step ``(2, y, x)``; it only says how far around a tile its rain was.
        threads: Number of threads on a CPU; None for that of PyTorch.

    Returns:
        Numbers within :data:`~stormcell.forecast.logit_slopes.BOUNDS`; 1 without frames or rain.
    """
    thresholds = nowcaster.thresholds
    if given is None:
        return torch.ones(len(thresholds))
    frames, step = given.values, step_minutes(given)
    back = _steps_back(step)
    device = next(nowcaster.parameters()).device
    minutes, width = (
        torch.tensor([number], dtype=torch.float32, device=device) for number in (step, pixel_width(given))
    )
    tiles = rainy_tiles(frames[-1], thresholds[0])
    every = sample_step(sum(_pixels(tile) for tile in tiles) // CELL**2, _PIXELS // CELL**2)

    def forecast(tile: Area) -> tuple[Tensor, Tensor]:
        moving, target = _tile(frames, motion, tile, back)
        with torch.inference_mode(), using_threads(1):
            scene = nowcaster.read(torch.from_numpy(moving)[None].to(device), minutes, width, back)
            made = forecast_cells(nowcaster, scene, wet_among(scene), map, back)
            nth = slice(None, None, CELL * every)
            rates = torch.from_numpy(np.ascontiguousarray(target[nth, nth]))
            known = rates.isfinite() & torch.from_numpy(np.isfinite(moving[-1, nth, nth]))
            rows, cols = rates.shape
            return made.logits(every)[:, :rows, :cols][:, known], rates[known]

    workers = (threads or torch.get_num_threads()) if device.type == "cpu" else 1
    with worker_threads(workers) as pool:
        run: Callable[..., Iterable[tuple[Tensor, Tensor]]] = map if pool is None else pool.map
        logits, rates = (torch.cat(parts, dim=-1) for parts in zip(*run(forecast, tiles), strict=True))
    return joined_slopes(logits, rates, thresholds, (CELL * every) ** 2)


def rainy_tiles(newest: Field, threshold: float) -> list[Area]:
    """Return tiles of a frame: where the first, second, ... of equal parts of its rainy pixels ends.

    Args:
        newest: Rain rates in mm/h ``(y, x)``.
        threshold: Rate from which on a pixel is rainy.

    Returns:
        Up to :data:`TILES` of them; all that there are of a grid that is hardly larger.
    """
    tiles = [(row, col) for row in _starts(newest.shape[0]) for col in _starts(newest.shape[1])]
    if len(tiles) <= TILES:
        return tiles
    rainy = np.cumsum([np.count_nonzero(newest[tile] >= threshold) for tile in tiles])
    parts = (np.arange(TILES) + 0.5) / TILES * rainy[-1]
    return [tiles[place] for place in np.unique(np.searchsorted(rainy, parts))]


def _steps_back(step: float) -> int:
    """Return the number of time steps, of some minutes each, that the newest frame is forecast by."""
    return max(1, round(MINUTES / step))


def _tile(frames: Field, motion: Field, tile: Area, back: int) -> tuple[Field, Field]:
    """Return what a tile's forecast starts from, and the newest frame, moved to the same time.

    Its pixels are not mixed by that.
    """
    reach = math.ceil(float(np.abs(motion).max()) * len(frames)) + 2
    (above, rows), (left, cols) = (
        _widened(part, reach, length) for part, length in zip(tile, frames.shape[1:], strict=True)
    )
    near = frames[:, above, left]
    # The motion that was known then: with a later one, the forecast would be better than others can be.
    steady = optical_flow.estimate(near[:-back], count=MOTION_FRAMES)
    moving = known_rain(near[:-back], steady, rows, cols)
    *_, ahead = displacements(-steady, back, rows=rows, cols=cols)
    return moving, sample_nearest(near[-1], ahead, rows=rows, cols=cols)


def _widened(part: slice, reach: int, length: int) -> tuple[slice, slice]:
    """Return a longer part of a side, and where the part is in it."""
    first = max(part.start - reach, 0)
    return slice(first, min(part.stop + reach, length)), slice(part.start - first, part.stop - first)


def _starts(length: int) -> list[slice]:
    """Return parts of a side of the grid, all of the same length, which overlap if they must."""
    count = -(-length // SIDE)
    side = min(SIDE, length)
    return [slice(start, start + side) for start in np.linspace(0, length - side, count).astype(int).tolist()]


def _pixels(area: Area) -> int:
    rows, cols = area
    return int((rows.stop - rows.start) * (cols.stop - cols.start))
