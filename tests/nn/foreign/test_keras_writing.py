import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from stormcell.errors import ArgumentError
from stormcell.nn import ConvGRU2d, ConvLSTM2d, ConvLSTMCell2d, PeepholeLSTM, TrajGRU2d
from stormcell.nn.activations import hard_sigmoid_keras2
from stormcell.nn.foreign import from_keras, to_keras
from stormcell.nn.foreign.winsolider import InPlaceReLUConvLSTM2d


@pytest.mark.parametrize(
    ("module", "lacking"),
    [
        (ConvLSTM2d(2, 3, 3), "peepholes in a ConvLSTM"),
        (ConvLSTM2d(2, 3, 3, bidirectional=True), "peepholes in a ConvLSTM"),
        (ConvLSTM2d(2, 3, 3, peephole=None, padding=1), "padding=(1, 1)"),
        (ConvLSTM2d(2, 3, 3, peephole=None, padding_mode="reflect"), "padding_mode='reflect'"),
        (
            ConvLSTM2d(2, 3, 3, peephole=None, recurrent_padding_mode="circular"),
            "recurrent_padding_mode='circular'",
        ),
        (ConvLSTM2d(2, 3, 3, peephole=None, recurrent_kernel_size=1), "recurrent_kernel_size=(1, 1)"),
        (
            ConvLSTM2d(2, 3, 3, peephole=None, stride=2, dilation=(1, 2)),
            "both stride=(2, 2) and dilation=(1, 2)",
        ),
        (
            PeepholeLSTM(2, 3, zoneout=0.1, norm="layer", cell_clip=1.0),
            "zoneout=(0.1, 0.1), norm='layer', cell_clip=1.0",
        ),
        (PeepholeLSTM(2, 3, proj_channels=2, proj_clip=0.5), "proj_channels=2, proj_clip=0.5"),
        (PeepholeLSTM(0, 3), "in_channels=0"),
        (PeepholeLSTM(2, 3, input_dropout=1.0), "a dropout of 1, which Keras ignores"),
        (PeepholeLSTM(2, 3, recurrent_dropout=1.0), "a dropout of 1, which Keras ignores"),
    ],
)
def test_to_keras_of_missing_features_names_them(module, lacking):
    with pytest.raises(ArgumentError, match=f"^{re.escape(f'module: Keras has no layer with {lacking}')}$"):
        to_keras(module)


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (ConvLSTM2d(2, [3, 3], 3), "module: expected num_layers=1, as in Keras, found 2"),
        *[
            (
                module,
                f"module: expected a ConvLSTM or a PeepholeLSTM, found a {type(module).__name__}",
            )
            for module in (ConvGRU2d(2, 3, 3), TrajGRU2d(2, 3, 3), ConvLSTMCell2d(2, 3, 3), nn.LSTM(2, 3))
        ],
        (
            ConvLSTM2d(2, 3, 3, peephole=None, activation=torch.sin),
            f"activation: expected an activation that Keras 3 defines, found {torch.sin!r}",
        ),
        (
            PeepholeLSTM(2, 3, recurrent_activation="hard_sigmoid"),
            "recurrent_activation: expected an activation that Keras 2 defines, found 'hard_sigmoid'",
        ),
        pytest.param(
            PeepholeLSTM(2, 3, activation=nn.functional.celu),
            f"activation: expected an activation that Keras 2 defines, found {nn.functional.celu!r}",
            id="celu",  # its address is no part of the test's name
        ),
        (
            PeepholeLSTM(2, 3, dtype=torch.bfloat16),
            "dtype: expected a dtype that numpy supports, found bfloat16; convert the module first",
        ),
    ],
)
def test_to_keras_of_other_modules_names_them(module, found):
    with pytest.raises(ArgumentError, match=f"^{re.escape(found)}$"):
        to_keras(module)


INITIALISERS = {
    "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
    "recurrent_initializer": {"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": None}},
    "bias_initializer": {"class_name": "Zeros", "config": {}},
}
NONE = {f"{w}_{k}": None for w in ("kernel", "recurrent", "bias") for k in ("regularizer", "constraint")}
AROUND = {
    "trainable": True,
    "dtype": "float64",
    "return_sequences": True,
    "return_state": False,
    "go_backwards": True,
    "stateful": False,
    "unroll": False,
    "time_major": False,
}
GATES = {
    "activation": "tanh",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": True,
    "unit_forget_bias": True,
    "dropout": 0.25,
    "recurrent_dropout": 0.5,
} | NONE
# Configs that get_config() of Keras 2 returned.
CONV_LSTM_1D = (
    {
        "name": "conv_lstm1d",
        "filters": 3,
        "kernel_size": (2,),
        "strides": (2,),
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": (1,),
        "activity_regularizer": None,
    }
    | AROUND
    | GATES
    | INITIALISERS
)
LSTM = {"name": "lstm", "units": 3, "implementation": 1, "activity_regularizer": None}
LSTM |= AROUND | GATES | INITIALISERS
CELL = {"name": "peephole_lstm_cell", "trainable": True, "dtype": "float64", "units": 3, "implementation": 1}
CELL |= GATES | INITIALISERS
RNN = {"name": "rnn", "cell": {"class_name": "PeepholeLSTMCell", "config": CELL}} | AROUND


