"""What happens beside training: losses noted down, the best weights kept, progress shown."""

from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from stormcell.atomic import append, write_file
from stormcell.models import model_file
from stormcell.training.module import Training


class LossFile(Callback):
    """Appends ``update,loss`` to a CSV file, each loss written so that it reads back to the bit.

    After a resume the lines of the updates that are done again are taken out first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_start(self, trainer: lightning.Trainer, _module: lightning.LightningModule) -> None:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        kept = lines[1 : 1 + trainer.global_step]  # a line an update
        write_file(self._path, ("\n".join(["update,loss", *kept]) + "\n").encode())

    def on_train_batch_end(
        self, trainer: lightning.Trainer, _module: lightning.LightningModule, outputs: Any, *_: Any
    ) -> None:
        append(self._path, f"{trainer.global_step - 1},{float(outputs['loss'])!r}\n")


class KeepBest(Callback):
    """Writes the model file whenever a validation is the best so far."""

    def __init__(self, path: Path, card: model_file.Card) -> None:
        self._path, self._card = path, card
        self.best = -1.0

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, Training)
        score = float(trainer.callback_metrics["csi"])
        if score <= self.best:
            return
        self.best = score
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        card = self._card.model_copy(update={"scores": {**found, "updates": float(trainer.global_step)}})
        model_file.save(self._path, module.nowcaster, card)

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best = state_dict["best"]


class ProgressBar(Callback):
    """A bar over updates or minutes, and a line for every validation with the score that matters."""

    def __init__(self, console: Console, keeper: KeepBest, threshold: float, coordinates: str) -> None:
        self._keeper, self._threshold = keeper, threshold
        self._score = ""
        self._newest = "extrapolation" if coordinates == "moving" else "persistence"
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("training", total=1.0, note="")

    def on_train_start(self, *_: Any) -> None:
        self._bar.start()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, *_: Any
    ) -> None:
        assert isinstance(module, Training)
        note = f"update {trainer.global_step}, loss {float(outputs['loss']):.5f}{self._score}"
        self._bar.update(self._task, completed=module.progress, note=note)

    def on_validation_end(self, trainer: lightning.Trainer, _module: lightning.LightningModule) -> None:
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._score = f", validation CSI {found['csi']:.3f}"
        mark = " (best)" if found["csi"] > self._keeper.best else ""  # it has its turn after this
        self._bar.console.print(
            f"update {trainer.global_step:6d}  validation CSI ≥ {self._threshold:g} mm/h "
            f"{found['csi']:.3f}{mark}, {self._newest} {found['csi_newest']:.3f}, "
            f"loss {found['validation_loss']:.5f}",
            soft_wrap=True,
        )

    def on_exception(self, *_: Any) -> None:
        self._bar.stop()

    def teardown(self, *_: Any, **__: Any) -> None:
        self._bar.stop()
