"""Keras 2 is not run here: its equations are computed in numpy, a pixel at a time."""

import itertools
import json
import math
import re

import numpy as np
import pytest
import torch

from stormcell.errors import ArgumentError
from stormcell.nn import ConvLSTM2d
from stormcell.nn.foreign import from_keras

# Two correct computations in float64 differ by the order of their sums: some tens of terms over a few steps.
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def numbers(seed, *shape):
    return 0.5 * np.random.default_rng(seed).standard_normal(shape)


FUNCTIONS = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
}


def convolved(image, kernel, strides, dilation, padding):
    """Convolve an image (*space, C_in) with a kernel (*k, C_in, C_out), padded as TensorFlow pads."""
    axes = range(image.ndim - 1)
    sizes, before = [], []
    for a in axes:
        reach = dilation[a] * (kernel.shape[a] - 1) + 1
        if padding == "valid":
            sizes.append((image.shape[a] - reach) // strides[a] + 1)
            before.append(0)
        else:
            sizes.append(math.ceil(image.shape[a] / strides[a]))
            needed = max((sizes[a] - 1) * strides[a] + reach - image.shape[a], 0)
            before.append(needed // 2)
    result = np.zeros((*sizes, kernel.shape[-1]))
    for pixel in np.ndindex(*sizes):
        for tap in np.ndindex(*kernel.shape[:-2]):
            seen = tuple(pixel[a] * strides[a] - before[a] + tap[a] * dilation[a] for a in axes)
            if all(0 <= seen[a] < image.shape[a] for a in axes):
                result[pixel] += image[seen] @ kernel[tap]
    return result


def run(config, weights, x, *, state=None, mask=None, zero=False):
    """Run a layer of Keras 2 over one sample, (T, *space, C) or (T, C), in Keras's layout and order."""
    kernel, recurrent_kernel, *rest = weights
    space = kernel.ndim > 2
    hidden = recurrent_kernel.shape[-2]
    bias = rest.pop(0) if config["use_bias"] else np.zeros(4 * hidden)
    w_i, w_f, w_o = rest or np.zeros((3, hidden))
    activation = FUNCTIONS[config["activation"]]
    gate = FUNCTIONS[config["recurrent_activation"]]
    ones = (1,) * (kernel.ndim - 2)

    def seen(frame):
        if not space:
            return frame @ kernel + bias
        return convolved(frame, kernel, config["strides"], config["dilation_rate"], config["padding"]) + bias

    def remembered(h):
        return convolved(h, recurrent_kernel, ones, ones, "same") if space else h @ recurrent_kernel

    if state is None:
        state = np.zeros((2, *seen(x[0]).shape[:-1], hidden))
    h, c = state
    output, outputs = np.zeros_like(h), []
    order = range(len(x))[:: -1 if config["go_backwards"] else 1]
    for t in order:
        there = mask is None or mask[t]
        if there:
            z_i, z_f, z_g, z_o = np.split(seen(x[t]) + remembered(h), 4, axis=-1)
            i, f = gate(z_i + w_i * c), gate(z_f + w_f * c)
            c = f * c + i * activation(z_g)
            h = gate(z_o + w_o * c) * activation(c)
            output = h
        outputs.append(np.zeros_like(h) if zero and not there else output)
    return np.stack(outputs) if config["return_sequences"] else outputs[-1], h, c


def keras_2_conv(**changes):
    """Return the relevant part of get_config() of a ConvLSTM2D of Keras 2.15."""
    return {
        "name": "conv_lstm2d",
        "trainable": True,
        "dtype": "float64",
        "return_sequences": True,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "unroll": False,
        "time_major": False,
        "filters": 2,
        "kernel_size": (2, 3),
        "strides": (1, 1),
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": (1, 1),
        "activation": "tanh",
        "recurrent_activation": "hard_sigmoid",
        "use_bias": True,
        "unit_forget_bias": True,
        "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.01}},
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
    } | changes


def keras_2_lstm(**changes):
    """Return the relevant part of get_config() of an LSTM, which includes an LSTMCell's."""
    spatial = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate")
    config = {k: v for k, v in keras_2_conv(name="lstm", units=3).items() if k not in spatial}
    return config | {"implementation": 2} | changes


def keras_2_rnn(kind, **changes):
    """Return the relevant part of get_config() of an RNN."""
    config = keras_2_lstm(**changes)
    around = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "time_major")
    cell = {name: value for name, value in config.items() if name not in around}
    return {name: config[name] for name in around} | {
        "name": "rnn",
        "cell": {"class_name": kind, "config": cell},
    }


def weights_for(config, peephole=False):
    cell = config["cell"]["config"] if "cell" in config else config
    hidden = cell.get("filters") or cell["units"]
    kernel_size = cell.get("kernel_size", ())
    shapes = [(*kernel_size, 2, 4 * hidden), (*kernel_size, hidden, 4 * hidden)]
    shapes += [(4 * hidden,)] * cell["use_bias"] + [(hidden,)] * 3 * peephole
    # Large enough to reach the flat parts of a hard sigmoid.
    return [3 * numbers(n, *shape) for n, shape in enumerate(shapes)]


def check(module, config, weights, mask=None, cell=None):
    """Compare the module with the layer run in numpy, output and states, from a state that is not zero."""
    space = (5, 6) if "filters" in (cell or config) else ()
    x = numbers(50, 4, *space, 2)
    _, h, _ = run((cell or config) | config, weights, x)
    state = numbers(51, 2, *h.shape)
    expected = run((cell or config) | config, weights, x, state=state, mask=mask)

    def ours(theirs, lead):
        return torch.from_numpy(np.moveaxis(theirs, -1, lead))[None]

    flags = None if mask is None else torch.tensor([mask])
    h_0, c_0 = (ours(s, 0) for s in state)
    output, ((h_n,), (c_n,)) = module(ours(x, 1), ((h_0,), (c_0,)), mask=flags)
    lead = 1 if config["return_sequences"] else 0
    for found, theirs, where in zip((output, h_n, c_n), expected, (lead, 0, 0), strict=True):
        torch.testing.assert_close(found.detach(), ours(theirs, where), **EXACT)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"padding": "same", "strides": (2, 3)},
        {"padding": "same", "dilation_rate": (2, 1)},
        {"strides": (1, 2)},
        {"go_backwards": True},
        {"return_sequences": False},
        {"use_bias": False, "activation": "swish"},
        {"activation": "leaky_relu", "recurrent_activation": "sigmoid"},
        {"activation": "softmax", "padding": "same"},
        {"data_format": "channels_first"},
    ],
)
def test_from_keras_of_a_keras_2_convlstm2d_equals_its_equations(changes):
    config = keras_2_conv(**changes)
    weights = weights_for(config)
    for saved in (config, json.loads(json.dumps(config))):
        check(from_keras(saved, weights), config, weights)