@pytest.mark.parametrize("config", [CONV_LSTM_1D, LSTM, LSTM | {"zero_output_for_mask": True}, RNN])
def test_to_keras_of_a_keras_2_layer_is_its_config(config):
    sizes = ((2, 2, 12), (2, 3, 12)) if "filters" in config else ((2, 12), (3, 12))
    shapes = [*sizes, (12,), *[(3,)] * (3 if "cell" in config else 0)]
    weights = [np.random.default_rng(n).standard_normal(shape) for n, shape in enumerate(shapes)]
    found, found_weights = to_keras(from_keras(config, weights))
    assert found == config
    for one, other in zip(found_weights, weights, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def test_to_keras_of_hard_sigmoid_as_a_function_is_keras_2():
    config, _ = to_keras(ConvLSTM2d(2, 3, 3, peephole=None, activation=hard_sigmoid_keras2))
    assert (config["activation"], "time_major" in config) == ("hard_sigmoid", True)


def test_to_keras_of_softmax_along_the_last_axis_is_channels_first():
    def back(module):
        config, weights = to_keras(module)
        return config, from_keras(config, weights)

    config, rnn = back(ConvLSTM2d(2, 3, 3, peephole=None))
    assert config["data_format"] == "channels_last"
    _, rnn = back(from_keras(config | {"activation": "softmax"}, to_keras(rnn)[1]))
    assert rnn.cells[0].activation.keywords == {"dim": -3}

    first = config | {"data_format": "channels_first", "activation": "softmax"}
    config, rnn = back(from_keras(first, to_keras(rnn)[1]))
    assert config["data_format"] == "channels_first"
    assert rnn.cells[0].activation.keywords == {"dim": -1}


def test_to_keras_of_a_bidirectional_along_the_last_axis_is_channels_first():
    config, weights = to_keras(ConvLSTM2d(2, 3, 3, peephole=None, bidirectional=True))
    assert config["layer"]["config"]["data_format"] == "channels_last"
    for side in ("layer", "backward_layer"):
        config[side]["config"]["data_format"] = "channels_first"
    wide = from_keras(config, weights)
    assert wide(torch.zeros(1, 2, 2, 5, 7))[0].shape == (1, 2, 3, 5, 14)
    assert to_keras(wide)[0] == config


def test_to_keras_of_a_bidirectional_with_peepholes_is_keras_2():
    module = PeepholeLSTM(2, 3, bidirectional=True, dtype=torch.float64)
    config, weights = to_keras(module)
    assert config["dtype"] == "float64"
    assert "module" not in config["layer"]
    assert config["backward_layer"]["config"]["go_backwards"] is True
    again = from_keras(config, weights)
    x = torch.rand(2, 4, 2, dtype=torch.float64)
    found, expected = again(x), module(x.transpose(0, 1))
    torch.testing.assert_close(found, (expected[0].transpose(0, 1), expected[1]), rtol=0, atol=0)


def test_to_keras_forget_bias_of_one_is_unit_forget_bias():
    for bias, unit in ((1.0, True), (0.0, False)):
        config, weights = to_keras(ConvLSTM2d(2, 3, 3, peephole=None, forget_bias=bias))
        assert config["unit_forget_bias"] is unit
        assert from_keras(config, weights).cells[0].forget_bias == bias


def test_to_keras_of_a_subclass_with_other_equations_is_refused():
    rnn = InPlaceReLUConvLSTM2d(2, 3, 3, peephole=None, activation="relu")
    with pytest.raises(ArgumentError, match="no layer with the equations of a InPlaceReLUConvLSTMCell2d"):
        to_keras(rnn)


class Halved(nn.Module):
    """A parametrization that changes the effective weights."""

    def forward(self, parameter):
        return parameter / 2


@pytest.mark.parametrize(
    "change",
    [
        lambda cell, name: prune.l1_unstructured(cell, name, 0.5),
        lambda cell, name: parametrize.register_parametrization(cell, name, Halved()),
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"peephole": None}])
def test_to_keras_of_parametrized_layers_writes_effective_weights(options, bidirectional, change):
    module = PeepholeLSTM(2, 3, batch_first=True, bidirectional=bidirectional, dtype=torch.float64, **options)
    x = torch.rand(2, 4, 2, dtype=torch.float64)
    with torch.no_grad():
        for n, parameter in enumerate(module.parameters()):
            parameter.copy_(torch.from_numpy(np.random.default_rng(n).standard_normal(parameter.shape)))
    before = module(x)[0]
    for cell in module.cells:
        for name in dict(cell.named_parameters()):
            change(cell, name)
    config, weights = to_keras(module)
    found, expected = from_keras(config, weights)(x), module(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(before, expected[0])


def test_to_keras_of_spectral_norm_leaves_the_layer_unchanged():
    """In training mode, reading a spectral norm updates its estimate."""
    module = ConvLSTM2d(2, 3, 3, peephole=None)
    parametrizations.spectral_norm(module.cells[0], "weight_hh")
    kept = {key: value.clone() for key, value in module.state_dict().items()}
    _, found = to_keras(module)
    assert all(torch.equal(kept[key], value) for key, value in module.state_dict().items())
    assert all(one.training for one in module.modules())
    _, again = to_keras(module.eval())
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def test_to_keras_of_a_parametrized_subclass_names_its_class():
    rnn = InPlaceReLUConvLSTM2d(2, 3, 3, peephole=None, activation="relu")
    parametrize.register_parametrization(rnn.cells[0], "weight_hh", Halved())
    with pytest.raises(ArgumentError, match="no layer with the equations of a InPlaceReLUConvLSTMCell2d"):
        to_keras(rnn)
