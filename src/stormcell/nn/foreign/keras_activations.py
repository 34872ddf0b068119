"""Activations in Keras configs: names, and dictionaries of layers."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stormcell.errors import ArgumentError
from stormcell.nn.activations import ACTIVATIONS, Activation, hard_sigmoid_keras2


def relu(x: Tensor, negative_slope: float, max_value: float | None, threshold: float) -> Tensor:
    """Return ``x`` above the threshold, up to ``max_value``, and a line of the given slope below it."""
    y = torch.where(x > threshold, x, negative_slope * (x - threshold))
    return y if max_value is None else y.clamp(max=max_value)


def sparse_plus(x: Tensor) -> Tensor:
    """Return 0 below -1, ``x`` above 1, and between them the parabola that joins both smoothly."""
    return torch.where(x > 1, x, (x.clamp(-1, 1) + 1) ** 2 / 4)


def sparse_sigmoid(x: Tensor) -> Tensor:
    """Return ``(x + 1) / 2``, clamped to 0 … 1."""
    return ((x + 1) / 2).clamp(0, 1)


def sparsemax(x: Tensor, dim: int) -> Tensor:
    """Return the sparsemax of Keras up to 3.15 along ``dim``, which is negative.

    It differs from arXiv:1602.02068: its threshold sums all cumulative sums of the support, instead of
    taking the last one.
    """
    falling = x.sort(dim=dim, descending=True).values
    sums = falling.cumsum(dim)
    rank = torch.arange(1, x.shape[dim] + 1, device=x.device, dtype=x.dtype).view(-1, *(1,) * (-dim - 1))
    support = rank * falling > sums - 1
    threshold = ((sums * support).sum(dim, keepdim=True) - 1) / support.sum(dim, keepdim=True)
    return (x - threshold).clamp(min=0)


def squareplus(x: Tensor) -> Tensor:
    """Return half of ``x`` plus the root of ``x² + 4``."""
    return (x + (x**2 + 4).sqrt()) / 2


# Activations of both versions; Keras 2 takes some of them from TensorFlow.
_BOTH: dict[str, Activation] = {
    "elu": F.elu,
    "exponential": torch.exp,
    "gelu": F.gelu,
    "leaky_relu": ACTIVATIONS["leaky_relu"],
    "linear": ACTIVATIONS["linear"],
    "mish": F.mish,
    "relu": torch.relu,
    "relu6": F.relu6,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "softplus": partial(F.softplus, threshold=40),  # PyTorch's default is the identity from 20 on
    "softsign": F.softsign,
    "tanh": torch.tanh,
}
_KERAS: dict[int, dict[str, Activation]] = {
    2: {**_BOTH, "hard_sigmoid": hard_sigmoid_keras2, "swish": F.silu},
    3: {
        **_BOTH,
        "celu": F.celu,
        "hard_shrink": F.hardshrink,
        "hard_sigmoid": F.hardsigmoid,
        "hard_silu": F.hardswish,
        "hard_tanh": F.hardtanh,
        "log_sigmoid": F.logsigmoid,
        "silu": F.silu,
        "soft_shrink": F.softshrink,
        "sparse_plus": sparse_plus,
        "sparse_sigmoid": sparse_sigmoid,
        "squareplus": squareplus,
        "tanh_shrink": F.tanhshrink,
    },
}
_ALIASES = {"swish": "silu", "silu": "swish", "hard_swish": "hard_silu"}
_ALONG_AN_AXIS: dict[int, dict[str, Callable[..., Tensor]]] = {
    2: {"softmax": F.softmax, "log_softmax": F.log_softmax},
    3: {"softmax": F.softmax, "log_softmax": F.log_softmax, "sparsemax": sparsemax},
}

# Layers used as activations: the function, and the names of its options in Keras 3.
_LAYERS: dict[str, tuple[Callable[..., Tensor], tuple[str, ...]]] = {
    "LeakyReLU": (F.leaky_relu, ("negative_slope",)),
    "ReLU": (relu, ("negative_slope", "max_value", "threshold")),
}
_KERAS_2_OPTIONS = {"alpha": "negative_slope"}


def read(name: str, saved: Any, keras: int, axis: int) -> str | Activation:
    """Return the activation of a config: our name for it if there is one, or a function.

    Args:
        name: Name of the argument in error messages.
        saved: Value in the config: a name, a dictionary, or None for the identity.
        keras: Version that wrote the config, 2 or 3.
        axis: Position of Keras's last axis in our data.

    Raises:
        ArgumentError: Keras does not define this activation.
    """
    if isinstance(saved, Mapping) and saved.get("class_name") == "function":
        saved = saved.get("config")
    if isinstance(saved, Mapping):
        function, options = _LAYERS.get(str(saved.get("class_name")), (None, ()))
        config = saved.get("config")
        if function is not None and isinstance(config, Mapping):
            given = {_KERAS_2_OPTIONS.get(theirs, theirs): value for theirs, value in config.items()}
            if given.keys() >= set(options):
                return partial(function, **{option: given[option] for option in options})
    elif saved is None or isinstance(saved, str):
        table = _table(keras, axis)
        saved = "linear" if saved is None else saved
        if found := table.get(saved) or table.get(_ALIASES.get(saved, "")):
            return next((ours for ours, function in ACTIVATIONS.items() if function is found), found)
    raise ArgumentError(f"{name}: expected an activation that Keras defines, found {saved!r}")


def write(name: str, ours: str | Activation, keras: int, axis: int) -> str | dict[str, Any]:
    """Return the value in a config for one of our activations: the inverse of :func:`read`.

    Raises:
        ArgumentError: This version of Keras does not define the activation.
    """
    function = ACTIVATIONS[ours] if isinstance(ours, str) else ours
    for theirs, known in _table(keras, axis).items():
        if _same(function, known):
            return theirs
    if isinstance(function, partial) and keras == 3:
        for layer, (known, _) in _LAYERS.items():
            if function.func is known:
                config = dict(function.keywords)
                return {
                    "module": "keras.layers",
                    "class_name": layer,
                    "config": config,
                    "registered_name": None,
                }
    raise ArgumentError(f"{name}: expected an activation that Keras {keras} defines, found {ours!r}")


def _table(keras: int, axis: int) -> dict[str, Activation]:
    """Return the activations of a version by name."""
    along = {name: partial(function, dim=axis) for name, function in _ALONG_AN_AXIS[keras].items()}
    return _KERAS[keras] | along


def _same(one: Activation, other: Activation) -> bool:
    """Whether two functions are the same, or partial functions of the same function and arguments."""
    if isinstance(one, partial) and isinstance(other, partial):
        return (one.func, one.args, one.keywords) == (other.func, other.args, other.keywords)
    return one is other
