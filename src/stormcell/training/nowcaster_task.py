"""The nowcaster as a task for the training loop."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from stormcell.models import model_file
from stormcell.models.nowcaster import Nowcaster
from stormcell.training.exceedance_loss import (
    exceedance_loss,
    observed_pixels,
    squared_loss,
    threshold_crps,
)
from stormcell.training.fine_tuning import AdamWTowards, start_of
from stormcell.training.mixed_precision import lightning_precision
from stormcell.training.prefetch import Prefetch
from stormcell.training.processes import process_count, total
from stormcell.training.recipes import Recipe
from stormcell.training.sampler import Crops, Sampler
from stormcell.training.task import Moment, Schedule, Task

_LOSSES = {"distribution": exceedance_loss, "squared": squared_loss}

_VALIDATION_SEED = 2**32  # above every seed of a recipe

_KEPT_BYTES = 2**28  # of validation crops, which are the same in every validation


class CropBatch(NamedTuple):
    """The crops of an update, as tensors; see :class:`~stormcell.training.sampler.Crops`."""

    inputs: Tensor
    targets: Tensor
    leads: Tensor
    step_minutes: Tensor
    pixel_km: Tensor
    importance_weights: Tensor

    @classmethod
    def of(cls, crops: Crops) -> "CropBatch":
        """Return crops as tensors, with targets only where the newest frame was observed."""
        inputs, targets = torch.from_numpy(crops.inputs), torch.from_numpy(crops.targets)
        targets = targets.where(inputs[:, -1:].isfinite(), float("nan"))
        others = crops.leads, crops.step_minutes, crops.pixel_km, crops.importance_weights
        return cls(inputs, targets, *map(torch.from_numpy, others))

    def to(self, device: torch.device) -> "CropBatch":
        """Return the batch on a device."""
        return CropBatch(*(tensor.to(device) for tensor in self))


class NowcasterTask(Task):
    """A nowcaster trained by a recipe.

    The weights that are validated and written are an average over the updates (Polyak & Juditsky 1992,
    doi:10.1137/0330046). A validation gives ``validation_loss``; ``crps``, the continuous ranked probability
    score in mm/h; and ``mae_newest``, that of the newest frame, whose forecast in moving coordinates is
    extrapolation.

    Args:
        recipe: Settings of the training.
        training: Crops to train on.
        validation: Crops to validate on.
        card: Card of the model file, without scores.
        path: Path of the model file, written at the best validation.
        check: Called before each validation, in all processes; it refuses data that have changed.
    """

    name, leading, loss_columns = "training", "validation_loss", ("update", "loss")

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
        self._validation_crops: dict[int, Crops] = {}
        self._ahead: Prefetch[CropBatch] | None = None
        self._average: AveragedModel | None = None

    def build(self) -> Nowcaster:
        """Return the recipe's nowcaster."""
        return initial_nowcaster(self.recipe)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return AdamW, whose weight decay draws the weights to those of the start, if there is one."""
        weights = list(network.parameters())
        lr, decay = self.recipe.learning_rate, self.recipe.weight_decay
        if (start := start_of(self.recipe)) is None:
            return torch.optim.AdamW(weights, lr=lr, weight_decay=decay)
        at_first = [parameter.detach() for parameter in start[0].parameters()]
        return AdamWTowards(weights, at_first, lr=lr, weight_decay=decay)

    def batch(self, update: int, rank: int, processes: int) -> CropBatch:
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

    def make(self, update: int, rank: int, processes: int) -> CropBatch:
        """Return the crops of :meth:`batch`, read now."""
        recipe, size = self.recipe, self.batch_size
        return CropBatch.of(
            self._training.crops(
                recipe.seed,
                update,
                size=size * processes,
                windows=recipe.windows_per_batch,
                augment=recipe.augment,
                part=slice(size * rank, size * (rank + 1)),
            )
        )

    def loss(self, network: nn.Module, batch: CropBatch, moment: Moment) -> Tensor:
        """Return the recipe's loss, and average the weights."""
        assert isinstance(network, Nowcaster)
        self._averaged(network).update_parameters(network)
        pixels = observed_pixels(batch.targets.isfinite())
        if moment.processes > 1:
            # With an equal share of all observed pixels, the mean of the losses is the whole batch's loss.
            pixels = total(pixels) / process_count()
        weights = batch.importance_weights if self.recipe.uniform_loss else None
        return self._loss(network, _forecasts(network, batch), pixels, weights)

    def prepare_validation(self, network: nn.Module) -> None:
        """Check the data, and begin the average of the weights if it has not begun."""
        self._check()
        assert isinstance(network, Nowcaster)
        self._averaged(network)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the scores of the averaged weights on the validation crops."""
        assert isinstance(network, Nowcaster)
        averaged = self._averaged(network).module.eval()
        assert isinstance(averaged, Nowcaster)
        recipe, losses = self.recipe, []
        device = next(network.parameters()).device
        sums = torch.zeros(3, dtype=torch.float64)  # CRPS, absolute error of the newest frame, pixels
        size = self.batch_size * process_count()
        for k in range(-(-recipe.validation_crops // size)):
            batch = CropBatch.of(self._crops_to_validate(k, size)).to(device)
            pixels = observed_pixels(batch.targets.isfinite())
            # As many crops at once as in training, for which the memory suffices.
            for first in range(0, size, self.batch_size):
                part = CropBatch(*(tensor[first : first + self.batch_size] for tensor in batch))
                forecasts = list(_forecasts(averaged, part))
                losses.append(self._loss(averaged, forecasts, pixels, None))
                crps = torch.stack([threshold_crps(*each, averaged.thresholds) for each in forecasts]).sum()
                error = (part.inputs[:, -1:] - part.targets).abs().nansum()
                sums += torch.stack([crps, error, part.targets.isfinite().sum()]).double().cpu()
        crps, error, count = sums.tolist()
        return {
            "validation_loss": process_count() * torch.stack(losses).mean().item(),
            "crps": crps / max(count, 1),
            "mae_newest": error / max(count, 1),
        }

    def better(self, score: float, other: float) -> bool:
        """Return whether a loss is lower than another, or is the first; or whether the last is kept."""
        return (
            self.recipe.keep == "last" or score < other or other != other
        )  # NaN before the first validation

    def describe(self, update: int, loss: float, scores: Mapping[str, float], best: bool) -> str:  # noqa: ARG002
        """Return a line with the scores of the nowcaster and of the newest frame."""
        mark = " (best)" if best and self.recipe.keep == "best" else ""
        return (
            f"update {update:6d}  validation loss {scores['validation_loss']:.5f}{mark}, "
            f"CRPS {scores['crps']:.4f} mm/h, mean absolute error of extrapolation "
            f"{scores['mae_newest']:.4f} mm/h"
        )

    def note(self, update: int, seconds: float, scores: Mapping[str, float]) -> str:  # noqa: ARG002
        """Return the last loss."""
        return f", validation loss {scores['validation_loss']:.4f}" if scores else ""

    def keep_best(self, network: nn.Module, scores: Mapping[str, float]) -> None:
        """Write the model file with the averaged weights."""
        assert isinstance(network, Nowcaster)
        card = self._card.model_copy(update={"scores": dict(scores)})
        averaged = self._averaged(network).module
        assert isinstance(averaged, Nowcaster)
        model_file.save(self._path, averaged, card)

    def state(self) -> dict[str, Any]:
        """Return the averaged weights."""
        return {} if self._average is None else {"average": self._average.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the averaged weights."""
        self._average = _average(initial_nowcaster(self.recipe), self.recipe.weight_average)
        self._average.load_state_dict(state["average"])

    def _loss(
        self,
        network: Nowcaster,
        forecasts: Iterable[tuple[Tensor, Tensor]],
        pixels: Tensor,
        crop_weights: Tensor | None,
    ) -> Tensor:
        """Return the loss of all lead times."""
        loss = _LOSSES[self.recipe.loss]
        losses = [
            loss(logits, target, network.thresholds, pixels=pixels, crop_weights=crop_weights)
            for logits, target in forecasts
        ]
        return torch.stack(losses).sum()

    def _averaged(self, network: Nowcaster) -> AveragedModel:
        """Return the average of the weights; at first, that of the present ones."""
        if self._average is None:
            self._average = _average(network, self.recipe.weight_average)
        return self._average

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


