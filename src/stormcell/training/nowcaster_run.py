"""A nowcaster's run: a folder with one training, from which it can be resumed."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from rich.console import Console

from stormcell.atomic import make_folder, write_file
from stormcell.data.splits import Block, Split, steps_between
from stormcell.data.time_axis import TimeAxis, in_minutes
from stormcell.errors import ArgumentError, RecipeError
from stormcell.models.nowcaster import LONGEST_STEP
from stormcell.training.budget import Budget
from stormcell.training.card import card_of
from stormcell.training.crop_reader import crop_readers
from stormcell.training.loop import fit
from stormcell.training.mixed_precision import lightning_precision
from stormcell.training.nowcaster_task import NowcasterTask
from stormcell.training.processes import barrier, first_process_first, process_count, rank
from stormcell.training.recipes import Recipe
from stormcell.training.run_state import differences, read_state
from stormcell.training.sampler import Sampler
from stormcell.training.task import Pace
from stormcell.training.training_archive import (
    ArchiveState,
    Rain,
    TrainingArchive,
    archive_shares,
    expect_rain,
    prepare,
)
from stormcell.training.windows import has_windows

_STATE = "run.json"


@dataclass(frozen=True)
class RunState:
    """The content of ``run.json``: all that is needed to resume, and to refuse anything else.

    Attributes:
        recipe: Settings of the training.
        archives: The archives, in their order.
        examples_per_update: Crops per update in all processes.
        finished: Whether the training has ended.
    """

    recipe: dict[str, Any]
    archives: tuple[ArchiveState, ...]
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
            archives = tuple(
                ArchiveState(
                    Split(**{name: Block(**block) for name, block in one["split"].items() if block}),
                    one["data_hash"],
                )
                for one in stored.pop("archives")
            )
            state = cls(archives=archives, **stored)
            if not isinstance(state.recipe, dict):
                raise TypeError(f"recipe is {state.recipe!r}")
            return state
        except (TypeError, KeyError, AttributeError) as error:
            raise RecipeError(f"{path}: expected {thing}, found something else: {error}") from None


def train(
    archives: xr.DataArray | Sequence[xr.DataArray | xr.Dataset | Rain],
    folder: str | os.PathLike[str],
    recipe: Recipe,
    console: Console,
    *,
    validate_on: Sequence[xr.DataArray | xr.Dataset | Rain] = (),
) -> Path:
    """Train a nowcaster on one or more archives, or resume its training.

    In a process group (:func:`~stormcell.training.processes.joined_processes`) every process must call it,
    with a folder that all of them share.

    An archive with an index is not read before the first update. The frames of another store are read once.

    Args:
        archives: Archives, of any grids and time steps, or rain rates in mm/h ``(time, y, x)``, with
            ``source`` and ``license`` among their attributes if they are known.
        folder: Folder of the run: ``run.json``, ``losses.csv``, ``checkpoints/``, for archives without an
            index ``scans/`` and, from the first validation on, ``model.safetensors``.
        recipe: Settings of the training; the same as before if the folder holds a run.
        console: Console for progress.
        validate_on: Archives to validate on, such as those of a network of radars that is left out. Then all
            frames of ``archives`` are trained on. Without them, blocks of time are validated on.

    Returns:
        The path of the model file.

    Raises:
        RecipeError: The folder holds a run of another recipe, of other data, or with another number of
            examples per update; or the processes do not share it.
        ArgumentError: An archive is too short for the recipe, or its time step does not fit.
        ArchiveError: No archive has rain in its training block, or none in its validation block, or one was
            changed during training.
        OutputError: A file cannot be written; the same call resumes from the last checkpoint.
    """
    folder = Path(folder)
    model_path = folder / "model.safetensors"
    given = [archives] if isinstance(archives, xr.DataArray) else list(archives)
    if not given:
        raise ArgumentError("archives: expected at least one, found none")
    rains, others = (
        [one if isinstance(one, Rain) else Rain.of(one) for one in some] for some in (given, validate_on)
    )
    before = RunState.read(folder)
    _refuse_other_recipe(folder, before, recipe)
    whole = bool(others) or recipe.whole
    thinned = _thinned(rains, recipe, whole=whole)
    count = len(thinned)  # of those to train on
    thinned += _thinned(others, recipe, whole=whole)
    if before and len(before.archives) != len(thinned):
        raise RecipeError(
            f"{folder}: expected the {len(before.archives)} archives and time steps that this run was begun "
            f"with, found {len(thinned)}"
        )
    if not (finished := bool(before and before.finished)):
        console.print(_announcement(recipe, folder, resumed=before is not None), soft_wrap=True)
    every = [*rains, *others]
    readers = dict(zip(map(id, every), crop_readers([rain.rates for rain in every]), strict=True))
    with console.status("") as status:
        prepared = [
            prepare(
                rain,
                readers[id(rain)],
                recipe,
                thinning=thinning,
                whole=whole,
                before=before.archives[k] if before else None,
                scans=folder / "scans",
                show=status.update,
            )
            for k, (rain, thinning) in enumerate(thinned)
        ]
    if finished:
        console.print(f"{folder}: this run is finished; its model is {model_path}", soft_wrap=True)
        return model_path
    used = [archive for archive, _ in prepared]
    ready, left_out = used[:count], used[count:]
    expect_rain(ready, left_out)
    shares = archive_shares(ready, recipe)
    training = Sampler(
        [archive.training for archive in ready], shares, leads=recipe.leads_per_crop, crop=recipe.crop
    )
    validation = Sampler(
        [archive.validation for archive in left_out or ready],
        [1.0] * len(left_out) or shares,
        leads=recipe.leads_per_crop,
        crop=recipe.crop,
    )
    _describe(ready, left_out, shares, training, console)

    def check() -> None:
        for archive in used:
            archive.expect_unchanged()

    task = NowcasterTask(recipe, training, validation, card_of(ready, shares, recipe), model_path, check)
    # From now on the folder belongs to this recipe, so every check that can refuse the recipe comes before.
    states = tuple(ArchiveState(archive.split, archive.data_hash) for archive in used)
    state = RunState(recipe.model_dump(), states, _examples_per_update(recipe))
    with first_process_first():
        _claim(folder, state)
    if rank() == 0:
        for _, keep in prepared:
            keep()
    pace = Pace(recipe.validate_every, checkpoint_seconds=0.0, count_validation=True)
    budget = Budget(recipe.max_minutes, recipe.max_updates)
    try:
        fit(task, budget, folder, folder / "checkpoints" / "last.ckpt", pace, console)
    finally:
        task.close()
    barrier()
    if rank() == 0:
        RunState(**vars(state) | {"finished": True}).write(folder)
    console.print(f"the model is {model_path}", soft_wrap=True)
    return model_path


def _thinned(rains: Sequence[Rain], recipe: Recipe, *, whole: bool) -> list[tuple[Rain, int]]:
    """Return the archives with the first thinning, and with others that leave them enough frames.

    With the others, time steps are 15 minutes at most.
    """
    found = []
    for rain in rains:
        axis = TimeAxis(rain.rates["time"].values)
        every = steps_between(axis, recipe.time_step_minutes, rain.name)
        first, *others = recipe.thinning
        found.append((rain, first))
        found += [
            (rain, other)
            for other in others
            if other * every * in_minutes(axis.step) <= LONGEST_STEP
            and has_windows(rain.name, axis, recipe, other * every, whole=whole)
        ]
    return found


def _announcement(recipe: Recipe, folder: Path, *, resumed: bool) -> str:
    """Return the line that says how long a training takes at most, and how to stop and resume it."""
    limits = []
    if recipe.max_minutes is not None:
        limits.append(f"{recipe.max_minutes:g} minutes (max_minutes)")
    if recipe.max_updates is not None:
        limits.append(f"{recipe.max_updates} updates (max_updates)")
    begin = "resuming the training in" if resumed else "training in"
    also = "in all, " if resumed else ""
    numbers = "bfloat16" if lightning_precision(recipe.precision) == "bf16-mixed" else "float32"
    return (
        f"{begin} {folder} in {numbers}: {also}at most {' or '.join(limits)}, and less if {recipe.patience} "
        "validations bring no improvement; Ctrl-C stops it, and the same command resumes it"
    )


def _describe(
    archives: Sequence[TrainingArchive],
    left_out: Sequence[TrainingArchive],
    shares: Sequence[float],
    training: Sampler,
    console: Console,
) -> None:
    for archive, share in zip(archives, shares, strict=True):
        several = f", {share:.0%} of the crops" if len(archives) > 1 else ""
        parts = archive.split
        line = f"training on {parts.train}: {len(archive.training.windows)} issue times"
        if parts.validation is not None:
            line += f"; validating on {parts.validation}: {len(archive.validation.windows)}"
        if parts.test is not None:
            line += f"; not using {parts.test}"
        console.print(f"{_resolution(archive)}{several}\n  {line}", soft_wrap=True)
    for archive in left_out:
        line = f"validating on {archive.split.train}: {len(archive.validation.windows)} issue times"
        console.print(f"{_resolution(archive)}\n  {line}", soft_wrap=True)
    natural, drawn = training.wet_shares()
    console.print(
        f"sampling favours rain: {drawn:.1%} of the drawn pixels are wet, {natural:.1%} of all pixels",
        soft_wrap=True,
    )


def _resolution(archive: TrainingArchive) -> str:
    thinned = f", thinned to one frame in {archive.every}" if archive.every > 1 else ""
    return f"{archive.name}: every {in_minutes(archive.step):g} min{thinned}, pixels of {archive.spacing}"


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
