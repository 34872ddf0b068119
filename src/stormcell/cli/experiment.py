"""``experiment``."""

import logging
from pathlib import Path

from rich.console import Console

from stormcell.cli.exit_status import ALL_DONE
from stormcell.errors import ArgumentError
from stormcell.experiments import catalogue
from stormcell.experiments.catalogue import Options
from stormcell.experiments.reporting import report
from stormcell.experiments.runner import Settings, only, train_all
from stormcell.training.budget import Budget
from stormcell.training.mixed_precision import Precision
from stormcell.training.processes import first_process_first, joined_processes, rank

_WIDTH = 120  # columns of the table if the output is not a terminal


def experiment(
    name: str,
    *,
    budget: str,
    out: Path | None,
    data: Path | None,
    seed: int,
    search: bool,
    contenders: list[str],
    tests: int | None,
    batch_size: int | None,
    precision: Precision,
) -> int:
    """Run an experiment, or resume it: train, test, write the table and the pictures."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no device names, no advertisements
    if name not in catalogue.NAMES:
        raise ArgumentError(f'experiment: expected one of {", ".join(catalogue.NAMES)}, found "{name}"')
    settings = Settings(Budget.parse(budget), seed, search, tests, precision)
    folder = out or Path("runs") / name
    with joined_processes():
        first = rank() == 0
        console = Console(stderr=True, highlight=False, quiet=not first)
        with first_process_first():
            options = Options(folder, console, data, seed, batch_size)
            chosen = only(catalogue.experiment(name, options), contenders)
        trained = train_all(chosen, folder, settings, console)
    if first:  # the other processes have no more to do
        results = report(chosen, folder, settings, trained, console)
        screen = Console(highlight=False)
        if not screen.is_terminal:
            screen.width = _WIDTH
        screen.print(results.screen())
        for sentence in results.about:
            screen.print(f"- {sentence}")
        screen.print(f"results: {folder / 'results.md'}; pictures are in the same folder", soft_wrap=True)
    return ALL_DONE
