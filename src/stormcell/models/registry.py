"""The networks that a model file can hold, by the name on its card."""

import importlib

from stormcell.errors import ArgumentError
from stormcell.models.base import Network

# A class is imported when a file needs it.
MODULES = {
    "Nowcaster": "stormcell.models.nowcaster",
    "EncoderForecaster": "stormcell.models.encoder_forecaster",
    "FCLSTMForecaster": "stormcell.models.fc_lstm",
    "FrameAverageClassifier": "stormcell.models.classifiers",
    "MultiscaleForecaster": "stormcell.models.multiscale",
    "NextFrameForecaster": "stormcell.models.next_frame",
    "SequenceClassifier": "stormcell.models.classifiers",
}


def network_class(name: str) -> type[Network]:
    """Return the class with a name.

    Raises:
        ArgumentError: The name is unknown.

    Example:
        >>> network_class("EncoderForecaster")(hidden_channels=[8], kernel_size=3).arguments["patch_size"]
        4
    """
    if name not in MODULES:
        raise ArgumentError(f'model: expected one of {", ".join(MODULES)}, found "{name}"')
    found: type[Network] = getattr(importlib.import_module(MODULES[name]), name)
    return found
