"""A training run: a folder that holds all of it, and goes on where it was stopped."""

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import xarray as xr
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stormcell.atomic import make_folder, write_file
from stormcell.data.grid import Spacing
from stormcell.data.scaling import LogScaling
from stormcell.data.splits import Block, Split, Window, split, windows
from stormcell.data.time_axis import TimeAxis
from stormcell.errors import ArchiveError, RecipeError
from stormcell.models import model_file
from stormcell.models.nowcaster import Nowcaster
from stormcell.training.callbacks import KeepBest, LossFile, ProgressBar
from stormcell.training.checkpoint_io import WholeCheckpoints
from stormcell.training.module import Training
from stormcell.training.precision import lightning_precision
from stormcell.training.recipes import Recipe
from stormcell.training.sampler import Frames, RainIndex, Sampler, scan

_VALIDATION_SEED = 2**32  # apart from every seed a recipe may reasonably have


@dataclass(frozen=True)
class Run:
    """What stands in ``run.json``: enough to go on, and to refuse to go on with something else."""

    recipe: dict[str, Any]
    split: Split
    data_hash: str
    finished: bool = False

    def write(self, folder: Path) -> None:
        """Put it in the folder, whole or not at all."""
        write_file(folder / "run.json", (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> "Run | None":
        """The run of a folder, or None where none was begun."""
        path = folder / "run.json"
        if not path.exists():
            return None
        try:
            stored = json.loads(path.read_text())
            blocks = {name: Block(**block) for name, block in stored.pop("split").items()}
            return cls(split=Split(**blocks), **stored)
        except (json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
            raise RecipeError(
                f"{path}: expected the state of a training run, found something else: {error}"
            ) from None


class _Updates(Dataset[tuple[Tensor, Tensor]]):
    """Batches of consecutive updates."""

    def __init__(
        self, sampler: Sampler, recipe: Recipe, seed: int, first: int, count: int, augment: bool
    ) -> None:
        self._sampler, self._recipe, self._seed = sampler, recipe, seed
        self._first, self._count, self._augment = first, count, augment

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        batch = self._sampler.batch(
            self._seed,
            self._first + index,
            size=self._recipe.batch_size,
            windows=self._recipe.windows_per_batch,
            augment=self._augment,
        )
        return torch.from_numpy(batch.rate), torch.from_numpy(batch.truth)


class _Data(lightning.LightningDataModule):
    """A round of training is the updates up to the next validation."""

    def __init__(self, recipe: Recipe, training: Sampler, validation: Sampler) -> None:
        super().__init__()
        self._recipe, self._training, self._validation = recipe, training, validation

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        assert self.trainer is not None
        recipe = self._recipe
        first = self.trainer.current_epoch * recipe.validate_every
        count = min(recipe.validate_every, (recipe.max_updates or first + recipe.validate_every) - first)
        updates = _Updates(self._training, recipe, recipe.seed, first, max(count, 0), recipe.augment)
        return DataLoader(updates, batch_size=None)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        batches = -(-self._recipe.validation_crops // self._recipe.batch_size)
        crops = _Updates(self._validation, self._recipe, _VALIDATION_SEED, 0, batches, augment=False)
        return DataLoader(crops, batch_size=None)


def train(rain: xr.DataArray, folder: str | os.PathLike[str], recipe: Recipe, console: Console) -> Path:
    """Train a nowcaster on an archive, or go on training it.

    Args:
        rain: Rain rates in mm/h, ``(time, y, x)``, with ``source`` and ``license`` among its attributes
            where they are known.
        folder: Where the run lives: ``run.json``, ``losses.csv``, ``checkpoints/`` and, from the first
            validation on, ``model.safetensors``.
        recipe: How to train. The same as before where the folder holds a run.
        console: Where progress is shown.

    Returns:
        The path of the model file.

    Raises:
        RecipeError: The folder holds a run of another recipe, or of other data.
        ArgumentError: The archive is too short for the recipe.
        ArchiveError: There is no rain to learn from, or to choose by.
        OutputError: A file cannot be written; the same call goes on from the last checkpoint.
    """
    folder = Path(folder)
    model_path = folder / "model.safetensors"
    before = Run.read(folder)
    _refuse_other_recipe(folder, before, recipe)
    if before and before.finished:
        console.print(f"{folder}: this run is finished; its model is {model_path}", soft_wrap=True)
        return model_path

    axis = TimeAxis(rain["time"].values)
    parts = (
        before.split
        if before
        else split(axis, inputs=recipe.inputs, validation=recipe.validation, test=recipe.test)
    )
    frames = Frames(rain, recipe.inputs if recipe.coordinates == "moving" else 0)
    chosen = {
        name: windows(axis, block, inputs=recipe.inputs, steps=recipe.steps)
        for name, block in (("training", parts.train), ("validation", parts.validation))
    }
    for name, found in chosen.items():
        if not found:
            raise ArchiveError(
                f"{name} block {getattr(parts, name.replace('training', 'train'))}: expected windows of "
                f"{recipe.inputs} frames and a truth without a hole, found none"
            )
    seen = sorted(
        {k for found in chosen.values() for window in found for k in window.inputs + window.targets}
    )
    with console.status("") as status:
        index = scan(frames, rain, seen, lambda n: status.update(f"looking at frame {n} of {len(seen)}"))
    _refuse_other_data(folder, before, index)
    for name, found in chosen.items():
        _refuse_dry(name, found, index)
    samplers = {
        name: Sampler(frames, found, index, steps=recipe.steps, crop=recipe.crop)
        for name, found in chosen.items()
    }
    natural, drawn = samplers["training"].favour()
    console.print(
        f"training on {parts.train}: {len(chosen['training'])} issue times; validating on "
        f"{parts.validation}: {len(chosen['validation'])}; never looking at {parts.test}\n"
        f"sampling favours rain: {drawn:.1%} of a drawn tile is wet, {natural:.1%} of the data",
        soft_wrap=True,
    )
    torch.manual_seed(recipe.seed)
    module = Training(_nowcaster(recipe), recipe)
    # From here on the folder is this recipe's: nothing may come after that could refuse it.
    run = before or Run(recipe.model_dump(), parts, index.data_hash)
    make_folder(folder)
    run.write(folder)
    _fit(
        module,
        _Data(recipe, samplers["training"], samplers["validation"]),
        folder,
        console,
        _card(rain, recipe, parts, index, module.nowcaster, axis.step),
    )
    Run(run.recipe, run.split, run.data_hash, finished=True).write(folder)
    console.print(f"the model is {model_path}", soft_wrap=True)
    return model_path


def _nowcaster(recipe: Recipe) -> Nowcaster:
    return Nowcaster(
        LogScaling(),
        steps=recipe.steps,
        hidden_channels=recipe.hidden_channels,
        kernel_size=recipe.kernel_size,
        patch_size=recipe.patch_size,
    )


def _fit(module: Training, data: _Data, folder: Path, console: Console, card: model_file.Card) -> None:
    recipe = module.recipe
    keeper = KeepBest(folder / "model.safetensors", card)
    last = folder / "checkpoints" / "last.ckpt"
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        precision=lightning_precision(recipe.precision),
        max_epochs=-1,  # the module ends the run; a limit in steps would resume in the middle of a round
        gradient_clip_val=recipe.gradient_clip,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        plugins=[WholeCheckpoints()],
        callbacks=[
            LossFile(folder / "losses.csv"),
            ProgressBar(console, keeper, recipe.threshold, recipe.coordinates),
            keeper,
            EarlyStopping("csi", mode="max", patience=recipe.patience),
            ModelCheckpoint(
                last.parent, filename=last.stem, enable_version_counter=False, save_on_train_epoch_end=True
            ),
        ],
    )
    with warnings.catch_warnings():
        # Lightning's own use of PyTorch.
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        # Batches are cheap beside an update, and a run must not depend on how many processes made them.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
        trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)


def _card(
    rain: xr.DataArray,
    recipe: Recipe,
    parts: Split,
    index: RainIndex,
    nowcaster: Nowcaster,
    step: np.timedelta64,
) -> model_file.Card:
    grid = Spacing.of(rain)
    return model_file.Card(
        model=type(nowcaster).__name__,
        title="ConvLSTM",
        arguments=nowcaster.arguments,
        scaling=nowcaster.scaling,
        inputs=recipe.inputs,
        steps=recipe.steps,
        units=model_file.Units(inputs="mm/h", outputs="mm/h"),
        nowcasting=model_file.Nowcasting(
            coordinates=recipe.coordinates,
            time_step_seconds=int(step / np.timedelta64(1, "s")),
            pixel_size=(grid.dy, grid.dx),
            pixel_unit=grid.unit,
        ),
        settings=recipe.model_dump(),
        blocks={
            "train": (parts.train.start, parts.train.end),
            "validation": (parts.validation.start, parts.validation.end),
            "test": (parts.test.start, parts.test.end),
        },
        data_hash=index.data_hash,
        data_source={
            k: str(rain.attrs[k]) for k in ("title", "source", "license", "credit") if k in rain.attrs
        },
        scores={},
        versions=model_file.versions(),
    )


def _refuse_other_recipe(folder: Path, before: Run | None, recipe: Recipe) -> None:
    if before is None or before.recipe == recipe.model_dump():
        return
    now = recipe.model_dump()
    changed = [k for k in sorted(now.keys() | before.recipe.keys()) if now.get(k) != before.recipe.get(k)]
    told = ", ".join(f"{k} (was {before.recipe.get(k)}, now {now.get(k)})" for k in changed)
    raise RecipeError(
        f"{folder}: expected the recipe that this run was begun with, found other values of {told}"
    )


def _refuse_other_data(folder: Path, before: Run | None, index: RainIndex) -> None:
    if before is not None and before.data_hash != index.data_hash:
        raise RecipeError(f"{folder}: expected the frames that this run was begun with, found others")


def _refuse_dry(name: str, found: Sequence[Window], index: RainIndex) -> None:
    if not any(np.nansum(index.wet[window.issue]) > 0 for window in found):
        raise ArchiveError(f"{name} block: expected rain at one issue time at least, found none")
