"""Archives whose writers are killed at random moments: is each equal to that of a writer that was not?

    python -m benchmarks.kill [--rounds 20] [--frames 40] [--seed 0]

For each kind of change, a command of ``stormcell`` runs once to its end, and then ``--rounds`` times on a
copy of what was there before, until ``kill -9`` at a random moment. Then the same command runs again. The
killed process is the command's; with worker processes also one of them, or both. All the while, another
process opens the archive and reads random frames of it. Counted are

- rounds after which the archive differs from that of the first run in a bit of any variable or attribute,
  except the date of creation, or has something left over;
- commands that did not end well although only one of their workers was killed;
- readers that could not open the archive after it had been opened once, or found a wrong frame;
- worker processes that outlived their command by more than thirty seconds.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import xarray as xr

# Imported here so that a random moment does not fall into the import.
import stormcell.cli.archive
import stormcell.data.readers.cf_netcdf  # noqa: F401
from benchmarks.archive_growth import write_file
from stormcell.cli.main import app
from stormcell.data import archive, rain_index
from stormcell.errors import ArchiveChangedError, ArchiveError

# A forked child has everything imported. The parent starts no thread: what would start one, a child does.
_FORK = multiprocessing.get_context("fork")
_ORPHAN_SECONDS = 30


@dataclass(frozen=True)
class Change:
    """A kind of change.

    Attributes:
        name: Its name.
        command: Arguments of ``stormcell``; ``OUT`` is the archive.
        before: The archive before; None for a new one.
        killed: Who is killed: ``"command"``, ``"worker"`` or ``"both"``.
    """

    name: str
    command: Sequence[str]
    before: Path | None = None
    killed: str = "command"


def main() -> None:
    """Kill, and print the counts; the status is 1 if one of them should be zero and is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--side", type=int, default=64, help="rows and columns of a frame")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of what the reader reads")
    parser.add_argument("--only", help="part of the names of the changes that are tried")
    options = parser.parse_args()
    random.seed(options.seed)
    with TemporaryDirectory() as name:
        wrong = 0
        for change in prepare(Path(name), options.frames, options.side):
            if options.only is None or options.only in change.name:
                counts = rounds(change, Path(name), options.rounds)
                counted = ", ".join(f"{what} {count}" for what, count in counts.items())
                print(f"{change.name}: {counted}", flush=True)
                wrong += sum(counts[what] for what in _WRONG)
    sys.exit(wrong > 0)


_STATES = "undone", "partly done", "done"  # after the kill
_WRONG = (
    "stopped by a worker",
    "differ",
    "left over",
    "failed again",
    "unreadable",
    "wrong frames",
    "orphans",
)


