"""The measurement: contenders are compared first, and then timed in turn."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.layers import checking
from benchmarks.layers.cases import Case
from benchmarks.layers.contenders import CONTENDERS, TRUTH, Contender
from benchmarks.layers.runners import Task
from benchmarks.layers.worker import Failed, Worker, worker

LEAST_ROUNDS = 3
_CACHES = ("XDG_CACHE_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
_SHORTEST = 0.2  # seconds of a turn; shorter steps are repeated

Record = dict[str, Any]  # of one entrant, as JSON


class How(NamedTuple):
    """Settings shared by all measurements."""

    rounds: int
    seconds: float  # for the rounds of one dtype and mode
    device: str
    threads: int
    scratch: Path
    say: Callable[[str], None]


class Entrant(NamedTuple):
    """A contender, its case, and the folder of the reference's results."""

    contender: Contender
    case: Case
    truth: Path


class Unequal(Exception):
    """A contender does not compute the same."""


def truth(case: Case, how: How) -> Path:
    """Compute the reference in float32, and return the folder of its results."""
    folder = how.scratch / "truth" / case.name
    folder.mkdir(parents=True)
    task = Task(case, "float32", case.modes[0], "cpu", how.threads)  # a GPU rounds more
    with worker(CONTENDERS[TRUTH], task, how.scratch) as one:
        one.ask("first")
        one.ask("write", folder)
    return folder


def in_turn(entrants: Mapping[str, Entrant], dtype: str, mode: str, how: How) -> dict[str, Any]:
    """Compare each entrant with the reference, then time all of them, A B A B.

    Returns:
        ``"entrants"``, a record of each timed one, and ``"refused"``, why others were not timed.
    """
    records: dict[str, Record] = {}
    refused: dict[str, str] = {}
    running: dict[str, Worker] = {}
    with ExitStack() as stack:
        for label, entrant in entrants.items():
            own = ExitStack()
            task = Task(entrant.case, dtype, mode, how.device, how.threads)
            try:
                one = own.enter_context(worker(entrant.contender, task, how.scratch))
                records[label] = _shown_equal(one, entrant, dtype, how)
            except (Failed, Unequal) as error:
                own.close()
                refused[label] = str(error)
                how.say(f"  {label}: not equal: {error}")
            else:
                stack.enter_context(own)  # stays alive for its turns
                running[label] = one
        _rounds(running, records, refused, how)
    return {"dtype": dtype, "mode": mode, "entrants": records, "refused": refused}


def first_calls(entrant: Entrant, dtype: str, mode: str, how: How) -> dict[str, Any]:
    """Take a first and a second step without compiled code on disk, and again with it.

    Returns:
        ``"entrants"``, a record of each of the two, and ``"refused"``, why there is none.
    """
    folder = f"{{scratch}}/cache-{dtype}-{mode}"
    caches = {name: f"{folder}/{name}" for name in _CACHES}
    contender = replace(entrant.contender, environment={**entrant.contender.environment, **caches})
    task = Task(entrant.case, dtype, mode, how.device, how.threads)
    records: dict[str, Record] = {}
    refused: dict[str, str] = {}
    for label in ("empty cache", "cached"):
        try:
            with worker(contender, task, how.scratch) as one:
                records[label] = _shown_equal(one, entrant, dtype, how)
        except (Failed, Unequal) as error:
            refused[label] = str(error)
            how.say(f"  {label}: not equal: {error}")
    return {"dtype": dtype, "mode": mode, "entrants": records, "refused": refused}


def _shown_equal(one: Worker, entrant: Entrant, dtype: str, how: How) -> Record:
    """Take the first two steps.

    Raises:
        Unequal: The first one does not agree with the reference.
    """
    record: Record = {"first": one.ask("first")}
    if entrant.contender.compared:
        record["errors"] = errors = one.ask("compare", entrant.truth)
        limits = {name: checking.limit(entrant.case, name, dtype, how.device) for name in errors}
        wrong = [f"{name} by {errors[name]:.1e}, not {limits[name]:.1e}" for name in errors]
        wrong = [said for said, name in zip(wrong, errors, strict=True) if errors[name] > limits[name]]
        if wrong:
            raise Unequal(f"differs in {', '.join(wrong)}")
    record["second"], record["peak_bytes"] = one.ask("second")
    record["saved_bytes"] = one.ask("saved")
    record["described"] = one.ask("described")
    record["seconds"] = []
    return record


def _rounds(
    running: dict[str, Worker], records: dict[str, Record], refused: dict[str, str], how: How
) -> None:
    """Time the workers in turn, until there are enough rounds or the time is over."""
    repeats = {label: max(1, math.ceil(_SHORTEST / records[label]["second"])) for label in running}
    begun = time.monotonic()
    for number in range(how.rounds):
        if number >= LEAST_ROUNDS and time.monotonic() - begun > how.seconds:
            break
        for label, one in list(running.items()):
            try:
                records[label]["seconds"].append(one.ask("turn", repeats[label]))
            except Failed as error:
                refused[label] = str(error)
                how.say(f"  {label}: not equal: {error}")
                del running[label], records[label]
