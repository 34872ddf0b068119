"""All experiments by name."""

import importlib
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from stormcell.errors import ArgumentError
from stormcell.experiments.experiment import Experiment

NAMES = (
    "paper-moving-mnist",
    "paper-radar",
    "openstl-moving-mnist",
    "hko7-protocol",
    "hko7-moving-mnist",
    "mnist-patches",
    "moving-digit-actions",
)


@dataclass(frozen=True)
class Options:
    """The user's choices from which an experiment is built.

    Attributes:
        out: Folder of the run; generated data is written there.
        console: Console for messages about preparing the data.
        data: Folder of MNIST, or path of a radar archive; None for the default.
        seed: Seed of the run.
        batch_size: Examples per update and process; None for the experiment's default.
    """

    out: Path
    console: Console
    data: Path | None = None
    seed: int = 0
    batch_size: int | None = None


def experiment(name: str, options: Options) -> Experiment:
    """Build the experiment of a given name and prepare its data.

    Raises:
        ArgumentError: The name is unknown.
        InputError: The data cannot be read or downloaded.
    """
    if name not in NAMES:
        raise ArgumentError(f'experiment: expected one of {", ".join(NAMES)}, found "{name}"')
    # Each experiment is a module of its name. Importing only the one that is asked for saves time.
    module = importlib.import_module(f"stormcell.experiments.papers.{name.replace('-', '_')}")
    built: Experiment = module.experiment(options)
    return built
