"""``train``."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from stormcell.cli.exit_status import ALL_DONE
from stormcell.errors import ArgumentError
from stormcell.training import nowcaster_run
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
    paths: Sequence[str | Path], assignments: Sequence[str], folder: Path, base: Recipe | None = None
) -> int:
    """Train a nowcaster on archives, or resume its training."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no device names, no advertisements
    recipe = override(base or Recipe(), assignments)
    with joined_processes():
        console = Console(stderr=True, highlight=False, quiet=rank() > 0)
        nowcaster_run.train([Rain.open(path) for path in paths], folder, recipe, console)
    return ALL_DONE
