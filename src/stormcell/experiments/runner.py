"""The training part of an experiment: a folder from which it can be resumed."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from stormcell.atomic import make_folder, write_file
from stormcell.errors import ArgumentError, RecipeError
from stormcell.experiments.contender_task import (
    Conditions,
    TrainedContender,
    train_contender,
)
from stormcell.experiments.experiment import Experiment
from stormcell.experiments.learning_rate_search import SEARCH_SHARE, search_learning_rate
from stormcell.training.budget import Budget
from stormcell.training.mixed_precision import Precision, lightning_precision
from stormcell.training.processes import first_process_first, process_count, rank
from stormcell.training.run_state import differences, read_state

STATE = "experiment.json"


@dataclass(frozen=True)
class Settings:
    """The settings of an experiment's run.

    Attributes:
        budget: Minutes that contenders share, or updates of each.
        seed: Seed of the initial weights and of the training examples.
        search: Whether to search learning rates, in a part of the budget.
        tests: Number of test examples; None for as many as a quarter of the minutes allows or, with a budget
            in updates, as many as were trained on.
        precision: Precision of training and test.
    """

    budget: Budget
    seed: int = 0
    search: bool = False
    tests: int | None = None
    precision: Precision = "auto"


def train_all(
    experiment: Experiment, folder: Path, settings: Settings, console: Console
) -> dict[str, TrainedContender]:
    """Train all contenders, or resume their training; finished ones are not trained again.

    Args:
        experiment: The experiment.
        folder: Folder for ``experiment.json`` and a folder per contender.
        settings: Settings; all but ``tests`` must be the same as before if the folder holds an experiment.
        console: Console for progress.

    Returns:
        The results by contender.

    Raises:
        RecipeError: The folder holds another experiment, or one with other settings or data; or the
            processes do not share it.
        OutputError: A file cannot be written; the same call resumes from the last checkpoint.
    """
    conditions = Conditions(settings.seed, lightning_precision(settings.precision))
    with first_process_first():
        _claim(experiment, folder, settings, conditions)
    each = settings.budget.each(len(experiment.contenders))
    trained = {}
    for contender in experiment.contenders:
        place = folder / slug(contender.name)
        rate, budget = contender.learning_rate, each
        if settings.search:
            trials = each.part(SEARCH_SHARE)
            rate = search_learning_rate(contender, experiment, trials, place / "search", conditions, console)
            budget = each.part(1 - SEARCH_SHARE)
        trained[contender.name] = train_contender(
            contender, experiment, budget, place, conditions, console, learning_rate=rate
        )
    return trained


def slug(name: str) -> str:
    """Return a contender's name as the name of a folder.

    Example:
        >>> slug("ConvLSTM 5×5/5×5 128-64-64")
        'convlstm-5x5-5x5-128-64-64'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("×", "x")).strip("-")


def only(experiment: Experiment, names: list[str]) -> Experiment:
    """Return the experiment with the named contenders, or with all if there are no names.

    Raises:
        ArgumentError: It has no such contender.
    """
    known = {slug(contender.name): contender for contender in experiment.contenders}
    for name in names:
        if slug(name) not in known:
            raise ArgumentError(f'--only: expected one of {", ".join(known)}, found "{name}"')
    chosen = {slug(name) for name in names} or set(known)
    return replace(experiment, contenders=tuple(one for name, one in known.items() if name in chosen))


def _claim(experiment: Experiment, folder: Path, settings: Settings, conditions: Conditions) -> None:
    """Write a new run's state, or refuse to resume a run of something else."""
    now = {
        "experiment": experiment.name,
        "data": experiment.data.summary,
        "contenders": [contender.name for contender in experiment.contenders],
        "budget": str(settings.budget),
        "search": settings.search,
        "seed": settings.seed,
        "precision": conditions.precision,
        "examples per update": experiment.batch_size * process_count(),
    }
    path = folder / STATE
    before = read_state(path, "the state of an experiment")
    if before is not None:
        if changed := differences(before, now):
            raise RecipeError(
                f"{folder}: expected the experiment that was begun here, found other values of {changed}"
            )
    elif rank() > 0:
        raise RecipeError(
            f"{folder}: expected a folder that all processes share, found nothing that the first wrote"
        )
    else:
        make_folder(folder)
        write_file(path, (json.dumps(now, indent=2, ensure_ascii=False) + "\n").encode())
