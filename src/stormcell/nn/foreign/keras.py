"""Weights from and for Keras: ConvLSTM1D, 2D and 3D, LSTM, PeepholeLSTMCell, and Bidirectional of them."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from torch import nn

from stormcell.errors import ArgumentError
from stormcell.nn import arguments
from stormcell.nn.conv_lstm import LSTM, LSTMCell
from stormcell.nn.foreign.effective import evaluating
from stormcell.nn.foreign.keras_modules import MERGE_MODES, KerasBidirectional, KerasLayer
from stormcell.nn.foreign.keras_reading import merge_axis, opened, read_layers
from stormcell.nn.foreign.keras_writing import Direction, write_config, write_weights


def from_keras(config: Mapping[str, Any], weights: Sequence[Any], keras: int | None = None) -> nn.Module:
    """Return a module that computes what a recurrent layer of Keras's computes.

    It knows ``ConvLSTM1D``, ``2D`` and ``3D``, ``LSTM``, ``RNN(PeepholeLSTMCell)``, ``RNN(LSTMCell)`` and
    ``Bidirectional`` of them, and whatever in their configs changes the numbers. Nobody needs Keras for it.

    The module takes ``(x, state=None, *, mask=None)`` and returns ``output, (h_n, c_n)``, ``batch_first``
    and with the channels before the space, whatever the layer's ``data_format``. It is the bare
    ``ConvLSTM2d`` where that computes the same, and one around it where Keras does something more:

    - ``return_sequences=False``: ``output`` is the last one, ``(B, C, *space)``.
    - ``go_backwards``: the sequence comes out in the order in which it was gone through.
    - ``zero_output_for_mask``: the output of masked steps is zero; Keras's ``Bidirectional`` sets it.
      Only Keras 2's ConvLSTM repeats the output before them even there.
    - ``Bidirectional``: the outputs merged by ``merge_mode``, a tuple of both for None; the states are
      ``h_n = (forward, backward)`` and ``c_n`` likewise. Of ``channels_first`` layers Keras puts the
      images side by side, along their last axis, and so does this.

    ``stateful`` keeps nothing: give the state that came back. Whoever trains on calls ``.train()`` first:
    dropout then draws a mask per gate, as Keras's ConvLSTM does.

    Args:
        config: ``layer.get_config()``, or what ``keras.layers.serialize(layer)`` returns.
        weights: ``layer.get_weights()``: arrays or tensors.
        keras: Which generation saved them, 2 or 3. They differ in ``hard_sigmoid``. None tells it: it was
            2 if the config has ``time_major`` or lacks ``zero_output_for_mask``.

    Returns:
        The module, in evaluation mode and in the weights' dtype.

    Raises:
        ArgumentError: The config is of another layer, or holds an activation that is not Keras's own; or
            the weights are not those of the config, in number or shape.

    Examples:
        >>> import numpy as np, torch
        >>> config = {
        ...     "filters": 8, "kernel_size": (3, 3), "strides": (1, 1), "padding": "same",
        ...     "dilation_rate": (1, 1), "activation": "tanh", "recurrent_activation": "hard_sigmoid",
        ...     "use_bias": True, "unit_forget_bias": True, "dropout": 0.0, "recurrent_dropout": 0.0,
        ...     "return_sequences": True, "go_backwards": False,
        ... }  # of Keras 2; it has more keys, which change nothing here
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
        ahead, back = layers
        merge_mode = layer_config["merge_mode"]
        arguments.one_of("merge_mode", merge_mode, MERGE_MODES)
        return KerasBidirectional(ahead, back, merge_mode, merge_axis(layer_config, ahead)).eval()
    layer = layers[0]
    plain = layer.return_sequences and not layer.go_backwards and not layer.zero_output_for_mask
    return (layer.rnn if plain else layer).eval()


def to_keras(module: nn.Module) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return the config and the weights of the Keras layer that computes what a module of ours computes.

    A ``ConvLSTM2d`` of one layer becomes a ``ConvLSTM2D`` of Keras 3, which
    ``keras.layers.ConvLSTM2D.from_config(config)`` makes and, once built, ``set_weights(weights)`` fills;
    so in one and three dimensions. A ``PeepholeLSTM`` without peepholes becomes an ``LSTM``, and what goes
    both ways a ``Bidirectional``; where a mask is False, that one's output is zero instead of the output
    before. What :func:`from_keras` returned becomes what it was. Of a layer that is pruned or parametrized
    the weights are those that it computes with in evaluation mode.

    Two things only Keras 2 had, and they become layers of its: ``hard_sigmoid_keras2``, and peepholes,
    which make an ``RNN`` of Keras 2.8's ``tf.keras.experimental.PeepholeLSTMCell``. Their configs have the
    key ``time_major``, at which Keras 3 stops.

    Args:
        module: A ``ConvLSTM1d``, ``2d`` or ``3d`` or a ``PeepholeLSTM`` of one layer, or what
            :func:`from_keras` returned.

    Returns:
        ``config, weights``: what ``get_config()`` and ``get_weights()`` of that layer would return.

    Raises:
        ArgumentError: Keras has no layer that computes it; the message names what it lacks.

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
            both = module.bidirectional  # of two the second goes backwards
            directions = [Direction(cell, k == 1, True, both) for k, cell in enumerate(_cells(module))]
            merge_mode, axis = "concat", -1 - len(module.cell.space)
        case LSTM():
            raise ArgumentError(f"module: expected one layer, as Keras's have, found {module.num_layers}")
        case _:
            raise ArgumentError(
                "module: expected a ConvLSTM or a PeepholeLSTM, which are all that Keras has, "
                f"found a {type(module).__name__}"
            )
    with evaluating(module):
        return write_config(directions, merge_mode, axis), write_weights(directions)


def _direction(layer: KerasLayer) -> Direction:
    return Direction(
        _cells(layer.rnn)[0], layer.go_backwards, layer.return_sequences, layer.zero_output_for_mask
    )


def _cells(rnn: LSTM) -> Sequence[LSTMCell]:
    """Return the cells as what they are: a ModuleList only knows that they are modules."""
    return cast("Sequence[LSTMCell]", rnn.cells)
