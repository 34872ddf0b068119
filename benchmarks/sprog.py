"""``python -m benchmarks.sprog``: our S-PROG beside that of pysteps, on every event of real radar data.

For up to three issue times of each event, both forecast from the same frames and the same motion field. The
table has the CSI (mean over lead times; counts of all issue times are added first; pixels where both
forecasts and the observation are defined), the lowest correlation of the two forecasts at any lead time, and
the seconds of processor and clock for one forecast. Of large grids, the piece with the most rain is used.
``--docs`` writes the table into docs/nowcasting.md.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks.layers import machine
from benchmarks.pages import fill
from stormcell.data.processing import Processing
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import RadarFile, open_radar
from stormcell.forecast.baselines import baseline
from stormcell.forecast.contract import Analysis

PAGE = machine.ROOT / "docs" / "nowcasting.md"
MARKERS = "S-PROG and pysteps"

INPUTS, LEADS = 3, 12
ISSUES = 3  # at most, of each event
LARGEST = 1250  # pixels: a longer side is cut
LONGEST_STEP = np.timedelta64(15, "m")
THRESHOLDS = (0.5, 1.0)  # mm/h
NAMES = ("sprog", "pysteps-sprog")
HEAD = (
    *("event", "grid", "issue times, lead times"),
    *(f"CSI ≥ {threshold:g}: ours, pysteps" for threshold in THRESHOLDS),
    *(
        "least correlation",
        "CPU seconds: ours, pysteps",
        "seconds: ours, pysteps",
        "times faster: CPU, clock",
    ),
)

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Event:
    """Files of one event.

    Attributes:
        files: A pattern of files below the folder of the data.
        options: Statements that the files need.
    """

    files: str
    options: ReadOptions = field(default_factory=ReadOptions)


EVENTS = (
    Event("fmi_pgm_20160928/*"),
    Event("fmi_pgm_20170509/*"),
    Event("knmi_h5_20100826/*"),
    Event("knmi_h5_20100826_later/*"),
    Event("mrms_preciprate_2min_20190610/*"),
    Event("opera_odim20_rate_20180824/*"),
    Event("opera_odim24_dbzh_20241126/*", ReadOptions(zr=(200, 1.6))),
    Event("dwd_radolan/radolan_ry/*"),
    Event("dwd_radolan/radolan_yw/*"),
    Event("dwd_radolan_ry_20210823/*"),
    Event("meteonet_sample_201608/rainfall_NW_*.npz"),
    Event("meteonet_sample_201608/rainfall_SE_*.npz"),
    Event("meteonet_sample_201608/reflectivity_old_NW_*.npz", ReadOptions(zr=(200, 1.6))),
    Event("meteonet_sample_201608/reflectivity_old_SE_*.npz", ReadOptions(zr=(200, 1.6))),
    Event("openmrg_20150827/*", ReadOptions(quantity="rate", units="mm/h")),
    Event("openrainer_20220917/*"),
)


def main() -> int:
    """Compare on all events, and return the exit status: 2 without the data, else 0."""
    parser = argparse.ArgumentParser(prog="benchmarks.sprog", description=__doc__)
    parser.add_argument("only", nargs="*", help="beginnings of the events' names; default: all of them")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/nowcasting.md")
    arguments = parser.parse_args()
    data = machine.data_folder()
    if not data.is_dir():
        print(f"{data}: no such folder; set STORMCELL_DATA to the folder of the data", file=sys.stderr)
        return 2
    if arguments.docs:
        fill(PAGE, MARKERS, None)
    rows = [HEAD, ("---",) * len(HEAD)]
    where = machine.where("benchmarks.sprog")
    print(where, "\n\n" + "\n".join(map(_line, rows)))
    for event in EVENTS:
        if not arguments.only or event.files.startswith(tuple(arguments.only)):
            rows.append(_row(event, data))
            print(_line(rows[-1]), flush=True)
    if arguments.docs:
        fill(PAGE, MARKERS, f"{where}\n\n" + "\n".join(map(_line, rows)))
    return 0


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


@dataclass
class Result:
    """Counts and seconds of one forecaster.

    Attributes:
        counts: Hits, misses and false alarms ``(thresholds, 3, leads)``.
        processor: Seconds of all threads.
        clock: Seconds that passed.
    """

    counts: NDArray[np.int64]
    processor: float = 0.0
    clock: float = 0.0


def _row(event: Event, data: Path) -> tuple[str, ...]:
    results: dict[str, Result] = {}
    correlations: list[float] = []
    issues, leads, grid = 0, 0, ""
    for rain in windows(event, data):
        leads = rain.sizes["time"] - INPUTS
        analysis, truth = Analysis(rain[:INPUTS]), rain[INPUTS:].values
        analysis.motion()  # shared, so its time is not that of a forecaster
        made = {}
        for name in NAMES:
            empty = np.zeros((len(THRESHOLDS), 3, leads), np.int64)
            result = results.setdefault(name, Result(empty))
            if not issues:
                baseline(name).forecast_from(analysis, 1)  # imports what it needs
            processor, clock = time.process_time(), time.perf_counter()
            made[name] = baseline(name).forecast_from(analysis, leads).values
            result.processor += time.process_time() - processor
            result.clock += time.perf_counter() - clock
        mask = np.isfinite(truth) & np.all([np.isfinite(one) for one in made.values()], axis=0)
        for name, forecast in made.items():
            results[name].counts += _counts(forecast, truth, mask)
        correlations += _correlations(*made.values(), mask)
        grid = f"{truth.shape[1]}×{truth.shape[2]}"
        issues += 1
    ours, theirs = (results[name] for name in NAMES)
    return (
        event.files.removesuffix("/*"),
        grid,
        f"{issues}, {leads}",
        *(_pair(_mean_csi(ours.counts[t]), _mean_csi(theirs.counts[t]), 4) for t in range(len(THRESHOLDS))),
        f"{min(correlations, default=np.nan):.4f}",
        _pair(ours.processor / issues, theirs.processor / issues, 2),
        _pair(ours.clock / issues, theirs.clock / issues, 2),
        _pair(theirs.processor / ours.processor, theirs.clock / ours.clock, 1),
    )


def _pair(one: float, other: float, digits: int) -> str:
    return ", ".join("–" if np.isnan(value) else f"{value:.{digits}f}" for value in (one, other))


def _counts(forecast: Field, truth: Field, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    counts = []
    for threshold in THRESHOLDS:
        said, was = (forecast >= threshold) & mask, (truth >= threshold) & mask
        counts.append([kind.sum(axis=(1, 2)) for kind in (said & was, was & ~said, said & ~was)])
    return np.array(counts)


def _mean_csi(counts: NDArray[np.int64]) -> float:
    """Return the mean over the lead times at which an event was observed or forecast."""
    events = counts.sum(axis=0)
    return float(np.mean(counts[0][events > 0] / events[events > 0])) if events.any() else float("nan")


def _correlations(one: Field, other: Field, mask: NDArray[np.bool_]) -> Iterator[float]:
    for a, b, both in zip(one, other, mask, strict=True):
        if both.any() and a[both].std() > 0 and b[both].std() > 0:
            yield float(np.corrcoef(a[both], b[both])[0, 1])


def windows(event: Event, data: Path) -> Iterator[xr.DataArray]:
    """Yield the frames for each issue time: the inputs and up to 12 that follow, cut to a piece with rain."""
    opened = [open_radar(path, event.options) for path in sorted(data.glob(event.files))]
    where = sorted(
        ((when, file, number) for file in opened for number, when in enumerate(file.times)),
        key=lambda one: one[0],
    )
    times = np.array([when for when, _, _ in where])
    for begin, end in spread(times):
        yield _cut([_frame(event, *where[position][1:]) for position in range(begin, end)])


def spread(times: NDArray[np.datetime64]) -> list[tuple[int, int]]:
    """Return first and last position (exclusive) of up to ``ISSUES`` windows, spread over the event.

    Windows are without gaps, and as long as 12 lead times need, or as the longest that there are.
    """
    steps = np.diff(times)
    step = steps[steps <= LONGEST_STEP].min()
    even = np.concatenate([[False], steps == step, [False]])
    borders = np.flatnonzero(~even)
    runs = [(int(first), int(last)) for first, last in itertools.pairwise(borders)]
    length = min(INPUTS + LEADS, max(last - first for first, last in runs))
    starts = [start for first, last in runs for start in range(first, last - length + 1)]
    chosen = np.unique(np.linspace(0, len(starts) - 1, ISSUES + 2).round().astype(int)[1:-1])
    return [(starts[position], starts[position] + length) for position in chosen]


def _frame(event: Event, file: RadarFile, number: int) -> xr.DataArray:
    return Processing()(file.read(event.options, slice(number, number + 1))).rainfall_rate


def _cut(frames: list[xr.DataArray]) -> xr.DataArray:
    """Cut frames to the piece in which the newest input has the most wet pixels, and join them."""
    newest = frames[INPUTS - 1].values[0] >= THRESHOLDS[0]
    area = tuple(_rainiest(newest.sum(axis=axis)) for axis in (1, 0))
    return xr.concat([frame[(slice(None), *area)] for frame in frames], "time", combine_attrs="override")


def _rainiest(wet: NDArray[np.int64]) -> slice:
    """Return the range along an axis with the most wet pixels, given their number by row or by column."""
    if len(wet) <= LARGEST:
        return slice(None)
    total = np.concatenate([[0], np.cumsum(wet)])
    side = 1200
    first = int((total[side:] - total[:-side]).argmax())
    return slice(first, first + side)


if __name__ == "__main__":
    sys.exit(main())