def test_from_keras_version_is_given_or_read_from_the_config():
    config = keras_2_conv()
    weights = weights_for(config)

    def gates(config, keras=None):
        return from_keras(config, weights, keras).cells[0].recurrent_activation

    without = {name: value for name, value in config.items() if name != "time_major"}
    assert gates(config) == gates(without) == "hard_sigmoid_keras2"
    assert gates(config | {"zero_output_for_mask": False}) == "hard_sigmoid_keras2"
    assert gates(without | {"zero_output_for_mask": False}) == "hard_sigmoid"
    assert gates(config, 3) == "hard_sigmoid"
    assert gates(without | {"zero_output_for_mask": False}, 2) == "hard_sigmoid_keras2"


@pytest.mark.parametrize("mask", [None, [False, True, False, True], [True, True, False, False]])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_from_keras_of_a_keras_2_lstm_equals_its_equations(mask, go_backwards):
    config = keras_2_lstm(go_backwards=go_backwards)
    weights = weights_for(config)
    check(from_keras(config, weights), config, weights, mask=mask)


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("mask", [None, [False, True, False, True]])
def test_from_keras_of_peephole_lstm_cell_equals_its_equations(mask, use_bias):
    config = keras_2_rnn("PeepholeLSTMCell", use_bias=use_bias)
    weights = weights_for(config, peephole=True)
    module = from_keras(config, weights)
    assert torch.equal(module.cells[0].peephole, torch.from_numpy(np.stack(weights[-3:])))
    check(module, config, weights, mask=mask, cell=config["cell"]["config"])


