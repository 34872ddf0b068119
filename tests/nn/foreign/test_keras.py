"""Keras is the oracle: its layers are run beside the modules that are made of them."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stormcell.nn import ConvLSTM1d, ConvLSTM2d, ConvLSTM3d, PeepholeLSTM
from stormcell.nn.foreign import from_keras, to_keras

pytestmark = pytest.mark.filterwarnings(
    # get_weights() of Keras 3.15 converts variables to arrays in a way that numpy 2 deprecates.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    # PyTorch warns about one channel.
    "ignore:You are using a softmax over axis -1 of a tensor of shape:UserWarning",
)

# Two correct computations differ by the order of their sums: some tens of terms, carried over a few steps.
# These are what the library promises; rounding alone makes some 1e-15 and 1e-6.
TOLERANCE = {"float64": {"rtol": 1e-12, "atol": 1e-12}, "float32": {"rtol": 1e-5, "atol": 1e-5}}
# Gates that stay within bounds: without them rounding may grow from step to step.
ACTIVATIONS = ("tanh", "sigmoid", "softsign", "elu", "gelu", "softmax", "linear", "leaky_relu")
GATES = ("sigmoid", "hard_sigmoid", "softmax", "sparse_sigmoid", "tanh")


def numbers(seed, *shape):
    return 0.5 * np.random.default_rng(seed).standard_normal(shape)


class Case:
    """A Keras layer with random weights, its input and its output."""

    def __init__(self, keras, chosen):
        self.chosen = chosen
        self.axes = len(chosen["size"])
        self.channels_first = chosen["channels_first"] and self.axes > 0
        self.keras = keras
        ahead = self._make(chosen["go_backwards"])
        if chosen["merge_mode"] == "none at all":
            self.layer = ahead
        else:
            back = self._make(not chosen["go_backwards"]) if chosen["backward_layer"] else None
            if not chosen["backward_layer"]:
                ahead = self._make(False)  # Keras 3 reverses only forward layers
            self.layer = keras.layers.Bidirectional(
                ahead, merge_mode=chosen["merge_mode"], backward_layer=back, dtype=chosen["dtype"]
            )
        self.layer.build(self.theirs(self.frames).shape)
        self.layer.set_weights([numbers(n, *w.shape) for n, w in enumerate(self.layer.weights)])

    def _make(self, go_backwards):
        chosen = self.chosen
        options = {
            "activation": chosen["activation"],
            "recurrent_activation": chosen["recurrent_activation"],
            "use_bias": chosen["use_bias"],
            "unit_forget_bias": chosen["unit_forget_bias"],
            "dropout": chosen["dropout"],  # no effect in evaluation mode
            "recurrent_dropout": chosen["recurrent_dropout"],
        }
        around = {
            "go_backwards": go_backwards,
            "return_sequences": chosen["return_sequences"],
            "zero_output_for_mask": chosen["zero_output_for_mask"],
            "return_state": True,
            "dtype": chosen["dtype"],
        }
        layers = self.keras.layers
        if self.axes == 0 and chosen["in_rnn"]:
            return layers.RNN(layers.LSTMCell(chosen["filters"], dtype=chosen["dtype"], **options), **around)
        if self.axes == 0:
            return layers.LSTM(chosen["filters"], **options, **around)
        return getattr(layers, f"ConvLSTM{self.axes}D")(
            chosen["filters"],
            chosen["kernel_size"],
            strides=chosen["strides"],
            padding=chosen["padding"],
            dilation_rate=chosen["dilation"],
            data_format="channels_first" if self.channels_first else "channels_last",
            **options,
            **around,
        )

    @property
    def dtype(self):
        return getattr(torch, self.chosen["dtype"])

    @property
    def frames(self):
        shape = self.chosen["batch"], self.chosen["steps"], self.chosen["channels"], *self.chosen["size"]
        return torch.from_numpy(numbers(100, *shape)).to(self.dtype)

    @property
    def mask(self):
        return None if self.chosen["mask"] is None else torch.tensor(self.chosen["mask"])

    def theirs(self, ours):
        """Move our channels axis to Keras's place."""
        first = -1 - self.axes
        return ours if self.channels_first else ours.movedim(first, -1)

    def ours(self, theirs):
        return theirs.detach() if self.channels_first else theirs.detach().movedim(-1, -1 - self.axes)

    @property
    def state(self):
        """Return a random state in our layout and in Keras's, or None twice."""
        if not self.chosen["state"]:
            return None, None
        out = self.layer.compute_output_shape(self.theirs(self.frames).shape)
        shapes = [s for s in out if len(s) == self.axes + 2][-2:]
        each = []
        for n in range(1 if self.chosen["merge_mode"] == "none at all" else 2):
            pair = [torch.from_numpy(numbers(200 + 2 * n + k, *shapes[k])).to(self.dtype) for k in (0, 1)]
            each.append(pair)
        flat = [tensor for pair in each for tensor in pair]
        return tuple(zip(*[[self.ours(t) for t in pair] for pair in each], strict=True)), flat

    def run(self):
        """Return Keras's outputs, then the states, in our layout and order."""
        x = self.theirs(self.frames)
        results = [self.ours(t) for t in self.layer(x, initial_state=self.state[1], mask=self.mask)]
        states = 2 if self.chosen["merge_mode"] == "none at all" else 4
        return results[:-states], results[-states:]

    def run_ours(self, module):
        output, (h_n, c_n) = module(self.frames, self.state[0], mask=self.mask)
        outputs = list(output) if isinstance(output, tuple) else [output]
        return outputs, [t for pair in zip(h_n, c_n, strict=True) for t in pair]

    def agrees(self, module):
        # Keras's matrix products are float32, except in an LSTM without recurrent dropout that is neither
        # masked nor in an RNN.
        products = self.axes == 0 and (
            self.chosen["mask"] is not None or self.chosen["in_rnn"] or self.chosen["recurrent_dropout"] > 0
        )
        tolerance = TOLERANCE["float32" if products else self.chosen["dtype"]]
        torch.testing.assert_close(self.run_ours(module), self.run(), **tolerance)


