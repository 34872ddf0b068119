"""Every option of the LSTM and GRU kinds, against their equations in numpy.

The equations read the arguments as the caller gave them, and of the module nothing but its parameters.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from stormcell import nn
from stormcell.errors import ArgumentError

LSTMS = [nn.PeepholeLSTM, nn.ConvLSTM1d, nn.ConvLSTM2d, nn.ConvLSTM3d]
GRUS = [nn.ConvGRU1d, nn.ConvGRU2d, nn.ConvGRU3d]

# fmt: off
GATES = {
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "hard_sigmoid": lambda v: np.clip(v / 6 + 1 / 2, 0, 1),
    "hard_sigmoid_keras2": lambda v: np.clip(v / 5 + 1 / 2, 0, 1),
}
ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda v: np.maximum(v, 0),
    "leaky_relu": lambda v: np.where(v > 0, v, v / 5),
    "linear": lambda v: v,
    functional.softsign: lambda v: v / (1 + np.abs(v)),
} | GATES
# fmt: on


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomised(module):
    """Give every parameter random values, also those which start at zero or one."""
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(0.4 * numbers(*parameter.shape, seed=seed))
    return module.double().eval()


def agree(found, expected):
    """Both are the same but for rounding: sums of a hundred terms at most, over three steps."""
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12, atol=1e-12 * scale)


class Equations:
    """The equations of one layer; ``options`` are its arguments."""

    def __init__(self, convolve, cell, options):
        self.convolve = convolve
        self.options = options
        self.weights = {name: value.detach().numpy() for name, value in cell.named_parameters()}
        self.φ = ACTIVATIONS[options.get("activation", "tanh")]
        self.σ = GATES[options.get("recurrent_activation", "sigmoid")]

    def over(self, weight, axes):
        """Broadcast numbers per channel to all pixels."""
        return weight.reshape(weight.shape + (1,) * (axes + 1 - weight.ndim))

    def term(self, image, which, gates, rows=slice(None)):
        """The terms of an image for some gates: convolved and normalised."""
        names = ("stride", "padding", "dilation", "padding_mode")
        how = {name: self.options[name] for name in names if name in self.options}
        if which == "hh":
            how = {"padding_mode": self.options.get("recurrent_padding_mode", "zeros")}
        z = self.convolve(image, self.weights[f"weight_{which}"][rows], **how)
        if norm := self.options.get("norm"):
            groups = z.reshape(len(z), gates if norm == "group" else 1, -1)
            centred = groups - groups.mean(axis=2, keepdims=True)
            z = (centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + 1e-5)).reshape(z.shape)
            z = z * self.over(self.weights[f"norm_{which}"][rows], image.ndim - 2)
        return z

    def run(self, frames, state):
        """Take a step per frame, and return the hidden states and the last state."""
        rates = self.options.get("zoneout", 0)
        rates = rates if isinstance(rates, tuple) else (rates,) * len(state)
        outputs = []
        for x in frames:
            new = self.step(x, *state)
            state = [p * old + (1 - p) * n for p, old, n in zip(rates, state, new, strict=True)]
            outputs.append(state[0])
        return np.stack(outputs), state


class LSTM(Equations):
    def step(self, x, h, c):
        w, options, axes = self.weights, self.options, h.ndim - 2
        z = self.term(h, "hh", 4)
        if x is not None:
            z = z + self.term(x, "ih", 4)
        if "bias" in w:
            z = z + self.over(w["bias"], axes)
        z_i, z_f, z_g, z_o = np.split(z, 4, axis=1)
        w_i, w_f, w_o = self.over(w["peephole"], axes + 1) if "peephole" in w else (0, 0, 0)
        cell_clip, proj_clip = (options.get(f"{name}_clip") or np.inf for name in ("cell", "proj"))

        i, f, g = self.σ(z_i + w_i * c), self.σ(z_f + w_f * c), self.φ(z_g)
        c = np.clip(f * c + i * g, -cell_clip, cell_clip)
        o = self.σ(z_o + w_o * c)
        h = o * self.φ(c)
        if "weight_hr" in w:
            h = np.einsum("pc...,bc...->bp...", w["weight_hr"].reshape(w["weight_hr"].shape[:2]), h)
            h = np.clip(h, -proj_clip, proj_clip)
        return h, c


class GRU(Equations):
    def step(self, x, h):
        before = self.options.get("reset") == "before"
        x_r, x_z, x_n = (0, 0, 0) if x is None else self.biased(x, "ih", 0, 3)
        h_r, h_z, *h_n = self.biased(h, "hh", 0, 2 if before else 3)
        r, z = self.σ(x_r + h_r), self.σ(x_z + h_z)
        n = self.φ(x_n + (self.biased(r * h, "hh", 2, 3)[0] if before else r * h_n[0]))
        return ((1 - z) * n + z * h,)

    def biased(self, image, which, first, last):
        channels = len(self.weights["weight_hh"]) // 3
        rows = slice(first * channels, last * channels)
        z = self.term(image, which, last - first, rows)
        if f"bias_{which}" in self.weights:
            z = z + self.over(self.weights[f"bias_{which}"][rows], image.ndim - 2)
        return np.split(z, last - first, axis=1)


class Drawn(NamedTuple):
    """A layer and its input."""

    kind: type[torch.nn.Module]
    options: dict[str, Any]
    size: tuple[int, ...]
    steps: int
    begun: bool  # whether from a state, or from zeros
    blind: bool  # whether without input


@st.composite
def layers(draw, kinds):
    kind = draw(st.sampled_from(kinds))
    axes, lstm = len(kind.cell.space), kind in LSTMS

    def per_axis(least, most):
        each = st.integers(least, most)
        return each | st.tuples(*[each] * axes)

    strategies: dict[str, Any] = {
        "in_channels": st.integers(1, 2),
        "hidden_channels": st.integers(1, 3),
        "bias": st.booleans(),
        "activation": st.sampled_from(list(ACTIVATIONS)),
        "recurrent_activation": st.sampled_from(list(GATES)),
        "zoneout": st.sampled_from([0.0, 0.3, *([(0.2, 0.6)] if lstm else [])]),
        "norm": st.sampled_from([None, "layer", "group", *(["layer-pixel"] if lstm and axes else [])]),
        # These two do nothing in evaluation.
        "input_dropout": st.sampled_from([0.0, 0.5]),
        "recurrent_dropout": st.sampled_from([0.0, 0.5]),
        "backend": st.sampled_from(["reference", "auto"]),
    }
    if axes:
        modes = st.sampled_from(["zeros", "reflect", "replicate", "circular"])
        strategies |= {
            "kernel_size": per_axis(1, 4 if axes < 3 else 3),
            "stride": per_axis(1, 2),
            "padding": st.sampled_from(["same", "valid"]) | per_axis(0, 2),
            "dilation": per_axis(1, 2),
            "padding_mode": modes,
            "recurrent_kernel_size": st.none() | per_axis(1, 3),
            "recurrent_padding_mode": modes,
        }
    if lstm:
        strategies |= {
            "peephole": st.sampled_from(["channel", None, *(["pixel"] if axes else [])]),
            "cell_clip": st.sampled_from([None, 0.3]),
            "proj_channels": st.none() | st.integers(1, 2),
        }
    else:
        strategies["reset"] = st.sampled_from(["before", "after"])
    options = draw(st.fixed_dictionaries(strategies))
    if options.get("proj_channels"):
        options["proj_clip"] = draw(st.sampled_from([None, 0.1]))

    kernel, dilation = (np.broadcast_to(options.get(n, 1), axes) for n in ("kernel_size", "dilation"))
    plain = (options.get("padding"), options.get("padding_mode")) == ("same", "zeros")
    # Padding by the image itself must be narrower than the image: at most 2, or half the span of the kernel.
    least = [1 if plain else max(d * (k - 1) + 1, 3) for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(draw(st.integers(n, n + 2)) for n in least)
    if any("pixel" in str(options.get(name)) for name in ("peephole", "norm")):
        options["spatial_size"] = size
    return Drawn(kind, options, size, *(draw(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()))))


def state_size(convolve, options, size):
    """The size of the convolved input."""
    if not size:
        return ()
    how = {name: options[name] for name in ("stride", "padding", "dilation") if name in options}
    kernel = np.broadcast_to(options["kernel_size"], len(size))
    return convolve(np.zeros((1, 1, *size)), np.zeros((1, 1, *kernel)), **how).shape[2:]


def check(convolve, drawn, equations):
    kind, options, size, steps, begun, blind = drawn
    inner = state_size(convolve, options, size)
    if options.get("recurrent_padding_mode", "zeros") != "zeros":
        kernel = options["recurrent_kernel_size"] or options["kernel_size"]
        assume(all(inner > np.array(kernel) // 2))
    rnn = randomised(kind(**options))
    hidden = options["hidden_channels"]
    channels = [options.get("proj_channels") or hidden, hidden] if equations is LSTM else [hidden]
    state = [numbers(2, c, *inner, seed=11 + k) for k, c in enumerate(channels)]
    if not (begun or blind):
        state = [torch.zeros_like(s) for s in state]
    x = None if blind else numbers(steps, 2, options["in_channels"], *size, seed=7)

    given_state = None
    if begun or blind:
        given_state = tuple((s,) for s in state) if equations is LSTM else tuple(state)
    output, last = rnn(x, given_state, steps=steps)

    layer = equations(convolve, rnn.cells[0], options)
    frames = [None] * steps if blind else x.numpy()
    expected, end = layer.run(frames, [s.numpy() for s in state])
    agree(output, expected)
    last = [s for (s,) in last] if equations is LSTM else list(last)
    for found, wanted in zip(last, end, strict=True):
        agree(found, wanted)


@settings(derandomize=True, max_examples=250)
@given(drawn=layers(LSTMS))
def test_lstm_with_any_options_matches_its_equations(convolve, drawn):
    check(convolve, drawn, LSTM)


@settings(derandomize=True, max_examples=250)
@given(drawn=layers(GRUS))
def test_gru_with_any_options_matches_its_equations(convolve, drawn):
    check(convolve, drawn, GRU)


# fmt: off
PER_LAYER: dict[type, dict[str, Any]] = {
    nn.ConvLSTM2d: {
        "hidden_channels": [3, 2, 4], "kernel_size": [3, (2, 4), 1], "bias": [True, False, True],
        "stride": [2, (1, 2), 1], "padding": ["same", "valid", (1, 0)], "dilation": [1, (2, 1), 1],
        "padding_mode": ["circular", "zeros", "replicate"], "peephole": ["pixel", "channel", "pixel"],
        "recurrent_kernel_size": [None, (3, 1), 2], "recurrent_padding_mode": ["zeros", "zeros", "circular"],
        "activation": ["tanh", "linear", "relu"],
        "recurrent_activation": ["hard_sigmoid", "sigmoid", "hard_sigmoid_keras2"],
        "zoneout": [0.0, 0.3, (0.2, 0.6)], "norm": [None, "group", "layer-pixel"],
        "cell_clip": [0.3, None, 0.5], "proj_channels": [None, 3, 2], "proj_clip": [None, 0.1, None],
    },
    nn.ConvGRU2d: {
        "hidden_channels": [3, 2, 4], "kernel_size": [3, (2, 4), 1], "bias": [True, False, True],
        "reset": ["before", "after", "before"],
        "stride": [2, (1, 2), 1], "padding": ["same", "valid", (1, 0)], "dilation": [1, (2, 1), 1],
        "padding_mode": ["circular", "zeros", "replicate"],
        "recurrent_kernel_size": [None, (3, 1), 2], "recurrent_padding_mode": ["zeros", "zeros", "circular"],
        "activation": ["tanh", "linear", "relu"],
        "recurrent_activation": ["hard_sigmoid", "sigmoid", "hard_sigmoid_keras2"],
        "zoneout": [0.0, 0.3, 0.6], "norm": [None, "group", "layer"],
    },
}
# fmt: on


@pytest.mark.parametrize("kind", PER_LAYER)
def test_list_gives_each_layer_its_own_value(convolve, kind):
    lists = PER_LAYER[kind]
    lstm = kind in LSTMS
    rnn = randomised(kind(2, **lists, **({"spatial_size": (9, 12)} if lstm else {})))
    x = numbers(3, 2, 2, 9, 12)
    # (9, 12) halved is (5, 6); less 2 and 3, every second column is (3, 2); with a row around (5, 2).
    sizes = [(5, 6), (3, 2), (5, 2)]
    projected = [3, 3, 2] if lstm else [3, 2, 4]
    starts = [[numbers(2, c, *size, seed=c) for c, size in zip(projected, sizes, strict=True)]]
    if lstm:
        starts.append([numbers(2, c, *s, seed=9 + c) for c, s in zip([3, 2, 4], sizes, strict=True)])
    outputs, last = rnn.all_layers(x, tuple(starts) if lstm else starts[0])

    expected = x.numpy()
    for k, cell in enumerate(rnn.cells):
        options = {name: values[k] for name, values in lists.items()}
        layer = (LSTM if lstm else GRU)(convolve, cell, options)
        expected, end = layer.run(expected, [s[k].numpy() for s in starts])
        agree(outputs[k], expected)
        for found, wanted in zip(last if lstm else [last], end, strict=True):
            agree(found[k], wanted)


def test_weights_per_pixel_have_the_size_of_the_state():
    rnn = nn.ConvLSTM2d(
        1, 2, 3, 3, stride=[2, (1, 3), 1], peephole="pixel", norm="layer-pixel", spatial_size=(9, 12)
    )
    assert [tuple(cell.peephole.shape) for cell in rnn.cells] == [(3, 2, 5, 6), (3, 2, 5, 2), (3, 2, 5, 2)]
    for name in ("bias", "norm_ih", "norm_hh"):
        assert [getattr(cell, name).shape for cell in rnn.cells] == [(8, 5, 6), (8, 5, 2), (8, 5, 2)]


@pytest.mark.parametrize("kind", [nn.ConvLSTM2d, nn.ConvLSTMCell2d])
@pytest.mark.parametrize("options", [{"peephole": "pixel"}, {"norm": "layer-pixel", "stride": 2}])
@pytest.mark.parametrize("size", [(5, 6), (6, 7), (1, 7), (5, 1), (10, 14)])
def test_weights_per_pixel_with_other_image_size_raise(kind, options, size):
    module = kind(1, 2, 3, spatial_size=(5, 7), **options)
    frame = torch.zeros(4, 1, *size)
    x = frame if kind is nn.ConvLSTMCell2d else frame.unsqueeze(0)
    with pytest.raises(ArgumentError, match=r"^x: expected images of \(5, 7\) pixels, found .*$"):
        module(x)


def test_weights_per_pixel_with_other_state_size_raise():
    blind = nn.ConvLSTM2d(0, 2, 3, peephole="pixel", spatial_size=(5, 7))
    state = torch.zeros(1, 2, 1, 7)
    message = r"^state of layer 0: expected h of shape \(B, 2, 5, 7\) and c of shape \(B, 2, 5, 7\), found"
    with pytest.raises(ArgumentError, match=message):
        blind(None, ((state,), (state,)), steps=2)


@pytest.mark.parametrize("kind", [nn.ConvLSTM2d, nn.ConvGRU2d])
def test_state_has_the_size_of_the_convolved_input(kind):
    for options, size in [
        ({"stride": (2, 3)}, (4, 4)),  # rounded up
        ({"padding": "valid"}, (5, 8)),
        ({"padding": 2}, (9, 12)),
        ({"padding": (0, 1), "dilation": 2}, (3, 8)),
        ({"padding": "valid", "stride": 2}, (3, 4)),
    ]:
        rnn = kind(1, 2, 3, recurrent_kernel_size=(4, 5), **options)
        assert rnn.cells[0].state_size((7, 10)) == size
        output, last = rnn(torch.zeros(2, 3, 1, 7, 10))
        assert output.shape == (2, 3, 2, *size)
        states = [s for layer in last for s in layer] if kind is nn.ConvLSTM2d else last
        assert {s.shape for s in states} == {(3, 2, *size)}


@pytest.mark.parametrize("kind", [nn.ConvLSTM2d, nn.ConvGRU2d])
@pytest.mark.parametrize("stride", [1, 3])
def test_image_smaller_than_kernel_raises(kind, stride):
    rnn = kind(1, 2, (4, 3), padding="valid", stride=stride)
    message = r"^x: expected images large enough for kernel_size=\(4, 3\), found \(1, 1, 3, 5\)$"
    with pytest.raises(ArgumentError, match=message):
        rnn(torch.zeros(2, 1, 1, 3, 5))
