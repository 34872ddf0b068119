"""Forecasters by their name on the command line: a baseline, or a model file."""

from pathlib import Path

from stormcell.errors import ArgumentError
from stormcell.forecast.baselines import BASELINES, baseline
from stormcell.forecast.contract import DescribedForecaster


def forecaster(name: str) -> DescribedForecaster:
    """Return the baseline or the model with a name.

    Raises:
        ArgumentError: The name is neither a baseline's nor a file's.
        ModelFileError: The file is not a model file.
        MissingExtraError: The baseline needs a package that is not installed.
    """
    if name in BASELINES:
        return baseline(name)
    # A baseline must not wait for the import of torch.
    from stormcell.forecast.network import NetworkForecaster
    from stormcell.models.shipped_models import SHIPPED

    if name not in SHIPPED and not Path(name).suffix and not Path(name).exists():
        raise ArgumentError(
            f'forecaster: expected a model file or one of {", ".join([*BASELINES, *SHIPPED])}, found "{name}"'
        )
    return NetworkForecaster.from_file(name)
