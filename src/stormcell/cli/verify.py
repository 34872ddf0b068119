"""``verify``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from stormcell.cli.forecast import moment
from stormcell.data import archive
from stormcell.data.splits import Block, Window, windows
from stormcell.data.time_axis import TimeAxis
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast.contract import DEFAULT_STEPS, DescribedForecaster
from stormcell.forecast.resolve import forecaster
from stormcell.verification import report
from stormcell.verification.evaluate import Evaluation, evaluate


def verify(
    path: Path,
    names: Sequence[str],
    out: Path,
    *,
    start: str | None = None,
    end: str | None = None,
    every: int | None = None,
    steps: int | None = None,
) -> Evaluation:
    """Score forecasters at the same issue times of an archive, and write the report into ``out``.

    Raises:
        ArgumentError: A name or a time cannot be understood, or a name is there twice.
        FramesError: There is nothing to score.
    """
    if len(set(names)) != len(names):
        raise ArgumentError(f"--forecaster: expected different names, found {', '.join(names)}")
    chosen = {name: forecaster(name) for name in names}
    rain = archive.rain(archive.open(path))
    axis = TimeAxis(rain["time"].values)
    times = axis.times
    period = _period(chosen, times, start, end)
    steps = steps or max((f.default_steps for f in chosen.values() if f.default_steps), default=DEFAULT_STEPS)
    inputs = max(f.needs.frames for f in chosen.values())
    found = windows(axis, period, inputs=inputs, steps=steps)
    found = _thinned(found, times, every)
    if not found:
        held = Block(*map(str, times[[0, -1]].astype("datetime64[s]")))
        raise FramesError(
            f"verify: expected something to score in {period}, found none in the archive, {held}; "
            "say --from and --to"
        )
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("verifying", total=len(found))
        evaluation = evaluate(
            rain,
            chosen,
            issue_times=times[[w.issue for w in found]],
            steps=steps,
            valid=period,
            progress=lambda done: bar.update(task, completed=done),
        )
        bar.update(task, description="drawing")
        report.write(
            out,
            evaluation,
            rain=rain,
            forecasters=chosen,
            notes=_overlaps(chosen, found, times),
        )
    print(f"{out / 'report.html'}\n{out / 'scores.json'}")
    return evaluation


def _period(
    chosen: Mapping[str, DescribedForecaster], times: np.ndarray, start: str | None, end: str | None
) -> Block:
    """What is scored: as asked for, else where every model's test blocks agree, else all there is."""
    tests = [f.blocks["test"] for f in chosen.values() if f.blocks]
    first = max((np.datetime64(a) for a, _ in tests), default=times[0])
    last = min((np.datetime64(b) for _, b in tests), default=times[-1])
    if start is not None:
        first = moment("--from", start)
    if end is not None:
        last = moment("--to", end)
    if first > last and (start is None or end is None) and len(tests) > 1:
        raise ArgumentError(
            "verify: the models' test periods have no such time in common; say --from and --to"
        )
    if first > last:
        raise ArgumentError(f"verify: expected a start before the end, found {first} and {last}")
    return Block(str(first.astype("datetime64[s]")), str(last.astype("datetime64[s]")))


def _thinned(found: list[Window], times: np.ndarray, every: int | None) -> list[Window]:
    """Only issue times at whole multiples of ``every`` minutes, counted from 1970."""
    if every is None:
        return found
    if every < 1:
        raise ArgumentError(f"--every: expected at least a minute, found {every}")
    return [w for w in found if times[w.issue].astype("datetime64[s]").astype(int) % (60 * every) == 0]


def _overlaps(
    chosen: Mapping[str, DescribedForecaster], found: Sequence[Window], times: np.ndarray
) -> dict[str, str]:
    """For each model whose training or validation saw a time that is scored: a sentence that says so."""
    first, last = times[found[0].targets[0]], times[max(w.targets[-1] for w in found)]
    notes = {}
    for name, named in chosen.items():
        if not named.blocks:
            continue
        seen = [
            f"{block} block {Block(*named.blocks[block])}"
            for block in ("train", "validation")
            if Block(*named.blocks[block]).overlaps(first, last)
        ]
        if seen:
            notes[name] = f"{name} has seen times that are scored here: {' and '.join(seen)}"
    return notes
