"""``python -m benchmarks.loader``: crops per second from an archive, beside those that a network learns from.

The MRMS frames of 3500 × 7000 pixels are archived, unless an archive is given. Measured are the seconds until
the first batch, the crops per second that are read, those that a network of the default recipe learns from
when they are in memory, and those that it learns from while they are read, on the same cores. ``--docs``
writes the table into docs/scale.md. Run it on a machine that does nothing else.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.layers import machine
from benchmarks.pages import fill
from stormcell.data import archive
from stormcell.training.crop_reader import crop_readers
from stormcell.training.nowcaster_task import CropBatch, NowcasterTask
from stormcell.training.prefetch import Prefetch, thread_count
from stormcell.training.recipes import Recipe, override
from stormcell.training.sampler import Sampler
from stormcell.training.task import Moment
from stormcell.training.training_archive import Rain, prepare

FOLDER = "mrms_preciprate_2min_20190610"
CREDIT = "Data: NOAA/NSSL MRMS."
MADE = "mrms.zarr"
PAGE = machine.ROOT / "docs" / "scale.md"
MARKERS = "loader"


def main() -> int:
    """Measure and print; return the exit status: 2 without the data, else 0."""
    parser = argparse.ArgumentParser(prog="benchmarks.loader", description=__doc__)
    parser.add_argument("--archive", type=Path, help="archive to read instead of MRMS")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of each measurement")
    parser.add_argument(
        "--work", type=Path, default=machine.ROOT / "runs" / "loader", help="folder of the archive"
    )
    parser.add_argument("--docs", action="store_true", help="write the table into docs/scale.md")
    parser.add_argument("recipe", nargs="*", metavar="key=value", help="changes to the recipe")
    arguments = parser.parse_args()
    path = arguments.archive or made(arguments.work)
    if path is None:
        return 2
    if arguments.docs:
        fill(PAGE, MARKERS, None)
    found = measure(path, override(Recipe(), arguments.recipe), arguments.seconds)
    text = table(found, path)
    print(text)
    if arguments.docs:
        fill(PAGE, MARKERS, text)
    return 0


def made(work: Path) -> Path | None:
    """Archive the MRMS frames, unless they are; return None without them."""
    data = machine.data_folder() / FOLDER
    if not data.is_dir():
        print(f"{data}: no such folder; set STORMCELL_DATA or use --archive", file=sys.stderr)
        return None
    path = work / MADE
    subprocess.run([sys.executable, "-m", "stormcell", "archive", str(data), "--out", str(path)], check=True)
    return path


def measure(path: Path, recipe: Recipe, seconds: float) -> dict[str, float]:
    """Return the measured numbers by name."""
    began = time.perf_counter()
    task = task_of(path, recipe)
    task.batch(0, 0, 1)
    found = {"seconds from opening the archive to the first batch": time.perf_counter() - began}
    task.close()
    size = recipe.batch_size
    threads = thread_count()
    with Prefetch(partial(crops, task_of(path, recipe)), threads=threads) as ahead:
        ahead(0)
        found[f"crops/s read with threads: {threads}"] = size * rate(ahead, seconds, first=1)
    task = task_of(path, recipe)
    kept = crops(task, 0)
    found["crops/s learned from, if they are in memory"] = size * learning(task, lambda _: kept, seconds)
    task, waited = task_of(path, recipe), 0.0

    def batch(update: int) -> CropBatch:
        nonlocal waited
        before = time.perf_counter()
        made = task.batch(update, 0, 1)
        waited += time.perf_counter() - before
        return made

    began = time.perf_counter()
    found["crops/s learned from, while they are read"] = size * learning(task, batch, seconds)
    found["per cent of that time spent waiting for crops"] = 100 * waited / (time.perf_counter() - began)
    task.close()
    return found


def task_of(path: Path, recipe: Recipe) -> NowcasterTask:
    """Return a task whose crops no earlier one has read."""
    rain = Rain.open(path)
    (reader,) = crop_readers([rain.rates])
    with tempfile.TemporaryDirectory() as folder:
        ready, _ = prepare(
            rain,
            reader,
            recipe,
            before=None,
            scans=Path(folder),
            show=lambda _: None,
        )
    sampler = Sampler([ready.training], [1.0], leads=recipe.leads_per_crop, crop=recipe.crop)
    return NowcasterTask(recipe, sampler, sampler, None, Path())  # type: ignore[arg-type] # writes no model


def crops(task: NowcasterTask, update: int) -> CropBatch:
    """Return the batch of an update, read now."""
    return task.make(update, 0, 1)


def rate(function: Callable[[int], object], seconds: float, *, first: int) -> float:
    """Return the calls per second of a function of consecutive numbers."""
    began = time.perf_counter()
    for count in itertools.count(1):
        function(first + count - 1)
        if (spent := time.perf_counter() - began) >= seconds:
            return count / spent
    raise AssertionError


def learning(task: NowcasterTask, batch: Callable[[int], CropBatch], seconds: float) -> float:
    """Return the updates per second of a new network, from its sixth on."""
    torch.manual_seed(0)
    network = task.build().train()
    optimizer = task.optimizer(network)

    def update(number: int) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=task.precision == "bf16-mixed"):
            loss = task.loss(network, batch(number), Moment(0, number, 0.0))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), task.gradient_clip)
        optimizer.step()

    for number in range(5):
        update(number)
    return rate(update, seconds, first=5)


def table(found: dict[str, float], path: Path) -> str:
    """Return the numbers as a table in Markdown."""
    rain = archive.open(path)["rainfall_rate"]
    frames, rows, columns = rain.shape
    lines = [
        f"{frames} frames of {rows} × {columns} pixels.{f' {CREDIT}' if path.name == MADE else ''}",
        machine.where("benchmarks.loader"),
        "",
        "| | |",
        "|---|---:|",
        *(f"| {name} | {value:.1f} |" for name, value in found.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
