"""Latency of the live loop: seconds from the arrival of a file until its forecast is on the map.

    python -m benchmarks.latency [--issues 30] [--side 1000] [--pause 20] [--model NAME] [--docs]

``stormcell live`` and ``stormcell serve`` run as processes of their own. Files of generated rain are renamed
into the feed one by one, each when the loop has been idle for a while. This process listens to the server's
events until one names the forecast: first the preliminary one, which is extrapolation, then that of the
model. The memory of the loop is read at the end. With ``--docs``, the table is written into docs/operate.md.
Exit status 1: an aim was missed.
"""

import argparse
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.layers import machine
from benchmarks.pages import fill
from benchmarks.serving.process import server
from benchmarks.serving.requests import PORT
from stormcell.data import schema
from stormcell.data.synthetic import generate
from stormcell.published.manifest import Latest
from stormcell.published.reading import Shelf

PAGE = machine.ROOT / "docs" / "operate.md"
MARKERS = "latency"

STEP = timedelta(minutes=5)
HISTORY = 6  # frames that are there at the start
LONGEST = 600.0  # seconds until a forecast must be there
AIMS = {"first map": 4.0, "model's map": 15.0}  # seconds, 95 % of the issues
MOST_MEMORY = 200.0  # MB, of the loop itself


@dataclass(frozen=True)
class Latencies:
    """What was measured.

    Attributes:
        seconds: By map, the seconds of each issue.
        stages: By stage of the model's forecast, the seconds of each issue, as in ``status.json``.
        parent_megabytes: The most memory that the process of the loop used.
    """

    seconds: dict[str, list[float]]
    stages: dict[str, list[float]]
    parent_megabytes: float


def write_files(folder: Path, side: int, issues: int) -> list[Path]:
    """Write the files of all frames; the newest is of this moment."""
    now = datetime.now(UTC).replace(second=0, microsecond=0, tzinfo=None)
    steps = HISTORY + issues
    start = np.datetime64(now, "s") - (steps - 1) * np.timedelta64(STEP)
    event = generate(seed=7, shape=(side, side), steps=steps, start=start)
    paths = []
    for k in range(steps):
        paths.append(folder / f"radar_{k:04d}.nc")
        frame = event[[schema.RATE]].isel(time=[k])
        frame.to_netcdf(paths[-1], engine="h5netcdf", encoding={schema.RATE: {"zlib": True}})
    return paths


@contextmanager
def live(feed: Path, root: Path, model: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run the loop as a process of its own."""
    command = [sys.executable, "-m", "stormcell", "live", str(feed)]
    command += ["--archive", str(root / "a.zarr"), "--out", str(root / "published"), *model]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


def issues(events: Iterable[bytes]) -> Iterator[Latest]:
    """Yield what the server's events name as the newest publication."""
    kind = b""
    for line in events:
        name, _, value = line.strip().partition(b": ")
        if name == b"event":
            kind = value
        elif name == b"data" and kind == b"issue":
            yield Latest.model_validate_json(value)


def wait_for_maps(shelf: Shelf, named: Iterator[Latest], after: datetime) -> dict[str, float]:
    """Return the seconds from now until each map of an issue after a time is there."""
    began, found = time.monotonic(), dict[str, float]()
    for newest in named:
        passed = time.monotonic() - began
        if newest.issue > after:
            manifest = shelf.manifest(*newest.folder.split("-"))
            if manifest.degraded is not None:
                raise SystemExit(f"expected a forecast of the model, found {manifest.degraded}")
            found.setdefault("first map", passed)
            if not manifest.preliminary:
                return found | {"model's map": passed}
    raise SystemExit("expected a forecast, found the end of the server's events")


def wait_until(shelf: Shelf, state: str) -> dict[str, float]:
    """Wait until the loop has a state, and return the seconds of its stages."""
    end = time.monotonic() + LONGEST
    while (status := shelf.status()) is None or status.state != state or status.issue is None:
        if time.monotonic() > end:
            raise SystemExit(f"expected the loop to be {state}, found it is not")
        time.sleep(0.1)
    return status.stages


def measure(root: Path, options: argparse.Namespace) -> Latencies:
    """Let the files arrive one by one."""
    feed, waiting = root / "feed", root / "waiting"
    for folder in (feed, waiting):
        folder.mkdir()
    files = write_files(waiting, options.side, options.issues)
    for file in files[:HISTORY]:
        file.rename(feed / file.name)
    seconds: dict[str, list[float]] = {name: [] for name in AIMS}
    stages: dict[str, list[float]] = {}
    shelf, phase = Shelf(root / "published"), random.Random(0)
    model = [] if options.model is None else ["--model", options.model]
    with live(feed, root, model) as loop:
        wait_until(shelf, "waiting")
        with (
            server(root / "published"),
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/events", timeout=LONGEST) as events,
        ):
            named = issues(events)
            newest = next(named).issue
            for number, file in enumerate(files[HISTORY:], start=1):
                time.sleep(options.pause + phase.random())  # the loop looks once a second
                file.rename(feed / file.name)
                for name, passed in wait_for_maps(shelf, named, newest).items():
                    seconds[name].append(passed)
                newest += STEP
                for name, passed in wait_until(shelf, "waiting").items():
                    stages.setdefault(name, []).append(passed)
                print(number, *(f"{name} {found[-1]:.1f} s" for name, found in seconds.items()), flush=True)
        return Latencies(seconds, stages, most_memory(loop.pid))


def most_memory(process: int) -> float:
    """Return the most memory that a process has used, in MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


def table(found: Latencies, options: argparse.Namespace) -> str:
    """Return the results as a table in Markdown."""
    what = f"{options.side} × {options.side} pixels, {options.issues} issues"
    lines = [
        f"Seconds from the arrival of a file: {what}; {machine.where('benchmarks.latency')}",
        "",
        "| | median | 95 % | most | aim, 95 % |",
        "|---|---|---|---|---|",
    ]
    for name, seconds in found.seconds.items():
        p50, p95 = np.quantile(seconds, [0.5, 0.95])
        lines.append(f"| {name} | {p50:.1f} | {p95:.1f} | {max(seconds):.1f} | {AIMS[name]:g} |")
    stages = ", ".join(f"{name} {np.median(seconds):.2f} s" for name, seconds in found.stages.items())
    memory = f"Memory of the loop itself: {found.parent_megabytes:.0f} MB."
    lines += ["", f"Median of the stages: {stages}. {memory}"]
    return "\n".join(lines) + "\n"


def met(found: Latencies) -> bool:
    """Return whether all aims are met."""
    soon = all(np.quantile(seconds, 0.95) <= AIMS[name] for name, seconds in found.seconds.items())
    return soon and found.parent_megabytes <= MOST_MEMORY


def main() -> int:
    """Measure, write the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--issues", type=int, default=30)
    parser.add_argument("--side", type=int, default=1000, help="rows and columns of the grid")
    parser.add_argument("--pause", type=float, default=20, help="seconds between a map and the next file")
    parser.add_argument("--model", help="as for stormcell live")
    parser.add_argument("--docs", action="store_true", help="fill the page of the docs")
    options = parser.parse_args()
    if (warning := machine.disturbed(machine.about("cpu", 1))) is not None:
        print(warning, file=sys.stderr)
    if options.docs:
        fill(PAGE, MARKERS, None)
    with TemporaryDirectory() as name:
        found = measure(Path(name), options)
    text = table(found, options)
    print(text)
    if options.docs:
        fill(PAGE, MARKERS, text)
    return 0 if met(found) else 1


if __name__ == "__main__":
    sys.exit(main())