def test_from_keras_of_an_rnn_of_lstm_cell_is_an_lstm():
    config = keras_2_rnn("Custom>LSTMCell")
    weights = weights_for(config)
    check(from_keras(config, weights), config, weights, cell=config["cell"]["config"])


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul", None])
@pytest.mark.parametrize("layer", [keras_2_conv(), keras_2_lstm(), keras_2_lstm(return_sequences=False)])
@pytest.mark.parametrize("backward", [None, "given", "given bare"])
def test_from_keras_of_a_keras_2_bidirectional_equals_its_equations(layer, merge_mode, backward):
    config = {"name": "bidirectional", "layer": {"class_name": "Layer", "config": layer}}
    config["merge_mode"] = merge_mode
    back = layer | {"go_backwards": True}
    if backward:
        back["activation"] = "sigmoid"
        config["backward_layer"] = {"class_name": "Layer", "config": back} if backward == "given" else back
    weights = weights_for(layer) + [0.9 * w for w in weights_for(back)]
    half = len(weights) // 2
    mask = [True, False, True, False]

    x = numbers(50, 4, *((5, 6) if "filters" in layer else ()), 2)
    # Its ConvLSTM does not pass zero_output_for_mask to the loop.
    zero = "units" in layer and layer["return_sequences"]
    ahead, *states = run(layer, weights[:half], x, mask=mask, zero=zero)
    behind, *others = run(back, weights[half:], x, mask=mask, zero=zero)
    if layer["return_sequences"]:
        behind = behind[::-1]
    merged = {
        "concat": lambda: np.concatenate([ahead, behind], axis=-1),
        "sum": lambda: ahead + behind,
        "ave": lambda: (ahead + behind) / 2,
        "mul": lambda: ahead * behind,
        None: lambda: np.stack([ahead, behind]),
    }[merge_mode]()

    module = from_keras(config, weights)
    found, (h_n, c_n) = module(torch.from_numpy(np.moveaxis(x, -1, 1))[None], mask=torch.tensor([mask]))
    if merge_mode is None:
        found = torch.cat(found)
    at = (merge_mode is None) + bool(layer["return_sequences"])
    expected = torch.from_numpy(np.moveaxis(merged, -1, at))
    torch.testing.assert_close(found.detach(), expected if merge_mode is None else expected[None], **EXACT)
    for n, pair in enumerate((states, others)):
        for tensors, theirs in zip((h_n, c_n), pair, strict=True):
            expected = torch.from_numpy(np.moveaxis(theirs, -1, 0))[None]
            torch.testing.assert_close(tensors[n].detach(), expected, **EXACT)


def test_from_keras_of_several_dtypes_takes_the_widest():
    config = keras_2_conv()
    for kind in ("float16", "float32", "float64"):
        module = from_keras(config, [w.astype(kind) for w in weights_for(config)])
        assert {str(parameter.dtype) for parameter in module.parameters()} == {f"torch.{kind}"}
    assert isinstance(module, ConvLSTM2d)


CONV, RNN = keras_2_conv(), keras_2_rnn("PeepholeLSTMCell")
SHAPES = [(2, 3, 2, 8), (2, 3, 2, 8), (8,)]


