"""Stormcell: convolutional recurrent layers for PyTorch, and rain nowcasting built on them.

Importing this package imports nothing heavy; :func:`load` brings in what a model needs.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from stormcell.errors import MissingExtraError
from stormcell.errors import StormcellError as StormcellError

if TYPE_CHECKING:
    from os import PathLike

    import torch

    from stormcell.forecast.network import NetworkForecaster
    from stormcell.models.model_file import LoadedModel

__version__ = version("stormcell")

_PACKAGES = ("data", "models", "nn")  # imported when they are asked for


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    path_or_name: "str | PathLike[str]", device: "str | torch.device" = "cpu"
) -> "NetworkForecaster | LoadedModel":
    """Load a model from its file.

    Args:
        path_or_name: A ``model.safetensors`` written by ``stormcell train`` or ``stormcell experiment``, or
            the name of a shipped model (:func:`stormcell.models.shipped` lists them).
        device: Device that the model runs on. Its inputs and outputs stay on the CPU.

    Returns:
        For a nowcaster a forecaster, ``(frames, steps) -> forecast``, of rain rates in mm/h with dimensions
        ``(time, y, x)``; the forecast has the frames' grid and its valid times. For any other network a
        :class:`~stormcell.models.model_file.LoadedModel`, which is called like the network itself.

    Raises:
        ModelFileError: The file is missing, is not safetensors, was not written by Stormcell, or is not the
            shipped one.
        ArgumentError: PyTorch has no such device.
        MissingExtraError: Only the layers are installed.
    """
    try:
        from stormcell.forecast.network import NetworkForecaster
        from stormcell.models import model_file
        from stormcell.models.nowcaster import Nowcaster
    except ModuleNotFoundError as missing:
        raise MissingExtraError(
            f'load: {missing.name} is not installed: pip install "stormcell[nowcast]"'
        ) from missing
    network, card, digest = model_file.load(path_or_name, device)
    if isinstance(network, Nowcaster):
        return NetworkForecaster(network, card, digest)
    return model_file.LoadedModel(network, card, digest)
