"""One contender's training: a folder that holds all of it, and goes on where it was stopped."""

import json
import math
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning
import numpy as np
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import nn

from stormcell.atomic import make_folder, write_file
from stormcell.errors import ModelFileError, RecipeError
from stormcell.experiments import inference
from stormcell.experiments.budget import Budget
from stormcell.experiments.callbacks import Checkpoints, Clock, Losses, ProgressBar, Validations
from stormcell.experiments.experiment import Contender, Experiment
from stormcell.experiments.lightning_module import Learning, Rounds
from stormcell.experiments.processes import agreed, barrier, here, processes, rank
from stormcell.training.checkpoint_io import WholeCheckpoints

FINISHED, MODEL, LOSSES, VALIDATIONS = "finished.json", "model.safetensors", "losses.csv", "validations.csv"
_CHECKPOINT = "last.ckpt"


@dataclass(frozen=True)
class Learned:
    """What became of a contender's training.

    Attributes:
        learning_rate: The highest.
        parameters: Of the network.
        updates: How many there were.
        examples: How many it has seen.
        seconds: How long they took, validation and checkpoints left out.
        score: The leading score of the last validation; NaN if it could not be told.
    """

    learning_rate: float
    parameters: int
    updates: int
    examples: int
    seconds: float
    score: float

    def write(self, folder: Path) -> None:
        """Put it in the folder, whole or not at all."""
        known = asdict(self) | {"score": None if math.isnan(self.score) else self.score}
        write_file(folder / FINISHED, (json.dumps(known, indent=2) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> "Learned | None":
        """That of a folder, or None where none is finished.

        Raises:
            RecipeError: There is something else in its place.
        """
        path = folder / FINISHED
        if not path.exists():
            return None
        try:
            stored = json.loads(path.read_text())
            return cls(**stored | {"score": math.nan if stored["score"] is None else stored["score"]})
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise RecipeError(
                f"{path}: expected a finished training, found something else: {error}"
            ) from None


@dataclass(frozen=True)
class Terms:
    """What holds for every contender alike.

    Attributes:
        seed: Of the run.
        precision: Lightning's name of the numbers that are counted in.
        validations: Over the budget of a contender.
    """

    seed: int
    precision: str
    validations: int = 10


def fit(
    contender: Contender,
    experiment: Experiment,
    budget: Budget,
    folder: Path,
    terms: Terms,
    console: Console,
    *,
    learning_rate: float,
    keep: bool = True,
) -> Learned:
    """Train a contender within a budget, or go on training it; one that is finished is left as it is.

    Args:
        contender: Who learns.
        experiment: Where.
        budget: How long.
        folder: ``losses.csv``, ``validations.csv``, at the end ``finished.json`` and, if it is to be kept,
            ``model.safetensors``.
        terms: What holds for every contender alike.
        console: Where progress is shown.
        learning_rate: The highest.
        keep: Whether the network is wanted afterwards.

    Raises:
        OutputError: A file cannot be written; the same call goes on from the last checkpoint.
    """
    if before := Learned.read(folder):
        return before
    make_folder(folder)
    last = folder / _CHECKPOINT
    learning = Learning(
        contender,
        experiment,
        budget,
        learning_rate=learning_rate,
        seed=terms.seed,
        validations=terms.validations,
    )
    losses = Losses(folder / LOSSES)

    def validate(network: nn.Module) -> dict[str, float]:
        found: inference.Tallies = {}
        with inference.predicting(network, contender, terms.precision) as predict:
            count = len(experiment.validation)
            for first in range(0, count, experiment.batch_size):
                size = min(experiment.batch_size, count - first)
                batch = experiment.validation.batch(first, size)
                told = predict(batch.x.numpy())
                if not np.isfinite(told).all():
                    return {}  # it has diverged, and protocols count numbers only
                tallies = inference.count(told, contender.gives, batch, experiment.protocols)
                found = inference.added(found, tallies)
        return inference.scores(found, experiment.protocols)

    def told(update: int, scores: dict[str, float]) -> None:
        shown = scores.get(experiment.leading, math.nan)
        heading = experiment.columns[experiment.leading].heading
        console.print(
            f"{contender.name}: update {update}, loss {losses.last:.5g}, validation {heading} {shown:.5g}",
            soft_wrap=True,
        )

    validations = Validations(folder / VALIDATIONS, list(experiment.columns), validate, told)
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=here(),
        num_nodes=processes() // here(),
        strategy=DDPStrategy() if processes() > 1 else "auto",
        use_distributed_sampler=False,  # batches are the processes' own already
        precision=terms.precision,  # type: ignore[arg-type] # one of the names that it knows
        max_epochs=-1,  # the clock ends the run; a limit in steps would resume in the middle of a round
        gradient_clip_val=experiment.gradient_clip,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
        logger=False,
        plugins=[WholeCheckpoints()],
        callbacks=[
            Clock(),
            losses,
            *([ProgressBar(console, contender.name, losses, experiment.frames)] if rank() == 0 else []),
            validations,
            Checkpoints(last),
        ],
    )
    with warnings.catch_warnings():
        # Lightning's own use of PyTorch.
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        # Batches are cheap beside an update, and a run must not depend on how many processes made them.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        trainer.fit(
            learning,
            datamodule=Rounds(experiment, learning),
            ckpt_path=last if last.exists() else None,
            weights_only=True,
        )
    barrier()  # the last checkpoint goes only when nobody may still want it
    score = validations.last.get(experiment.leading, math.nan)  # which only the first process knows
    learned = Learned(
        learning_rate,
        sum(parameter.numel() for parameter in learning.network.parameters()),
        learning.global_step,
        learning.global_step * learning.batch_size,
        learning.elapsed,
        agreed(score, trainer.strategy.root_device),
    )
    if rank() == 0:
        if keep:
            weights = {
                name: value.cpu().contiguous() for name, value in learning.network.state_dict().items()
            }
            write_file(folder / MODEL, to_bytes(weights))
        learned.write(folder)
        last.unlink(missing_ok=True)
    barrier()
    return learned


def network(contender: Contender, folder: Path) -> nn.Module:
    """The network that a contender's training ended with, on the GPU where there is one.

    Raises:
        ModelFileError: Its file is not what it was.
    """
    path = folder / MODEL
    built = contender.build()
    try:
        built.load_state_dict(from_bytes(path.read_bytes()))
    except (OSError, RuntimeError, ValueError) as error:  # safetensors's own are among the last
        raise ModelFileError(
            f"{path}: expected the weights of {contender.name}: {' '.join(str(error).split())}"
        ) from error
    return built.to(inference.accelerator()).eval()


def curve(path: Path) -> dict[str, list[float]]:
    """The columns of a curve's file.

    Raises:
        RecipeError: It is none.
    """
    try:
        heading, *lines = path.read_text().splitlines()
        rows = [[float(cell) for cell in line.split(",")] for line in lines]
        columns = zip(*rows, strict=True) if rows else [()] * len(heading.split(","))
        return {name: list(column) for name, column in zip(heading.split(","), columns, strict=True)}
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: expected a curve, found something else: {error}") from None
