"""Lightning's view of a training: its updates, its clock and the rounds between two checks."""

import math
import time
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stormcell.training.budget import Budget
from stormcell.training.processes import agreed, process_count, rank
from stormcell.training.task import Moment, Pace, Task

_ROUND_SECONDS = 20.0  # of a round, if validations are further apart
_VALIDATION_SHARE = 0.2  # of the training's time: above it, validations before the last are skipped


class Training(lightning.LightningModule):
    """A task in training.

    Every number but the time depends on the seed and the update only. With a budget in updates, the result
    therefore depends neither on the clock nor on interruptions.

    Args:
        task: The network, and how it learns.
        budget: Length of the training.
        pace: Intervals between validations and checkpoints.
    """

    def __init__(self, task: Task, budget: Budget, pace: Pace) -> None:
        super().__init__()
        torch.manual_seed(task.seed)
        self.network = task.build()
        self.task, self.budget, self.pace = task, budget, pace
        self.elapsed = 0.0  # seconds of training, including those before a resume
        self.validating = 0.0  # seconds of validations; known to the first process only
        self.best = math.nan  # leading score
        self._validated = 0  # validations due so far
        self._worse = 0  # validations since the best
        self._mark: float | None = None
        self._update_seconds = 0.0  # in the last round; 0 before the first
        self._round_start = (0, 0.0)

    @property
    def progress(self) -> float:
        """Spent share of the budget, 0 … 1; the same in all processes."""
        return self.budget.progress(self.global_step, self.elapsed)

    @property
    def finished(self) -> bool:
        """Whether the budget is spent, or the score has not improved for too long."""
        impatient = self.task.patience is not None and self._worse >= self.task.patience
        return impatient or self.budget.spent(self.global_step, self.elapsed)

    def validation_due(self) -> bool:
        """Return whether to validate; called once after each round, in all processes.

        With a budget in minutes, validations that take long compared with the training are skipped, except
        for the last.
        """
        if self.pace.validate_every is not None:
            return self.global_step % self.pace.validate_every == 0 or self.finished
        due = int(self.progress * self.pace.validations + 1e-9)  # so that 0.3 · 10 is 3
        new, self._validated = due > self._validated, max(due, self._validated)
        if self.budget.minutes is None or self.progress >= 1:
            return new
        return new and agreed(self.validating) <= _VALIDATION_SHARE * self.elapsed

    def validated(self, score: float) -> bool:
        """Take note of a leading score, the same in all processes; return whether it is the best so far."""
        best = self.task.better(score, self.best)
        self.best, self._worse = (score, 0) if best else (self.best, self._worse + 1)
        if self.finished:
            self.trainer.should_stop = True
        return best

    def round_length(self) -> int:
        """Return the number of updates until the next check for validations and checkpoints."""
        if self.finished:
            return 0
        updates = self.budget.updates
        if (every := self.pace.validate_every) is not None:
            to_validation = every - self.global_step % every
            return to_validation if updates is None else min(to_validation, updates - self.global_step)
        if not self._update_seconds:
            return 1
        seconds, next_one = _ROUND_SECONDS, (self._validated + 1) / self.pace.validations
        if self.budget.minutes is not None:
            seconds = min(seconds, next_one * 60 * self.budget.minutes - self.elapsed)
            return max(1, round(seconds / self._update_seconds))
        assert updates is not None
        left = math.ceil(next_one * updates - 1e-9) - self.global_step
        return max(1, min(left, round(seconds / self._update_seconds)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.task.optimizer(self.network)

    def on_train_epoch_start(self) -> None:
        if self._mark is None or not self.pace.count_validation:
            self._mark = time.monotonic()
        self._round_start = (self.global_step, self.elapsed)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002 (Lightning's names)
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for group in optimizer.param_groups:
            group["lr"] = self.task.schedule.rate(self.global_step, self.progress)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002 (Lightning's names)
        moment = Moment(self.task.seed, self.global_step, self.progress, rank(), process_count())
        return self.task.loss(self.network, batch, moment)

    def tick(self) -> None:
        """Add the time since the last update, and stop if the budget is spent."""
        now = time.monotonic()
        assert self._mark is not None
        self.elapsed = agreed(self.elapsed + now - self._mark)
        self._mark = now
        if self.finished:
            self.trainer.should_stop = True

    def wait_for_gpu(self) -> None:
        """Add the time of the work that the GPU has not finished yet."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self.tick()

    def on_train_epoch_end(self) -> None:
        updates, seconds = self._round_start
        self._update_seconds = (self.elapsed - seconds) / max(1, self.global_step - updates)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["training"] = {
            "elapsed": self.elapsed,
            "validated": self._validated,
            "validating": self.validating,
            "best": self.best,
            "worse": self._worse,
        }
        checkpoint["task"] = self.task.state()
        checkpoint["random_state"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        stored = checkpoint["training"]
        self.elapsed, self.validating, self.best = stored["elapsed"], stored["validating"], stored["best"]
        self._validated, self._worse = stored["validated"], stored["worse"]
        self.task.restore(checkpoint["task"])
        torch.set_rng_state(checkpoint["random_state"])


class _Updates(Dataset[Any]):
    """The batches of consecutive updates, this process's part of each."""

    def __init__(self, task: Task, first: int, count: int) -> None:
        self._task, self._first, self._count = task, first, count
        self._rank, self._processes = rank(), process_count()  # unknown in the workers of a data loader

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        return self._task.batch(self._first + index, self._rank, self._processes)


class Rounds(lightning.LightningDataModule):
    """The updates of a round; Lightning calls a round an epoch."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self._training = training

    def train_dataloader(self) -> DataLoader[Any]:
        training, on_cuda = self._training, torch.cuda.is_available()
        updates = _Updates(training.task, training.global_step, training.round_length())
        workers = training.task.workers if on_cuda else 0
        return DataLoader(updates, batch_size=None, num_workers=workers, pin_memory=on_cuda)
