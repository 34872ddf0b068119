"""Writing Keras configs and weights from our cells."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from stormcell.errors import ArgumentError
from stormcell.nn.activations import Activation, hard_sigmoid_keras2
from stormcell.nn.conv_lstm_cell import ConvLSTMCell1d, ConvLSTMCell2d, ConvLSTMCell3d, LSTMCell
from stormcell.nn.foreign import keras_weights
from stormcell.nn.foreign.arrays import array, effective, original_class
from stormcell.nn.foreign.keras_activations import write
from stormcell.nn.foreign.keras_modules import MergeMode
from stormcell.nn.peephole_lstm import PeepholeLSTMCell

# Arguments that Keras does not have, and the values that make no difference.
_WITHOUT: dict[str, Any] = {
    "padding_mode": "zeros",
    "recurrent_padding_mode": "zeros",
    "zoneout": (0.0, 0.0),
    "norm": None,
    "cell_clip": None,
    "proj_channels": None,
    "proj_clip": None,
}
_CELLS = ConvLSTMCell1d, ConvLSTMCell2d, ConvLSTMCell3d, PeepholeLSTMCell
_WEIGHTS = "kernel", "recurrent", "bias"


class Direction(NamedTuple):
    """A recurrent layer of Keras."""

    cell: LSTMCell
    go_backwards: bool
    return_sequences: bool
    zero_output_for_mask: bool


def write_config(directions: Sequence[Direction], merge_mode: MergeMode, axis: int) -> dict[str, Any]:
    """Return the config of a layer, or of a Bidirectional if there are two directions.

    Args:
        directions: The layer, or the forward and the backward one.
        merge_mode: Merge mode of a Bidirectional.
        axis: Axis of our data along which ``"concat"`` joins the outputs.

    Raises:
        ArgumentError: Keras has no such layer; the message lists the features that it lacks.
    """
    lacking = list(dict.fromkeys(lack for direction in directions for lack in _lacking(direction.cell)))
    if lacking:
        raise ArgumentError(f"module: Keras has no layer with {', '.join(lacking)}")
    cells = [direction.cell for direction in directions]
    keras = 2 if any(map(_only_keras_2, cells)) else 3
    if len(directions) == 1:
        return _layer(directions[0], keras, _channels_first(cells))
    channels_first = _channels_first(cells) or axis == -1
    forward, backward = (
        _saved(_class_name(direction.cell), _layer(direction, keras, channels_first, side), keras)
        for side, direction in zip(("forward_", "backward_"), directions, strict=True)
    )
    base = _base("bidirectional", cells[0], keras)
    return base | {"merge_mode": merge_mode, "layer": forward, "backward_layer": backward}


def _lacking(cell: LSTMCell) -> list[str]:
    """Return the features of the cell that no Keras layer has."""
    if original_class(cell) not in _CELLS:  # subclasses may have other equations
        return [f"the equations of a {original_class(cell).__name__}"]
    lacking = [
        f"{name}={getattr(cell, name)!r}"
        for name, without in _WITHOUT.items()
        if getattr(cell, name) != without
    ]
    if cell.in_channels == 0:
        lacking.append("in_channels=0")
    if cell.input_dropout == 1 or cell.recurrent_dropout == 1:
        lacking.append("a dropout of 1, which Keras ignores")
    if not cell.space:
        return lacking
    if cell.peephole is not None:
        lacking.append("peepholes in a ConvLSTM")
    if cell.recurrent_kernel_size != cell.kernel_size:
        lacking.append(f"recurrent_kernel_size={cell.recurrent_kernel_size}")
    if not isinstance(cell.padding, str):
        lacking.append(f"padding={cell.padding}")
    if max(cell.stride) > 1 and max(cell.dilation) > 1:
        lacking.append(f"both stride={cell.stride} and dilation={cell.dilation}")
    return lacking


def _only_keras_2(cell: LSTMCell) -> bool:
    """Whether only Keras 2 has such a cell."""
    activations = cell.activation, cell.recurrent_activation
    hard = any(activation in ("hard_sigmoid_keras2", hard_sigmoid_keras2) for activation in activations)
    return hard or cell.peephole is not None


def _channels_first(cells: Sequence[LSTMCell]) -> bool:
    """Whether an activation acts along the last axis of our data; Keras has that with channels first only."""
    activations: list[str | Activation] = [a for c in cells for a in (c.activation, c.recurrent_activation)]
    along = [a.keywords.get("dim") for a in activations if isinstance(a, partial)]
    return -1 in along


def _layer(direction: Direction, keras: int, channels_first: bool, side: str = "") -> dict[str, Any]:
    """Return the config of a ConvLSTM, an LSTM, or an RNN of a cell with peepholes."""
    cell = direction.cell
    axes = len(cell.space)
    name = f"conv_lstm{axes}d" if axes else "lstm" if cell.peephole is None else "rnn"
    layer = _base(side + name, cell, keras) | {
        "return_sequences": direction.return_sequences,
        "return_state": False,
        "go_backwards": direction.go_backwards,
        "stateful": False,
        "unroll": False,
    }
    inner = _cell(cell, keras, channels_first)
    if keras == 2:
        layer["time_major"] = False
        if not cell.space:
            inner["implementation"] = 1
    if keras == 3 or direction.zero_output_for_mask:  # Keras 2 saves it only if it is set
        layer["zero_output_for_mask"] = direction.zero_output_for_mask
    if cell.peephole is not None:
        inner = _base("peephole_lstm_cell", cell, keras) | inner
        return layer | {"cell": _saved("PeepholeLSTMCell", inner, keras)}
    return layer | inner | {"activity_regularizer": None} | ({"seed": None} if keras == 3 else {})


def _cell(cell: LSTMCell, keras: int, channels_first: bool) -> dict[str, Any]:
    """Return the part of a config that describes the cell."""
    axes = len(cell.space)
    sizes: dict[str, Any] = {"units": cell.hidden_channels}
    if axes:
        sizes = {
            "filters": cell.hidden_channels,
            "kernel_size": cell.kernel_size,
            "strides": cell.stride,
            "padding": cell.padding,
            "data_format": "channels_first" if channels_first else "channels_last",
            "dilation_rate": cell.dilation,
        }
    last = -1 if channels_first else -1 - axes
    return sizes | {
        "activation": write("activation", cell.activation, keras, last),
        "recurrent_activation": write("recurrent_activation", cell.recurrent_activation, keras, last),
        "use_bias": cell.bias is not None,
        "kernel_initializer": _saved("GlorotUniform", {"seed": None}, keras, "keras.initializers"),
        "recurrent_initializer": _saved(
            "Orthogonal", {"seed": None, "gain": 1.0}, keras, "keras.initializers"
        ),
        "bias_initializer": _saved("Zeros", {}, keras, "keras.initializers"),
        "unit_forget_bias": cell.forget_bias == 1,
        **{f"{weights}_{kind}": None for kind in ("regularizer", "constraint") for weights in _WEIGHTS},
        "dropout": cell.input_dropout,
        "recurrent_dropout": cell.recurrent_dropout,
    }


def _base(name: str, cell: LSTMCell, keras: int) -> dict[str, Any]:
    """Return the part of a config that all layers have."""
    dtype = str(cell.weight_hh.dtype).removeprefix("torch.")
    policy = dtype if keras == 2 else _saved("DTypePolicy", {"name": dtype}, keras, "keras")
    return {"name": name, "trainable": True, "dtype": policy}


def _saved(
    class_name: str, config: dict[str, Any], keras: int, module: str = "keras.layers"
) -> dict[str, Any]:
    """Return a serialized object for a config."""
    saved = {"class_name": class_name, "config": config}
    return saved if keras == 2 else {"module": module, **saved, "registered_name": None}


def _class_name(cell: LSTMCell) -> str:
    """Return the class name of the layer."""
    return f"ConvLSTM{len(cell.space)}D" if cell.space else "LSTM" if cell.peephole is None else "RNN"


def write_weights(directions: Sequence[Direction]) -> list[np.ndarray]:
    """Return the layer's weights in the order of ``get_weights()``."""
    cells = [direction.cell for direction in directions]
    return [array(value) for cell in cells for value in keras_weights.write(effective(cell))]
