"""A network's distributions of the lead times, made in coordinates that move with the rain."""

import collections
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool2d

from stormcell.data.grid import pixel_km
from stormcell.data.time_axis import even_step, in_minutes
from stormcell.errors import FramesError
from stormcell.forecast.anchored_logits import SHOWER, Correction, area_bounds, correction_to, sample_step
from stormcell.forecast.anchored_rain import AnchoredRain
from stormcell.forecast.anchoring import areas_of, lasting_areas
from stormcell.forecast.cascade_mean import cascade_mean
from stormcell.forecast.cell_forecast import CellForecast, writer
from stormcell.forecast.cell_thresholds import corrector
from stormcell.forecast.contract import Analysis, Field, Needs
from stormcell.forecast.inflow import Inflow, UnknownPlaces, UnknownRain
from stormcell.forecast.known_rain import known_rain
from stormcell.forecast.lead_threads import ahead, using_threads, worker_threads
from stormcell.forecast.light_rain import LIGHT, LightRain, add_light_rain, with_light_rain
from stormcell.forecast.logit_slopes import slopes_at
from stormcell.forecast.rain_distribution import LARGEST, Probabilities
from stormcell.forecast.rain_kernels import in_groups
from stormcell.forecast.tail_slope import tail_slope
from stormcell.models.nowcaster import (
    LARGEST_PIXEL,
    LEAST_INPUTS,
    LONGEST_STEP,
    SHORTEST_STEP,
    SMALLEST_PIXEL,
    Nowcaster,
    Scene,
)
from stormcell.models.rain_cascade import CELL, ENERGY_SIDE
from stormcell.models.rain_pyramid import DRY, SIDE, Area
from stormcell.motion.coordinates import Carrier, carriers
from stormcell.nn.ops import buffer_pool

# Sides of the tiles of cells, and of the blocks of pixels, that are computed at once: few calls, and
# temporary fields that fit into the cache.
TILE = (64, 256)
GPU_TILE = (1024, 1024)
BLOCK = (64, 256)
LARGE = 2**22  # pixels: of a larger grid, two lead times at a time or float32 would take too much memory
NEVER = 1e3  # logarithm of a threshold that is never exceeded
_TOLERANCE = 1.02  # of the limits of pixels, whose width varies within a grid


def recent_frames(analysis: Analysis, inputs: int) -> xr.DataArray:
    """Return the frames that a network reads: the last ones, at least three.

    Args:
        analysis: The frames known at the issue time.
        inputs: Number of frames that it was trained on.

    Raises:
        FramesError: The frames are too few, have a gap, or their time step or pixels are out of range.
    """
    recent = analysis.latest(Needs(max(min(inputs, analysis.available), LEAST_INPUTS)))
    step, width = step_minutes(recent), pixel_width(recent)
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


