"""A day of a feed, rehearsed: whether the loop keeps its promises, and whether its memory stays the same.

    python -m benchmarks.rehearsal [--hours 24] [--side 64] [--docs]

Generated rain, one frame every five minutes, is fed to the live loop with the faults of ``stormcell
rehearse``, by a clock that is set by hand. After each arrival, the memory of this process, which takes the
turns, and of its child process, which archives and forecasts, is read. With ``--docs``, the results are
written into docs/operate.md. Exit status 1: a promise was broken, or the memory of a process grew by more
than 5 %.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.layers import machine
from benchmarks.pages import fill
from stormcell.cli.live import Reading
from stormcell.data import archive, schema
from stormcell.data.synthetic import generate
from stormcell.live.child import Child, memory_of
from stormcell.live.faulty_feed import RATES
from stormcell.live.live_settings import Settings
from stormcell.live.rehearsal import Rehearsed, rehearse

PAGE = machine.ROOT / "docs" / "operate.md"
MARKERS = "rehearsal"

Memory = NDArray[np.float64]  # in MB, of the process that takes the turns and of its child process

STEPS_PER_HOUR = 12
MOST_GROWTH = 1.05
WARM = 0.25  # share of the arrivals after which nothing is loaded any more


def record(path: Path, hours: int, side: int) -> None:
    """Archive generated rain."""
    event = generate(seed=7, shape=(side, side), steps=hours * STEPS_PER_HOUR)
    file = path.with_name("rain.nc")
    event[[schema.RATE]].to_netcdf(file, engine="h5netcdf")
    archive.append(path, [file])


def children() -> list[int]:
    """Return the child processes of this one, without the helper of ``multiprocessing``."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(one) for one in found if b"resource_tracker" not in Path(f"/proc/{one}/cmdline").read_bytes()]


def run(root: Path, hours: int, side: int) -> tuple[Rehearsed, list[tuple[float, float]]]:
    """Rehearse, and return the memory of both processes after each arrival."""
    record(root / "rain.zarr", hours, side)
    settings = Settings("", "", root, Reading({}, {}), model="extrapolation")
    memory = []

    def look(done: int, total: int) -> None:
        memory.append((memory_of(os.getpid()) / 1e6, sum(map(memory_of, children())) / 1e6))
        if done % STEPS_PER_HOUR == 0:
            print(f"{done} of {total}: {memory[-1][0]:.0f} and {memory[-1][1]:.0f} MB", flush=True)

    child = Child(settings.memory)
    try:
        found = rehearse(
            root / "rain.zarr",
            root / "rehearsal",
            settings,
            child,
            rates=RATES,
            log=lambda _: None,
            progress=look,
        )
    finally:
        child.close(patience=2.0)
    return found, memory


def first_and_last(memory: list[tuple[float, float]]) -> tuple[Memory, Memory]:
    """Return the memory of both processes at first, when nothing is loaded any more, and in the end."""
    warm = np.array(memory[round(WARM * len(memory)) :])
    part = max(1, len(warm) // 4)
    return np.median(warm[:part], axis=0), np.median(warm[-part:], axis=0)


def table(
    found: Rehearsed, before: Memory, after: Memory, options: argparse.Namespace, minutes: float
) -> str:
    """Return the results in Markdown."""
    faults = ", ".join(f"{count} {name}" for name, count in found.faults.items())
    files = ", ".join(f"{count} {name}" for name, count in found.files.items() if count)
    broken = "; ".join(f"{name}: {what}" for name, what in found.broken.items()) or "none"
    lines = [
        f"{options.hours} hours, a frame of {options.side} × {options.side} pixels every five minutes, "
        f"in {minutes:.0f} min; {machine.where('benchmarks.rehearsal')}",
        "",
        "| | |",
        "|---|---|",
        f"| frames by fault | {faults} |",
        f"| frames and files by outcome | {files} |",
        f"| publications | {found.publications} |",
        f"| broken promises | {broken} |",
        f"| memory of the loop, at first and in the end | {before[0]:.0f}, {after[0]:.0f} MB |",
        f"| memory of its child process | {before[1]:.0f}, {after[1]:.0f} MB |",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Rehearse, print the results, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--side", type=int, default=64, help="rows and columns of the grid")
    parser.add_argument("--docs", action="store_true", help="fill the page of the docs")
    options = parser.parse_args()
    if options.docs:
        fill(PAGE, MARKERS, None)
    began = time.monotonic()
    with TemporaryDirectory() as name:
        found, memory = run(Path(name), options.hours, options.side)
    before, after = first_and_last(memory)
    text = table(found, before, after, options, (time.monotonic() - began) / 60)
    print(text)
    if options.docs:
        fill(PAGE, MARKERS, text)
    return 1 if found.broken or (after > MOST_GROWTH * before).any() else 0


if __name__ == "__main__":
    sys.exit(main())
