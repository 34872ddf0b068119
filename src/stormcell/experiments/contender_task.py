"""A contender as a task for the training loop, and its model file."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from stormcell.atomic import make_folder, write_file
from stormcell.errors import ModelFileError, RecipeError
from stormcell.experiments import scoring
from stormcell.experiments.experiment import Batch, Contender, Experiment
from stormcell.models import model_file
from stormcell.models.base import Network
from stormcell.training.budget import Budget
from stormcell.training.loop import Outcome, fit
from stormcell.training.processes import barrier, process_count, rank
from stormcell.training.run_state import read_state
from stormcell.training.task import Moment, Pace, Schedule, Task

FINISHED, MODEL = "finished.json", "model.safetensors"
CHECKPOINT = "last.ckpt"
_GPU_WORKERS = 4


@dataclass(frozen=True)
class Conditions:
    """The conditions of training that all contenders share.

    Attributes:
        seed: Seed of the run.
        precision: Lightning's name of the precision.
        validations: Number of validations over a contender's budget.
    """

    seed: int
    precision: str
    validations: int = 10


@dataclass(frozen=True)
class TrainedContender:
    """The result of a contender's training, ``finished.json`` in its folder.

    Attributes:
        learning_rate: Highest learning rate.
        parameters: Number of the network's parameters.
        updates: Number of updates.
        examples: Number of examples in all updates.
        seconds: Time of the updates, without validations and checkpoints.
        score: Leading score of the last validation; NaN if it is undefined.
    """

    learning_rate: float
    parameters: int
    updates: int
    examples: int
    seconds: float
    score: float

    def write(self, folder: Path) -> None:
        """Write the result into the contender's folder, atomically."""
        facts = asdict(self) | {"score": None if math.isnan(self.score) else self.score}
        write_file(folder / FINISHED, (json.dumps(facts, indent=2) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> "TrainedContender | None":
        """Return the result in a folder, or None if the training is not finished.

        Raises:
            RecipeError: The file holds something else.
        """
        path, thing = folder / FINISHED, "a finished training"
        stored = read_state(path, thing)
        try:
            return (
                None
                if stored is None
                else cls(**stored | {"score": math.nan if stored["score"] is None else stored["score"]})
            )
        except (TypeError, KeyError) as error:
            raise RecipeError(f"{path}: expected {thing}, found something else: {error}") from None


class ContenderTask(Task):
    """A contender in an experiment.

    Args:
        contender: The contender.
        experiment: Its experiment.
        conditions: Conditions that all contenders share.
        learning_rate: Highest learning rate.
    """

    workers = _GPU_WORKERS

    def __init__(
        self, contender: Contender, experiment: Experiment, conditions: Conditions, learning_rate: float
    ) -> None:
        self._contender, self._experiment = contender, experiment
        self.name, self.seed, self.precision = contender.name, conditions.seed, conditions.precision
        self.schedule = Schedule(learning_rate)
        self.batch_size, self.gradient_clip = experiment.batch_size, experiment.gradient_clip
        self.scores, self.leading = tuple(experiment.columns), experiment.leading

    def build(self) -> Network:
        """Return the contender's network."""
        return self._contender.build()

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return RMSProp or Adam."""
        if self._experiment.optimizer == "adam":
            return torch.optim.Adam(network.parameters(), lr=self.schedule.peak)
        return torch.optim.RMSprop(network.parameters(), lr=self.schedule.peak, alpha=0.9)

    def batch(self, update: int, rank: int, processes: int) -> Batch:
        """Return consecutive examples; the processes' parts of an update follow each other."""
        place = update * processes + rank
        return self._experiment.training.batch(place * self.batch_size, self.batch_size)

    def loss(self, network: nn.Module, batch: Any, moment: Moment) -> Tensor:
        """Return the contender's loss."""
        return self._contender.loss(network, batch, moment)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the scores of the validation examples, or nothing if the network has diverged."""
        experiment, found = self._experiment, scoring.Tallies()
        predict = scoring.predictor(network, self._contender, self.precision)
        count = len(experiment.validation)
        for first in range(0, count, self.batch_size):
            batch = experiment.validation.batch(first, min(self.batch_size, count - first))
            predicted = predict(batch.x.numpy())
            if not np.isfinite(predicted).all():
                return {}  # protocols count numbers only
            tallies = scoring.count(predicted, self._contender.gives, batch, experiment.protocols)
            found = scoring.added(found, tallies)
        return scoring.scores(found, experiment.protocols)

    def better(self, score: float, other: float) -> bool:
        """Return whether a leading score is better than another."""
        return self._experiment.better(score, other)

    def describe(self, update: int, loss: float, scores: Mapping[str, float], best: bool) -> str:  # noqa: ARG002
        """Return a line with the leading score."""
        score = scores.get(self.leading, math.nan)
        heading = self._experiment.columns[self.leading].heading
        return f"{self.name}: update {update}, loss {loss:.5g}, validation {heading} {score:.5g}"

    def note(self, update: int, seconds: float, scores: Mapping[str, float]) -> str:  # noqa: ARG002
        """Return the number of frames per second."""
        examples = update * self.batch_size * process_count()
        return f", {examples * self._experiment.frames / max(seconds, 1e-9):.0f} frames/s"


def train_contender(
    contender: Contender,
    experiment: Experiment,
    budget: Budget,
    folder: Path,
    conditions: Conditions,
    console: Console,
    *,
    learning_rate: float,
    keep: bool = True,
) -> TrainedContender:
    """Train a contender within a budget, or resume its training; a finished one is not trained again.

    Args:
        contender: The contender.
        experiment: Its experiment.
        budget: Length of the training.
        folder: Folder for ``losses.csv``, ``validations.csv``, and at the end ``finished.json`` and
            ``model.safetensors``.
        conditions: Conditions that all contenders share.
        console: Console for progress.
        learning_rate: Highest learning rate.
        keep: Whether to write the model file.

    Raises:
        OutputError: A file cannot be written; the same call resumes from the last checkpoint.
    """
    if before := TrainedContender.read(folder):
        return before
    make_folder(folder)
    checkpoint = folder / CHECKPOINT
    task = ContenderTask(contender, experiment, conditions, learning_rate)
    outcome = fit(task, budget, folder, checkpoint, Pace(validations=conditions.validations), console)
    barrier()  # the checkpoint is deleted only when no process may still read it
    trained = TrainedContender(
        learning_rate,
        sum(parameter.numel() for parameter in outcome.network.parameters()),
        outcome.updates,
        outcome.examples,
        outcome.seconds,
        outcome.score,
    )
    if rank() == 0:
        if keep:
            card = _card(task, contender, experiment, budget, outcome)
            assert isinstance(outcome.network, Network)
            model_file.save(folder / MODEL, outcome.network, card)
        trained.write(folder)
        checkpoint.unlink(missing_ok=True)
    barrier()
    return trained


def _card(
    task: ContenderTask, contender: Contender, experiment: Experiment, budget: Budget, outcome: Outcome
) -> model_file.Card:
    network, example = outcome.network, experiment.validation.batch(0, 1)
    assert isinstance(network, Network)
    kind = {"logits": "logit", "pixels": "1"}[contender.gives]
    return model_file.Card(
        model=type(network).__name__,
        title=contender.name,
        arguments=network.arguments,
        units=model_file.Units(inputs="1", outputs=kind),
        inputs=example.x.shape[1],
        steps=example.y.shape[1] if example.y.ndim == 5 else None,
        settings={
            "experiment": experiment.name,
            "budget": str(budget),
            "seed": task.seed,
            "precision": task.precision,
            "optimizer": experiment.optimizer,
            "learning_rate": task.schedule.peak,
            "examples_per_update": outcome.examples // outcome.updates,
        },
        data_hash=experiment.data.sha256,
        data_source=dict(experiment.data.source),
        scores={
            "updates": float(outcome.updates),
            **({} if math.isnan(outcome.score) else {task.leading: outcome.score}),
        },
        versions=model_file.versions(),
    )


def read_network(contender: Contender, folder: Path) -> tuple[Network, str]:
    """Return a contender's trained network, on the GPU if there is one, and the SHA-256 of its model file.

    Raises:
        ModelFileError: The model file is missing or damaged, or is another network's.
    """
    path = folder / MODEL
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, card, digest = model_file.load(path, device)
    with torch.device("meta"):
        expected = contender.build()
    if (card.model, card.arguments) != (type(expected).__name__, expected.arguments):
        raise ModelFileError(f"{path}: expected the network of {contender.name}, found {card.title}")
    return network, digest
