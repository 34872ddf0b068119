"""Conversion from and to Keras: ConvLSTM1D, 2D and 3D, LSTM, PeepholeLSTMCell and Bidirectional."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from torch import nn

from stormcell.errors import ArgumentError
from stormcell.nn import arguments
from stormcell.nn.conv_lstm import LSTM
from stormcell.nn.conv_lstm_cell import LSTMCell
from stormcell.nn.foreign.arrays import evaluating
from stormcell.nn.foreign.keras_modules import MERGE_MODES, KerasBidirectional, KerasLayer
from stormcell.nn.foreign.keras_reading import merge_axis, opened, read_layers
from stormcell.nn.foreign.keras_writing import Direction, write_config, write_weights


def from_keras(config: Mapping[str, Any], weights: Sequence[Any], keras: int | None = None) -> nn.Module:
    """Return a module that computes the same as a recurrent layer of Keras.

    The layer is a ``ConvLSTM1D``, ``2D`` or ``3D``, an ``LSTM``, an ``RNN`` of a ``PeepholeLSTMCell`` or an
    ``LSTMCell``, or a ``Bidirectional`` of one of these. Every setting that changes the output is converted.
    Keras need not be installed.

    The module takes ``(x, state=None, *, mask=None)`` and returns ``output, (h_n, c_n)``. It is
    ``batch_first``, with channels before the spatial axes for either ``data_format``. It is a plain
    ``ConvLSTM2d`` if that computes the same, and otherwise a module around it, for these settings:

    - ``return_sequences=False``: ``output`` is the last one, ``(B, C, *space)``.
    - ``go_backwards``: the output is in the order of processing, so the last frame comes first.
    - ``zero_output_for_mask``: the output of masked steps is zero. ``Bidirectional`` sets this, but the
      ConvLSTM of Keras 2 ignores it and repeats the previous output.
    - ``Bidirectional``: the outputs are merged by ``merge_mode``, or are a tuple if it is None. The states
      are ``h_n = (forward, backward)`` and ``c_n`` likewise. With ``channels_first``, ``"concat"`` joins the
      images along their last axis, as Keras does.

    ``stateful`` has no effect: pass the returned state to the next call. Call ``.train()`` before
    training: dropout then draws a mask per gate, as the ConvLSTM of Keras does.

    Args:
        config: Result of ``layer.get_config()`` or ``keras.layers.serialize(layer)``.
        weights: Result of ``layer.get_weights()``: arrays or tensors.
        keras: Version of Keras that saved them, 2 or 3, which differ in ``hard_sigmoid``. None means 2 if the
            config has ``time_major`` or lacks ``zero_output_for_mask``, else 3.

    Returns:
        The module, in evaluation mode and in the weights' dtype.

    Raises:
        ArgumentError: The config is of another layer or has an activation that Keras does not define, or the
            number or the shapes of the weights do not fit the config.

    Examples:
        >>> import numpy as np, torch
        >>> config = {
        ...     "filters": 8, "kernel_size": (3, 3), "strides": (1, 1), "padding": "same",
        ...     "dilation_rate": (1, 1), "activation": "tanh", "recurrent_activation": "hard_sigmoid",
        ...     "use_bias": True, "unit_forget_bias": True, "dropout": 0.0, "recurrent_dropout": 0.0,
        ...     "return_sequences": True, "go_backwards": False,
        ... }  # of Keras 2, without the keys that make no difference
        >>> weights = [np.zeros((3, 3, 1, 32)), np.zeros((3, 3, 8, 32)), np.zeros(32)]
        >>> rnn = from_keras(config, weights)
        >>> output, (h_n, c_n) = rnn(torch.rand(2, 10, 1, 16, 24, dtype=torch.float64))
        >>> output.shape, rnn.cells[0].recurrent_activation
        (torch.Size([2, 10, 8, 16, 24]), 'hard_sigmoid_keras2')
    """
    arguments.one_of("keras", keras, (2, 3, None))
    layer_config = opened("config", config)
    layers = read_layers(layer_config, weights, keras)
    if len(layers) == 2:
        forward, backward = layers
        merge_mode = layer_config["merge_mode"]
        arguments.one_of("merge_mode", merge_mode, MERGE_MODES)
        return KerasBidirectional(forward, backward, merge_mode, merge_axis(layer_config, forward)).eval()
    layer = layers[0]
    plain = layer.return_sequences and not layer.go_backwards and not layer.zero_output_for_mask
    return (layer.rnn if plain else layer).eval()


def to_keras(module: nn.Module) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return the config and the weights of a Keras layer that computes the same as a module.

    A ``ConvLSTM2d`` of one layer becomes a ``ConvLSTM2D`` of Keras 3. Create it by
    ``keras.layers.ConvLSTM2D.from_config(config)``, build it, and call ``set_weights(weights)``. One and
    three dimensions work likewise. A ``PeepholeLSTM`` without peepholes becomes an ``LSTM``. A bidirectional
    layer becomes a ``Bidirectional``, whose output at masked steps is zero instead of the previous output. A
    module from :func:`from_keras` becomes the layer that it was. The weights of a pruned or parametrized
    layer are those that it computes with in evaluation mode.

    Two features become layers of Keras 2, because Keras 3 lacks them: ``hard_sigmoid_keras2``, and
    peepholes, which need an ``RNN`` of ``tf.keras.experimental.PeepholeLSTMCell`` (Keras 2.8). Their configs
    have the key ``time_major``, which Keras 3 rejects.

    Args:
        module: A ``ConvLSTM1d``, ``2d`` or ``3d`` or a ``PeepholeLSTM`` of one layer, or a module from
            :func:`from_keras`.

    Returns:
        ``config, weights``, as the layer's ``get_config()`` and ``get_weights()`` return them.

    Raises:
        ArgumentError: Keras has no such layer; the message names the features that it lacks.

    Examples:
        >>> from stormcell.nn import ConvLSTM2d
        >>> config, weights = to_keras(ConvLSTM2d(3, 8, 5, peephole=None))
        >>> config["filters"], config["kernel_size"], [w.shape for w in weights]
        (8, (5, 5), [(5, 5, 3, 32), (5, 5, 8, 32), (32,)])
    """
    merge_mode, axis = None, 0
    match module:
        case KerasBidirectional():
            directions = [_direction(module.forward_layer), _direction(module.backward_layer)]
            merge_mode, axis = module.merge_mode, module.axis
        case KerasLayer():
            directions = [_direction(module)]
        case LSTM(num_layers=1):
            both = module.bidirectional  # the second direction is the backward one
            directions = [Direction(cell, k == 1, True, both) for k, cell in enumerate(_cells(module))]
            merge_mode, axis = "concat", -1 - len(module.cell.space)
        case LSTM():
            raise ArgumentError(f"module: expected num_layers=1, as in Keras, found {module.num_layers}")
        case _:
            raise ArgumentError(
                f"module: expected a ConvLSTM or a PeepholeLSTM, found a {type(module).__name__}"
            )
    with evaluating(module):
        return write_config(directions, merge_mode, axis), write_weights(directions)


def _direction(layer: KerasLayer) -> Direction:
    return Direction(
        _cells(layer.rnn)[0], layer.go_backwards, layer.return_sequences, layer.zero_output_for_mask
    )


def _cells(rnn: LSTM) -> Sequence[LSTMCell]:
    """Return the cells with their type, which a ModuleList does not know."""
    return cast("Sequence[LSTMCell]", rnn.cells)
