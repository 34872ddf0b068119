"""Evaluations as files: to resume a verification, and to merge reports.

The file is safetensors: arrays, with JSON in the header. Nothing is unpickled, and every array must have the
shape and type that the axes prescribe.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from stormcell.data.splits import Block
from stormcell.errors import InputError, StormcellError
from stormcell.verification.axes import Axes
from stormcell.verification.case_study import Case, Maps
from stormcell.verification.evaluation import Description, Evaluation
from stormcell.verification.statistics import STATISTICS
from stormcell.verification.tally import Tally

FILE = "tallies.safetensors"
UNFINISHED = "unfinished.safetensors"

Arrays = dict[str, NDArray[Any]]

_KEY = "stormcell_evaluation"


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
    arrays: Arrays = {"issue_times": nanoseconds(evaluation.issue_times)}
    for mask, tallies in (("strict", evaluation.strict), ("as_dry", evaluation.as_dry)):
        for k, tally in enumerate(tallies.values()):
            arrays |= {f"{mask}/{k}/{name}": rows for name, rows in tally.rows.items()}
    case = evaluation.case
    arrays |= {"case/times": nanoseconds(case.times), "case/newest": case.newest}
    for name, maps in (("whole", case.whole), ("close_up", case.close_up)):
        arrays[f"case/{name}/observed"] = maps.observed
        arrays |= {f"case/{name}/{k}": rate for k, rate in enumerate(maps.forecasts.values())}
    for k, name in enumerate(case.whole.forecasts):
        if name in case.probabilities:
            arrays[f"case/probabilities/{k}"] = case.probabilities[name]
        if name in case.members:
            arrays[f"case/members/{k}"] = case.members[name]
    header = {
        "digest": digest,
        "axes": {name: asdict(tally.axes) for name, tally in evaluation.strict.items()},
        "forecasters": {name: asdict(description) for name, description in evaluation.described.items()},
        "periods": [(period.start, period.end) for period in evaluation.periods],
        "data": evaluation.data,
        "credit": evaluation.credit,
        "notes": evaluation.notes,
        "case": {
            "issue_time": int(nanoseconds(case.issue_time)),
            "events": case.events,
            "threshold": case.threshold,
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

    whole, close_up = maps("whole"), maps("close_up")

    def optional(kind: str, shape: tuple[int | None, ...]) -> dict[str, NDArray[Any]]:
        keys = {name: f"case/{kind}/{k}" for k, name in enumerate(described)}
        return {name: _typed(arrays[key], np.float32, shape) for name, key in keys.items() if key in arrays}

    case = Case(
        np.datetime64(int(header["case"]["issue_time"]), "ns"),
        _typed(arrays["case/times"], np.int64, (len(axes.lead_minutes),)).astype("datetime64[ns]"),
        int(header["case"]["events"]),
        _typed(arrays["case/newest"], np.float32, whole.observed.shape[1:]),
        whole,
        close_up,
        float(header["case"]["threshold"]),
        optional("probabilities", close_up.observed.shape),
        optional("members", (None, *close_up.observed.shape)),
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


def nanoseconds(times: Any) -> NDArray[np.int64]:
    """Return times as nanoseconds since 1970."""
    return np.asarray(times, "datetime64[ns]").astype(np.int64)