def initial_nowcaster(recipe: Recipe) -> Nowcaster:
    """Return a recipe's nowcaster, its initial weights those of its start or else drawn.

    Raises:
        StormcellError: The recipe's numbers do not describe a network, or its start does not fit.
    """
    if (start := start_of(recipe)) is not None:
        return start[0]
    return Nowcaster(
        inputs=recipe.inputs,
        channels=recipe.channels,
        detail_channels=recipe.detail_channels,
        encoder=recipe.encoder,
        cascade=recipe.cascade,
    )


def _forecasts(network: Nowcaster, batch: CropBatch) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the logits of each lead time of a batch, and their targets."""
    scene = network.read(batch.inputs, batch.step_minutes, batch.pixel_km, int(batch.leads.max()))
    for lead, target in zip(batch.leads.unbind(1), batch.targets.unbind(1), strict=True):
        yield network.logits(scene, lead), target


def _average(network: Nowcaster, decay: float) -> AveragedModel:
    """Return a copy of a network whose weights follow those of the training.

    In the first updates it follows faster, so that the initial weights are soon forgotten.
    """

    def follow(average: Tensor, weight: Tensor, count: Tensor | int) -> Tensor:
        keep = min(decay, (int(count) + 1) / (int(count) + 10))
        return average + (1 - keep) * (weight - average)

    return AveragedModel(network, avg_fn=follow)
