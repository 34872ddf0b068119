"""Reading Keras configs and weights into our layers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from stormcell.errors import ArgumentError
from stormcell.nn import arguments
from stormcell.nn.conv_lstm import LSTM, ConvLSTM1d, ConvLSTM2d, ConvLSTM3d
from stormcell.nn.foreign import keras_activations, keras_weights
from stormcell.nn.foreign.arrays import assign, check, dtype, tensor
from stormcell.nn.foreign.keras_modules import KerasLayer
from stormcell.nn.peephole_lstm import PeepholeLSTM

_LAYERS: dict[int, Callable[..., LSTM]] = {0: PeepholeLSTM, 1: ConvLSTM1d, 2: ConvLSTM2d, 3: ConvLSTM3d}


class Config(dict[str, Any]):
    """A Keras config; a missing key raises an ArgumentError."""

    def __init__(self, name: str, saved: Any) -> None:
        if not isinstance(saved, Mapping):
            raise _unexpected(name, f"a {type(saved).__name__}")
        super().__init__(saved)
        self.name = name  # for error messages

    def __missing__(self, key: str) -> Any:
        raise _unexpected(self.name, f"no key {key!r}")


def _unexpected(name: str, found: str) -> ArgumentError:
    return ArgumentError(f"{name}: expected the result of a Keras layer's get_config(), found {found}")


def opened(name: str, saved: Any) -> Config:
    """Return a layer's config from the config, or from a serialized layer that contains it.

    Raises:
        ArgumentError: ``saved`` is neither.
    """
    config = Config(name, saved)
    return Config(name, config["config"]) if "class_name" in config else config


def read_layers(config: Config, weights: Sequence[Any], keras: int | None) -> list[KerasLayer]:
    """Return the layer of a config, or the forward and the backward layer of a Bidirectional.

    Raises:
        ArgumentError: The config is of another layer, or the weights do not fit it.
    """
    directions = _directions(config)
    names = [side + name for side, layer in directions.items() for name in _names(layer)]
    try:
        given = list(weights)
    except TypeError:
        found = type(weights).__name__
        raise ArgumentError(f"weights: expected a list of arrays, found a {found}") from None
    if len(given) != len(names):
        raise ArgumentError(f"weights: expected {len(names)} arrays, {', '.join(names)}, found {len(given)}")
    tensors = {name: tensor(value, name) for name, value in zip(names, given, strict=True)}
    return [_layer(layer, side, tensors, keras or _version(layer)) for side, layer in directions.items()]


def merge_axis(config: Config, layer: KerasLayer) -> int:
    """Return the axis of our data along which a Bidirectional concatenates: the last one in Keras."""
    return _last_axis(_cell(opened("layer", config["layer"])), len(layer.rnn.cell.space))


def _directions(config: Config) -> dict[str, Config]:
    """Return the config of the layer, or of a Bidirectional's two, by the prefix of their weights' names."""
    if "merge_mode" not in config:
        return {"": config}
    forward = opened("layer", config["layer"])
    saved = config.get("backward_layer")
    if saved is None:
        saved = forward | {"go_backwards": not forward["go_backwards"]}
    return {"forward ": forward, "backward ": opened("backward_layer", saved)}


def _cell(layer: Config) -> Config:
    """Return the config of the layer's cell; for layers other than RNN this is the layer's config.

    Raises:
        ArgumentError: The layer is of another kind.
    """
    if "cell" in layer:
        kind = _kind(layer)
        if kind in ("LSTMCell", "PeepholeLSTMCell"):
            return opened("cell", layer["cell"])
        found = f"an RNN of {kind}"
    elif "unit_forget_bias" in layer and ("units" in layer or "filters" in layer):
        return layer
    else:
        found = repr(layer.get("name", "something else"))
    raise ArgumentError(
        "config: expected a ConvLSTM1D, 2D or 3D, an LSTM, an RNN of PeepholeLSTMCell, or a Bidirectional "
        f"of one of these, found {found}"
    )


def _kind(layer: Config) -> str:
    """Return the class name of an RNN's cell, without the package that registered it."""
    return str(Config("cell", layer["cell"])["class_name"]).rpartition(">")[2]


