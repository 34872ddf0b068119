import inspect

import pytest
import torch

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.nn import ConvLSTM2d, ConvLSTMCell2d

# fmt: off
NAMES = [
    "in_channels", "hidden_channels", "kernel_size", "num_layers", "bias", "batch_first", "dropout",
    "bidirectional", "stride", "padding", "dilation", "padding_mode", "peephole", "recurrent_kernel_size",
    "activation", "recurrent_activation", "recurrent_dropout", "zoneout", "norm", "cell_clip",
    "proj_channels", "forget_bias", "backend", "device", "dtype",
]
# fmt: on


def test_the_signatures_are_the_promised_ones():
    assert list(inspect.signature(ConvLSTM2d).parameters) == NAMES
    of_stacks = {"num_layers", "batch_first", "dropout", "bidirectional"}
    assert list(inspect.signature(ConvLSTMCell2d).parameters) == [n for n in NAMES if n not in of_stacks]
    forward = inspect.signature(ConvLSTM2d.forward).parameters
    assert list(forward) == ["self", "x", "state", "steps", "lengths", "mask"]


@pytest.mark.parametrize("layer", [ConvLSTM2d, ConvLSTMCell2d])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stride", 2),
        ("padding", "valid"),
        ("padding", 1),
        ("dilation", (1, 2)),
        ("padding_mode", "reflect"),
        ("peephole", "pixel"),
        ("activation", torch.relu),
        ("recurrent_activation", "hard_sigmoid"),
        ("recurrent_dropout", 0.1),
        ("zoneout", 0.1),
        ("norm", "layer"),
        ("cell_clip", 3.0),
        ("proj_channels", 2),
    ],
)
def test_what_is_not_offered_is_refused_by_name(layer, name, value):
    with pytest.raises(NotOfferedError, match=f"^{name}=.* is not offered, only .*$"):
        layer(3, 4, 3, **{name: value})


def test_bidirectional_is_not_offered():
    with pytest.raises(NotOfferedError, match=r"^bidirectional=True is not offered"):
        ConvLSTM2d(3, 4, 3, bidirectional=True)


@pytest.mark.parametrize("name", ["lengths", "mask"])
def test_neither_lengths_nor_masks_are_offered(name):
    with pytest.raises(NotOfferedError, match=f"^{name} is not offered"):
        ConvLSTM2d(3, 4, 3)(torch.zeros(2, 1, 3, 4, 4), **{name: torch.ones(2, 1)})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"in_channels": -1}, "in_channels: expected an int of at least 0, found -1"),
        ({"hidden_channels": 0}, "hidden_channels: expected an int of at least 1, found 0"),
        ({"hidden_channels": True}, "hidden_channels: expected an int of at least 1, found True"),
        ({"hidden_channels": []}, "expected one number of layers, at least 1, found hidden_channels for 0"),
        ({"kernel_size": 2.5}, "kernel_size: expected an int of at least 1, found 2.5"),
        (
            {"kernel_size": (3, 3, 3)},
            r"kernel_size: expected an int or 2 of them, one per axis, found \(3, 3, 3\)",
        ),
        (
            {"hidden_channels": [4, 4], "kernel_size": [3, 3, 3], "num_layers": 2},
            "found hidden_channels for 2, kernel_size for 3, recurrent_kernel_size for 3, num_layers for 2",
        ),
        ({"num_layers": 0}, "num_layers: expected an int of at least 1, found 0"),
        ({"peephole": "chanel"}, "peephole: expected one of 'channel', None, found 'chanel'"),
        ({"bias": "no"}, "bias: expected one of True, False, found 'no'"),
        ({"batch_first": None}, "batch_first: expected one of True, False, found None"),
        ({"dropout": 1.5}, "dropout: expected a probability, found 1.5"),
        ({"dropout": None}, "dropout: expected a probability, found None"),
        ({"backend": "fast"}, "backend: expected one of 'auto', 'reference', found 'fast'"),
    ],
)
def test_impossible_arguments_are_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        ConvLSTM2d(**{"in_channels": 3, "hidden_channels": 4, "kernel_size": 3, **given})


