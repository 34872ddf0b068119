"""``train``."""

import logging
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from stormcell.cli.exit_status import ALL_DONE
from stormcell.data import archive
from stormcell.training import nowcaster_run
from stormcell.training.processes import joined_processes, rank
from stormcell.training.recipes import Recipe, override


def train(path: Path, folder: Path, assignments: Sequence[str], base: Recipe | None = None) -> int:
    """Train a nowcaster, or resume its training."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no device names, no advertisements
    recipe = override(base or Recipe(), assignments)
    with joined_processes():
        console = Console(stderr=True, highlight=False, quiet=rank() > 0)
        nowcaster_run.train(archive.rain(archive.open(path)), folder, recipe, console)
    return ALL_DONE
