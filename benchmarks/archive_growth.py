"""Time to append the n-th frame: does it cost the same as the first?

    python -m benchmarks.archive_growth [--frames 10000] [--side 64] [--durable] [--single]

Every frame is a radar file of its own. The last hundred, each appended by a call of its own as in operation,
are compared with the first hundred: after the hundredth, because the first calls load libraries. Those
between are appended by one call; with ``--single``, by a call of their own, too, which takes half an hour. At
the end, the whole folder is archived again, with one new file.
"""

import argparse
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyproj

from stormcell.data import archive, schema
from stormcell.data.grid import Grid

START = np.datetime64("2020-01-01T00:00", "s")
STEP = np.timedelta64(300, "s")
GROUP = 100


def write_file(folder: Path, number: int, side: int) -> Path:
    """Write a CF NetCDF file with one frame, of showers that differ from frame to frame."""
    axis = 1000.0 * np.arange(side)
    grid = Grid.from_centres(pyproj.CRS(3067), 300_000 + axis, 7_000_000 - axis)
    codes = np.random.default_rng(number).integers(-60, 40, (1, side, side))
    frames = schema.build(
        np.maximum(codes, 0) / 2,
        [START + number * STEP],
        grid,
        measured={"source_quantity": "rate"},
        attributes={"license": "CC0-1.0"},
    )
    path = folder / f"{number:06}.nc"
    frames.to_netcdf(path, engine="h5netcdf")
    return path


def main() -> None:
    """Append frames one by one, and print how long it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=64, help="rows and columns of a frame")
    parser.add_argument("--durable", action="store_true", help="flush every frame to the disk")
    parser.add_argument("--single", action="store_true", help="append every frame by a call of its own")
    options = parser.parse_args()
    if options.frames < 2 * GROUP:
        parser.error(f"--frames: expected at least {2 * GROUP}, found {options.frames}")
    with TemporaryDirectory() as name:
        radar, store = Path(name, "radar"), Path(name, "a.zarr")
        radar.mkdir()
        seconds = []
        count = GROUP + options.frames
        between = range(2 * GROUP, count - GROUP)
        for number in range(count):
            file = write_file(radar, number, options.side)
            if number in between and not options.single:
                if number == between[-1]:
                    files = sorted(radar.iterdir())[between[0] :]
                    report = archive.append(store, files, durable=options.durable)
                    assert len(report.added) == len(between), report
                continue
            started = time.perf_counter()
            report = archive.append(store, [file], durable=options.durable)
            seconds.append(time.perf_counter() - started)
            assert len(report.added) == 1, report
            if number and number % 1000 == 0:
                print(f"{number:6} frames: {1000 * np.median(seconds[-GROUP:]):.1f} ms a frame", flush=True)
        first, last = seconds[GROUP : 2 * GROUP], seconds[-GROUP:]
        for which, group in (("first", first), ("last", last)):
            shortest, median = 1000 * min(group), 1000 * np.median(group)
            print(f"{which} {GROUP} frames: {shortest:.1f} ms at least, {median:.1f} ms median")
        ratios = min(last) / min(first), np.median(last) / np.median(first)
        print(f"last / first: {ratios[0]:.2f} of the minima, {ratios[1]:.2f} of the medians")
        write_file(radar, GROUP + options.frames, options.side)
        started = time.perf_counter()
        report = archive.append(store, [radar], durable=options.durable)
        taken = time.perf_counter() - started
        print(f"the folder of {len(report.present) + len(report.added)} files with one new: {taken:.1f} s")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
