"""A nowcaster's run: a folder with one training, from which it can be resumed."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console

from stormcell.atomic import make_folder, write_file
from stormcell.data.grid import Spacing
from stormcell.data.splits import Block, Split, Window, split, windows
from stormcell.data.time_axis import TimeAxis
from stormcell.errors import ArchiveError, RecipeError
from stormcell.models import model_file
from stormcell.training.budget import Budget
from stormcell.training.loop import fit
from stormcell.training.nowcaster_task import NowcasterTask, initial_nowcaster
from stormcell.training.processes import barrier, first_process_first, process_count, rank
from stormcell.training.recipes import Recipe
from stormcell.training.run_state import differences, read_state
from stormcell.training.sampler import FrameCache, RainIndex, Sampler, scan
from stormcell.training.task import Pace

_STATE = "run.json"


@dataclass(frozen=True)
class RunState:
    """The content of ``run.json``: all that is needed to resume, and to refuse anything else.

    Attributes:
        recipe: Settings of the training.
        split: Blocks of the archive.
        data_hash: SHA-256 of the frames.
        examples_per_update: Crops per update in all processes.
        finished: Whether the training has ended.
    """

    recipe: dict[str, Any]
    split: Split
    data_hash: str
    examples_per_update: int
    finished: bool = False

    def write(self, folder: Path) -> None:
        """Write the state into its folder, atomically."""
        write_file(folder / _STATE, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> "RunState | None":
        """Return the state of a folder, or None if no run was begun there.

        Raises:
            RecipeError: ``run.json`` holds something else.
        """
        path, thing = folder / _STATE, "the state of a training run"
        stored = read_state(path, thing)
        if stored is None:
            return None
        try:
            blocks = {name: Block(**block) for name, block in stored.pop("split").items()}
            state = cls(split=Split(**blocks), **stored)
            if not isinstance(state.recipe, dict):
                raise TypeError(f"recipe is {state.recipe!r}")
            return state
        except (TypeError, KeyError, AttributeError) as error:
            raise RecipeError(f"{path}: expected {thing}, found something else: {error}") from None


def train(rain: xr.DataArray, folder: str | os.PathLike[str], recipe: Recipe, console: Console) -> Path:
    """Train a nowcaster on an archive, or resume its training.

    In a process group (:func:`~stormcell.training.processes.joined_processes`) every process must call it,
    with a folder that all of them share.

    Args:
        rain: Rain rates in mm/h, ``(time, y, x)``, with ``source`` and ``license`` among its attributes if
            they are known.
        folder: Folder of the run: ``run.json``, ``losses.csv``, ``checkpoints/`` and, from the first
            validation on, ``model.safetensors``.
        recipe: Settings of the training; the same as before if the folder holds a run.
        console: Console for progress.

    Returns:
        The path of the model file.

    Raises:
        RecipeError: The folder holds a run of another recipe, of other data, or with another number of
            examples per update; or the processes do not share it.
        ArgumentError: The archive is too short for the recipe.
        ArchiveError: The training block or the validation block has no rain.
        OutputError: A file cannot be written; the same call resumes from the last checkpoint.
    """
    folder = Path(folder)
    model_path = folder / "model.safetensors"
    before = RunState.read(folder)
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
    frames = FrameCache(
        rain, recipe.inputs if recipe.coordinates == "moving" else 0, recipe.inputs + recipe.steps
    )
    chosen = _windows(axis, parts, recipe)
    used = sorted(
        {k for found in chosen.values() for window in found for k in window.inputs + window.targets}
    )
    with console.status("") as status:
        index = scan(frames, rain, used, lambda n: status.update(f"reading frame {n} of {len(used)}"))
    if before is not None and before.data_hash != index.data_hash:
        raise RecipeError(f"{folder}: expected the frames that this run was begun with, found others")
    for name, found in chosen.items():
        _refuse_dry(name, found, index)
    training, validation = (
        Sampler(frames, chosen[name], index, steps=recipe.steps, crop=recipe.crop)
        for name in ("training", "validation")
    )
    natural, drawn = training.wet_shares()
    console.print(
        f"training on {parts.train}: {len(chosen['training'])} issue times; validating on "
        f"{parts.validation}: {len(chosen['validation'])}; not using {parts.test}\n"
        f"sampling favours rain: {drawn:.1%} of the drawn pixels are wet, {natural:.1%} of all pixels",
        soft_wrap=True,
    )
    card = _card(rain, recipe, parts, index, axis.step)
    task = NowcasterTask(recipe, training, validation, card, model_path)
    # From now on the folder belongs to this recipe, so every check that can refuse the recipe comes before.
    state = RunState(recipe.model_dump(), parts, index.data_hash, _examples_per_update(recipe))
    with first_process_first():
        _claim(folder, state)
    pace = Pace(recipe.validate_every, checkpoint_seconds=0.0, count_validation=True)
    budget = Budget(recipe.max_minutes, recipe.max_updates)
    fit(task, budget, folder, folder / "checkpoints" / "last.ckpt", pace, console)
    barrier()
    if rank() == 0:
        RunState(**vars(state) | {"finished": True}).write(folder)
    console.print(f"the model is {model_path}", soft_wrap=True)
    return model_path


def _windows(axis: TimeAxis, parts: Split, recipe: Recipe) -> dict[str, list[Window]]:
    """Return the windows of the training block and of the validation block."""
    chosen = {}
    for name, block in (("training", parts.train), ("validation", parts.validation)):
        chosen[name] = windows(axis, block, inputs=recipe.inputs, steps=recipe.steps)
        if not chosen[name]:
            raise ArchiveError(
                f"{name} block {block}: expected windows of {recipe.inputs} inputs and a target "
                "without a gap, found none"
            )
    return chosen


def _card(
    rain: xr.DataArray, recipe: Recipe, parts: Split, index: RainIndex, step: np.timedelta64
) -> model_file.Card:
    grid, nowcaster = Spacing.of(rain), initial_nowcaster(recipe)
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
        data_source=data_source(rain),
        scores={},
        versions=model_file.versions(),
    )


def data_source(rain: xr.DataArray) -> dict[str, str]:
    """Return title, source, license and credit of an archive, as far as its attributes give them."""
    return {k: str(rain.attrs[k]) for k in ("title", "source", "license", "credit") if k in rain.attrs}


def _examples_per_update(recipe: Recipe) -> int:
    return recipe.batch_size * process_count()


def _claim(folder: Path, state: RunState) -> None:
    """Write a new run's state; check that all processes share the folder."""
    if rank() == 0:
        make_folder(folder)
        state.write(folder)
    elif RunState.read(folder) != state:
        raise RecipeError(
            f"{folder}: expected a folder that all processes share, found nothing that the first wrote"
        )


def _refuse_other_recipe(folder: Path, before: RunState | None, recipe: Recipe) -> None:
    if before is None:
        return
    if changed := differences(before.recipe, recipe.model_dump()):
        raise RecipeError(
            f"{folder}: expected the recipe that this run was begun with, found other values of {changed}"
        )
    if not before.finished and before.examples_per_update != _examples_per_update(recipe):
        raise RecipeError(
            f"{folder}: expected {before.examples_per_update} examples per update, with which this run was "
            f"begun, found {_examples_per_update(recipe)}"
        )


def _refuse_dry(name: str, found: Sequence[Window], index: RainIndex) -> None:
    if not any(np.nansum(index.wet[window.issue]) > 0 for window in found):
        raise ArchiveError(f"{name} block: expected rain at one issue time at least, found none")
