"""One update of a contender, as Lightning wants it stated."""

import math
import time
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stormcell.experiments.budget import Budget
from stormcell.experiments.experiment import Batch, Contender, Experiment, Moment, Stream
from stormcell.experiments.processes import agreed, processes, rank

_RISE = 0.1  # of the budget: over it the learning rate rises, before it sinks
_ROUND = 20.0  # seconds: about as long are the rounds after which a checkpoint may be written
_VALIDATING = 0.2  # of the time of training: while more than that was spent validating, it is left out
_WORKERS = 4  # that make batches beside a GPU


class Learning(lightning.LightningModule):
    """A contender that learns within a budget.

    The learning rate rises over the first tenth of the budget and sinks to zero along half a cosine, for
    every contender alike; examples are taken in the stream's order. So what is learned within a number of
    updates does not depend on the clock, nor on where the run was interrupted.

    Args:
        contender: Who learns.
        experiment: Where.
        budget: How long.
        learning_rate: The highest.
        seed: Of the run: initial weights, and what is drawn while learning.
        validations: How many there are to be, at even distances over the budget.
    """

    def __init__(
        self,
        contender: Contender,
        experiment: Experiment,
        budget: Budget,
        *,
        learning_rate: float,
        seed: int,
        validations: int,
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.network = contender.build()
        self._contender, self._experiment, self._budget = contender, experiment, budget
        self._learning_rate, self._seed, self._validations = learning_rate, seed, validations
        self.elapsed = 0.0  # seconds of training, those before a resume included
        self.validated = 0  # how many of the validations were due so far
        self.validating = 0.0  # seconds that they took; only the first process knows
        self._mark = 0.0
        self._speed = 0.0  # seconds per update in the last round; 0 if there was none
        self._began = (0, 0.0)

    @property
    def progress(self) -> float:
        """Share of the budget that is used up, 0 … 1; the same in all processes."""
        return self._budget.progress(self.global_step, self.elapsed)

    @property
    def batch_size(self) -> int:
        """Examples per update, in all processes together."""
        return self._experiment.batch_size * processes()

    def validation_due(self) -> bool:
        """Whether it is time for one; asked once after each round.

        Within a budget in minutes all but the last are left out while they are long beside the training.
        """
        due = int(self.progress * self._validations + 1e-9)  # that 0.3 · 10 be 3
        fresh, self.validated = due > self.validated, max(due, self.validated)
        if self._budget.minutes is None or self.progress >= 1:
            return fresh
        return fresh and agreed(self.validating, self.device) <= _VALIDATING * self.elapsed

    def round_length(self) -> int:
        """Updates until it is time to look up: to note, to validate, to write a checkpoint."""
        if not self._speed:
            return 1
        seconds, next_one = _ROUND, (self.validated + 1) / self._validations
        if self._budget.minutes is not None:
            seconds = min(seconds, next_one * 60 * self._budget.minutes - self.elapsed)
            return max(1, round(seconds / self._speed))
        assert self._budget.updates is not None
        left = math.ceil(next_one * self._budget.updates - 1e-9) - self.global_step
        return max(1, min(left, round(seconds / self._speed)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self._experiment.optimizer == "adam":
            return torch.optim.Adam(self.network.parameters(), lr=self._learning_rate)
        return torch.optim.RMSprop(self.network.parameters(), lr=self._learning_rate, alpha=0.9)

    def on_train_epoch_start(self) -> None:
        self._mark = time.monotonic()
        self._began = (self.global_step, self.elapsed)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002 (Lightning's names)
        rise = min(1.0, (self.progress + 1e-3) / _RISE)
        descent = (1 + math.cos(math.pi * self.progress)) / 2
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for group in optimizer.param_groups:
            group["lr"] = self._learning_rate * rise * descent

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 (Lightning's names)
        moment = Moment(self._seed, self.global_step, self.progress, rank(), processes())
        return self._contender.loss(self.network, batch, moment)

    def tick(self) -> None:
        """Count the time since the last update, and stop where the budget is used up."""
        now = time.monotonic()
        self.elapsed = agreed(self.elapsed + now - self._mark, self.device)
        self._mark = now
        if self.progress >= 1:
            self.trainer.should_stop = True

    def settle(self) -> None:
        """Count what a GPU has been told to do and is still doing."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self.tick()

    def on_train_epoch_end(self) -> None:
        updates, seconds = self._began
        self._speed = (self.elapsed - seconds) / max(1, self.global_step - updates)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["elapsed"] = self.elapsed
        checkpoint["validated"], checkpoint["validating"] = self.validated, self.validating

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        self.elapsed = checkpoint["elapsed"]
        self.validated, self.validating = checkpoint["validated"], checkpoint["validating"]


class _Updates(Dataset[Batch]):
    """The batches of consecutive updates, this process's part of each.

    The processes' parts of an update lie side by side in the stream: together they are the batch of one
    process that takes as much as all of them.
    """

    def __init__(self, stream: Stream, size: int, first: int, count: int) -> None:
        self._stream, self._size, self._first, self._count = stream, size, first, count
        self._rank, self._processes = rank(), processes()  # workers cannot tell

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Batch:
        place = (self._first + index) * self._processes + self._rank
        return self._stream.batch(place * self._size, self._size)


class Rounds(lightning.LightningDataModule):
    """A round is the updates up to the next time to look up; for Lightning it is an epoch."""

    def __init__(self, experiment: Experiment, learning: Learning) -> None:
        super().__init__()
        self._experiment, self._learning = experiment, learning

    def train_dataloader(self) -> DataLoader[Batch]:
        updates = _Updates(
            self._experiment.training,
            self._experiment.batch_size,
            self._learning.global_step,
            self._learning.round_length(),
        )
        on_cuda = torch.cuda.is_available()
        return DataLoader(
            updates, batch_size=None, num_workers=_WORKERS if on_cuda else 0, pin_memory=on_cuda
        )
