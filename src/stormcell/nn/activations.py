"""The activations which can be given by name."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stormcell.errors import ArgumentError

Activation = Callable[[Tensor], Tensor]
LEAKY_SLOPE = 0.2  # as in TrajGRU and Keras 3; PyTorch's default is 0.01


def hard_sigmoid_keras2(x: Tensor) -> Tensor:
    """Return ``0.2 x + 0.5`` clipped to 0 and 1, as in Keras 2; in Keras 3 and PyTorch the slope is 1/6."""
    return (0.2 * x + 0.5).clamp(0, 1)


def leaky_relu(x: Tensor) -> Tensor:
    """Return the leaky ReLU with slope 0.2, as in TrajGRU and Keras 3; PyTorch's default is 0.01."""
    return F.leaky_relu(x, LEAKY_SLOPE)


def linear(x: Tensor) -> Tensor:
    """Return ``x``."""
    return x


ACTIVATIONS: dict[str, Activation] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "hard_sigmoid": F.hardsigmoid,
    "hard_sigmoid_keras2": hard_sigmoid_keras2,
}


def activation(name: str, value: str | Activation) -> Activation:
    """Return the activation given by the argument called ``name``.

    Raises:
        ArgumentError: ``value`` is neither callable nor the name of an activation.
    """
    if callable(value):
        return value
    if isinstance(value, str) and value in ACTIVATIONS:
        return ACTIVATIONS[value]
    names = ", ".join(map(repr, ACTIVATIONS))
    raise ArgumentError(f"{name}: expected a callable or one of {names}, found {value!r}")
