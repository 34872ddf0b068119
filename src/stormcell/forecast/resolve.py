"""Forecasters by their name on the command line: a baseline, a model file or a shipped model."""

from dataclasses import replace
from pathlib import Path

from stormcell.errors import ArgumentError
from stormcell.forecast.baselines import BASELINES, baseline
from stormcell.forecast.contract import DescribedForecaster


def forecaster(name: str | None, *, threads: int | None = None) -> DescribedForecaster:
    """Return the baseline or the model with a name; None takes the first shipped model.

    Args:
        name: The name.
        threads: Number of threads of a network; see
            :class:`~stormcell.forecast.network.NetworkForecaster`.

    Raises:
        ArgumentError: No baseline, file or shipped model has that name, or no model is shipped.
        ModelFileError: The file is not a model file.
        MissingExtraError: The baseline needs a package that is not installed.
    """
    if name in BASELINES:
        return baseline(name)
    # A baseline must not wait for the import of torch.
    from stormcell.forecast.network import NetworkForecaster
    from stormcell.models.shipped_models import SHIPPED

    if name is None:
        name = next(iter(SHIPPED), None)
    if name is None:
        raise ArgumentError(
            f"model: expected a model file or one of {', '.join(BASELINES)}, found none; no model is shipped"
        )
    if name not in SHIPPED and not Path(name).suffix and not Path(name).exists():
        raise ArgumentError(
            f'forecaster: expected a model file or one of {", ".join([*BASELINES, *SHIPPED])}, found "{name}"'
        )
    return replace(NetworkForecaster.from_file(name), threads=threads)
