"""What happens beside learning: the clock, curves noted down, checkpoints, progress shown."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from stormcell.atomic import append, write_file
from stormcell.experiments.lightning_module import Learning
from stormcell.experiments.processes import agreed

_FLUSH = 1.0  # seconds between two looks at losses, each of which makes a GPU wait
_CHECKPOINT = 30.0  # seconds of work, at least, between two checkpoints


class Rows:
    """A CSV file whose first column is the number of updates before, and to which rows are appended.

    Numbers are written so that they read back to the bit. After a resume, rows that will be written again
    are taken out first.
    """

    def __init__(self, path: Path, heading: Sequence[str]) -> None:
        self._path, self._heading = path, ",".join(heading)

    def keep(self, updates: int) -> None:
        """Keep what is known of the first updates, or begin."""
        kept = [line for line in self._lines() if int(line.partition(",")[0]) <= updates]
        write_file(self._path, ("\n".join([self._heading, *kept]) + "\n").encode())

    def append(self, *values: float) -> None:
        """Add a row."""
        append(self._path, ",".join(repr(value) for value in values) + "\n")

    def _lines(self) -> list[str]:
        whole = self._path.read_text().rpartition("\n")[0] if self._path.exists() else ""
        return whole.splitlines()[1:]  # a line that was cut off by a kill is left out


class Clock(Callback):
    """Tells the time first, so that whoever comes next knows it."""

    def on_train_batch_end(self, _trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        assert isinstance(module, Learning)
        module.tick()

    def on_train_epoch_end(self, _trainer: lightning.Trainer, module: Any) -> None:
        assert isinstance(module, Learning)
        module.settle()


class Losses(Callback):
    """Appends ``update,seconds,loss`` for every update, the loss being that of all processes."""

    def __init__(self, path: Path) -> None:
        self._rows = Rows(path, ("update", "seconds", "loss"))
        self._new: list[tuple[int, float, Tensor]] = []
        self._flushed = time.monotonic()
        self.last = math.nan

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.is_global_zero:
            self._rows.keep(trainer.global_step)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        loss = trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean")
        assert isinstance(loss, Tensor)
        self._new.append((trainer.global_step, module.elapsed, loss))
        if time.monotonic() - self._flushed >= _FLUSH:
            self._flush(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._flush(trainer)

    def _flush(self, trainer: lightning.Trainer) -> None:
        if self._new:
            losses = torch.stack([loss for _, _, loss in self._new]).tolist()
            self.last = losses[-1]
            if trainer.is_global_zero:
                for (update, seconds, _), loss in zip(self._new, losses, strict=True):
                    self._rows.append(update, seconds, loss)
        self._new.clear()
        self._flushed = time.monotonic()


class Validations(Callback):
    """Appends ``update,seconds`` and scores whenever a validation is due; the first process does it.

    Args:
        path: Of the CSV file.
        names: Of the scores.
        validate: Scores a network.
        told: Called with the updates before, and the scores.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        validate: Callable[[torch.nn.Module], dict[str, float]],
        told: Callable[[int, dict[str, float]], None],
    ) -> None:
        self._rows = Rows(path, ("update", "seconds", *names))
        self._names, self._validate, self._told = names, validate, told
        self.last: dict[str, float] = {}

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.is_global_zero:
            self._rows.keep(trainer.global_step)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        assert isinstance(module, Learning)
        if module.validation_due() and trainer.is_global_zero:
            begun = time.monotonic()
            self.last = self._validate(module.network)
            module.validating += time.monotonic() - begun
            found = [self.last.get(name, math.nan) for name in self._names]
            self._rows.append(trainer.global_step, module.elapsed, *found)
            self._told(trainer.global_step, self.last)


class Checkpoints(Checkpoint):
    """Writes a checkpoint after a round, if the last is long enough ago; a finished run needs none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        assert isinstance(module, Learning)
        since = agreed(time.monotonic() - self._last, module.device)
        if since >= _CHECKPOINT and module.progress < 1:
            trainer.save_checkpoint(self._path)
            self._last = time.monotonic()


class ProgressBar(Callback):
    """A bar over the budget."""

    def __init__(self, console: Console, name: str, losses: Losses, frames: int) -> None:
        self._name, self._losses, self._frames = name, losses, frames
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
        assert isinstance(module, Learning)
        frames = trainer.global_step * module.batch_size * self._frames / max(module.elapsed, 1e-9)
        note = f"update {trainer.global_step}, loss {self._losses.last:.4g}, {frames:.0f} frames/s"
        self._bar.update(self._task, completed=module.progress, note=note)

    def on_exception(self, *_: Any) -> None:
        self._bar.stop()

    def teardown(self, *_: Any, **__: Any) -> None:
        self._bar.stop()
