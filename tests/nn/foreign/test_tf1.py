"""TensorFlow 1's cells, written in numpy from their description: channels last, the state (c, h).

Nothing here knows the package's gate order, its parameters or its convolution.
"""

import itertools
import pickle

import numpy as np
import pytest
import torch

from stormcell.errors import ArgumentError
from stormcell.nn import ConvLSTM1d, ConvLSTM2d, ConvLSTM3d, PeepholeLSTM
from stormcell.nn.foreign.tf1 import from_tf1

# Two correct computations differ by the order of their sums only: some hundred terms of order one, over a
# few steps, lose some 1e-14 in float64 and 1e-6 in float32. A wrong term is off by 1e-3 and more.
EXACT = {"float64": 1e-12, "float32": 1e-5}
B, T, INPUTS, CELLS = 3, 4, 2, 3
SPACE = {0: (), 1: (7,), 2: (5, 4), 3: (3, 4, 2)}


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def sigma(z):
    return 1 / (1 + np.exp(-z))


def relu(z):
    return np.maximum(z, 0)


def same(image, kernel):
    """Convolve ``image`` (B, *space, in) with ``kernel`` (*k, in, out): SAME, the odd zero at the end."""
    size, extents = image.shape[1:-1], kernel.shape[:-2]
    around = [(0, 0), *(((k - 1) // 2, k - 1 - (k - 1) // 2) for k in extents), (0, 0)]
    padded = np.pad(image, around)
    total = np.zeros((*image.shape[:-1], kernel.shape[-1]))
    for offset in itertools.product(*map(range, extents)):
        window = tuple(slice(o, o + n) for o, n in zip(offset, size, strict=True))
        total += padded[(slice(None), *window)] @ kernel[offset]
    return total


def conv_lstm_cell(variables, x, c, h, forget_bias=1.0, skip_connection=False, act=np.tanh):
    """Run a step of tf.contrib's cell, or of TensorLayer's, which has other names."""
    z = same(np.concatenate([x, h], axis=-1), variables["kernel"])
    if "biases" in variables:
        z = z + variables["biases"]
    i, j, f, o = np.split(z, 4, axis=-1)
    c = c * sigma(f + forget_bias) + sigma(i) * act(j)
    h = act(c) * sigma(o)
    return c, np.concatenate([h, x], axis=-1) if skip_connection else h


def lstm_cell(variables, x, c, h, forget_bias=1.0, cell_clip=None, proj_clip=None, act=np.tanh):
    z = np.concatenate([x, h], axis=-1) @ variables["kernel"] + variables["bias"]
    i, j, f, o = np.split(z, 4, axis=-1)
    w_i, w_f, w_o = (variables.get(f"w_{gate}_diag", 0.0) for gate in "ifo")
    c = sigma(f + forget_bias + w_f * c) * c + sigma(i + w_i * c) * act(j)
    if cell_clip is not None:
        c = np.clip(c, -cell_clip, cell_clip)
    m = sigma(o + w_o * c) * act(c)
    if "projection/kernel" in variables:
        m = m @ variables["projection/kernel"]
        if proj_clip is not None:
            m = np.clip(m, -proj_clip, proj_clip)
    return c, m


def dynamic_rnn(cell, variables, x, state, lengths=None, **options):
    """Run a cell over (B, T, *space, C): past a sample's length, the output is zero and the state is kept."""
    c, h = state
    outputs = []
    for t in range(x.shape[1]):
        new_c, new_h = cell(variables, x[:, t], c, h, **options)
        there = np.full(len(x), True) if lengths is None else t < np.asarray(lengths)
        there = there.reshape(-1, *(1,) * (h.ndim - 1))
        outputs.append(np.where(there, new_h, 0))
        c, h = np.where(there, new_c, c), np.where(there, new_h, h)
    return np.stack(outputs, axis=1), (c, h)


def first(array, axis):
    """Move the channels from the end to an axis, as in torch."""
    return torch.from_numpy(np.moveaxis(array, -1, axis).copy())


def ours(states):
    """Convert a (c, h) to our (h_0, c_0) of one layer."""
    c, h = (first(s, 1) for s in states)
    return (h,), (c,)


def assert_same(found, expected, dtype="float64"):
    output, ((h,), (c,)) = found
    outputs, (last_c, last_h) = expected
    for mine, theirs in ((output, first(outputs, 2)), (h, first(last_h, 1)), (c, first(last_c, 1))):
        assert mine.dtype == getattr(torch, dtype)
        np.testing.assert_allclose(mine.detach(), theirs, rtol=EXACT[dtype], atol=EXACT[dtype])


def random(shapes, dtype="float64"):
    """Return random variables; the input of a gate is of order one."""
    scale = {
        name: 0.8 / np.sqrt(np.prod(shape[:-1]) if len(shape) > 1 else 1) for name, shape in shapes.items()
    }
    return {
        n: (scale[n] * numbers(*shape, seed=k)).astype(dtype) for k, (n, shape) in enumerate(shapes.items())
    }


def conv_variables(kernel, bias=True, skipping=False, dtype="float64"):
    inputs = INPUTS + CELLS + (INPUTS if skipping else 0)
    shapes = {"kernel": (*kernel, inputs, 4 * CELLS)} | ({"biases": (4 * CELLS,)} if bias else {})
    return random(shapes, dtype)


def lstm_variables(peepholes=True, projected=None, dtype="float64"):
    shapes = {"kernel": (INPUTS + (projected or CELLS), 4 * CELLS), "bias": (4 * CELLS,)}
    if peepholes:
        shapes |= {f"w_{gate}_diag": (CELLS,) for gate in "fio"}
    if projected:
        shapes["projection/kernel"] = (CELLS, projected)
    return random(shapes, dtype)


def scoped(variables, scope="rnn/some_cell/", end=":0"):
    return {f"{scope}{name}{end}": value for name, value in variables.items()}


def wide(variables):
    return {name: value.astype("f8") for name, value in variables.items()}


def given(axes, hidden=CELLS, dtype="float64"):
    """Return an input and their (c, h), rounded to a dtype."""
    space = SPACE[axes]
    values = (
        numbers(B, T, *space, INPUTS),
        numbers(B, *space, CELLS, seed=1),
        numbers(B, *space, hidden, seed=2),
    )
    x, c, h = (value.astype(dtype) for value in values)
    return x, (c, h)


def both(rnn, cell, variables, axes, hidden=CELLS, dtype="float64", **options):
    """Compare both from a random state, from zeros, with lengths, and continued from the first run."""
    x, state = given(axes, hidden, dtype)
    zeros = tuple(np.zeros_like(s) for s in state)
    truth, x_wide = wide(variables), x.astype("f8")
    wide_state = tuple(s.astype("f8") for s in state)
    frames = first(x, 2)

    found = rnn(frames, ours(state))
    expected = dynamic_rnn(cell, truth, x_wide, wide_state, **options)
    assert_same(found, expected, dtype)
    again = dynamic_rnn(cell, truth, x_wide, expected[1], **options)
    assert_same(rnn(frames, found[1]), again, dtype)
    if "skip_connection" not in options:
        assert_same(rnn(frames), dynamic_rnn(cell, truth, x_wide, zeros, **options), dtype)
    lengths = [2, 0, T]
    expected = dynamic_rnn(cell, truth, x_wide, wide_state, lengths, **options)
    assert_same(rnn(frames, ours(state), lengths=torch.tensor(lengths)), expected, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("kernel", "layer"),
    [
        ((3,), ConvLSTM1d),
        ((4,), ConvLSTM1d),
        ((3, 3), ConvLSTM2d),
        ((2, 5), ConvLSTM2d),
        ((4, 1), ConvLSTM2d),
        ((3, 2, 3), ConvLSTM3d),
    ],
)
def test_from_tf1_of_contribs_conv_lstm_equals_its_equations(kernel, layer, dtype):
    variables = conv_variables(kernel, dtype=dtype)
    rnn = from_tf1("ConvLSTMCell", scoped(variables))
    assert type(rnn) is layer
    both(rnn, conv_lstm_cell, variables, len(kernel), dtype=dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("forget_bias", [0, 0.5, -2])
def test_from_tf1_forget_bias_is_added_to_the_bias(forget_bias, bias):
    variables = conv_variables((3, 2), bias=bias)
    rnn = from_tf1("ConvLSTMCell", variables, forget_bias=forget_bias)
    assert (rnn.cells[0].bias is None) == (not bias and forget_bias == 0)
    both(rnn, conv_lstm_cell, variables, 2, forget_bias=forget_bias)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kernel", [(3,), (2, 3), (3, 3), (2, 1, 3)])
def test_from_tf1_skip_connection_appends_the_input_to_output_and_state(kernel, dtype):
    variables = conv_variables(kernel, skipping=True, dtype=dtype)
    rnn = from_tf1("ConvLSTMCell", variables, skip_connection=True, forget_bias=0.5)
    options = {"forget_bias": 0.5, "skip_connection": True}
    both(rnn, conv_lstm_cell, variables, len(kernel), CELLS + INPUTS, dtype, **options)
    x, (c, h) = given(len(kernel), CELLS + INPUTS, dtype)
    zeros = np.zeros_like(c, "f8"), np.zeros_like(h, "f8")
    expected = dynamic_rnn(conv_lstm_cell, wide(variables), x.astype("f8"), zeros, **options)
    assert_same(rnn(first(x, 2)), expected, dtype)


def test_from_tf1_skip_connection_supports_masks_steps_and_last_output():
    variables = conv_variables((3, 3), skipping=True)
    rnn = from_tf1("ConvLSTMCell", variables, skip_connection=True)
    x, (c, h) = given(2, CELLS + INPUTS)
    outputs, (last_c, last_h) = dynamic_rnn(
        conv_lstm_cell, variables, x[:, [1, 3]], (c, h), skip_connection=True
    )
    mask = np.array([False, True, False, True])
    hidden = np.where(mask[:, None, None, None], x, np.nan)
    held = np.concatenate([np.zeros_like(outputs[:, :1]), outputs[:, [0, 0, 1]]], axis=1)
    found = rnn(first(hidden, 2), ours((c, h)), mask=torch.from_numpy(mask).expand(B, T))
    assert_same(found, (held, (last_c, last_h)))

    nothing = np.zeros((B, 2, *SPACE[2], INPUTS))
    expected = dynamic_rnn(conv_lstm_cell, variables, nothing, (c, h), skip_connection=True)
    assert_same(rnn(None, ours((c, h)), steps=2), expected)

    output, _ = rnn(first(x[:, [1, 3]], 2), ours((c, h)), return_sequence=False)
    np.testing.assert_allclose(output.detach(), first(outputs[:, -1], 1), rtol=1e-12, atol=1e-12)
    (output,), _ = rnn.all_layers(first(x[:, [1, 3]], 2), ours((c, h)))
    np.testing.assert_allclose(output.detach(), first(outputs, 2), rtol=1e-12, atol=1e-12)
    copy = pickle.loads(pickle.dumps(rnn))
    torch.testing.assert_close(copy(first(x, 2)), rnn(first(x, 2)), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("keywords", "act"),
    [
        ({}, np.tanh),
        ({"act": "tanh"}, np.tanh),
        ({"act": "relu"}, relu),
        ({"act": torch.sigmoid}, sigma),
        ({"act": "hard_sigmoid"}, lambda z: np.clip(0.2 * z + 0.5, 0, 1)),
    ],
)
def test_from_tf1_of_tensorlayers_cell_equals_its_equations(keywords, act, dtype):
    variables = conv_variables((3, 4), dtype=dtype)
    named = {"kernel": "Matrix", "biases": "Bias"}
    theirs = scoped(
        {named[name]: value for name, value in variables.items()}, "convlstm/basic_conv_lstm_cell/"
    )
    rnn = from_tf1("BasicConvLSTMCell", theirs, forget_bias=0.3, **keywords)
    both(rnn, conv_lstm_cell, variables, 2, dtype=dtype, forget_bias=0.3, act=act)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("projected", [None, 2, 5])
@pytest.mark.parametrize("peepholes", [True, False])
@pytest.mark.parametrize(
    "clips", [{}, {"cell_clip": 0.4}, {"proj_clip": 0.1}, {"cell_clip": 0.6, "proj_clip": 0.2}]
)
def test_from_tf1_of_lstm_cell_with_all_options_equals_its_equations(peepholes, projected, clips, dtype):
    variables = lstm_variables(peepholes, projected, dtype)
    rnn = from_tf1("LSTMCell", scoped(variables, "rnn/lstm_cell/"), **clips)
    assert type(rnn) is PeepholeLSTM
    both(rnn, lstm_cell, variables, 0, projected or CELLS, dtype, **clips)


@pytest.mark.parametrize("name", ["act", "activation"])
def test_from_tf1_of_lstm_cell_takes_either_name_of_the_activation(name):
    variables = lstm_variables()
    rnn = from_tf1("LSTMCell", variables, forget_bias=0, **{name: torch.relu})
    both(rnn, lstm_cell, variables, 0, forget_bias=0, act=relu)


def test_from_tf1_takes_any_scope_and_tensors():
    variables = lstm_variables(projected=2)
    plain = from_tf1("LSTMCell", variables).state_dict()
    for scope, end in [("", ":0"), ("kernel/", ""), ("w_i_diag/bias/", "")]:
        tensors = {key: torch.from_numpy(value) for key, value in scoped(variables, scope, end).items()}
        found = from_tf1("LSTMCell", tensors).state_dict()
        assert all(torch.equal(plain[key], found[key]) for key in plain)


def test_from_tf1_shares_no_memory_and_draws_nothing():
    """It is in evaluation mode too."""
    variables = {key: torch.from_numpy(value) for key, value in lstm_variables(projected=2).items()}
    before = torch.random.get_rng_state()
    rnn = from_tf1("LSTMCell", variables)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not rnn.training
    assert rnn.batch_first
    kept = {key: value.clone() for key, value in rnn.state_dict().items()}
    for value in variables.values():
        value.zero_()
    assert all(torch.equal(kept[key], value) for key, value in rnn.state_dict().items())


K = {"kernel": np.zeros((3, 3, 5, 12))}
LSTM = lstm_variables(projected=2)


@pytest.mark.parametrize(
    ("kind", "variables", "message"),
    [
        (
            "ConvLSTMCell",
            scoped({**K, "biases": np.zeros(11), "kernel/Adam": np.zeros((3, 3, 5, 12))}, "rnn/"),
            "weights: expected rnn/biases:0 (12,), found (11,); no rnn/kernel/Adam:0, found (3, 3, 5, 12)",
        ),
        (
            "ConvLSTMCell",
            {"biases": np.zeros(12), "global_step": np.zeros(())},
            "weights: expected kernel (*k, C_in + C, 4C), found none; no global_step, found ()",
        ),
        (
            "ConvLSTMCell",
            {"a/kernel:0": np.zeros((5, 12)), "a/bias:0": np.zeros(12)},
            "weights: expected a/kernel:0 (*k, C_in + C, 4C), found (5, 12); no a/bias:0, found (12,)",
        ),
        (
            "ConvLSTMCell",
            {"kernel": np.zeros((3, 3, 5, 14))},
            "weights: expected kernel (*k, C_in + C, 4C), found (3, 3, 5, 14)",
        ),
        (
            "ConvLSTMCell",
            {"kernel": np.zeros((3, 3, 3, 12))},
            "weights: expected kernel (*k, C_in + C, 4C), found (3, 3, 3, 12)",
        ),
        (
            "BasicConvLSTMCell",
            {"Matrix": np.zeros((3, 5, 12)), "Bias": np.zeros(12)},
            "weights: expected Matrix (kH, kW, C_in + C, 4C), found (3, 5, 12)",
        ),
        (
            "LSTMCell",
            {name: value for name, value in LSTM.items() if name not in ("w_f_diag", "w_o_diag")},
            "weights: expected w_f_diag (3,), found none; w_o_diag (3,), found none",
        ),
        (
            "LSTMCell",
            {"kernel": np.zeros((5, 13)), "w_f_diag": np.zeros(3), "projection/kernel": np.zeros(())},
            "weights: expected kernel (C_in + P, 4C), found (5, 13); w_i_diag, found none; "
            "w_o_diag, found none",
        ),
        (
            "LSTMCell",
            {**LSTM, "w_f_diag": np.zeros(4), "projection/kernel": np.zeros((4, 2))},
            "weights: expected w_f_diag (3,), found (4,); projection/kernel (3, 2), found (4, 2)",
        ),
        (
            "ConvLSTMCell",
            {"a/kernel": K["kernel"], "b/kernel": K["kernel"], "b/m": np.zeros(2)},
            "weights: expected the variables of one cell, found a/kernel, b/kernel; no b/m, found (2,)",
        ),
        (
            "ConvLSTMCell",
            {"a/kernel": K["kernel"], "b/biases": np.zeros(12)},
            "weights: expected the variables of one cell, found a/kernel, b/biases",
        ),
        ("ConvLSTMCell", [K["kernel"]], "variables: expected arrays by name, found a list"),
        (
            "ConvLSTMCell",
            {"kernel": np.zeros((3, 3, 5, 12), int)},
            "kernel: expected an array of floats, found int64",
        ),
        (
            "GRUCell",
            K,
            "kind: expected one of 'ConvLSTMCell', 'BasicConvLSTMCell', 'LSTMCell', found 'GRUCell'",
        ),
    ],
)
def test_from_tf1_with_differences_lists_all(kind, variables, message):
    with pytest.raises(ArgumentError) as caught:
        from_tf1(kind, variables)
    assert str(caught.value) == message


def test_from_tf1_skip_connection_with_odd_inputs_is_refused():
    with pytest.raises(
        ArgumentError, match=r"expected kernel \(\*k, 2 C_in \+ C, 4C\), found \(3, 3, 6, 12\)"
    ):
        from_tf1("ConvLSTMCell", {"kernel": np.zeros((3, 3, 6, 12))}, skip_connection=True)


@pytest.mark.parametrize(
    ("kind", "keywords", "message"),
    [
        (
            "ConvLSTMCell",
            {"act": "relu"},
            "act: 'ConvLSTMCell' has no such keyword, expected forget_bias, skip_connection",
        ),
        (
            "LSTMCell",
            {"skip_connection": True},
            "skip_connection: 'LSTMCell' has no such keyword, expected .*",
        ),
        ("LSTMCell", {"forget_bias": "1"}, "forget_bias: expected a number, found '1'"),
        ("ConvLSTMCell", {"skip_connection": 2}, "skip_connection: expected one of True, False, found 2"),
        ("LSTMCell", {"cell_clip": -1}, "cell_clip: expected a positive number or None, found -1"),
        ("LSTMCell", {"act": "tahn"}, "act: expected an activation .*, found 'tahn'"),
        (
            "LSTMCell",
            {"act": "relu", "activation": "tanh"},
            "act, activation: expected at most one of them, found 'relu' and 'tanh'",
        ),
    ],
)
def test_from_tf1_with_unknown_keywords_or_values_is_refused(kind, keywords, message):
    with pytest.raises(ArgumentError, match=f"^{message}$"):
        from_tf1(kind, LSTM if kind == "LSTMCell" else K, **keywords)
