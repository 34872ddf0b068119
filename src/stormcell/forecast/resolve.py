"""Forecasters by the name the command line gives them: a baseline, or a model file."""

from dataclasses import dataclass
from pathlib import Path

from stormcell.errors import ArgumentError
from stormcell.forecast.baselines import BASELINES, baseline
from stormcell.forecast.contract import Forecaster
from stormcell.models.model_file import Card

DEFAULT_STEPS = 12  # of baselines, which were not trained on any number of them


@dataclass(frozen=True)
class Named:
    """A forecaster and what its name told about it.

    Attributes:
        call: The forecaster.
        needs: Frames it looks back on.
        steps: Lead times it was trained on; None for a baseline.
        card: What its model file says; None for a baseline.
    """

    call: Forecaster
    needs: int
    steps: int | None = None
    card: Card | None = None


def forecaster(name: str) -> Named:
    """The forecaster of a name.

    Raises:
        ArgumentError: It is neither a baseline nor a file.
        ModelFileError: It is a file, but not a model.
        MissingExtraError: It is a baseline that needs a package that is not installed.
    """
    if name in BASELINES:
        return Named(baseline(name), needs=BASELINES[name].needs)
    if not Path(name).suffix and not Path(name).exists():
        raise ArgumentError(
            f'forecaster: expected a model file or one of {", ".join(BASELINES)}, found "{name}"'
        )
    # A baseline must not wait for torch.
    from stormcell.forecast.network import NetworkForecaster

    network = NetworkForecaster.from_file(name)
    return Named(network, needs=network.card.inputs, steps=network.card.steps, card=network.card)