@st.composite
def layers(draw):
    """Draw the settings of a layer and the sizes of its input."""
    axes = draw(st.integers(0, 3))

    def per_axis(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * axes))

    kernel_size = per_axis(1, 4 if axes < 3 else 3)
    longer = draw(st.sampled_from(("strides", "dilation", None)))
    dilation = per_axis(1, 2) if longer == "dilation" else (1,) * axes
    batch, steps = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    flags = st.lists(st.lists(st.booleans(), min_size=steps, max_size=steps), min_size=batch, max_size=batch)
    merge_modes = ("concat", "sum", "ave", "mul", None)
    return {
        "filters": draw(st.integers(1, 3)),
        "channels": draw(st.integers(1, 3)),
        "kernel_size": kernel_size,
        "strides": per_axis(1, 3) if longer == "strides" else (1,) * axes,
        "dilation": dilation,
        "padding": draw(st.sampled_from(("same", "valid"))),
        # As large as the kernel, and up to three pixels larger.
        "size": tuple(d * (k - 1) + 1 + n for d, k, n in zip(dilation, kernel_size, per_axis(0, 3))),  # noqa: B905
        "batch": batch,
        "steps": steps,
        "activation": draw(st.sampled_from(ACTIVATIONS)),
        "recurrent_activation": draw(st.sampled_from(GATES)),
        "use_bias": draw(st.booleans()),
        "unit_forget_bias": draw(st.booleans()),
        "dropout": draw(st.sampled_from((0.0, 0.25))),
        "recurrent_dropout": draw(st.sampled_from((0.0, 0.5))),
        "go_backwards": draw(st.booleans()),
        "return_sequences": draw(st.booleans()),
        "zero_output_for_mask": draw(st.booleans()),
        "mask": draw(st.none() | flags),
        "state": draw(st.booleans()),
        "merge_mode": draw(st.just("none at all") | st.sampled_from(merge_modes)),
        "backward_layer": draw(st.booleans()),
        "channels_first": draw(st.booleans()),
        "in_rnn": draw(st.booleans()),
        "dtype": draw(st.sampled_from(("float64", "float32"))),
    }


@settings(max_examples=300, derandomize=True, database=None)
@given(chosen=layers())
def test_from_keras_equals_keras(keras, chosen):
    case = Case(keras, chosen)
    module = from_keras(case.layer.get_config(), case.layer.get_weights())
    assert not module.training
    assert {parameter.dtype for parameter in module.parameters()} == {case.dtype}
    case.agrees(module)


CHOSEN = {
    "filters": 3,
    "channels": 2,
    "kernel_size": (2, 3),
    "strides": (1, 1),
    "dilation": (1, 1),
    "padding": "same",
    "size": (5, 4),
    "batch": 2,
    "steps": 4,
    "activation": "tanh",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": True,
    "unit_forget_bias": True,
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "go_backwards": False,
    "return_sequences": True,
    "zero_output_for_mask": False,
    "mask": None,
    "state": False,
    "merge_mode": "none at all",
    "backward_layer": False,
    "channels_first": False,
    "in_rnn": False,
    "dtype": "float64",
}
MASK = [[False, True, False, True], [True, False, False, False]]


