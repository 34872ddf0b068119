"""``train``."""

import logging
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from stormcell.cli.exit_status import ALL_DONE
from stormcell.data import archive
from stormcell.training.recipes import Recipe, override
from stormcell.training.run import train as run


def train(path: Path, folder: Path, assignments: Sequence[str], base: Recipe | None = None) -> int:
    """Train, or go on training."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it tells of devices, and advertises
    recipe = override(base or Recipe(), assignments)
    run(archive.rain(archive.open(path)), folder, recipe, Console(stderr=True, highlight=False))
    return ALL_DONE