@pytest.mark.parametrize(
    ("config", "shapes", "message"),
    [
        (CONV, SHAPES[:2], "weights: expected 3 arrays, kernel, recurrent_kernel, bias, found 2"),
        (CONV | {"use_bias": False}, SHAPES, "weights: expected 2 arrays, kernel, recurrent_kernel, found 3"),
        (
            {"layer": {"class_name": "ConvLSTM2D", "config": CONV}, "merge_mode": "sum"},
            SHAPES,
            "weights: expected 6 arrays, forward kernel, forward recurrent_kernel, forward bias, "
            "backward kernel, backward recurrent_kernel, backward bias, found 3",
        ),
        (
            RNN,
            [(2, 12), (3, 12), (12,)],
            "weights: expected 6 arrays, kernel, recurrent_kernel, bias, input_gate_peephole_weights, "
            "forget_gate_peephole_weights, output_gate_peephole_weights, found 3",
        ),
        (
            RNN,
            [(2, 12), (3, 12), (12,), (3,), (4,), (3, 1)],
            "weights: expected forget_gate_peephole_weights (3,), found (4,); "
            "output_gate_peephole_weights (3,), found (3, 1)",
        ),
        (
            CONV,
            [(3, 2, 2, 8), (2, 3, 3, 8), (7,)],
            "weights: expected kernel (2, 3, 2, 8), found (3, 2, 2, 8); "
            "recurrent_kernel (2, 3, 2, 8), found (2, 3, 3, 8); bias (8,), found (7,)",
        ),
        (CONV, [(2, 8), (2, 8), (8,)], "kernel: expected (*kernel_size, C_in, 4 * filters), found (2, 8)"),
        (
            keras_2_lstm(),
            [(3, 2, 12), (3, 12), (12,)],
            "kernel: expected (C_in, 4 * units), found (3, 2, 12)",
        ),
        (
            CONV,
            [(3, 2, 8), (3, 2, 8), (8,)],
            "kernel_size: expected an int or 1 of them, one per axis, found (2, 3)",
        ),
    ],
)
def test_from_keras_with_other_weights_names_them(config, shapes, message):
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}$"):
        from_keras(config, [np.zeros(shape) for shape in shapes])


WANTED = (
    "config: expected a ConvLSTM1D, 2D or 3D, an LSTM, an RNN of PeepholeLSTMCell, or a "
    "Bidirectional of one of these, found "
)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "gru", "units": 3, "reset_after": True}, f"{WANTED}'gru'"),
        ({"name": "wrapper", "layer": {"class_name": "Dense", "config": {}}}, f"{WANTED}'wrapper'"),
        ({}, f"{WANTED}'something else'"),
        ({"cell": {"class_name": "StackedRNNCells", "config": {}}}, f"{WANTED}an RNN of StackedRNNCells"),
        (
            {k: v for k, v in CONV.items() if k != "strides"},
            "config: expected the result of a Keras layer's get_config(), found no key 'strides'",
        ),
        (CONV | {"padding": "causal"}, "padding: expected one of 'same', 'valid', found 'causal'"),
        (
            CONV | {"activation": "cubic"},
            "activation: expected an activation that Keras defines, found 'cubic'",
        ),
        (
            {"layer": {"class_name": "ConvLSTM2D", "config": CONV}, "merge_mode": "max"},
            "merge_mode: expected one of 'concat', 'sum', 'ave', 'mul', None, found 'max'",
        ),
    ],
)
def test_from_keras_of_unsupported_configs_names_the_reason(config, message):
    number = 6 if "layer" in config else 3
    weights = [np.zeros(shape) for shape in itertools.islice(itertools.cycle(SHAPES), number)]
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}$"):
        from_keras(config, weights)


