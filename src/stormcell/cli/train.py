"""``train``."""

import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from stormcell.cli.exit_status import ALL_DONE
from stormcell.errors import ArgumentError
from stormcell.training import nowcaster_run
from stormcell.training.fine_tuning import recipe_from
from stormcell.training.folds import train_folds
from stormcell.training.processes import joined_processes, rank
from stormcell.training.recipes import Recipe, override
from stormcell.training.training_archive import Rain

_SETTING = re.compile(r"[A-Za-z_]+=(?!.*\.zarr$)")  # an archive may be in a folder named like a setting


def from_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the archives and the settings among the words of a command.

    A setting is a word such as ``max_minutes=15``: a name, which is not a path or an address, and a value.

    Raises:
        ArgumentError: There is no archive.

    Example:
        >>> from_words(["a.zarr", "step=5/b.zarr", "steps=6"])
        (['a.zarr', 'step=5/b.zarr'], ['steps=6'])
    """
    settings = [word for word in words if _SETTING.match(word)]
    archives = [word for word in words if not _SETTING.match(word)]
    if not archives:
        raise ArgumentError("train: expected at least one archive, found only settings")
    return archives, settings


def train(
    paths: Sequence[str | Path],
    assignments: Sequence[str],
    folder: Path,
    base: Recipe | None = None,
    *,
    start: str | None = None,
    validate_on: Sequence[str | Path] = (),
    leave_one_out: bool = False,
) -> int:
    """Train a nowcaster on archives, or resume its training; or one without each network of radars.

    Raises:
        ArgumentError: Archives to validate on are given although networks are left out, or an archive is
            given twice.
        ModelFileError: The start is not the model file of a nowcaster.
    """
    if leave_one_out and validate_on:
        raise ArgumentError("train --leave-one-out: expected no --validate-on: each network is validated on")
    _refuse_repeated([*paths, *validate_on])
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no device names, no advertisements
    if base is None:
        base = Recipe() if start is None else recipe_from(start)
        base = base.model_copy(update={"keep": "last" if leave_one_out else "best"})
    recipe = override(base, assignments)
    with joined_processes():
        console = Console(stderr=True, highlight=False, quiet=rank() > 0)
        archives, others = ([Rain.open(path) for path in some] for some in (paths, validate_on))
        if leave_one_out:
            train_folds(archives, folder, recipe, console)
        else:
            nowcaster_run.train(archives, folder, recipe, console, validate_on=others)
    return ALL_DONE


def _refuse_repeated(paths: Sequence[str | Path]) -> None:
    # An archive that is trained on, too, would make a validation look better than it is.
    counted = Counter(os.path.normpath(path) for path in paths)
    for path in paths:
        if (count := counted[os.path.normpath(path)]) > 1:
            raise ArgumentError(f"train: expected each archive once, found {path} {count} times")
