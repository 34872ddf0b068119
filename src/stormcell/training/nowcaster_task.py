"""The nowcaster as a task for the training loop."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stormcell.data.scaling import LogScaling
from stormcell.models import model_file
from stormcell.models.nowcaster import Nowcaster
from stormcell.training.mixed_precision import lightning_precision
from stormcell.training.prefetch import Prefetch
from stormcell.training.processes import process_count, total
from stormcell.training.rain_histogram import RainHistogram
from stormcell.training.rain_loss import observed_pixels, rain_loss
from stormcell.training.recipes import Recipe
from stormcell.training.sampler import Crops, Sampler
from stormcell.training.task import Moment, Schedule, Task
from stormcell.verification.contingency import contingency

_VALIDATION_SEED = 2**32  # above every seed of a recipe

_KEPT_BYTES = 2**28  # of validation crops, which are the same in every validation

Batch = tuple[Tensor, Tensor, Tensor]  # inputs and targets in mm/h, and importance weights


class NowcasterTask(Task):
    """A nowcaster trained by a recipe.

    A validation gives ``csi``, the critical success index at the recipe's threshold, with hits, misses and
    false alarms summed over crops and lead times; ``csi_newest``, the same for the newest frame repeated
    (which in moving coordinates is extrapolation); and ``validation_loss``.

    Args:
        recipe: Settings of the training.
        training: Crops to train on.
        validation: Crops to validate on.
        card: Card of the model file, without scores.
        path: Path of the model file, written at the best validation.
        check: Called before each validation, in all processes; it refuses data that have changed.
    """

    name, leading, loss_columns = "training", "csi", ("update", "loss")

    def __init__(
        self,
        recipe: Recipe,
        training: Sampler,
        validation: Sampler,
        card: model_file.Card,
        path: Path,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.recipe, self._training, self._validation = recipe, training, validation
        self._card, self._path, self._check = card, path, check
        self.seed, self.precision = recipe.seed, lightning_precision(recipe.precision)
        self.schedule = Schedule(recipe.learning_rate, warmup_updates=recipe.warmup_updates)
        self.batch_size, self.gradient_clip = recipe.batch_size, recipe.gradient_clip
        self.patience = recipe.patience
        self.histogram = RainHistogram(recipe.steps, initial_nowcaster(recipe).calibration.bins)
        self._validation_crops: dict[int, Crops] = {}
        self._ahead: Prefetch[Batch] | None = None

    def build(self) -> Nowcaster:
        """Return the recipe's nowcaster."""
        return initial_nowcaster(self.recipe)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return AdamW."""
        recipe = self.recipe
        return torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )

    def batch(self, update: int, rank: int, processes: int) -> Batch:
        """Return crops; the processes' parts of an update are slices of one list of crops.

        The crops of the next updates are read meanwhile.
        """
        if self._ahead is None:
            make = partial(self.make, rank=rank, processes=processes)
            self._ahead = Prefetch(make, updates=self.recipe.max_updates)
        return self._ahead(update)

    def close(self) -> None:
        """Stop reading crops of later updates."""
        if self._ahead is not None:
            self._ahead.close()

    def make(self, update: int, rank: int, processes: int) -> Batch:
        """Return the crops of :meth:`batch`, read now."""
        recipe, size = self.recipe, self.batch_size
        crops = self._training.crops(
            recipe.seed,
            update,
            size=size * processes,
            windows=recipe.windows_per_batch,
            augment=recipe.augment,
            part=slice(size * rank, size * (rank + 1)),
        )
        arrays = crops.inputs, crops.targets, crops.importance_weights
        return torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1]), torch.from_numpy(arrays[2])

    def loss(self, network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        """Return the rain loss, and count the rain."""
        assert isinstance(network, Nowcaster)
        pixels = None
        if moment.processes > 1:
            # With an equal share of all observed pixels, the mean of the losses is the whole batch's loss.
            pixels = total(observed_pixels(batch[1].isfinite())) / process_count()
        weights = batch[2] if self.recipe.uniform_loss else None
        scaled, loss = self._loss(network, batch[0], batch[1], pixels, weights)
        self.histogram.add(scaled, network.scaling.forward(batch[1]))
        return loss

    def prepare_validation(self, network: nn.Module) -> None:
        """Check the data, and calibrate the nowcaster."""
        self._check()
        assert isinstance(network, Nowcaster)
        network.calibration.levels.copy_(self.histogram.levels())

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the scores of the validation crops."""
        assert isinstance(network, Nowcaster)
        recipe, losses = self.recipe, []
        device = next(network.parameters()).device
        counts = torch.zeros(2, 3, dtype=torch.int64)  # of the nowcaster and of the newest frame
        size = self.batch_size * process_count()
        for k in range(-(-recipe.validation_crops // size)):
            crops = self._crops_to_validate(k, size)
            pixels = observed_pixels(torch.from_numpy(crops.targets).isfinite()).to(device)
            # As many crops at once as in training, for which the memory suffices.
            for first in range(0, size, self.batch_size):
                part = slice(first, first + self.batch_size)
                inputs = torch.from_numpy(crops.inputs[part]).to(device)
                targets = torch.from_numpy(crops.targets[part]).to(device)
                scaled, loss = self._loss(network, inputs, targets, pixels, None)
                losses.append(loss)
                newest = inputs[:, -1:].nan_to_num(0.0).expand_as(targets)
                for row, forecast in enumerate((network.rate(scaled), newest)):
                    found = contingency(forecast, targets, targets.isfinite(), recipe.threshold, (0, 1, 2, 3))
                    counts[row] += torch.stack([found.hits, found.misses, found.false_alarms]).cpu()
        scores = {
            name: hits / max(hits + misses + false_alarms, 1)
            for name, (hits, misses, false_alarms) in zip(("csi", "csi_newest"), counts.tolist(), strict=True)
        }
        return scores | {"validation_loss": process_count() * torch.stack(losses).mean().item()}

    def better(self, score: float, other: float) -> bool:
        """Return whether a CSI is higher than another, or is the first."""
        return score > other or other != other  # NaN before the first validation

    def describe(self, update: int, loss: float, scores: Mapping[str, float], best: bool) -> str:  # noqa: ARG002
        """Return a line with the scores of the nowcaster and of the newest frame."""
        newest = "extrapolation" if self.recipe.coordinates == "moving" else "persistence"
        return (
            f"update {update:6d}  validation CSI ≥ {self.recipe.threshold:g} mm/h "
            f"{scores['csi']:.3f}{' (best)' if best else ''}, {newest} {scores['csi_newest']:.3f}, "
            f"loss {scores['validation_loss']:.5f}"
        )

    def note(self, update: int, seconds: float, scores: Mapping[str, float]) -> str:  # noqa: ARG002
        """Return the last CSI."""
        return f", validation CSI {scores['csi']:.3f}" if scores else ""

    def keep_best(self, network: nn.Module, scores: Mapping[str, float]) -> None:
        """Write the model file."""
        assert isinstance(network, Nowcaster)
        card = self._card.model_copy(update={"scores": dict(scores)})
        model_file.save(self._path, network, card)

    def state(self) -> dict[str, Any]:
        """Return the rain histogram."""
        return {"histogram": self.histogram.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the rain histogram."""
        self.histogram.restore(state["histogram"])

    def _crops_to_validate(self, number: int, size: int) -> Crops:
        """Return crops of the validation; the first of them stay in memory."""
        if (kept := self._validation_crops.get(number)) is not None:
            return kept
        crops = self._validation.crops(
            _VALIDATION_SEED, number, size=size, windows=self.recipe.windows_per_batch, augment=False
        )
        size_in_bytes = crops.inputs.nbytes + crops.targets.nbytes
        if (len(self._validation_crops) + 1) * size_in_bytes <= _KEPT_BYTES:
            self._validation_crops[number] = crops
        return crops

    def _loss(
        self,
        network: Nowcaster,
        inputs: Tensor,
        targets: Tensor,
        pixels: Tensor | None,
        crop_weights: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        scaled = network.scaled(inputs, steps=targets.shape[1])
        loss = rain_loss(
            scaled,
            targets,
            network.scaling,
            heavy_rain_weight=self.recipe.heavy_rain_weight,
            pixels=pixels,
            crop_weights=crop_weights,
        )
        return scaled, loss


def initial_nowcaster(recipe: Recipe) -> Nowcaster:
    """Return a recipe's nowcaster, its initial weights drawn from PyTorch's global generator.

    Raises:
        StormcellError: The recipe's numbers do not describe a network.
    """
    return Nowcaster(
        LogScaling(),
        steps=recipe.steps,
        hidden_channels=recipe.hidden_channels,
        kernel_size=recipe.kernel_size,
        patch_size=recipe.patch_size,
    )