def prepare(folder: Path, frames: int, side: int) -> list[Change]:
    """Write radar files and the archives before each change, and return the changes."""
    early, late = folder / "early", folder / "late"
    early.mkdir()
    late.mkdir()
    for number in range(frames):
        # The late files are 16 frames in pairs, all over the archive.
        is_late = number % (frames // 8) in (3, 4)
        write_file(late if is_late else early, number, side)
    base = folder / "base.zarr"
    run(["archive", str(early), "--out", str(base), "--scheduler", "none"])
    # A change before, so that both numberings exist.
    run(["archive", str(sorted(late.iterdir())[0]), "--out", str(base), "--scheduler", "none"])
    both = ["archive", str(early), str(late), "--out", "OUT"]
    insertion = ["archive", str(late), "--out", "OUT"]
    pruning = ["prune", "OUT", "--keep", f"{frames * 5 // 2}min"]
    return [
        Change("conversion", [*both, "--scheduler", "none"]),
        Change("insertion of late frames", [*insertion, "--scheduler", "none"], base),
        Change("prune", pruning, base),
        Change("conversion by workers, command killed", [*both, "--scheduler", "cores"]),
        Change("conversion by workers, a worker killed", [*both, "--scheduler", "cores"], killed="worker"),
        Change("conversion by workers, both killed", [*both, "--scheduler", "cores"], killed="both"),
        Change(
            "insertion by workers, both killed", [*insertion, "--scheduler", "cores"], base, killed="both"
        ),
    ]


def rounds(change: Change, folder: Path, count: int) -> Counter[str]:
    """Kill a change at random moments, and return the counts."""
    whole, path = folder / "whole.zarr", folder / "killed.zarr"
    fresh(whole, change.before)
    started = time.monotonic()
    assert run(change.command, whole) == 0
    duration = time.monotonic() - started
    expected, hashes = in_child(contents, whole), in_child(frame_hashes, change.before, whole)
    counts = Counter(dict.fromkeys(("rounds", "killed", *_STATES, "reads", "reopened", *_WRONG), 0))
    counts["rounds"] = count
    before = None if change.before is None else in_child(contents, change.before)
    for _ in range(count):
        fresh(path, change.before)
        with reading(path, hashes, random.random(), counts):
            process = start(change.command, path)
            time.sleep(random.random() * duration)
            workers = kill(process, change.killed)
            process.join()
            counts["killed"] += process.exitcode == -signal.SIGKILL or change.killed == "worker"
            counts["stopped by a worker"] += change.killed == "worker" and process.exitcode != 0
            left = in_child(contents, path) if (path / "zarr.json").exists() else None
            counts[_STATES[0 if left == before else 2 if left == expected else 1]] += 1
            counts["failed again"] += run(change.command, path) != 0
        counts["differ"] += in_child(contents, path) != expected
        counts["left over"] += bool(left_over(path))
        counts["orphans"] += len(psutil.wait_procs(workers, timeout=_ORPHAN_SECONDS)[1])
    return counts


def fresh(path: Path, before: Path | None) -> None:
    """Make the archive as it is before a change."""
    shutil.rmtree(path, ignore_errors=True)
    if before is not None:
        shutil.copytree(before, path, symlinks=True)


def run(command: Sequence[str], path: Path | None = None) -> int | None:
    """Run a command of ``stormcell`` to its end, and return its status."""
    process = start(command, path)
    process.join()
    return process.exitcode


def start(command: Sequence[str], path: Path | None = None) -> Any:
    """Start a command of ``stormcell`` in a child."""
    arguments = [str(path) if argument == "OUT" else argument for argument in command]
    process = _FORK.Process(target=_command, args=(arguments,))
    process.start()
    return process


def _command(arguments: list[str]) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    app(arguments, prog_name="stormcell")


def kill(process: Any, killed: str) -> list[psutil.Process]:
    """Kill a command, one of its workers, or both; return its workers."""
    workers = list[psutil.Process]()
    if killed != "command":
        # A random moment at which there is a worker.
        while process.is_alive() and not (workers := worker_processes(process.pid)):
            time.sleep(0.01)
    elif process.is_alive():
        workers = worker_processes(process.pid)
    if killed != "command" and workers:
        with suppress(psutil.NoSuchProcess):
            random.choice(workers).kill()
    if killed != "worker" and process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    return workers


def worker_processes(pid: int) -> list[psutil.Process]:
    """Return the processes that Dask started below a process."""
    with suppress(psutil.NoSuchProcess):
        below = psutil.Process(pid).children(recursive=True)
        return [each for each in below if _is_worker(each)]
    return []


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "spawn_main" in " ".join(process.cmdline())
    return False


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a function that runs in a child."""
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=lambda: sender.send(function(*arguments)))
    process.start()
    sender.close()
    result = receiver.recv()
    process.join()
    return result


def contents(path: Path) -> dict[str, Any]:
    """Return every bit of an archive that Xarray finds, by the names of variables and attributes."""
    ds = xr.open_zarr(path, consolidated=True, decode_cf=False, chunks=None)
    attributes = {name: value for name, value in ds.attrs.items() if name != "mlcast_created_on"}
    found = {"attributes": json.dumps(attributes, sort_keys=True)}
    for name, variable in ds.variables.items():
        values = variable.values
        described = json.dumps([variable.dims, values.shape, str(values.dtype), str(variable.attrs)])
        found[str(name)] = described, values.tobytes()
    return found


def frame_hashes(*paths: Path | None) -> dict[int, int]:
    """Return the hashes of the frames of archives, by time."""
    found = {}
    for path in paths:
        if path is not None:
            ds = archive.open(path)
            times = ds["time"].values.astype("datetime64[s]").astype(int).tolist()
            found |= dict(zip(times, map(rain_index.frame_hash, ds["rainfall_rate"].values), strict=True))
    return found


def left_over(path: Path) -> list[str]:
    """Return what a writer should have removed."""
    notes = path / ".stormcell"
    return [str(name) for name in (notes / "dirty", *(notes / "staged").glob("*")) if name.exists()]


@contextmanager
def reading(path: Path, hashes: dict[int, int], seed: float, counts: Counter[str]) -> Iterator[None]:
    """Open and read an archive all the time in another process, and count what it finds."""
    here, there = _FORK.Pipe()
    reader = _FORK.Process(target=_read, args=(path, hashes, seed, there))
    reader.start()
    try:
        yield
    finally:
        here.send(None)
        counts.update(here.recv())
        reader.join()


def _read(path: Path, hashes: dict[int, int], seed: float, stop: Connection) -> None:
    choose, found = random.Random(seed), Counter[str]()
    exists = (path / "zarr.json").exists()
    while not stop.poll(0.01):
        try:
            ds = archive.open(path)
            exists = True
            times = ds["time"].values.astype("datetime64[s]").astype(int).tolist()
            for position in choose.sample(range(len(times)), min(len(times), 20)):
                rate = ds["rainfall_rate"].variable[position].values
                found["reads"] += 1
                found["wrong frames"] += int(rain_index.frame_hash(rate) != hashes[times[position]])
        except ArchiveChangedError:
            found["reopened"] += 1
        except ArchiveError:
            found["unreadable"] += exists
    stop.send(found)


if __name__ == "__main__":
    main()