@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("merge_mode", ["none at all", "concat"])
def test_from_keras_with_masks_equals_keras(
    keras, merge_mode, go_backwards, return_sequences, zero_output_for_mask
):
    chosen = {
        "mask": MASK,
        "state": True,
        "merge_mode": merge_mode,
        "backward_layer": True,
        "go_backwards": go_backwards,
        "return_sequences": return_sequences,
        "zero_output_for_mask": zero_output_for_mask,
    }
    case = Case(keras, CHOSEN | chosen)
    module = from_keras(case.layer.get_config(), case.layer.get_weights())
    case.agrees(module)
    # Masked steps may have any values.
    output, state = module(case.frames, case.state[0], mask=case.mask)
    spoilt = case.frames.masked_fill(~case.mask[..., None, None, None], torch.nan)
    torch.testing.assert_close(module(spoilt, case.state[0], mask=case.mask), (output, state), rtol=0, atol=0)


def test_from_keras_of_a_plain_layer_is_our_layer(keras):
    for axes, kind in enumerate((PeepholeLSTM, ConvLSTM1d, ConvLSTM2d, ConvLSTM3d)):
        sizes = dict.fromkeys(("kernel_size", "size"), (3,) * axes)
        ones = dict.fromkeys(("strides", "dilation"), (1,) * axes)
        case = Case(keras, CHOSEN | sizes | ones)
        module = from_keras(case.layer.get_config(), case.layer.get_weights())
        assert type(module) is kind
        assert module.batch_first
        case.agrees(module)


@pytest.mark.parametrize("merge_mode", ["none at all", "concat"])
def test_from_keras_of_a_config_from_json_is_the_same(keras, merge_mode):
    case = Case(keras, CHOSEN | {"merge_mode": merge_mode, "return_sequences": False})
    config = json.loads(json.dumps(case.layer.get_config()))
    case.agrees(from_keras(config, tuple(torch.from_numpy(w) for w in case.layer.get_weights())))


def test_from_keras_module_can_be_copied_and_pickled(keras):
    chosen = {"merge_mode": "mul", "activation": "softmax", "recurrent_activation": "sparse_sigmoid"}
    case = Case(keras, CHOSEN | chosen)
    module = from_keras(case.layer.get_config(), case.layer.get_weights())
    for twin in copy.deepcopy(module), pickle.loads(pickle.dumps(module)):
        case.agrees(twin)


def test_from_keras_draws_nothing_and_shares_no_memory(keras):
    case = Case(keras, CHOSEN)
    weights = case.layer.get_weights()
    before = torch.get_rng_state()
    module = from_keras(case.layer.get_config(), weights)
    assert torch.equal(torch.get_rng_state(), before)
    for array in weights:
        array[:] = 7
    case.agrees(module)
    for array in to_keras(module)[1]:
        array[:] = 7
    case.agrees(module)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_from_keras_module_continues_from_its_state(keras):
    case = Case(keras, CHOSEN | {"return_sequences": False, "zero_output_for_mask": True})
    module = from_keras(case.layer.get_config(), case.layer.get_weights())
    whole, end = module(case.frames)
    _, middle = module(case.frames[:, :2])
    # The same operations on the same numbers, to the bit.
    torch.testing.assert_close(module(case.frames[:, 2:], middle), (whole, end), rtol=0, atol=0)


@pytest.mark.parametrize("axes", [0, 2])
def test_from_keras_dropout_is_a_mask_per_gate_for_all_steps(keras, axes, monkeypatch):
    """Both use the same masks; the rate of the draw is tested with the layers."""
    size = (5, 4)[:axes]
    case = Case(keras, CHOSEN | {"size": size, "dropout": 0.25, "recurrent_dropout": 0.5})
    cell = case.layer.cell
    module = from_keras(case.layer.get_config(), case.layer.get_weights()).train()
    ours = module.cells[0]
    assert (ours.input_dropout, ours.recurrent_dropout) == (0.25, 0.5)

    seen, hidden = (torch.from_numpy(numbers(300 + c, 4, 2, c, *size)) for c in (2, 3))
    cell._dropout_mask = [case.theirs(mask) for mask in seen]
    cell._recurrent_dropout_mask = [case.theirs(mask) for mask in hidden]
    output, h, c = case.layer(case.theirs(case.frames), training=True)
    monkeypatch.setattr(ours, "draw_dropout", lambda *_: (seen, hidden))
    found, ((h_n,), (c_n,)) = module(case.frames)
    expected = [case.ours(t) for t in (output, h, c)]
    # Keras's matrix products are float32.
    tolerance = TOLERANCE["float64" if axes else "float32"]
    torch.testing.assert_close([found, h_n, c_n], expected, **tolerance)


