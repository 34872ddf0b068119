"""Lightning callbacks beside the updates: clock, loss curve, validation, checkpoints, progress bar."""

import math
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from stormcell.training.curve_files import CurveFile
from stormcell.training.lightning_module import Training
from stormcell.training.mixed_precision import evaluating
from stormcell.training.processes import agreed

_FLUSH_SECONDS = 1.0  # between two reads of the losses; each read waits for the GPU


class Clock(Callback):
    """Advances the training's clock; it must be the first callback, because the others read the clock."""

    def on_train_batch_end(self, _trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        assert isinstance(module, Training)
        module.tick()

    def on_train_epoch_end(self, _trainer: lightning.Trainer, module: Any) -> None:
        assert isinstance(module, Training)
        module.wait_for_gpu()


class LossCurve(Callback):
    """Appends the loss of every update, the mean over all processes, to a CSV file.

    Args:
        path: Path of the file.
        columns: Columns out of ``update``, ``seconds`` and ``loss``.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._curve, self._columns = CurveFile(path, columns), columns
        self._new: list[tuple[int, float, Tensor]] = []
        self._flushed = -math.inf  # so that the first loss is shown at once
        self.last = math.nan

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.is_global_zero:
            self._curve.truncate(trainer.global_step)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        loss = trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean")
        assert isinstance(loss, Tensor)
        self._new.append((trainer.global_step, module.elapsed, loss))
        if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
            self._flush(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._flush(trainer)

    def _flush(self, trainer: lightning.Trainer) -> None:
        if self._new:
            losses = torch.stack([loss for _, _, loss in self._new]).tolist()
            self.last = losses[-1]
            if trainer.is_global_zero:
                for (update, seconds, _), loss in zip(self._new, losses, strict=True):
                    row = {"update": update, "seconds": seconds, "loss": loss}
                    self._curve.append(*(row[column] for column in self._columns))
        self._new.clear()
        self._flushed = time.monotonic()


class Validation(Callback):
    """Validates after a round, if it is time to, in the first process.

    Args:
        path: Path of a CSV file for ``update``, ``seconds`` and the task's scores.
        losses: The loss curve.
        console: Console for a line about each validation.
    """

    def __init__(self, path: Path, losses: LossCurve, console: Console) -> None:
        self._path, self._losses, self._console = path, losses, console
        self.last: dict[str, float] = {}

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        assert isinstance(module, Training)
        self._curve = CurveFile(self._path, ("update", "seconds", *module.task.scores))
        if trainer.is_global_zero and module.task.scores:
            self._curve.truncate(trainer.global_step)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        assert isinstance(module, Training)
        if not module.validation_due():
            return
        task, first, begun = module.task, trainer.is_global_zero, time.monotonic()
        task.prepare_validation(module.network)
        if first:
            with evaluating(module.network, task.precision):
                self.last = task.validate(module.network)
            module.validating += time.monotonic() - begun
            if task.scores:
                scores = [self.last.get(name, math.nan) for name in task.scores]
                self._curve.append(trainer.global_step, module.elapsed, *scores)
        best = module.validated(agreed(self.last.get(task.leading, math.nan)))
        if first:
            self._console.print(
                task.describe(trainer.global_step, self._losses.last, self.last, best), soft_wrap=True
            )
            if best:
                facts = {"loss": self._losses.last, "updates": float(trainer.global_step)}
                task.keep_best(module.network, self.last | facts)


class Checkpoints(Checkpoint):
    """Writes a checkpoint after a round, unless the last one is recent.

    Args:
        path: Path of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        assert isinstance(module, Training)
        interval = module.pace.checkpoint_seconds
        since = agreed(time.monotonic() - self._last)
        if since >= interval and not (interval and module.finished):
            trainer.save_checkpoint(self._path, weights_only=False)
            self._last = time.monotonic()


class ProgressBar(Callback):
    """A bar over the budget.

    Args:
        console: Console that shows it.
        name: Text in front of it.
        losses: The loss curve.
        validation: The validations.
    """

    def __init__(self, console: Console, name: str, losses: LossCurve, validation: Validation) -> None:
        self._losses, self._validation = losses, validation
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(name, total=1.0, note="")

    def on_train_start(self, *_: Any) -> None:
        self._bar.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        self._show(trainer, module)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        self._show(trainer, module)  # after the validation

    def _show(self, trainer: lightning.Trainer, module: Any) -> None:
        assert isinstance(module, Training)
        more = module.task.note(trainer.global_step, module.elapsed, self._validation.last)
        note = f"update {trainer.global_step}, loss {self._losses.last:.4g}{more}"
        self._bar.update(self._task, completed=module.progress, note=note)

    def on_exception(self, *_: Any) -> None:
        self._bar.stop()

    def teardown(self, *_: Any, **__: Any) -> None:
        self._bar.stop()
