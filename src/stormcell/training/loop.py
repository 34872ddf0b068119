"""The training loop: a task, a budget, and a folder from which the training can be resumed."""

import signal
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console
from torch import nn

from stormcell.atomic import make_folder
from stormcell.training.budget import Budget
from stormcell.training.callbacks import Checkpoints, Clock, LossCurve, ProgressBar, Validation
from stormcell.training.checkpoint_io import AtomicCheckpointIO
from stormcell.training.lightning_module import Rounds, Training
from stormcell.training.processes import agreed, environment, local_process_count, process_count, rank
from stormcell.training.task import Pace, Task

LOSSES, VALIDATIONS = "losses.csv", "validations.csv"


@dataclass(frozen=True)
class Outcome:
    """The end of a training.

    Attributes:
        network: The network after the last update.
        updates: Number of updates.
        examples: Number of examples in all updates and processes.
        seconds: Time of the updates.
        score: Leading score of the last validation; NaN if it is undefined.
    """

    network: nn.Module
    updates: int
    examples: int
    seconds: float
    score: float


def fit(task: Task, budget: Budget, folder: Path, checkpoint: Path, pace: Pace, console: Console) -> Outcome:
    """Train a network within a budget, or resume training it.

    In a process group each process trains on its part of every batch; the first one validates and writes.

    Args:
        task: The network, and how it learns.
        budget: Length of the training.
        folder: Folder for ``losses.csv`` and, if the task names scores, ``validations.csv``.
        checkpoint: Path of the checkpoint.
        pace: Intervals between validations and checkpoints.
        console: Console for progress.

    Raises:
        OutputError: A file cannot be written; the same call resumes from the last checkpoint.
        KeyboardInterrupt: Ctrl-C was pressed; likewise.
    """
    make_folder(folder)
    training = Training(task, budget, pace)
    losses = LossCurve(folder / LOSSES, task.loss_columns)
    validation = Validation(folder / VALIDATIONS, losses, console)
    progress = [ProgressBar(console, task.name, losses, validation)] if rank() == 0 else []
    cluster = environment() if process_count() > 1 else None
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=local_process_count(),
        num_nodes=process_count() // local_process_count(),
        strategy=DDPStrategy() if process_count() > 1 else "auto",
        use_distributed_sampler=False,  # each process makes its own batches
        precision=task.precision,  # type: ignore[arg-type] # one of the names that Lightning knows
        max_epochs=-1,  # the clock ends the run; a limit in steps would resume in the middle of a round
        gradient_clip_val=task.gradient_clip,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
        logger=False,
        plugins=[AtomicCheckpointIO(), *([cluster] if cluster else [])],
        callbacks=[Clock(), losses, validation, *progress, Checkpoints(checkpoint)],
    )
    with warnings.catch_warnings():
        # Lightning's own use of PyTorch.
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        # On a CPU batches cost little compared with an update.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        # A resumed training that had finished has no updates to make.
        warnings.filterwarnings("ignore", ".*across ranks is zero.*")
        try:
            trainer.fit(
                training,
                datamodule=Rounds(training),
                ckpt_path=checkpoint if checkpoint.exists() else None,
                weights_only=True,
            )
        except SystemExit as ended:
            if not trainer.interrupted:
                raise
            # Lightning ends the process after Ctrl-C, with the status of an error, and ignores another.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            kept = "; the same command resumes it" if checkpoint.exists() else " before its first checkpoint"
            console.print(f"{folder}: stopped{kept}", soft_wrap=True)
            raise KeyboardInterrupt from ended
    return Outcome(
        training.network,
        training.global_step,
        training.global_step * task.batch_size * process_count(),
        training.elapsed,
        agreed(validation.last.get(task.leading, float("nan"))),  # only the first process knows it
    )