def test_from_keras_dropout_of_one_is_no_dropout(keras):
    case = Case(keras, CHOSEN | {"dropout": 1.0, "recurrent_dropout": 1.0})
    module = from_keras(case.layer.get_config(), case.layer.get_weights()).train()
    output, *_ = case.layer(case.theirs(case.frames), training=True)
    torch.testing.assert_close(module(case.frames)[0], case.ours(output), **TOLERANCE["float64"])


def told_of(config):
    """Return a config without names, initialisers and settings that change no number."""
    free = {"name", "return_state"}

    def kept(value):
        if isinstance(value, dict):
            return {
                k: kept(v)
                for k, v in value.items()
                if k not in free and not k.endswith("initializer") and k != "build_config"
            }
        return value

    return kept(config)


@settings(max_examples=100, derandomize=True, database=None)
@given(chosen=layers())
def test_to_keras_of_an_imported_layer_is_the_same_layer(keras, chosen):
    case = Case(keras, chosen | {"in_rnn": False})  # an RNN of an LSTMCell goes back as an LSTM
    config, weights = case.layer.get_config(), case.layer.get_weights()
    module = from_keras(config, weights)
    config_again, weights_again = to_keras(module)
    assert [w.dtype for w in weights_again] == [w.dtype for w in weights]
    for found, expected in zip(weights_again, weights, strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)

    assert config_again.keys() == config.keys()
    if not case.channels_first:  # as our data always are
        assert told_of(config_again) == told_of(config)
    rebuilt = type(case.layer).from_config(config_again)
    assert rebuilt.get_config().keys() == config.keys()
    third = from_keras(config_again, weights_again)
    torch.testing.assert_close(dict(third.state_dict()), dict(module.state_dict()), rtol=0, atol=0)
    torch.testing.assert_close(case.run_ours(third), case.run_ours(module), rtol=0, atol=0)


@pytest.mark.parametrize(
    "module",
    [
        ConvLSTM1d(2, 3, 4, padding="valid", dilation=2, peephole=None, bias=False),
        ConvLSTM2d(2, 3, (2, 3), stride=(2, 1), peephole=None, activation="leaky_relu"),
        ConvLSTM2d(2, 3, 3, peephole=None, batch_first=True, recurrent_activation="hard_sigmoid"),
        ConvLSTM2d(2, 3, 3, peephole=None, bidirectional=True),
        ConvLSTM3d(2, 3, 2, peephole=None, dtype=torch.float64),
        PeepholeLSTM(2, 3, peephole=None),
        PeepholeLSTM(2, 3, peephole=None, bidirectional=True),
    ],
)
def test_to_keras_of_our_layer_equals_ours_and_returns(keras, module):
    space = module.cell.space
    dtype = module.cells[0].weight_hh.dtype
    x = torch.from_numpy(numbers(1, 2, 3, 2, *(8, 7, 6)[: len(space)])).to(dtype)  # (B, T, C, *space)
    config, weights = to_keras(module)
    kind = f"ConvLSTM{len(space)}D" if space else "LSTM"
    layer = getattr(keras.layers, "Bidirectional" if module.bidirectional else kind).from_config(config)
    theirs = layer(x.movedim(2, -1)).detach()  # also builds the layer
    assert not torch.equal(theirs, torch.zeros_like(theirs))
    layer.set_weights(weights)
    theirs = layer(x.movedim(2, -1)).detach().movedim(-1, 2)
    ours = module(x if module.batch_first else x.transpose(0, 1))[0].detach()
    ours = ours if module.batch_first else ours.transpose(0, 1)
    # Keras's matrix products are float32.
    torch.testing.assert_close(ours, theirs, **TOLERANCE["float64" if dtype == torch.float64 else "float32"])

    again = from_keras(layer.get_config(), layer.get_weights())
    found, expected = list(again.parameters()), list(module.parameters())
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_to_keras_of_peepholes_is_a_layer_of_keras_2():
    module = PeepholeLSTM(2, 3, recurrent_activation="hard_sigmoid_keras2", forget_bias=0.0)
    with torch.no_grad():
        for n, parameter in enumerate(module.parameters()):
            parameter.copy_(torch.from_numpy(numbers(n, *parameter.shape)))
    config, weights = to_keras(module)
    cell = config["cell"]["config"]
    assert config["cell"]["class_name"] == "PeepholeLSTMCell"
    assert (cell["recurrent_activation"], cell["unit_forget_bias"]) == ("hard_sigmoid", False)
    assert [w.shape for w in weights] == [(2, 12), (3, 12), (12,), (3,), (3,), (3,)]
    again = from_keras(config, weights)
    assert again.cells[0].recurrent_activation == "hard_sigmoid_keras2"
    torch.testing.assert_close(again.state_dict(), module.state_dict(), rtol=0, atol=0)
