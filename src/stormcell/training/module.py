"""One update and one validation, as Lightning wants them stated."""

import math
import time
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import Tensor

from stormcell.models.nowcaster import Nowcaster
from stormcell.training.losses import rain_loss
from stormcell.training.rain_histogram import Frequencies
from stormcell.training.recipes import Recipe


class Training(lightning.LightningModule):
    """A nowcaster being trained by a recipe.

    Logged after a validation: ``csi``, the critical success index at the recipe's threshold, its hits,
    misses and false alarms summed over crops and lead times; ``csi_newest``, the same for the newest frame
    repeated (in moving coordinates that is extrapolation); ``validation_loss``.

    Args:
        nowcaster: What is trained.
        recipe: How.
    """

    def __init__(self, nowcaster: Nowcaster, recipe: Recipe) -> None:
        super().__init__()
        self.nowcaster, self.recipe = nowcaster, recipe
        self.frequencies = Frequencies(recipe.steps, nowcaster.calibration.bins)
        self._spent = 0.0  # seconds of training before this process
        self._started: float | None = None
        self._counts = torch.zeros(
            2, 3, dtype=torch.int64
        )  # (network, newest) × (hits, misses, false alarms)
        self._losses: list[Tensor] = []

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self._spent + (time.monotonic() - self._started if self._started is not None else 0.0)

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 … 1: of its updates if they are limited, else of its minutes.

        The learning rate follows it, and with a limit in updates must not depend on the clock.
        """
        if self.recipe.max_updates:
            return min(1.0, self.global_step / self.recipe.max_updates)
        assert self.recipe.max_minutes is not None
        return min(1.0, self.elapsed / (60 * self.recipe.max_minutes))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; its learning rate is set before every update."""
        return torch.optim.AdamW(
            self.nowcaster.parameters(), lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )

    def on_train_start(self) -> None:
        self._started = time.monotonic()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002 (Lightning's names)
        rise = min(1.0, (self.global_step + 1) / (self.recipe.warmup_updates + 1))
        descent = (1 + math.cos(math.pi * self.progress)) / 2
        optimizer = self.optimizers()
        assert isinstance(optimizer, lightning.pytorch.core.optimizer.LightningOptimizer)
        for group in optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * rise * descent

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        scaled, loss = self._loss(*batch)
        self.frequencies.note(scaled, self.nowcaster.scaling.forward(batch[1]))
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        minutes = self.recipe.max_minutes
        if self.progress >= 1.0 or (minutes and self.elapsed >= 60 * minutes):
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        self.nowcaster.calibration.levels.copy_(self.frequencies.levels())
        self._counts.zero_()
        self._losses.clear()

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        rate, truth = batch
        scaled, loss = self._loss(rate, truth)
        self._losses.append(loss)
        forecast = self.nowcaster.rate(scaled)
        newest = rate[:, -1:].nan_to_num(0.0).expand_as(truth)
        for row, values in enumerate((forecast, newest)):
            self._counts[row] += _counts(values, truth, self.recipe.threshold)

    def on_validation_epoch_end(self) -> None:
        for name, (hits, misses, false_alarms) in zip(
            ("csi", "csi_newest"), self._counts.tolist(), strict=True
        ):
            self.log(name, hits / max(hits + misses + false_alarms, 1))
        self.log("validation_loss", torch.stack(self._losses).mean())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["elapsed"] = self.elapsed
        checkpoint["random_state"] = torch.get_rng_state()
        checkpoint["frequencies"] = self.frequencies.counts

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        self._spent = checkpoint["elapsed"]
        torch.set_rng_state(checkpoint["random_state"])
        self.frequencies.counts = checkpoint["frequencies"]

    def _loss(self, rate: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        scaled = self.nowcaster.scaled(rate, steps=truth.shape[1])
        weight = self.recipe.heavy_rain_weight
        return scaled, rain_loss(scaled, truth, self.nowcaster.scaling, heavy_rain_weight=weight)


def _counts(forecast: Tensor, truth: Tensor, threshold: float) -> Tensor:
    """Hits, misses and false alarms over observed pixels, int64 ``(3,)``."""
    observed = truth.isfinite()
    event, said = (truth >= threshold) & observed, (forecast >= threshold) & observed
    return torch.stack([(event & said).sum(), (event & ~said).sum(), (said & ~event).sum()]).cpu()
