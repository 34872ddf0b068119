"""Stormcell: convolutional recurrent layers for PyTorch, and rain nowcasting built on them.

Importing this package imports nothing heavy; :func:`load` brings in what a model needs.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from stormcell.errors import MissingExtraError
from stormcell.errors import StormcellError as StormcellError

if TYPE_CHECKING:
    from os import PathLike

    from stormcell.forecast.network import NetworkForecaster

__version__ = version("stormcell")


def load(path: "str | PathLike[str]") -> "NetworkForecaster":
    """Load a model file and return it as a forecaster.

    Args:
        path: A ``model.safetensors`` written by ``stormcell train``.

    Returns:
        A callable, ``(frames, steps) -> forecast``, of rain rates in mm/h, dims ``(time, y, x)``, in and
        out. The forecast is georeferenced and carries its valid times.

    Raises:
        ModelFileError: The file is missing, is not safetensors, or was not written by Stormcell.
        MissingExtraError: Only the layers are installed.
    """
    try:
        from stormcell.forecast.network import NetworkForecaster
    except ModuleNotFoundError as missing:
        raise MissingExtraError(
            f'load: {missing.name} is not installed: pip install "stormcell[nowcast]"'
        ) from missing
    return NetworkForecaster.from_file(path)
