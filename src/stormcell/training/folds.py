"""Leave one network of radars out: how well does a nowcaster forecast rain that no radar of its training saw?

For each network a nowcaster is trained on all archives of the others, and validated on its archives. Archives
are of one network if they have the same source.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from stormcell.errors import ArgumentError
from stormcell.training.nowcaster_run import train
from stormcell.training.recipes import Recipe
from stormcell.training.training_archive import Rain


def by_network(rains: Sequence[Rain]) -> dict[str, list[Rain]]:
    """Return archives by the source of their data, or by their name if it is not known.

    Example:
        >>> import numpy as np
        >>> import xarray as xr
        >>> rates = xr.DataArray(np.zeros((1, 1, 1)), dims=("time", "y", "x"), attrs={"source": "KNMI"})
        >>> found = by_network([Rain("a.zarr", rates), Rain("b.zarr", rates)])
        >>> {source: len(rains) for source, rains in found.items()}
        {'KNMI': 2}
    """
    networks: dict[str, list[Rain]] = {}
    for rain in rains:
        networks.setdefault(str(rain.rates.attrs.get("source", rain.name)), []).append(rain)
    return networks


def train_folds(rains: Sequence[Rain], folder: Path, recipe: Recipe, console: Console) -> dict[str, Path]:
    """Train a nowcaster without each network, or resume their training.

    The recipe must keep the last weights: the best ones would be chosen by the network that is left out.

    Args:
        rains: Archives of two networks or more.
        folder: Folder of the runs, one for each network.
        recipe: Settings of each training.
        console: Console for progress.

    Returns:
        The model file of each network that is left out, by its source.

    Raises:
        ArgumentError: There is one network only, or the recipe keeps the best weights.
        RecipeError: As for :func:`~stormcell.training.nowcaster_run.train`.
    """
    if recipe.keep != "last":
        raise ArgumentError(
            'leave one out: expected keep=last, found keep="best", chosen by what is left out'
        )
    networks = by_network(rains)
    if len(networks) < 2:
        raise ArgumentError(f"leave one out: expected two networks or more, found {', '.join(networks)} only")
    if recipe.max_minutes is not None:
        total = f"{len(networks)} × {recipe.max_minutes:g} = {len(networks) * recipe.max_minutes:g} minutes"
        console.print(f"one training for each network left out: at most {total} in all", soft_wrap=True)
    models = {}
    for source, left_out in networks.items():
        console.print(f"without {source}:", soft_wrap=True)
        others = [rain for network, some in networks.items() if network != source for rain in some]
        models[source] = train(others, folder / name_of(source), recipe, console, validate_on=left_out)
    return models


def name_of(source: str) -> str:
    """Return the name of the folder of the run without a network.

    Example:
        >>> name_of("Data: NOAA/NSSL MRMS.")
        'without-data-noaa-nssl-mrms'
    """
    words = re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")[:60].strip("-")
    return f"without-{words or 'network'}"