def _version(layer: Config) -> int:
    """Return the version of Keras that wrote a config."""
    return 2 if "time_major" in layer or "zero_output_for_mask" not in layer else 3


def _names(layer: Config) -> list[str]:
    """Return Keras's names of the weights, in Keras's order."""
    bias = _cell(layer)["use_bias"]
    arguments.one_of("use_bias", bias, (True, False))
    return keras_weights.names(bias, "cell" in layer and _kind(layer) == "PeepholeLSTMCell")


def _last_axis(cell: Config, axes: int) -> int:
    """Return the axis of our data that is Keras's last one."""
    return -1 if cell.get("data_format") == "channels_first" else -1 - axes


def _layer(layer: Config, side: str, tensors: Mapping[str, Tensor], keras: int) -> KerasLayer:
    """Return a layer with its weights, whose names in ``tensors`` have the prefix ``side``.

    Raises:
        ArgumentError: The shapes of the weights do not fit the config, or a setting is not supported.
    """
    cell = _cell(layer)
    space = "filters" in cell
    found = {name: tensors[side + name] for name in _names(layer)}
    kernel = found["kernel"]
    axes = kernel.dim() - 2
    if axes not in ((1, 2, 3) if space else (0,)):
        expected = "(*kernel_size, C_in, 4 * filters)" if space else "(C_in, 4 * units)"
        raise ArgumentError(f"{side}kernel: expected {expected}, found {tuple(kernel.shape)}")
    hidden = "filters" if space else "units"
    sizes = kernel.shape[-2], arguments.count(hidden, cell[hidden])
    kernel_size = arguments.per_axis("kernel_size", cell["kernel_size"], axes) if space else ()
    shapes = {side + name: keras_weights.shape(name, kernel_size, *sizes) for name in found}
    check({side + name: value for name, value in found.items()}, shapes)

    ours = keras_weights.read(found)
    options = _options(cell, axes, keras) | {
        "peephole": "channel" if "peephole" in ours else None,
        "batch_first": True,
        "device": "meta",  # draws no initial weights
        "dtype": dtype(list(found.values())),
    }
    rnn = _LAYERS[axes](*sizes, **options).to_empty(device="cpu")
    assign({f"cells.0.{name}": value for name, value in ours.items()}, rnn)
    sequences = bool(layer["return_sequences"])
    # Bidirectional requests zeros from its layers, and the ConvLSTM of Keras 2 ignores that.
    zero = sequences if side else bool(layer.get("zero_output_for_mask", False))
    return KerasLayer(
        rnn,
        go_backwards=bool(layer["go_backwards"]),
        return_sequences=sequences,
        zero_output_for_mask=zero and not (space and keras == 2),
    )


def _options(cell: Config, axes: int, keras: int) -> dict[str, Any]:
    """Return the arguments of our layer for the settings of the cell."""
    arguments.one_of("unit_forget_bias", cell["unit_forget_bias"], (True, False))
    options: dict[str, Any] = {
        "bias": cell["use_bias"],
        "input_dropout": _rate(cell, "dropout"),
        "recurrent_dropout": _rate(cell, "recurrent_dropout"),
        "forget_bias": float(cell["unit_forget_bias"]),
    }
    for which in ("activation", "recurrent_activation"):
        options[which] = keras_activations.read(which, cell[which], keras, _last_axis(cell, axes))
    if axes:
        options["padding"] = cell["padding"]
        for ours, theirs in (
            ("kernel_size", "kernel_size"),
            ("stride", "strides"),
            ("dilation", "dilation_rate"),
        ):
            options[ours] = arguments.per_axis(theirs, cell[theirs], axes)
    return options


def _rate(cell: Config, name: str) -> float:
    """Return a dropout rate; Keras applies no dropout if it is 1."""
    rate = arguments.probability(name, cell[name])
    return rate if rate < 1 else 0.0