def lead_distributions(
    nowcaster: Nowcaster,
    recent: xr.DataArray,
    motion: Field,
    steps: int,
    inflow: Inflow = "mean",
    *,
    slopes: Tensor,
    threads: int | None = None,
) -> Iterator[AnchoredRain]:
    """Yield the distribution of each lead time.

    The thresholds are those of the network and, if the newest frame has light rain, one below; see
    :mod:`~stormcell.forecast.light_rain`.

    Where no rain was near in the last two frames, probabilities are 0; see :func:`wet_among`. Elsewhere they
    agree with the area of rain at the issue time; see :mod:`~stormcell.forecast.anchored_logits`. They are
    NaN where the newest frame was not observed. Those of a large grid are in float16.

    Args:
        nowcaster: The network.
        recent: Frames of :func:`recent_frames`.
        motion: Pixels per time step ``(2, y, x)``.
        steps: Number of lead times, ≥ 1.
        inflow: As for :class:`~stormcell.forecast.inflow.UnknownRain`.
        slopes: Slopes of :func:`~stormcell.forecast.hindcast.hindcast_slopes`.
        threads: Number of threads on a CPU; None for that of PyTorch.
    """
    frames, device = recent.values, next(nowcaster.parameters()).device
    minutes, kilometres = step_minutes(recent), pixel_width(recent)
    threads = threads or torch.get_num_threads()
    with torch.inference_mode(), using_threads(threads):
        step, width = (
            torch.tensor([number], dtype=torch.float32, device=device) for number in (minutes, kilometres)
        )
        moving = known_rain(frames, motion)
        now = moving[-1].copy()
        scene = nowcaster.read(torch.from_numpy(moving)[None].to(device), step, width, steps)
    del moving
    large = now.size > LARGE
    if large:
        buffer_pool.release()  # of the encoder, which is done
    observed, known = np.isfinite(frames[-1]), np.isfinite(now)
    every = sample_step(known.size // CELL**2)
    nth = slice(None, None, CELL * every)
    sampled = torch.from_numpy(known[nth, nth].copy())
    thresholds, pixels = nowcaster.thresholds, max(int(np.count_nonzero(known)), 1)
    # As parts of the area that is known.
    areas, shower = areas_of(now, thresholds) / pixels, SHOWER / kilometres**2 / pixels
    tail = tail_slope(now, thresholds[-1], LARGEST, kilometres)
    light = LightRain(frames[-1], kilometres)
    now = with_light_rain(now, frames[-1])
    given = [LIGHT, *thresholds] if light else list(thresholds)
    wet = wet_among(scene)
    workers = threads if device.type == "cpu" else 1
    with worker_threads(workers) as pool:
        run = map if pool is None else pool.map
        paths, unknown = carriers(motion, steps), UnknownRain(known, observed, inflow, ENERGY_SIDE)

        def forecast(lead: int) -> tuple[int, Carrier, CellForecast, Correction, Field, UnknownPlaces]:
            carry, made = next(paths), forecast_cells(nowcaster, scene, wet, run, lead)
            bounds = area_bounds(lasting_areas(areas, thresholds, lead * minutes), thresholds, shower)
            steeper = slopes_at(slopes, lead * minutes)
            with torch.inference_mode():
                correction = _correction(made, every, sampled, bounds, steeper)
                around = _around(made, correction, observed.shape)
            return lead, carry, made, correction, around, unknown.redirect(carry)

        for lead, carry, made, correction, around, places in ahead(forecast, steps, 1 if large else workers):
            shape = (len(given), *observed.shape)
            # Memory that the lead time before has returned; a large grid takes no more than it needs.
            found = (
                np.empty(shape, np.float16)
                if large
                else buffer_pool.empty(shape, torch.float32, torch.device("cpu")).numpy()
            )
            by_network = found[-len(thresholds) :]
            write = writer(by_network, made, correction, carry)
            fill = partial(_fill, by_network, write, carry, observed, wet)
            collections.deque(run(fill, tiles_of(observed.shape, BLOCK)), maxlen=0)
            del made, write, fill  # before the next are allocated
            unknown.fill(by_network, around, places, run)
            if light:
                rows = tiles_of(observed.shape, (BLOCK[0], observed.shape[1]))
                chances = light.chances(lead * minutes)
                collections.deque(run(partial(add_light_rain, found, chances, carry), rows), maxlen=0)
            among = observed.copy()
            among.ravel()[places.pixels] = False
            moved = np.where(among, carry.nearest(now), 0)
            lasting = lasting_areas(areas_of(moved, given), given, lead * minutes)
            del carry, around, places, moved, by_network
            yield AnchoredRain(given, found, lasting.tolist(), among, tail_slope=tail)
            del found, among


def _correction(
    made: CellForecast,
    every: int,
    sampled: Tensor,
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
    slopes: Tensor,
) -> Correction:
    """Return the correction that every n-th pixel of a lead time asks for, if ``sampled`` were observed."""
    rows, cols = sampled.shape
    least, most = (torch.from_numpy(bound).float() for bound in bounds)
    logits = made.logits(every)[:, :rows, :cols]
    return correction_to(logits, sampled, least, most, slopes)


def _around(made: CellForecast, correction: Correction, shape: tuple[int, ...]) -> Field:
    """Return the probabilities in large cells ``(K, H/8, W/8)``, for the rain of unknown places."""
    rows, cols = (-(-length // ENERGY_SIDE) for length in shape)
    chances: Field = correction.apply_(made.coarse_logits()).sigmoid_().numpy()[:, :rows, :cols]
    return chances


def forecast_cells(
    nowcaster: Nowcaster, scene: Scene, wet: NDArray[np.bool_], run: Callable[..., Iterable[None]], lead: int
) -> CellForecast:
    """Run the network for a lead time, where it may rain."""
    device = scene.step_minutes.device
    with torch.inference_mode():
        guess = nowcaster.first_guess(scene, torch.tensor([lead], device=device), cascade_mean)
    mean, spread = guess.mean[0, 0], guess.spread[0, 0]
    if not nowcaster.cascade:
        mean, spread = torch.full_like(mean, DRY), torch.ones_like(spread)
    height, width = (length // CELL for length in mean.shape)
    count = len(nowcaster.thresholds)
    cells = np.full((height, width, in_groups(count)), NEVER, np.float32)
    sides = TILE if device.type == "cpu" else GPU_TILE
    every = SIDE // CELL
    wet_tiles = [tile for tile in tiles_of((height, width), sides) if _any_wet(wet, tile, every)]
    collections.deque(run(corrector(nowcaster, scene, guess, cells), wet_tiles), maxlen=0)
    return CellForecast(mean.cpu(), spread.cpu(), cells, count)


def _fill(
    found: Probabilities,
    write: Callable[[Area], None],
    carry: Carrier,
    observed: NDArray[np.bool_],
    wet: NDArray[np.bool_],
    block: Area,
) -> None:
    """Write the probabilities of a block of the grid, as if all of its rain had been observed."""
    into = found[:, *block]
    if not observed[block].any():
        into.fill(np.nan)
        return
    if _any_wet(wet, carry.reach(*block), SIDE):
        write(block)
    else:
        into.fill(0.0)
    if not observed[block].all():
        np.copyto(into, np.float32(np.nan), where=~observed[block])  # takes a third of the time of an index


def tiles_of(size: tuple[int, int], sides: tuple[int, int]) -> list[Area]:
    """Return the tiles of a grid; their sides are multiples of 64, except those of the last."""
    rows, cols = (
        [slice(first, min(first + side, length)) for first in range(0, length, side)]
        for length, side in zip(size, sides, strict=True)
    )
    return [(row, col) for row in rows for col in cols]


def wet_among(scene: Scene) -> NDArray[np.bool_]:
    """Return the squares of 64 × 64 pixels with rain in or near them in the last two frames.

    Rain further than 127 pixels from a square does not count.
    """
    # The filter takes what is hardly observed for dry; what is around the pixels does not.
    around = max_pool2d(scene.pyramid.around, SIDE // 2) > DRY
    wet = ((scene.pyramid.lows[-1] > DRY).any(dim=1, keepdim=True) | around).float()
    # The low-pass filter of a cell of 64 pixels reaches 63 pixels beyond it; another cell is added around.
    near: NDArray[np.bool_] = max_pool2d(wet, 3, stride=1, padding=1)[0, 0].cpu().numpy() > 0
    return near


def _any_wet(wet: NDArray[np.bool_], area: Area, side: int) -> bool:
    """Return whether a square of :func:`wet_among`, ``side`` units of the area long, is wet in an area."""
    rows, cols = (slice(part.start // side, -(-part.stop // side)) for part in area)
    return bool(wet[rows, cols].any())


def step_minutes(frames: xr.DataArray) -> float:
    """Return the time between frames."""
    return in_minutes(even_step(frames["time"].values))


def pixel_width(frames: xr.DataArray) -> float:
    """Return the mean width of a pixel in kilometres."""
    return float(np.mean(pixel_km(frames)))
