"""The search for a learning rate: short trainings over the same few, for every contender alike."""

import json
import math
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from stormcell.atomic import write_file
from stormcell.experiments.budget import Budget
from stormcell.experiments.experiment import Contender, Experiment
from stormcell.experiments.processes import rank
from stormcell.experiments.trainer import Terms, fit

SHARE = 0.3  # of a contender's budget, for all of its trials together
CHOICE = "choice.json"


def search(
    contender: Contender,
    experiment: Experiment,
    budget: Budget,
    folder: Path,
    terms: Terms,
    console: Console,
) -> float:
    """The learning rate with the best leading score at the end of its trial.

    A trial is a whole training, rise and fall of the learning rate included, in its part of the budget.
    Scores and choice are written down in ``choice.json``.

    Args:
        contender: Who learns.
        experiment: Where, and which learning rates are tried.
        budget: Of all trials together.
        folder: A folder within for each trial.
        terms: What holds for every contender alike.
        console: Where progress is shown.
    """
    trial = budget.part(1 / len(experiment.learning_rates))
    scores: dict[float, float] = {}
    for rate in experiment.learning_rates:
        console.print(f"{contender.name}: learning rate {rate:g}", soft_wrap=True)
        learned = fit(
            contender,
            experiment,
            trial,
            folder / f"{rate:g}",
            replace(terms, validations=1),
            console,
            learning_rate=rate,
            keep=False,
        )
        scores[rate] = learned.score
    best = experiment.learning_rates[0]
    for rate, score in scores.items():
        if experiment.better(score, scores[best]):
            best = rate
    if rank() == 0:
        tried = {f"{rate:g}": None if math.isnan(score) else score for rate, score in scores.items()}
        text = json.dumps({"budget": str(trial), experiment.leading: tried, "chosen": best}, indent=2)
        write_file(folder / CHOICE, (text + "\n").encode())
    return best