LAYER = {"class_name": "ConvLSTM2D", "config": CONV}
RETURNED = "expected the result of a Keras layer's get_config(), found"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, f"config: {RETURNED} a NoneType"),
        ([CONV], f"config: {RETURNED} a list"),
        ({"class_name": "ConvLSTM2D"}, f"config: {RETURNED} no key 'config'"),
        ({"class_name": "ConvLSTM2D", "config": None}, f"config: {RETURNED} a NoneType"),
        ({"class_name": "GRU", "config": {"name": "gru", "units": 3}}, f"{WANTED}'gru'"),
        ({"merge_mode": "sum", "layer": None}, f"layer: {RETURNED} a NoneType"),
        ({"merge_mode": "sum", "layer": {"class_name": "LSTM"}}, f"layer: {RETURNED} no key 'config'"),
        ({"merge_mode": "sum", "layer": LAYER | {"config": "x"}}, f"layer: {RETURNED} a str"),
        (
            {"merge_mode": "sum", "layer": LAYER, "backward_layer": [1]},
            f"backward_layer: {RETURNED} a list",
        ),
        (RNN | {"cell": [1]}, f"cell: {RETURNED} a list"),
        (RNN | {"cell": None}, f"cell: {RETURNED} a NoneType"),
        (RNN | {"cell": {"units": 3}}, f"cell: {RETURNED} no key 'class_name'"),
        (RNN | {"cell": {"class_name": "PeepholeLSTMCell"}}, f"cell: {RETURNED} no key 'config'"),
        (RNN | {"cell": {"class_name": None}}, f"{WANTED}an RNN of None"),
        (CONV | {"dropout": None}, "dropout: expected a probability, found None"),
        (CONV | {"recurrent_dropout": "0"}, "recurrent_dropout: expected a probability, found '0'"),
        (CONV | {"filters": "8"}, "filters: expected an int of at least 1, found '8'"),
        (CONV | {"filters": None}, "filters: expected an int of at least 1, found None"),
        (CONV | {"kernel_size": None}, "kernel_size: expected an int of at least 1, found None"),
        (keras_2_lstm(units=0), "units: expected an int of at least 1, found 0"),
        (CONV | {"use_bias": "yes"}, "use_bias: expected one of True, False, found 'yes'"),
        (
            CONV | {"unit_forget_bias": None},
            "unit_forget_bias: expected one of True, False, found None",
        ),
    ],
)
def test_from_keras_of_something_else_than_a_config_names_it(config, message):
    lstm = isinstance(config, dict) and "units" in config
    weights = [np.zeros(shape) for shape in ([(2, 12), (3, 12), (12,)] if lstm else SHAPES)]
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}$"):
        from_keras(config, weights)


@pytest.mark.parametrize("weights", [None, 3, np.zeros(())])
def test_from_keras_of_something_else_than_weights_names_it(weights):
    found = type(weights).__name__
    with pytest.raises(ArgumentError, match=f"^weights: expected a list of arrays, found a {found}$"):
        from_keras(CONV, weights)


def test_from_keras_of_a_serialized_layer_is_the_layer():
    weights = weights_for(CONV)
    check(from_keras(LAYER, weights), CONV, weights)
    keras_3 = {"module": "keras.layers", **LAYER, "registered_name": None, "build_config": {}}
    check(from_keras(keras_3, weights, keras=2), CONV, weights)
    both = {"name": "bidirectional", "layer": LAYER, "merge_mode": "sum"}
    module = from_keras({"class_name": "Bidirectional", "config": both}, weights * 2)
    torch.testing.assert_close(
        module.state_dict(), from_keras(both, weights * 2).state_dict(), rtol=0, atol=0
    )


def test_from_keras_with_an_unknown_version_is_refused():
    with pytest.raises(ArgumentError, match="keras: expected one of 2, 3, None, found 1"):
        from_keras(CONV, weights_for(CONV), keras=1)


def test_from_keras_of_integer_weights_is_refused():
    weights = [np.zeros(SHAPES[0]), np.zeros(SHAPES[1], dtype=int), np.zeros(SHAPES[2])]
    with pytest.raises(ArgumentError, match="recurrent_kernel: expected an array of floats, found int64"):
        from_keras(CONV, weights)
