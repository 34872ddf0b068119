"""All experiments by name."""

import importlib

from stormcell.errors import ArgumentError
from stormcell.experiments.experiment import Experiment
from stormcell.experiments.options import Options

NAMES = (
    "paper-moving-mnist",
    "paper-radar",
    "openstl-moving-mnist",
    "hko7-protocol",
    "hko7-moving-mnist",
    "mnist-patches",
    "moving-digit-actions",
)


def experiment(name: str, options: Options) -> Experiment:
    """The experiment of a name, its data at hand.

    Raises:
        ArgumentError: There is none.
        InputError: Its data cannot be read or fetched.
    """
    if name not in NAMES:
        raise ArgumentError(f'experiment: expected one of {", ".join(NAMES)}, found "{name}"')
    # Each is a module of its name, and is not read before it is wanted.
    module = importlib.import_module(f"stormcell.experiments.{name.replace('-', '_')}")
    made: Experiment = module.experiment(options)
    return made
