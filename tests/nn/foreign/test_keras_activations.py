import pickle
import re
from functools import partial

import pytest
import torch
from torch.nn import functional

from stormcell.errors import ArgumentError
from stormcell.nn.activations import ACTIVATIONS
from stormcell.nn.foreign.keras_activations import read, write

# Each of these is one operation or two of float64 on both sides: a few times 2^-52.
EXACT = {"rtol": 1e-14, "atol": 1e-14}
TOGETHER = ("softmax", "log_softmax", "sparsemax")
NEEDS_MORE = ("glu", "threshold")  # glu halves the channels; threshold has no defaults


def values():
    generator = torch.Generator().manual_seed(1)
    drawn = 5 * torch.randn(2, 7, 3, 4, generator=generator, dtype=torch.float64)
    drawn[0, :, 0, 0] = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])  # where pieces join
    return drawn


def function(ours):
    return ACTIVATIONS[ours] if isinstance(ours, str) else ours


@pytest.mark.parametrize("channels_first", [False, True])
def test_read_of_every_keras_3_activation_equals_keras(keras, channels_first):
    x = values()
    theirs = keras.src.activations.ALL_OBJECTS_DICT
    assert len(theirs) > 25
    for name in theirs.keys() - set(NEEDS_MORE):
        ours = read("activation", name, 3, -1 if channels_first else -3)
        expected = theirs[name](x if channels_first else x.movedim(1, -1))
        expected = expected if channels_first else expected.movedim(-1, 1)
        torch.testing.assert_close(function(ours)(x), expected, **EXACT, msg=lambda m, n=name: f"{n}: {m}")
        saved = write("activation", ours, 3, -1 if channels_first else -3)
        assert theirs[saved] is theirs[name]  # the same function, perhaps under another name
        assert function(pickle.loads(pickle.dumps(ours)))(x).equal(function(ours)(x))


def test_read_of_softplus_is_not_the_identity_above_20():
    x = torch.tensor([21.0, 25.0, 30.0, 50.0], dtype=torch.float64)
    found = read("activation", "softplus", 3, -1)(x)
    torch.testing.assert_close(found, x + torch.log1p(torch.exp(-x)), rtol=0, atol=1e-14)
    assert found[0] != x[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hard_sigmoid", lambda x: (0.2 * x + 0.5).clamp(0, 1)),
        ("swish", lambda x: x * torch.sigmoid(x)),
        ("softmax", lambda x: x.exp() / x.exp().sum(1, keepdim=True)),
        ("exponential", torch.exp),
        # Keras 2 also accepts names of TensorFlow's functions.
        ("silu", lambda x: x * torch.sigmoid(x)),
        ("leaky_relu", lambda x: torch.where(x > 0, x, 0.2 * x)),
        ("relu6", lambda x: x.clamp(0, 6)),
    ],
)
def test_read_of_keras_2_activations_equals_their_formulas(name, expected):
    x = values()
    torch.testing.assert_close(function(read("activation", name, 2, -3))(x), expected(x), **EXACT)


@pytest.mark.parametrize("name", ["linear", "tanh", "relu", "hard_sigmoid", "leaky_relu"])
def test_read_of_a_common_activation_is_our_name(name):
    assert read("activation", name, 3, -1) == name


def test_read_of_none_is_linear():
    assert read("activation", None, 2, -1) == read("activation", None, 3, -1) == "linear"


def test_read_of_a_serialized_function_is_the_function(keras):
    saved = keras.saving.serialize_keras_object(keras.activations.gelu)
    assert isinstance(saved, dict)
    assert read("activation", saved, 3, -1) is read("activation", "gelu", 3, -1)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LeakyReLU", {"negative_slope": 0.3}),
        ("ReLU", {}),
        ("ReLU", {"negative_slope": 0.25, "max_value": 2.0, "threshold": 0.5}),
    ],
)
def test_read_of_a_layer_as_activation_equals_keras(keras, kind, options):
    layer = getattr(keras.layers, kind)(**options, dtype="float64")
    ours = read("activation", keras.activations.serialize(layer), 3, -3)
    x = values()
    torch.testing.assert_close(ours(x), layer(x), **EXACT)
    again = keras.activations.get(write("activation", ours, 3, -3))
    # Keras computes it in float32.
    torch.testing.assert_close(again(x.float()), layer(x).float(), rtol=1e-6, atol=1e-6)
    assert pickle.loads(pickle.dumps(ours))(x).equal(ours(x))


def test_read_of_a_keras_2_layer_takes_alpha_as_slope():
    ours = read("activation", {"class_name": "LeakyReLU", "config": {"name": "a", "alpha": 0.3}}, 2, -1)
    x = values()
    torch.testing.assert_close(ours(x), torch.where(x > 0, x, 0.3 * x), **EXACT)


@pytest.mark.parametrize(
    "saved",
    [
        "cubic",
        "glu",
        {"class_name": "PReLU", "config": {}},
        {"class_name": "LeakyReLU", "config": {}},
        {"class_name": "LeakyReLU", "config": None},
        {"class_name": "LeakyReLU"},
        {"class_name": ["LeakyReLU"], "config": {}},
        7,
    ],
)
def test_read_of_an_unknown_activation_names_it(saved):
    message = re.escape(f"gate: expected an activation that Keras defines, found {saved!r}")
    with pytest.raises(ArgumentError, match=f"^{message}$"):
        read("gate", saved, 3, -1)


@pytest.mark.parametrize(
    ("ours", "keras"),
    [
        ("hard_sigmoid_keras2", 3),
        ("hard_sigmoid", 2),
        (functional.celu, 2),
        (partial(functional.leaky_relu, negative_slope=0.3), 2),
        (torch.sin, 3),
        (torch.sin, 2),
    ],
)
def test_write_of_an_activation_of_the_other_version_names_it(ours, keras):
    message = re.escape(f"gate: expected an activation that Keras {keras} defines, found {ours!r}")
    with pytest.raises(ArgumentError, match=f"^{message}$"):
        write("gate", ours, keras, -1)


def test_write_of_softmax_along_another_axis_is_refused():
    along_width = read("gate", "softmax", 3, -1)
    with pytest.raises(ArgumentError, match="expected an activation that Keras 3 defines"):
        write("gate", along_width, 3, -3)


@pytest.mark.parametrize("name", ["hard_sigmoid", "swish", "softplus", "softmax", "tanh", "mish"])
def test_write_of_keras_2_activations_is_their_names(name):
    assert write("gate", read("gate", name, 2, -1), 2, -1) == name


def test_write_of_our_functions_is_their_names():
    assert write("gate", torch.tanh, 3, -1) == "tanh"
