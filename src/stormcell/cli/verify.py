"""``verify``."""

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from stormcell.cli.forecast import moment
from stormcell.cli.output import bar_on
from stormcell.data import archive
from stormcell.data.parallel import GIB, workers
from stormcell.data.time_axis import TimeAxis, in_minutes
from stormcell.errors import ArgumentError
from stormcell.forecast.probabilistic import EnsembleForecaster
from stormcell.forecast.resolve import for_archive, forecaster, shipped_name, thinned
from stormcell.verification import report, resumable, saved_evaluation
from stormcell.verification.bootstrap import Unit
from stormcell.verification.evaluation import Evaluation
from stormcell.verification.plan import make_plan

COMPARED = ("persistence", "extrapolation", "sprog")  # with the shipped model, if no forecaster is named

# Of a forecast, its copies and its scores. A network takes another gigabyte for a tile.
_BYTES_PER_VALUE = 16
_BYTES_PER_MEMBER = 8  # while an ensemble is made, there can be a copy of it


def verify(
    path: Path,
    names: Sequence[str],
    out: Path,
    *,
    start: str | None = None,
    end: str | None = None,
    every: int | None = None,
    steps: int | None = None,
    members: int | None = None,
    seed: int = 0,
    reference: str | None = None,
    resampled: Unit = "block",
    scheduler: str | None = None,
) -> Evaluation:
    """Score forecasters at the same issue times of an archive, and write a report into ``out``.

    Networks compute with one thread, and the cores work on several issue times at once. So the scores are the
    same on any number of cores.

    Raises:
        ArgumentError: A name or a time is malformed, a name is given twice, the reference is not a name, or
            no name is given and no model is shipped.
        FramesError: There is no forecast to score.
    """
    names = names or [shipped_name(), *COMPARED]
    if len(set(names)) != len(names):
        raise ArgumentError(f"--forecaster: expected different names, found {', '.join(names)}")
    if reference is not None and reference not in names:
        raise ArgumentError(f"--reference: expected one of {', '.join(names)}, found {reference}")
    forecasters = {name: forecaster(name, threads=1) for name in names}
    rain = archive.rain(archive.open(path))
    forecasters = {name: for_archive(one, rain) for name, one in forecasters.items()}
    frames = rain.sizes["time"]
    if frames < 2:
        raise ArgumentError(f"{path}: expected at least 2 frames, found {frames}")
    rain = thinned(rain, forecasters.values())
    axis = TimeAxis(rain["time"].values)
    if len(axis) < frames:
        _print(f"using one frame every {in_minutes(axis.step):g} min, the time step of the models")
    plan = make_plan(
        axis,
        forecasters,
        start=None if start is None else moment("--from", start),
        end=None if end is None else moment("--to", end),
        every=every,
        steps=steps,
        members=members,
        seed=seed,
    )
    for note in plan.notes:
        _print(note)
    fields = len(forecasters) + 2  # the observation and a motion field
    ensembles = sum(isinstance(one, EnsembleForecaster) for one in forecasters.values())
    values = _BYTES_PER_VALUE * fields + _BYTES_PER_MEMBER * ensembles * (members or 0)
    memory = GIB + values * plan.steps * rain[0].size
    with workers(scheduler, memory=memory) as started, bar_on(Console(stderr=True), stays=True) as bar:
        task = bar.add_task("verifying", total=len(plan.issue_times))
        evaluation = resumable.evaluate_resumably(
            out,
            rain,
            forecasters,
            plan,
            progress=lambda done: bar.update(task, completed=done),
            log=_print,
            workers=started,
        )
        bar.update(task, description="drawing")
        _write(out, evaluation, reference, resampled)
    return evaluation


def merge(
    reports: Sequence[Path], out: Path, *, reference: str | None = None, resampled: Unit = "block"
) -> None:
    """Write one report of the tallies of several.

    Raises:
        InputError: A folder has no tallies.
        ArgumentError: The reports differ in forecasters, lead times or data, or share an issue time.
    """
    _write(out, saved_evaluation.merge(reports), reference, resampled)


def _write(out: Path, evaluation: Evaluation, reference: str | None, resampled: Unit) -> None:
    report.write(out, evaluation, reference=reference, resampled=resampled)
    print(f"{out / 'report.html'}\n{out / 'scores.json'}")


def _print(line: str) -> None:
    typer.echo(f"verify: {line}", err=True)
