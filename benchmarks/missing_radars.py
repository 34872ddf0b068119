"""``python -m benchmarks.missing_radars``: score forecasts while a radar is missing.

A circle of 80 pixels around a wet place is taken out of the newest frame, of the newest two, or of all.
Scores are those of the pixels whose rain comes from it within the hour. Each event is forecast by the
nowcaster that did not see its network. The archives and nowcasters are those of ``benchmarks.model``, which
must have been run. It takes ten minutes on two cores. ``--docs`` writes the table into docs/model.md.
"""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from benchmarks.left_out import arguments, left_out, write_table
from benchmarks.model import Event
from stormcell.data import archive
from stormcell.data.time_axis import even_step, in_minutes
from stormcell.forecast.contract import Analysis
from stormcell.forecast.network import NetworkForecaster
from stormcell.motion.coordinates import carriers

NAMES = ("fmi-2016", "knmi-2010", "cirrus-2024", "dwd-2021")
FRAMES = 6
RADIUS = 80  # pixels
ISSUE_TIMES = 6
LEAST, HOUR = 30, 60  # minutes that follow an issue time
THRESHOLD = 1.0  # mm/h
MISSING = {"in no frame": 0, "in the newest": 1, "in the newest two": 2, "in all": FRAMES}
HEAD = ("event", "missing", "pixels", "CRPS, mm/h", f"CSI ≥ {THRESHOLD}", f"bias ≥ {THRESHOLD}")


def circle(newest: NDArray[np.float32], seed: int) -> NDArray[np.bool_]:
    """Return a circle around a place where it rains."""
    wet = np.argwhere(newest > THRESHOLD)
    row, col = wet[np.random.default_rng(seed).integers(len(wet))]
    y, x = np.ogrid[: newest.shape[0], : newest.shape[1]]
    inside: NDArray[np.bool_] = np.hypot(y - row, x - col) < RADIUS
    return inside


def counts(
    model: NetworkForecaster,
    frames: xr.DataArray,
    later: NDArray[np.float32],
    gap: NDArray[np.bool_],
    missing: int,
) -> NDArray[np.float64]:
    """Count pixels, hits, pixels with rain that are forecast and observed, and add up the CRPS.

    Args:
        model: The nowcaster.
        frames: Frames as they were observed.
        later: Those that follow ``(time, y, x)``.
        gap: Where the newest frames are not observed. Pixels are counted if their rain comes from there.
        missing: Number of newest frames that are not observed there.
    """
    given = frames.copy(deep=True)
    given.values[FRAMES - missing :, gap] = np.nan
    paths = carriers(Analysis(frames).motion(), len(later))
    total = np.zeros(5)
    leads = zip(model.distributions_from(Analysis(given), len(later)), later, paths, strict=True)
    for rain, observed, carry in leads:
        scored = (carry.nearest(gap.astype(np.float32)) > 0) & ~carry.outside & ~gap
        scored &= np.isfinite(observed) & np.isfinite(frames.values[-1])
        forecast, event = (field[scored] >= THRESHOLD for field in (rain.single(), observed))
        parts = (np.ones_like(event), forecast & event, forecast, event, rain.crps(observed)[scored])
        total += [part.sum(dtype=np.float64) for part in parts]
    return total


def rows(event: Event, rain: Path, model: Path) -> list[tuple[str, ...]]:
    """Return the rows of an event."""
    torch.set_num_threads(1)
    frames, forecaster = archive.rain(archive.open(rain)), NetworkForecaster.from_file(model)
    step = in_minutes(even_step(frames["time"].values[:2]))
    starts = np.linspace(0, frames.sizes["time"] - FRAMES - round(LEAST / step), ISSUE_TIMES).astype(int)
    made: list[tuple[str, ...]] = []
    for name, missing in MISSING.items():
        total = np.zeros(5)
        for seed, start in enumerate(starts.tolist()):
            some = frames.isel(time=slice(start, start + FRAMES + round(HOUR / step))).load()
            given, later = some[:FRAMES], some.values[FRAMES:]
            total += counts(forecaster, given, later, circle(given.values[-1], seed), missing)
        pixels, hits, forecast, observed, crps = total.tolist()
        scores = (
            f"{crps / pixels:.3f}",
            f"{hits / (forecast + observed - hits):.3f}",
            f"{forecast / observed:.2f}",
        )
        made.append((event.name, name, f"{pixels:.0f}", *scores))
    return made


def main() -> None:
    """Print the table."""
    given = arguments("benchmarks.missing_radars", __doc__)
    jobs = left_out(given.work, NAMES)
    made = []
    with ProcessPoolExecutor(2) as pool:
        for some in pool.map(rows, *zip(*jobs, strict=True)):
            print(*(" | ".join(cells) for cells in some), sep="\n", flush=True)
            made += some
    if given.docs:
        write_table("missing-radars", HEAD, made)


if __name__ == "__main__":
    main()
