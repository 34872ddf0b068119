"""The search for a learning rate: short trainings with the same few rates for every contender."""

import json
import math
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from stormcell.atomic import write_file
from stormcell.experiments.contender_task import Conditions, train_contender
from stormcell.experiments.experiment import Contender, Experiment
from stormcell.training.budget import Budget
from stormcell.training.processes import rank

CHOICE = "choice.json"
SEARCH_SHARE = 0.3  # of a contender's budget, for the trials of its learning rates together


def search_learning_rate(
    contender: Contender,
    experiment: Experiment,
    budget: Budget,
    folder: Path,
    conditions: Conditions,
    console: Console,
) -> float:
    """Return the learning rate with the best leading score at the end of its trial.

    A trial is a whole training, with rise and fall of the learning rate, in its part of the budget. Scores
    and choice are written to ``choice.json``.

    Args:
        contender: The contender.
        experiment: Its experiment, with the learning rates to try.
        budget: Budget of all trials together.
        folder: Folder for a folder per trial.
        conditions: Conditions that all contenders share.
        console: Console for progress.
    """
    trial = budget.part(1 / len(experiment.learning_rates))
    scores: dict[float, float] = {}
    for rate in experiment.learning_rates:
        console.print(f"{contender.name}: learning rate {rate:g}", soft_wrap=True)
        trained = train_contender(
            contender,
            experiment,
            trial,
            folder / f"{rate:g}",
            replace(conditions, validations=1),
            console,
            learning_rate=rate,
            keep=False,
        )
        scores[rate] = trained.score
    best = experiment.learning_rates[0]
    for rate, score in scores.items():
        if experiment.better(score, scores[best]):
            best = rate
    if rank() == 0:
        tried = {f"{rate:g}": None if math.isnan(score) else score for rate, score in scores.items()}
        text = json.dumps({"budget": str(trial), experiment.leading: tried, "chosen": best}, indent=2)
        write_file(folder / CHOICE, (text + "\n").encode())
    return best
