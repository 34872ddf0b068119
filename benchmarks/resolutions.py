"""``python -m benchmarks.resolutions``: score the nowcasters at other time steps and pixel sizes.

Frames are left out, pixels are joined, and pixels are halved by interpolation, which adds no detail. Each
event is forecast by the nowcaster that did not see its network, and by S-PROG. The archives and nowcasters
are those of ``benchmarks.model``, which must have been run. It takes some minutes on two cores.
``--docs`` writes the table into docs/model.md.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from benchmarks.left_out import arguments, left_out, write_table
from benchmarks.model import Event
from benchmarks.model_tables import mean
from stormcell.data import archive
from stormcell.data.grid import pixel_km
from stormcell.data.time_axis import even_step, in_minutes
from stormcell.forecast.resolve import forecaster
from stormcell.motion.decibels import from_decibels, to_decibels
from stormcell.verification.evaluate import evaluate

NAMES = ("fmi-2016", "fmi-2017", "knmi-2010")
SIDE = 256  # pixels, of the square whose pixels are halved
HOUR = 60
THRESHOLDS = ("0.5", "1.0", "2.0")
HEAD = ("event", "frames every", "pixels", *(f"CSI ≥ {rate}" for rate in THRESHOLDS))


def unchanged(rain: xr.DataArray) -> xr.DataArray:
    """Return the rain as it was observed."""
    return rain


def thinned(rain: xr.DataArray, every: int) -> xr.DataArray:
    """Leave frames out."""
    return rain.isel(time=slice(None, None, every))


def joined(rain: xr.DataArray) -> xr.DataArray:
    """Join 2 × 2 pixels to one."""
    made: xr.DataArray = rain.coarsen(y=2, x=2, boundary="trim").reduce(np.mean, keep_attrs=True)
    return made


def square(rain: xr.DataArray) -> xr.DataArray:
    """Return the square with the most rain."""
    wet = np.nan_to_num(rain.values).mean(axis=0)
    places = [
        (float(wet[y : y + SIDE, x : x + SIDE].sum()), y, x)
        for y in range(0, wet.shape[0] - SIDE + 1, SIDE // 4)
        for x in range(0, wet.shape[1] - SIDE + 1, SIDE // 4)
    ]
    _, y, x = max(places)
    return rain.isel(y=slice(y, y + SIDE), x=slice(x, x + SIDE))


def halved(rain: xr.DataArray) -> xr.DataArray:
    """Halve the pixels of the square with the most rain; decibels are interpolated."""
    given = square(rain)
    decibels = given.copy(data=to_decibels(given.values))
    places = {
        name: given[name].values[0] + (np.arange(2 * SIDE - 2) / 2 + 0.25) * np.diff(given[name].values[:2])
        for name in ("y", "x")
    }
    made = decibels.interp(places)
    for name in places:
        made[name].attrs = given[name].attrs
    return made.copy(data=from_decibels(made.values.astype(np.float32)))


CHANGES: tuple[Callable[[xr.DataArray], xr.DataArray], ...] = (
    unchanged,
    partial(thinned, every=2),
    partial(thinned, every=3),
    joined,
    square,
    halved,
)


def row(
    change: Callable[[xr.DataArray], xr.DataArray], event: Event, rain: Path, model: Path
) -> tuple[str, ...]:
    """Return the row of an event that is changed."""
    torch.set_num_threads(1)
    frames = change(archive.rain(archive.open(rain)).load())
    step = in_minutes(even_step(frames["time"].values[:2]))
    steps = round(HOUR / step)
    assert event.every is not None
    times = frames["time"].values[5:-steps][:: max(1, round(event.every / step))]
    chosen = {"network": forecaster(str(model), threads=1), "sprog": forecaster("sprog")}
    scores = evaluate(frames, chosen, issue_times=times, steps=steps).to_scores()
    cells = []
    for threshold in THRESHOLDS:
        ours, theirs = (mean(scores[name]["csi"][threshold]) for name in chosen)
        cells.append(f"{ours:.3f} ({ours / theirs - 1:+.1%})")
    size = f"{np.mean(pixel_km(frames)):.2g} km, {frames.sizes['y']} × {frames.sizes['x']}"
    return (event.name, f"{step:g} min", size, *cells)


def main() -> None:
    """Print the table."""
    given = arguments("benchmarks.resolutions", __doc__)
    jobs = [(change, *one) for one in left_out(given.work, NAMES) for change in CHANGES]
    rows = []
    with ProcessPoolExecutor(2) as pool:
        for cells in pool.map(row, *zip(*jobs, strict=True)):
            print(*cells, sep=" | ", flush=True)
            rows.append(cells)
    if given.docs:
        write_table("resolutions", HEAD, rows)


if __name__ == "__main__":
    main()
