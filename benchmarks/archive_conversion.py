"""``python -m benchmarks.archive_conversion FOLDER``: speed and memory of archiving a folder of GRIB2 files.

In turn, each in a new process: a bare decode of all files by ecCodes, on one core, and on all cores with a
process each; ``archive.append`` on one core, and on all cores with a worker process each. The memory is the
peak, over all processes of a conversion, of the sum of their proportional set sizes (PSS), sampled ten times
a second.

Speed is in megabytes of float32 rates per second, and that of an archive also as a share of that of a bare
decode on as many cores. It counts from the first file on, when the processes have started and have imported
the libraries; how long that takes is said apart. Run it on a quiet machine.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

GIB, MB = 2**30, 1e6
MEASURED = ("bare", "bare-cores", "none", "cores")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.archive_conversion", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of GRIB2 files, .gz or not")
    parser.add_argument("--files", type=int, help="number of files; default: all")
    parser.add_argument("--repeat", type=int, default=1, help="number of measurements; the best counts")
    parser.add_argument("--measure", choices=list(MEASURED), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.iterdir() if path.is_file())[: arguments.files]
    if arguments.measure == "bare":
        print(json.dumps(decode(files)))
    elif arguments.measure == "bare-cores":
        print(json.dumps(decode_on_cores(files)))
    elif arguments.measure:
        print(json.dumps(convert(files, arguments.measure)))
    else:
        report(arguments, len(files))


def report(arguments: argparse.Namespace, files: int) -> None:
    """Measure everything in turn, and print it."""
    cores = len(os.sched_getaffinity(0))
    best: dict[str, dict[str, float]] = {}
    for _ in range(arguments.repeat):
        for what in MEASURED:
            found = measured(arguments, what)
            if what not in best or found["seconds"] < best[what]["seconds"]:
                best[what] = found
    size = best["none"]["bytes"]
    bare, bare_together, alone, together = (best[what] for what in MEASURED)
    print(f"{files} files, {size / MB:.0f} MB of rates, {alone['stored'] / MB:.1f} MB in the archive")
    for title, one, decoded, count in (
        ("bare decode, 1 core", bare, bare, 1),
        (f"bare decode, {cores} cores", bare_together, bare_together, cores),
        ("archive, 1 core", alone, bare, 1),
        (f"archive, {cores} cores", together, bare_together, cores),
    ):
        per_core = size / MB / one["seconds"] / count
        share = decoded["seconds"] / one["seconds"]
        print(
            f"{title:<20} {one['seconds']:7.1f} s {size / MB / one['seconds']:7.0f} MB/s, "
            f"{per_core:6.0f} MB/s per core ({share:4.0%} of bare there), CPU {one['cpu']:6.1f} s, "
            f"peak {one['peak'] / GIB:.2f} GiB"
        )
    starts = f"{alone['start']:.1f} s on 1 core, {together['start']:.1f} s on {cores} cores"
    print(f"start of the processes: {starts}")


def measured(arguments: argparse.Namespace, what: str) -> dict[str, float]:
    """Measure in a new process, and return its numbers and the peak of its memory."""
    command = [sys.executable, "-m", "benchmarks.archive_conversion", str(arguments.folder)]
    command += ["--measure", what, *(["--files", str(arguments.files)] if arguments.files else [])]
    cores = set(os.sched_getaffinity(0))
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores if what.endswith("cores") else {min(cores)}),
    )
    with ThreadPoolExecutor(1) as pool:
        peak = pool.submit(peak_memory, process)
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{what}: expected a measurement, found exit status {process.returncode}")
    return {**json.loads(output), "peak": peak.result()}


def peak_memory(process: "subprocess.Popen[str]") -> float:
    """Return the peak of the memory of a process and its children, in bytes, when it has ended."""
    peak = 0.0
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        with suppress(psutil.Error):
            for one in (parent, *parent.children(recursive=True)):
                with suppress(psutil.Error):
                    total += one.memory_full_info().pss
        peak = max(peak, total)
        time.sleep(0.1)
    return peak


def decode(files: Sequence[Path]) -> dict[str, float]:
    """Decode all messages by ecCodes, and do nothing with them."""
    import bz2
    import gzip

    import eccodes

    unpack: dict[bytes, Any] = {b"\x1f\x8b": gzip.decompress, b"BZ": bz2.decompress}
    began, cpu = time.perf_counter(), time.process_time()
    for file in files:
        content = file.read_bytes()
        content = unpack.get(content[:2], bytes)(content)
        message = eccodes.codes_new_from_message(content)
        eccodes.codes_get_array(message, "values")
        eccodes.codes_release(message)
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}


def decode_on_cores(files: Sequence[Path]) -> dict[str, float]:
    """Decode all messages in as many processes as there are cores."""
    cores = len(os.sched_getaffinity(0))
    began, cpu = time.perf_counter(), os.times()
    with ProcessPoolExecutor(cores, multiprocessing.get_context("fork")) as pool:
        list(pool.map(decode, [files[first::cores] for first in range(cores)]))
    after = os.times()
    used = (after.children_user - cpu.children_user) + (after.children_system - cpu.children_system)
    return {"seconds": time.perf_counter() - began, "cpu": used}


def convert(files: Sequence[Path], scheduler: str) -> dict[str, float]:
    """Archive the files; the clock starts when the processes have imported the libraries."""
    from stormcell.data import archive
    from stormcell.data.parallel import workers

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rain.zarr"
        starting, cpu = time.perf_counter(), os.times()
        with workers(scheduler) as started:
            # More tasks than processes, so that each has one.
            for ready in started.run(imported, range(4 * len(os.sched_getaffinity(0)))):
                ready.result()
            began = time.perf_counter()
            done = archive.append(path, files, workers=started)
            seconds = time.perf_counter() - began
        after = os.times()
        if done.refused:
            raise SystemExit(f"expected all files to be archived, found {done.refused[0]}")
        stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        size = archive.open(path).rainfall_rate.nbytes
    used = (after.user - cpu.user) + (after.system - cpu.system)
    used += (after.children_user - cpu.children_user) + (after.children_system - cpu.children_system)
    start = began - starting
    return {"seconds": seconds, "start": start, "cpu": used, "bytes": size, "stored": stored}


def imported(_: int) -> None:
    """Import the libraries of the readers, in a worker process."""
    from stormcell.data.readers import readers

    readers()


if __name__ == "__main__":
    main()
