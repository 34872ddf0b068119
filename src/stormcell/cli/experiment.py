"""``experiment``."""

import logging
from pathlib import Path

from rich.console import Console

from stormcell.cli.exit_status import ALL_DONE
from stormcell.errors import ArgumentError
from stormcell.experiments import catalogue, processes
from stormcell.experiments.budget import Budget
from stormcell.experiments.catalogue import Options
from stormcell.experiments.run import Settings, learn, only, report
from stormcell.training.precision import Precision

_WIDTH = 120  # columns, where nobody says how many there are


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
    """Run an experiment, or go on with it: train, test, table, pictures."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it tells of devices, and advertises
    if name not in catalogue.NAMES:
        raise ArgumentError(f'experiment: expected one of {", ".join(catalogue.NAMES)}, found "{name}"')
    settings = Settings(Budget.parse(budget), seed, search, tests, precision)
    folder = out or Path("runs") / name
    with processes.together():
        first = processes.rank() == 0
        console = Console(stderr=True, highlight=False, quiet=not first)
        with processes.first_before_others():
            options = Options(folder, console, data, seed, batch_size)
            chosen = only(catalogue.experiment(name, options), contenders)
        learned = learn(chosen, folder, settings, console)
    if first:  # the others have nothing more to do
        results = report(chosen, folder, settings, learned, console)
        screen = Console(highlight=False)
        if not screen.is_terminal:
            screen.width = _WIDTH
        screen.print(results.screen())
        for sentence in results.about:
            screen.print(f"- {sentence}")
        screen.print(f"{folder / 'results.md'}, and pictures beside it", soft_wrap=True)
    return ALL_DONE