def test_a_tuple_is_per_axis_and_a_list_per_layer():
    rnn = ConvLSTM2d(3, 4, [(3, 5), 1], recurrent_kernel_size=(1, 3))
    assert rnn.num_layers == 2
    assert rnn.hidden_channels == [4, 4]
    assert rnn.kernel_size == [(3, 5), (1, 1)]
    assert rnn.recurrent_kernel_size == [(1, 3), (1, 3)]
    assert ConvLSTM2d(3, (4, 2), 3).hidden_channels == [4, 2]
    assert ConvLSTM2d(3, 4, 3, 2).recurrent_kernel_size == [(3, 3), (3, 3)]


X = torch.zeros(2, 1, 3, 4, 5)
STATE = torch.zeros(1, 4, 4, 5)


@pytest.mark.parametrize(
    ("x", "state", "steps", "message"),
    [
        (X[0], None, None, r"x: expected \(T, B, C, H, W\) with C = 3, found \(1, 3, 4, 5\)"),
        (X[:, :, :2], None, None, r"x: expected \(T, B, C, H, W\) with C = 3, found \(2, 1, 2, 4, 5\)"),
        (X[:0], None, None, r"x: expected at least one step, found \(0, 1, 3, 4, 5\) with time first"),
        (None, None, 2, r"x: expected \(T, B, C, H, W\) with C = 3, found None"),
        (X, None, 3, "steps: expected None or 2, as x has, found 3"),
        (
            X,
            (STATE, STATE),
            None,
            r"state: expected \(h_0, c_0\), each a tuple of 1 tensor, one per layer, "
            r"found a tuple of 2: \(1, 4, 4, 5\), \(1, 4, 4, 5\)",
        ),
        (X, ((STATE, STATE), (STATE,)), None, "each a tuple of 1 tensor, one per layer, found"),
        (X, ((STATE,),), None, "each a tuple of 1 tensor, one per layer, found a tuple of 1: a tuple of 1"),
        (
            X,
            ((STATE,), (STATE[:, :3],)),
            None,
            r"state of layer 0: expected h and c, each of shape \(1, 4, 4, 5\), "
            r"found a tuple of 2: \(1, 4, 4, 5\), \(1, 3, 4, 5\)",
        ),
        (X, ((STATE[..., :4],), (STATE[..., :4],)), None, r"each of shape \(1, 4, 4, 5\), found"),
        (X, ((STATE,), (None,)), None, r"found a tuple of 2: \(1, 4, 4, 5\), None"),
    ],
)
def test_wrong_tensors_are_refused_with_what_was_expected_and_found(x, state, steps, message):
    with pytest.raises(ArgumentError, match=message):
        ConvLSTM2d(3, 4, 3)(x, state, steps=steps)


@pytest.mark.parametrize(
    ("x", "state", "steps", "message"),
    [
        (X, None, None, r"x: expected None, as in_channels is 0, found \(2, 1, 3, 4, 5\)"),
        (None, None, 2, r"state of layer 0: expected h and c, each of shape \(B, 4, H, W\), found None"),
        (None, ((STATE,), (STATE,)), None, "steps: expected an int of at least 1, found None"),
        (None, ((STATE,), (STATE,)), 0, "steps: expected an int of at least 1, found 0"),
        (None, ((STATE[0],), (STATE[0],)), 2, r"expected h and c, each of shape \(B, 4, H, W\), found"),
        (None, ((STATE,), (STATE[..., :2],)), 2, r"expected h and c, each of shape \(B, 4, H, W\), found"),
    ],
)
def test_a_layer_without_input_says_what_it_needs(x, state, steps, message):
    with pytest.raises(ArgumentError, match=message):
        ConvLSTM2d(0, 4, 3)(x, state, steps=steps)


def test_with_batch_first_the_message_says_so():
    with pytest.raises(ArgumentError, match=r"x: expected \(B, T, C, H, W\) with C = 3"):
        ConvLSTM2d(3, 4, 3, batch_first=True)(X[0])


@pytest.mark.parametrize(
    ("x", "state", "message"),
    [
        (X, None, r"x: expected \(B, C, H, W\) with C = 3, found \(2, 1, 3, 4, 5\)"),
        ("frames", None, r"x: expected \(B, C, H, W\) with C = 3, found a str"),
        (X[0], STATE, r"state: expected h and c, each of shape \(1, 4, 4, 5\), found \(1, 4, 4, 5\)"),
        (X[0], (STATE[0], STATE[0]), r"state: expected h and c, each of shape \(1, 4, 4, 5\), found"),
    ],
)
def test_a_cell_is_as_strict(x, state, message):
    with pytest.raises(ArgumentError, match=message):
        ConvLSTMCell2d(3, 4, 3)(x, state)
