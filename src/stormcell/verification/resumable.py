"""Evaluation by a plan in tasks of one issue time, which resumes after an interruption."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from stormcell.atomic import make_folder, write_file
from stormcell.data.parallel import THIS_PROCESS, Workers, in_worker
from stormcell.data.time_axis import minute
from stormcell.errors import InputError, WorkerError
from stormcell.forecast.contract import Forecaster
from stormcell.verification.axes import CLASSES
from stormcell.verification.case_study import Case
from stormcell.verification.evaluate import AREAS, BANDS, DURATIONS, SCALES, THRESHOLDS, evaluate
from stormcell.verification.evaluation import Description, Evaluation
from stormcell.verification.plan import Plan
from stormcell.verification.saved_evaluation import UNFINISHED, from_bytes, nanoseconds, to_bytes

_TOGETHER = 4  # issue times between two looks at the clock
_SECONDS = 30.0  # between two saves
_SAME_DATA: set[str] = set()  # digests of the evaluations whose data this process was found to read


def evaluate_resumably(
    folder: Path,
    rain: xr.DataArray,
    forecasters: Mapping[str, Forecaster],
    plan: Plan,
    *,
    progress: Callable[[int], None],
    log: Callable[[str], None],
    workers: Workers = THIS_PROCESS,
    seconds: float = _SECONDS,
) -> Evaluation:
    """Evaluate by a plan, and resume an interrupted evaluation of the same forecasters, plan and data.

    Each issue time is a task. The result is the same, to the bit, wherever the tasks run, if the forecasters
    are the same there: a network must use the same number of threads.

    Args:
        folder: Folder of the report, for the unfinished evaluation. It is deleted when a report is written.
        rain: Rain rates in mm/h ``(time, y, x)``.
        forecasters: Forecasters by name.
        plan: Issue times, period and lead times.
        progress: Called with the number of issue times that are done.
        log: Called with a line of text if an evaluation is resumed or discarded.
        workers: What runs the tasks; see :func:`stormcell.data.parallel.workers`.
        seconds: Time between two saves.

    Raises:
        OutputError: The unfinished evaluation cannot be saved.
        WorkerError: A worker process reads other data, or the processes of an issue time were killed.
    """
    path, parts = folder / UNFINISHED, list[Evaluation]()
    digest = _digest(rain, forecasters, plan)
    if path.exists():
        try:
            found, of = from_bytes(path.read_bytes(), str(path))
            parts = [found] if of == digest else []
        except InputError:
            parts = []
        log(
            f"resuming after {len(found.issue_times)} issue times"
            if parts
            else f"{path}: of another evaluation, discarded"
        )
    remaining = plan.issue_times.astype("datetime64[ns]")
    if parts:
        remaining = remaining[~np.isin(remaining, parts[0].issue_times)]
    done, saved = len(plan.issue_times) - len(remaining), time.monotonic()
    progress(done)
    make_folder(folder)
    at_issue_time = partial(_evaluate_one, rain, forecasters, plan, digest)
    for count, task in enumerate(workers.run(at_issue_time, list(remaining), name=_issued), start=done + 1):
        parts.append(task.result())
        # One case is enough. Those of many parts would take a lot of memory.
        case = max(parts[0].case, parts[-1].case, key=Case.rank)
        parts = [replace(part, case=case) for part in parts]
        progress(count)
        look = (count - done) % _TOGETHER == 0 and count < len(plan.issue_times)
        if look and time.monotonic() - saved >= seconds:
            began = time.monotonic()
            parts = [Evaluation.sum(parts)]
            write_file(path, to_bytes(parts[0], digest))
            saved = time.monotonic()
            seconds = max(seconds, 20 * (saved - began))
    return replace(Evaluation.sum(parts), notes=plan.notes)


def _evaluate_one(
    rain: xr.DataArray,
    forecasters: Mapping[str, Forecaster],
    plan: Plan,
    digest: str,
    issue_time: np.datetime64,
) -> Evaluation:
    """Evaluate at one issue time, perhaps in another process."""
    if in_worker() and digest not in _SAME_DATA:
        # Where the archive cannot be reached, Zarr would read every frame as not observed.
        if _digest(rain, forecasters, plan) != digest:
            raise WorkerError(
                "verify: expected workers that read the same archive, found other rates; an archive must lie "
                "in a folder or an object store that all workers reach by the same name"
            )
        _SAME_DATA.add(digest)
    return evaluate(
        rain,
        forecasters,
        issue_times=[issue_time],
        steps=plan.steps,
        valid=plan.period,
        members=plan.members,
        seed=plan.seed,
    )


def _issued(issue_time: np.datetime64) -> str:
    return f"issue time {minute(issue_time)}"


def _digest(rain: xr.DataArray, forecasters: Mapping[str, Forecaster], plan: Plan) -> str:
    """Return a SHA-256 of all that an evaluation depends on; of the data, only two frames are read."""
    described = {name: asdict(Description.of(name, one)) for name, one in forecasters.items()}
    digest = hashlib.sha256(
        json.dumps(
            [
                *(described, str(plan.period), plan.steps, plan.members, plan.seed),
                *(THRESHOLDS, SCALES, BANDS, CLASSES, AREAS, DURATIONS),
            ]
        ).encode()
    )
    digest.update(nanoseconds(plan.issue_times).tobytes() + nanoseconds(rain["time"].values).tobytes())
    for issue_time in plan.issue_times[[0, -1]]:
        digest.update(rain.sel(time=issue_time).values.tobytes())
    return digest.hexdigest()
