"""Evaluations on disk: to resume a verification, and to merge reports.

The file is safetensors: arrays, with JSON in the header. Nothing is unpickled, and every array must have the
shape and type that the axes prescribe.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from stormcell.atomic import make_folder, write_file
from stormcell.data.parallel import THIS_PROCESS, Workers, in_worker
from stormcell.data.splits import Block
from stormcell.data.time_axis import minute
from stormcell.errors import InputError, StormcellError, WorkerError
from stormcell.forecast.contract import Forecaster
from stormcell.verification.axes import CLASSES, Axes
from stormcell.verification.case_study import Case, Maps
from stormcell.verification.evaluate import AREAS, BANDS, DURATIONS, SCALES, THRESHOLDS, evaluate
from stormcell.verification.evaluation import Description, Evaluation
from stormcell.verification.plan import Plan
from stormcell.verification.statistics import STATISTICS
from stormcell.verification.tally import Tally

FILE = "tallies.safetensors"
UNFINISHED = "unfinished.safetensors"

Arrays = dict[str, NDArray[Any]]

_KEY = "stormcell_evaluation"
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


def merge(reports: Sequence[Path]) -> Evaluation:
    """Return the evaluation of several reports together, from the tallies in their folders.

    Raises:
        InputError: A folder has no tallies, or the file is damaged.
        ArgumentError: The reports are of different forecasters, lead times or data, or share an issue time.
    """
    evaluations = []
    for report in reports:
        path = report / FILE
        if not path.is_file():
            raise InputError(f"{path}: expected the tallies of a report, found no such file")
        evaluations.append(from_bytes(path.read_bytes(), str(path))[0])
    return Evaluation.sum(evaluations)


def to_bytes(evaluation: Evaluation, digest: str = "") -> bytes:
    """Return an evaluation as the content of a file.

    Args:
        evaluation: The evaluation.
        digest: Of the forecasters, the plan and the data, if the evaluation is to be resumed.
    """
    arrays: Arrays = {"issue_times": _integers(evaluation.issue_times)}
    for mask, tallies in (("strict", evaluation.strict), ("as_dry", evaluation.as_dry)):
        for k, tally in enumerate(tallies.values()):
            arrays |= {f"{mask}/{k}/{name}": rows for name, rows in tally.rows.items()}
    case = evaluation.case
    arrays |= {"case/times": _integers(case.times), "case/newest": case.newest}
    for name, maps in (("whole", case.whole), ("close_up", case.close_up)):
        arrays[f"case/{name}/observed"] = maps.observed
        arrays |= {f"case/{name}/{k}": rate for k, rate in enumerate(maps.forecasts.values())}
    header = {
        "digest": digest,
        "axes": {name: asdict(tally.axes) for name, tally in evaluation.strict.items()},
        "forecasters": {name: asdict(description) for name, description in evaluation.described.items()},
        "periods": [(period.start, period.end) for period in evaluation.periods],
        "data": evaluation.data,
        "credit": evaluation.credit,
        "notes": evaluation.notes,
        "case": {
            "issue_time": int(_integers(case.issue_time)),
            "events": case.events,
            "whole": (case.whole.leads, case.whole.size_km),
            "close_up": (case.close_up.leads, case.close_up.size_km),
        },
    }
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save(contiguous, {_KEY: json.dumps(header)})


def from_bytes(content: bytes, name: str) -> tuple[Evaluation, str]:
    """Return the evaluation in the content of a file, and the digest that was saved with it.

    Args:
        content: The content.
        name: Name of the file, for errors.

    Raises:
        InputError: It is not an evaluation, or it is damaged.
    """
    try:
        arrays = load(content)
        # ``load`` has checked the length of the header and parsed it.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        header = json.loads(header["__metadata__"][_KEY])
        absent = [statistic for statistic in STATISTICS if f"strict/0/{statistic}" not in arrays]
        if absent:
            raise InputError(
                f"{name}: expected the tallies of a report, found them without {', '.join(absent)}; "
                "a report of an older version must be made again"
            )
        return _evaluation(header, arrays), str(header["digest"])
    except InputError:
        raise
    except (SafetensorError, StormcellError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{name}: expected the tallies of a report, found {error!r}") from error


def _evaluation(header: Mapping[str, Any], arrays: Arrays) -> Evaluation:
    described = {
        str(name): Description(
            str(one["title"]),
            one["digest"],
            tuple(
                {str(block): (str(a), str(b)) for block, (a, b) in blocks.items()} for blocks in one["blocks"]
            ),
            None if one["seed"] is None else int(one["seed"]),
        )
        for name, one in header["forecasters"].items()
    }
    each = {name: Axes.from_json(header["axes"][name]) for name in described}
    axes = next(iter(each.values()))
    issue_times = _typed(arrays["issue_times"], np.int64, (None,)).astype("datetime64[ns]")
    if (np.diff(issue_times) <= np.timedelta64(0)).any():
        raise ValueError("issue times out of order")

    def tallies(mask: str) -> dict[str, Tally]:
        return {
            name: Tally(
                each[name],
                issue_times,
                {
                    statistic: _typed(
                        arrays[f"{mask}/{k}/{statistic}"],
                        entry.dtype,
                        (len(issue_times), *each[name].shape(entry.axes)),
                    )
                    for statistic, entry in STATISTICS.items()
                },
            )
            for k, name in enumerate(described)
        }

    def maps(area: str) -> Maps:
        leads, (height, width) = header["case"][area]
        if any(not 0 <= int(lead) < len(axes.lead_minutes) for lead in leads):
            raise ValueError(f"a lead time in {leads} that is not on the axis")
        observed = _typed(arrays[f"case/{area}/observed"], np.float32, (len(leads), None, None))
        forecasts = {
            name: _typed(arrays[f"case/{area}/{k}"], np.float32, observed.shape)
            for k, name in enumerate(described)
        }
        return Maps(tuple(map(int, leads)), observed, forecasts, (float(height), float(width)))

    whole = maps("whole")
    case = Case(
        np.datetime64(int(header["case"]["issue_time"]), "ns"),
        _typed(arrays["case/times"], np.int64, (len(axes.lead_minutes),)).astype("datetime64[ns]"),
        int(header["case"]["events"]),
        _typed(arrays["case/newest"], np.float32, whole.observed.shape[1:]),
        whole,
        maps("close_up"),
    )
    periods = tuple(Block(str(start), str(end)) for start, end in header["periods"])
    return Evaluation(
        tallies("strict"),
        tallies("as_dry"),
        described,
        case,
        periods=periods,
        data=str(header["data"]),
        credit=header["credit"],
        notes=tuple(map(str, header["notes"])),
    )


def _typed(array: NDArray[Any], dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return an array whose type and shape are as expected; None stands for any extent."""
    fits = len(shape) == array.ndim and all(
        expected in (None, found) for expected, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        raise ValueError(f"an array {array.dtype} {array.shape} in place of {np.dtype(dtype)} {shape}")
    return array


def _integers(times: Any) -> NDArray[np.int64]:
    """Return times as nanoseconds since 1970."""
    return np.asarray(times, "datetime64[ns]").astype(np.int64)


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
    digest.update(_integers(plan.issue_times).tobytes() + _integers(rain["time"].values).tobytes())
    for issue_time in plan.issue_times[[0, -1]]:
        digest.update(rain.sel(time=issue_time).values.tobytes())
    return digest.hexdigest()
