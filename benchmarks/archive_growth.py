"""Time to append the n-th frame: does it cost the same as the first?

    python -m benchmarks.archive_growth [--frames 10000] [--side 64] [--durable]

Every frame is a radar file of its own. An archive is filled by one call. Then a hundred more frames are
appended, each by a call of its own as in operation, and each beside the same call for a new archive. So a
machine that is slower now and then is slower for both. At the end, the whole folder is archived again, with
one new file.
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
WARM = 5


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


def filled(store: Path, files: list[Path], *, durable: bool) -> None:
    """Append files by one call."""
    report = archive.append(store, files, durable=durable)
    assert len(report.added) == len(files), report


def appended(store: Path, file: Path, *, durable: bool) -> float:
    """Append a file, and return the seconds that it took."""
    started = time.perf_counter()
    report = archive.append(store, [file], durable=durable)
    taken = time.perf_counter() - started
    assert len(report.added) == 1, report
    return taken


def main() -> None:
    """Append frames to a large and to a new archive, and print how long it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=64, help="rows and columns of a frame")
    parser.add_argument("--durable", action="store_true", help="flush every frame to the disk")
    options = parser.parse_args()
    if options.frames < GROUP:
        parser.error(f"--frames: expected at least {GROUP}, found {options.frames}")
    with TemporaryDirectory() as name:
        radar, large, new = (Path(name, one) for one in ("radar", "large.zarr", "new.zarr"))
        radar.mkdir()
        files = [write_file(radar, number, options.side) for number in range(options.frames)]
        filled(large, files, durable=options.durable)
        filled(new, files[-WARM:], durable=options.durable)  # the first calls load libraries
        seconds: dict[Path, list[float]] = {large: [], new: []}
        for number in range(options.frames, options.frames + GROUP):
            file = write_file(radar, number, options.side)
            for store, taken in seconds.items():
                taken.append(appended(store, file, durable=options.durable))
        for store, taken in seconds.items():
            shortest, median = 1000 * min(taken), 1000 * np.median(taken)
            print(f"{store.stem}: {shortest:.1f} ms a frame at least, {median:.1f} ms median of {GROUP}")
        ratios = min(seconds[large]) / min(seconds[new]), np.median(seconds[large]) / np.median(seconds[new])
        print(f"large / new: {ratios[0]:.2f} of the minima, {ratios[1]:.2f} of the medians")
        write_file(radar, options.frames + GROUP, options.side)
        started = time.perf_counter()
        report = archive.append(large, [radar], durable=options.durable)
        whole = time.perf_counter() - started
        print(f"the folder of {len(report.present) + len(report.added)} files with one new: {whole:.1f} s")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
