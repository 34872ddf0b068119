"""The PyTorch repositories' equations, written in numpy from their description, in their own layout.

Nothing here knows the package's gate order, its parameters or its convolution.
"""

import pickle

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations, parametrize, prune

from stormcell.errors import ArgumentError
from stormcell.nn import ConvGRU2d, ConvLSTM1d, ConvLSTM2d, ConvLSTMCell2d, TrajGRU2d
from stormcell.nn.foreign.skip_connection import SkipConvLSTM2d
from stormcell.nn.foreign.torch_layouts import from_torch, to_torch

# Two correct computations differ by the order of their sums only: some hundred terms of order one, over a
# few steps and layers, lose some 1e-14 in float64 and 1e-6 in float32. A wrong term is off by 1e-3 and more.
EXACT = {"float64": 1e-12, "float32": 1e-5}
B, T, H, W = 2, 4, 5, 6


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def sigma(z):
    return 1 / (1 + np.exp(-z))


def leaky(z):
    return np.where(z > 0, z, 0.2 * z)


def convolve(image, weight, bias=None):
    """``Conv2d`` with half the kernel as padding: ``image`` (B, C, H, W), ``weight`` (O, C, kH, kW)."""
    height, width = image.shape[2:]
    rows, columns = weight.shape[2:]
    around = np.pad(image, ((0, 0), (0, 0), (rows // 2,) * 2, (columns // 2,) * 2))
    total = np.zeros((len(image), len(weight), height, width))
    for y in range(rows):
        for x in range(columns):
            seen = around[:, :, y : y + height, x : x + width]
            total += np.einsum("oc,bchw->bohw", weight[:, :, y, x], seen)
    return total if bias is None else total + bias[:, None, None]


def run(layers, x, states, step):
    """Run a stack over (B, T, C, H, W) layer by layer; return the top layer's outputs and the last states."""
    last = []
    for weights, state in zip(layers, states, strict=True):
        outputs = []
        for t in range(x.shape[1]):
            state = step(weights, x[:, t], *state)
            outputs.append(state[0])
        x = np.stack(outputs, axis=1)
        last.append(state)
    return x, last


def ndrplz(weights, x, h, c, order="ifog"):
    z = convolve(np.concatenate([x, h], axis=1), weights["conv.weight"], weights.get("conv.bias"))
    parts = dict(zip(order, np.split(z, 4, axis=1), strict=True))
    c = sigma(parts["f"]) * c + sigma(parts["i"]) * np.tanh(parts["g"])
    return sigma(parts["o"]) * np.tanh(c), c


def fiog(weights, x, h, c):
    return ndrplz(weights, x, h, c, order="fiog")


def automan000(weights, x, h, c):
    def both(gate):
        return convolve(x, weights[f"Wx{gate}.weight"], weights[f"Wx{gate}.bias"]) + convolve(
            h, weights[f"Wh{gate}.weight"]
        )

    w_ci, w_cf, w_co = (weights.get(f"Wc{gate}", 0.0) for gate in "ifo")
    i = sigma(both("i") + w_ci * c)
    f = sigma(both("f") + w_cf * c)
    c = f * c + i * np.tanh(both("c"))
    o = sigma(both("o") + w_co * c)
    return o * np.tanh(c), c


def winsolider_relu(weights, x, h, c):
    def both(gate):
        return convolve(x, weights[f"Wx{gate}.weight"], weights[f"Wx{gate}.bias"]) + convolve(
            h, weights[f"Wh{gate}.weight"]
        )

    w_ci, w_cf, w_co = (weights.get(f"Wc{gate}", 0.0) for gate in "ifo")
    i = sigma(both("i") + w_ci * c)
    f = sigma(both("f") + w_cf * c)
    c = f * c + i * np.maximum(both("c"), 0)
    o = sigma(both("o") + w_co * c)
    np.maximum(c, 0, out=c)  # the ReLU works in place
    return o * c, c


def hzzone(weights, x, h, c):
    z = convolve(np.concatenate([x, h], axis=1), weights["_conv.weight"], weights["_conv.bias"])
    i, f, g, o = np.split(z, 4, axis=1)
    i = sigma(i + weights.get("Wci", 0.0) * c)
    f = sigma(f + weights.get("Wcf", 0.0) * c)
    c = f * c + i * np.tanh(g)
    o = sigma(o + weights.get("Wco", 0.0) * c)
    return o * np.tanh(c), c


def openstl(weights, x, h, c):
    def normalised(z, which):
        if f"{which}.1.weight" not in weights:
            return z
        mean = z.mean(axis=(1, 2, 3), keepdims=True)
        variance = ((z - mean) ** 2).mean(axis=(1, 2, 3), keepdims=True)
        return (z - mean) / np.sqrt(variance + 1e-5) * weights[f"{which}.1.weight"] + weights[
            f"{which}.1.bias"
        ]

    z_x = normalised(convolve(x, weights["conv_x.0.weight"]), "conv_x")
    z_h = normalised(convolve(h, weights["conv_h.0.weight"]), "conv_h")
    i, f, g, o = np.split(z_x + z_h, 4, axis=1)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


def shifted(h, flow, align_corners):
    """Sample ``h`` at each pixel minus its ``flow`` (dx, dy), one sample and pixel at a time."""
    batch, _, height, width = h.shape
    result = np.zeros_like(h)
    for b, row, column in np.ndindex(batch, height, width):
        x = column - flow[b, 0, row, column]
        y = row - flow[b, 1, row, column]
        if not align_corners:
            x = (2 * x / (width - 1) * width - 1) / 2
            y = (2 * y / (height - 1) * height - 1) / 2
        left, top = int(np.floor(x)), int(np.floor(y))
        for near_y, weight_y in ((top, top + 1 - y), (top + 1, y - top)):
            for near_x, weight_x in ((left, left + 1 - x), (left + 1, x - left)):
                if 0 <= near_y < height and 0 <= near_x < width:
                    result[b, :, row, column] += weight_y * weight_x * h[b, :, near_y, near_x]
    return result


def traj_gru(align_corners):
    def step(weights, x, h):
        def convolved(name, image):
            return convolve(image, weights[f"{name}.weight"], weights[f"{name}.bias"])

        before = convolved("h2f_conv1", h)
        if x is not None:
            before = before + convolved("i2f_conv1", x)
        flows = convolved("flows_conv", leaky(before))
        pairs = [flows[:, k : k + 2] for k in range(0, flows.shape[1], 2)]
        q = convolved("ret", np.concatenate([shifted(h, pair, align_corners) for pair in pairs], axis=1))
        q_r, q_u, q_m = np.split(q, 3, axis=1)
        i_r, i_u, i_m = (0.0, 0.0, 0.0) if x is None else np.split(convolved("i2h", x), 3, axis=1)
        r, u = sigma(i_r + q_r), sigma(i_u + q_u)
        m = leaky(i_m + r * q_m)
        return (u * h + (1 - u) * m,)

    return step


def one_convolution(name):
    def layer(inputs, hidden, kernel):
        weight = {f"{name}.weight": (4 * hidden, inputs + hidden, *kernel), f"{name}.bias": (4 * hidden,)}
        return weight | ({} if name == "conv" else {f"Wc{gate}": (1, hidden, H, W) for gate in "ifo"})

    return layer


def eight_convolutions(inputs, hidden, kernel):
    shapes = {}
    for gate in "ifco":
        shapes[f"Wx{gate}.weight"] = (hidden, inputs, *kernel)
        shapes[f"Wx{gate}.bias"] = (hidden,)
        shapes[f"Wh{gate}.weight"] = (hidden, hidden, *kernel)
    return shapes | {f"Wc{gate}": (1, hidden, H, W) for gate in "ifo"}


def two_convolutions(inputs, hidden, kernel):
    shapes = {
        "conv_x.0.weight": (4 * hidden, inputs, *kernel),
        "conv_h.0.weight": (4 * hidden, hidden, *kernel),
    }
    for which in ("conv_x", "conv_h"):
        shapes |= {f"{which}.1.weight": (4 * hidden, H, W), f"{which}.1.bias": (4 * hidden, H, W)}
    return shapes


FLOWS, BETWEEN = 3, 4


def flows(inputs, hidden, kernel):
    shapes = {
        "i2h": (3 * hidden, inputs, *kernel),
        "i2f_conv1": (BETWEEN, inputs, 5, 5),
        "h2f_conv1": (BETWEEN, hidden, 5, 5),
        "flows_conv": (2 * FLOWS, BETWEEN, 5, 5),
        "ret": (3 * hidden, FLOWS * hidden, 1, 1),
    }
    weights = {f"{name}.weight": shape for name, shape in shapes.items()}
    return weights | {f"{name}.bias": shape[:1] for name, shape in shapes.items()}


# layout: (the keys of a stack, the arrays of a layer, its step)
SYSTEMS = {
    "ndrplz": ("cell_list.{}.", one_convolution("conv"), ndrplz),
    "automan000": ("cell{}.", eight_convolutions, automan000),
    "winsolider": ("cell{}.", eight_convolutions, automan000),
    "hzzone": ("", one_convolution("_conv"), hzzone),
    "hzzone-trajgru": ("", flows, traj_gru(True)),
    "openstl": ("cell_list.{}.", two_convolutions, openstl),
}


def weights(layout, hidden=(4, 3), inputs=2, dtype="float64", without=()):
    """Return a random state_dict of a stack, or of the first layer if the system has no stacks."""
    stack, layer, _ = SYSTEMS[layout]
    state_dict = {}
    for number, channels in enumerate(hidden if stack else hidden[:1]):
        kernel = ((3, 5), (5, 3))[number]
        for name, shape in layer(inputs, channels, kernel).items():
            if not any(part in name for part in without):
                scale = 0.4 if len(shape) < 4 or name.startswith("Wc") else 0.4 / np.sqrt(shape[1])
                values = scale * numbers(*shape, seed=100 * number + len(state_dict))
                state_dict[stack.format(number) + name] = values.astype(dtype)
        inputs = channels
    return state_dict


def layers_of(layout, state_dict):
    """Return the arrays of each layer in float64, for the oracle."""
    stack = SYSTEMS[layout][0]
    result = []
    for number in range(2 if stack and any(key.startswith(stack.format(1)) for key in state_dict) else 1):
        prefix = stack.format(number)
        result.append(
            {k.removeprefix(prefix): v.astype("f8") for k, v in state_dict.items() if k.startswith(prefix)}
        )
    return result


def states_for(hidden, kinds=2):
    return [tuple(numbers(B, c, H, W, seed=50 * k + c) for k in range(1, kinds + 1)) for c in hidden]


def given(states):
    """Convert an (h, c) per layer to our (h_0, c_0), or an (h,) per layer to our h_0."""
    each = tuple(tuple(map(torch.from_numpy, kind)) for kind in zip(*states, strict=True))
    return each if len(each) == 2 else each[0]


def cast(states, dtype):
    return [tuple(s.astype(dtype) for s in layer) for layer in states]


def assert_same(found, expected, dtype="float64"):
    """Compare ``output, (h_n, c_n)`` or ``output, h_n`` with an oracle's outputs and states per layer."""
    output, end = found
    per_layer = list(zip(*end, strict=True)) if isinstance(end[0], tuple) else [(h,) for h in end]
    outputs, states = expected
    assert len(per_layer) == len(states)
    pairs = [(output, outputs)]
    pairs += [
        pair
        for ours, theirs in zip(per_layer, states, strict=True)
        for pair in zip(ours, theirs, strict=True)
    ]
    for ours, theirs in pairs:
        assert ours.dtype == getattr(torch, dtype)
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=EXACT[dtype], atol=EXACT[dtype])


CASES = [
    ("ndrplz", {}, (), ndrplz),
    ("ndrplz", {}, ("bias",), ndrplz),
    ("ndrplz", {"gate_order": "ifog"}, (), ndrplz),
    ("ndrplz", {"gate_order": "fiog"}, ("bias",), fiog),
    ("automan000", {}, (), automan000),
    ("automan000", {}, ("Wc",), automan000),
    ("winsolider", {}, (), automan000),
    ("winsolider", {"nonlinearity": "tanh"}, ("Wci", "Wcf", "Wco"), automan000),
    ("winsolider", {"nonlinearity": "relu"}, (), winsolider_relu),
    ("winsolider", {"nonlinearity": "relu"}, ("Wci", "Wcf", "Wco"), winsolider_relu),
    ("hzzone", {}, (), hzzone),
    ("hzzone", {}, ("Wc",), hzzone),
    ("hzzone-trajgru", {}, (), traj_gru(True)),
    ("hzzone-trajgru", {"align_corners": False}, (), traj_gru(False)),
    ("openstl", {}, (), openstl),
    ("openstl", {}, (".1.",), openstl),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("layout", "keywords", "without", "step"), CASES)
def test_from_torch_equals_their_equations(layout, keywords, without, step, dtype):
    state_dict = weights(layout, dtype=dtype, without=without)
    layers = layers_of(layout, state_dict)
    states = cast(states_for((4, 3)[: len(layers)], 1 if layout == "hzzone-trajgru" else 2), dtype)
    x = numbers(B, T, 2, H, W).astype(dtype)

    rnn = from_torch(layout, state_dict, **keywords)
    wide = [tuple(s.astype("f8") for s in layer) for layer in states]
    expected = run(layers, x.astype("f8"), wide, step)
    assert_same(rnn(torch.from_numpy(x), given(states)), expected, dtype)

    zeros = [tuple(np.zeros_like(s) for s in layer) for layer in wide]
    assert_same(rnn(torch.from_numpy(x)), run(layers, x.astype("f8"), zeros, step), dtype)


@pytest.mark.parametrize(("layout", "keywords", "without", "step"), CASES)
def test_from_torch_of_repeated_frames_and_a_state_equals_their_equations(layout, keywords, without, step):
    """automan000 reads one frame at every step; Winsolider's and Hzzone's callers pass on the state."""
    state_dict = weights(layout, without=without)
    layers = layers_of(layout, state_dict)
    states = states_for((4, 3)[: len(layers)], 1 if layout == "hzzone-trajgru" else 2)
    frame = torch.from_numpy(numbers(B, 2, H, W, seed=7))
    rnn = from_torch(layout, state_dict, **keywords)
    output, state = rnn(frame.unsqueeze(1).expand(-1, 2, -1, -1, -1), given(states))
    more, end = rnn(frame.unsqueeze(1).expand(-1, 3, -1, -1, -1), state)
    expected = run(layers, np.repeat(frame.numpy()[:, None], 5, axis=1), states, step)
    assert_same((torch.cat([output, more], dim=1), end), expected)


@pytest.mark.parametrize("align_corners", [True, False])
def test_from_torch_trajgru_without_input_skips_its_convolutions(align_corners):
    state_dict = weights("hzzone-trajgru")
    ((h,),) = states_for((4,), 1)
    rnn = from_torch("hzzone-trajgru", state_dict, align_corners=align_corners)
    outputs = []
    start = h
    for _ in range(3):
        (h,) = traj_gru(align_corners)(layers_of("hzzone-trajgru", state_dict)[0], None, h)
        outputs.append(h)
    assert_same(rnn(None, given([(start,)]), steps=3), (np.stack(outputs, axis=1), [(h,)]))


def test_from_torch_hzzone_convlstm_without_input_reads_zeros():
    state_dict = weights("hzzone")
    states = states_for((4,))
    expected = run(layers_of("hzzone", state_dict), np.zeros((B, 3, 2, H, W)), states, hzzone)
    assert_same(from_torch("hzzone", state_dict)(None, given(states), steps=3), expected)


def test_from_torch_winsolider_relu_supports_masks_and_lengths():
    """A masked step keeps the state; only a step that is not masked removes its negative part."""
    state_dict = weights("winsolider")
    layers = layers_of("winsolider", state_dict)
    states = states_for((4, 3))
    x = numbers(B, T, 2, H, W)
    rnn = from_torch("winsolider", state_dict, nonlinearity="relu")
    mask = np.array([[False, True, False, True], [False] * 4])
    nowhere = torch.from_numpy(np.where(mask[:, :, None, None, None], x, np.nan))
    outputs, last = run(layers, x[:1, [1, 3]], [(h[:1], c[:1]) for h, c in states], winsolider_relu)

    output, end = rnn(nowhere, given(states), mask=torch.from_numpy(mask))
    expected = np.concatenate([np.zeros_like(outputs[:, :1]), outputs[:, [0, 0, 1]]], axis=1)
    expected = np.concatenate([expected, np.zeros_like(expected)])
    held = [
        tuple(np.concatenate(pair) for pair in zip(new, (old[0][1:], old[1][1:]), strict=True))
        for new, old in zip(last, states, strict=True)
    ]
    assert_same((output, end), (expected, held))

    output, end = rnn(torch.from_numpy(x[:, [1, 3, 0]]), given(states), lengths=[2, 0])
    expected = np.concatenate([outputs, np.zeros_like(outputs[:, :1])], axis=1)
    assert_same((output, end), (np.concatenate([expected, np.zeros_like(expected)]), held))

    output, _ = rnn(torch.from_numpy(x), given(states), return_sequence=False)
    np.testing.assert_allclose(output.detach(), run(layers, x, states, winsolider_relu)[0][:, -1], rtol=1e-12)


@pytest.mark.parametrize("layout", SYSTEMS)
def test_from_torch_of_a_single_cell_is_one_layer(layout):
    stack, _, step = SYSTEMS[layout]
    alone = {key.removeprefix(stack.format(0)): v for key, v in weights(layout, hidden=(4,)).items()}
    rnn = from_torch(layout, alone)
    x, states = numbers(B, T, 2, H, W), states_for((4,), 1 if layout == "hzzone-trajgru" else 2)
    assert_same(rnn(torch.from_numpy(x), given(states)), run([alone], x, states, step))


@pytest.mark.parametrize("prefix", ["module.", "model.encoder.rnn1."])
@pytest.mark.parametrize("layout", SYSTEMS)
def test_from_torch_accepts_a_common_prefix(layout, prefix):
    state_dict = weights(layout)
    plain = from_torch(layout, state_dict).state_dict()
    prefixed = from_torch(layout, {prefix + key: value for key, value in state_dict.items()}).state_dict()
    assert plain.keys() == prefixed.keys()
    assert all(torch.equal(plain[key], prefixed[key]) for key in plain)


def test_from_torch_with_another_prefix_is_refused():
    state_dict = {f"module.{key}": value for key, value in weights("ndrplz").items()}
    state_dict["cell_list.1.conv.bias"] = state_dict.pop("module.cell_list.1.conv.bias")
    with pytest.raises(ArgumentError) as caught:
        from_torch("ndrplz", state_dict)
    assert str(caught.value) == (
        "weights: expected module.cell_list.1.conv.bias (12,), found none; "
        "no cell_list.1.conv.bias, found (12,)"
    )


def test_from_torch_ignores_unused_arrays_of_openstl():
    state_dict = weights("openstl")
    dead = {
        "cell_list.0.conv_o.0.weight": np.zeros((4, 8, 3, 3)),
        "cell_list.0.conv_o.1.weight": np.zeros((4, H, W)),
        "cell_list.1.conv_last.weight": np.zeros((3, 6, 1, 1)),
        "conv_last.weight": np.zeros((16, 3, 1, 1)),
    }
    plain = from_torch("openstl", state_dict).state_dict()
    found = from_torch("openstl", {**dead, **state_dict}).state_dict()
    assert all(torch.equal(plain[key], found[key]) for key in plain)
    with pytest.raises(ArgumentError, match=r"no conv_last\.weight, found \(16, 3, 1, 1\)"):
        from_torch("ndrplz", {**weights("ndrplz"), "conv_last.weight": dead["conv_last.weight"]})


@pytest.mark.parametrize("layout", SYSTEMS)
def test_to_torch_of_an_imported_layer_is_exact(layout):
    for without in [(), ("bias",) if layout == "ndrplz" else ("Wc", ".1.")]:
        state_dict = weights(layout, dtype="float32", without=without)
        rnn = from_torch(layout, state_dict)
        back = to_torch(layout, rnn)
        assert back.keys() == state_dict.keys()
        again = from_torch(layout, back)
        for key, value in rnn.state_dict().items():
            assert torch.equal(again.state_dict()[key], value)
        for key, value in back.items():
            if not (layout == "openstl" and key.endswith("1.bias")):  # our bias is the sum of both
                assert value.dtype == torch.float32
                assert value.numpy().tobytes() == state_dict[key].tobytes()


def test_to_torch_of_in_place_relu_is_for_winsolider_only():
    state_dict = weights("winsolider")
    rnn = from_torch("winsolider", state_dict, nonlinearity="relu")
    back = to_torch("winsolider", rnn)
    assert all(value.numpy().tobytes() == state_dict[key].tobytes() for key, value in back.items())
    with pytest.raises(
        ArgumentError,
        match=r"layout 'automan000' requires a ConvLSTMCell2d, found a InPlaceReLUConvLSTMCell2d$",
    ):
        to_torch("automan000", rnn)


def test_to_torch_ndrplz_writes_our_layers_and_cells():
    rnn = ConvLSTM2d(2, [4, 3], [3, (5, 1)], peephole=None, dropout=0.5, dtype=torch.float64)
    state_dict = {key: value.numpy() for key, value in to_torch("ndrplz", rnn).items()}
    x = numbers(B, T, 2, H, W)
    zeros = [(np.zeros((B, c, H, W)),) * 2 for c in (4, 3)]
    rnn.eval()
    output, end = rnn(torch.from_numpy(x).transpose(0, 1))
    assert_same((output.transpose(0, 1), end), run(layers_of("ndrplz", state_dict), x, zeros, ndrplz))

    alone = to_torch("ndrplz", rnn.cells[0])
    assert list(alone) == ["conv.weight", "conv.bias"]
    assert all(np.array_equal(alone[key], state_dict[f"cell_list.0.{key}"]) for key in alone)


class Halved(torch.nn.Module):
    """A parametrization that changes the effective weights."""

    def forward(self, parameter):
        return parameter / 2


def pruned(cell, name):
    prune.l1_unstructured(cell, name, 0.5)


def parametrized(cell, name):
    parametrize.register_parametrization(cell, name, Halved())


@pytest.mark.parametrize("change", [pruned, parametrized])
@pytest.mark.parametrize(("layout", "keywords", "without"), [case[:3] for case in CASES])
def test_to_torch_of_parametrized_layers_writes_effective_weights(layout, keywords, without, change):
    state_dict = weights(layout, without=without)
    rnn = from_torch(layout, state_dict, **keywords)
    for cell in rnn.cells:
        for name in dict(cell.named_parameters()):
            change(cell, name)
    back = to_torch(layout, rnn)
    needed = {
        key: value for key, value in keywords.items() if key != "gate_order"
    }  # always written in its own order
    again = from_torch(layout, back, **needed)
    assert back.keys() == state_dict.keys()
    assert not any(value.requires_grad for value in back.values())
    states = given(states_for((4, 3)[: len(rnn.cells)], 1 if layout == "hzzone-trajgru" else 2))
    x = torch.from_numpy(numbers(B, T, 2, H, W))
    near = {"rtol": EXACT["float64"], "atol": EXACT["float64"]}
    torch.testing.assert_close(again(x, states), rnn(x, states), **near)
    before = from_torch(layout, state_dict, **keywords)(x, states)[0]
    assert not torch.allclose(before, rnn(x, states)[0], **near)


@pytest.mark.parametrize("layout", ["ndrplz", "automan000"])
def test_to_torch_with_removed_weights_names_them(layout):
    rnn = ConvLSTM2d(2, 4, 3, peephole=None)
    rnn.cells[0].register_parameter("weight_ih", None)
    with pytest.raises(ArgumentError, match=rf"^module: layout '{layout}' requires weight_ih, found none$"):
        to_torch(layout, rnn)


def test_to_torch_ignores_a_bias_within_a_parametrization():
    rnn = ConvLSTM2d(2, 4, 3, peephole=None, bias=False)
    parametrize.register_parametrization(rnn.cells[0], "weight_hh", torch.nn.Linear(3, 3))
    found = to_torch("openstl", rnn)
    assert list(found) == ["cell_list.0.conv_x.0.weight", "cell_list.0.conv_h.0.weight"]
    assert torch.equal(found["cell_list.0.conv_h.0.weight"], rnn.cells[0].weight_hh)


def test_to_torch_of_spectral_norm_leaves_the_layer_unchanged():
    """In training mode, reading a spectral norm updates its estimate."""
    rnn = ConvLSTM2d(2, [4, 3], 3, peephole=None)
    parametrizations.spectral_norm(rnn.cells[0], "weight_hh")
    rnn.cells[1].eval()
    kept = {key: value.clone() for key, value in rnn.state_dict().items()}
    modes = [module.training for module in rnn.modules()]
    found = to_torch("ndrplz", rnn)
    assert all(torch.equal(kept[key], value) for key, value in rnn.state_dict().items())
    assert [module.training for module in rnn.modules()] == modes
    again = to_torch("ndrplz", rnn.eval())
    assert all(torch.equal(found[key], value) for key, value in again.items())


@pytest.mark.parametrize("layout", SYSTEMS)
def test_from_torch_shares_no_memory_and_draws_nothing(layout):
    """It is in evaluation mode too."""
    state_dict = {key: torch.from_numpy(value) for key, value in weights(layout).items()}
    before = torch.random.get_rng_state()
    rnn = from_torch(layout, state_dict)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not rnn.training
    assert rnn.batch_first
    kept = {key: value.clone() for key, value in rnn.state_dict().items()}
    for value in [*state_dict.values(), *to_torch(layout, rnn).values()]:
        value.zero_()
    assert all(torch.equal(kept[key], value) for key, value in rnn.state_dict().items())


def test_from_torch_winsolider_relu_can_be_pickled():
    rnn = from_torch("winsolider", weights("winsolider"), nonlinearity="relu")
    x = torch.from_numpy(numbers(B, T, 2, H, W))
    torch.testing.assert_close(pickle.loads(pickle.dumps(rnn))(x), rnn(x), rtol=0, atol=0)


def test_from_torch_of_several_dtypes_takes_the_widest():
    state_dict = weights("ndrplz", hidden=(4,), dtype="float32")
    state_dict["cell_list.0.conv.bias"] = state_dict["cell_list.0.conv.bias"].astype("f8")
    assert {p.dtype for p in from_torch("ndrplz", state_dict).parameters()} == {torch.float64}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_from_torch_keeps_half_precision(dtype):
    state_dict = {key: torch.from_numpy(value).to(dtype) for key, value in weights("automan000").items()}
    rnn = from_torch("automan000", state_dict)
    assert {p.dtype for p in rnn.parameters()} == {dtype}
    assert torch.equal(to_torch("automan000", rnn)["cell1.Who.weight"], state_dict["cell1.Who.weight"])


def changed(layout, **changes):
    """Return a state_dict with some arrays reshaped, removed or added."""
    state_dict = weights(layout)
    for key, shape in changes.items():
        name = key.replace("__", ".")
        if shape is None:
            del state_dict[name]
        else:
            state_dict[name] = np.zeros(shape)
    return state_dict


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        (
            "ndrplz",
            {"cell_list__1__conv__bias": (11,), "cell_list__0__conv__bias": None, "head__weight": (2, 3)},
            "weights: expected cell_list.0.conv.bias (16,), found none; cell_list.1.conv.bias (12,), "
            "found (11,); no head.weight, found (2, 3)",
        ),
        (
            "ndrplz",
            {"cell_list__1__conv__weight": (12, 8, 5, 3)},
            "weights: expected cell_list.1.conv.weight (12, 7, 5, 3), found (12, 8, 5, 3)",
        ),
        (
            "ndrplz",
            {"cell_list__0__conv__weight": (16, 6, 3), "extra": ()},
            "weights: expected cell_list.0.conv.weight (4C, C_in + C, kH, kW), found (16, 6, 3); "
            "no extra, found ()",
        ),
        (
            "ndrplz",
            {"cell_list__0__conv__weight": (16, 4, 3, 3)},
            "weights: expected cell_list.0.conv.weight (4C, C_in + C, kH, kW), found (16, 4, 3, 3)",
        ),
        (
            "ndrplz",
            {"cell_list__0__conv__weight": (18, 6, 3, 3)},
            "weights: expected cell_list.0.conv.weight (4C, C_in + C, kH, kW), found (18, 6, 3, 3)",
        ),
        (
            "ndrplz",
            {"cell_list__0__conv__weight": (16, 6, 4, 3)},
            "weights: expected cell_list.0.conv.weight (4C, C_in + C, kH, kW), found (16, 6, 4, 3)",
        ),
        (
            "ndrplz",
            {"cell_list__3__conv__bias": (12,)},
            "weights: expected cell_list.2.conv.weight (4C, C_in + C, kH, kW), found none; "
            "cell_list.2.conv.bias, found none; cell_list.3.conv.weight (4C, C_in + C, kH, kW), found none",
        ),
        (
            "ndrplz",
            {"cell_list__999999999__conv__bias": (12,), "conv__bias": (12,)},
            "weights: expected no cell_list.999999999.conv.bias, found (12,); no conv.bias, found (12,)",
        ),
        (
            "automan000",
            {"cell1__Wcf": None, "cell0__Whf__bias": (4,), "cell0__Wxo__weight": (4, 2, 3, 3)},
            "weights: expected cell0.Wxo.weight (4, 2, 3, 5), found (4, 2, 3, 3); "
            "cell1.Wcf (1, 3, 5, 6), found none; no cell0.Whf.bias, found (4,)",
        ),
        ("automan000", {"cell0__Wxi__bias": None}, "weights: expected cell0.Wxi.bias (4,), found none"),
        (
            "winsolider",
            {"cell0__Wci": (4, 5, 6)},
            "weights: expected cell0.Wci (1, C, H, W), found (4, 5, 6)",
        ),
        ("hzzone", {"_conv__bias": None}, "weights: expected _conv.bias (16,), found none"),
        ("hzzone", {"Wco": (1, 4, 6, 5)}, "weights: expected Wco (1, 4, 5, 6), found (1, 4, 6, 5)"),
        (
            "hzzone-trajgru",
            {"ret__weight": (12, 8, 1, 1), "i2f_conv1__bias": None},
            "weights: expected ret.weight (12, 12, 1, 1), found (12, 8, 1, 1); "
            "i2f_conv1.bias (4,), found none",
        ),
        (
            "hzzone-trajgru",
            {"flows_conv__weight": (5, 4, 5, 5)},
            "weights: expected flows_conv.weight (2L, F, kU, kV), found (5, 4, 5, 5)",
        ),
        (
            "openstl",
            {"cell_list__0__conv_h__1__bias": None},
            "weights: expected cell_list.0.conv_h.1.bias (16, 5, 6), found none",
        ),
    ],
)
def test_from_torch_with_differences_lists_all(layout, changes, message):
    with pytest.raises(ArgumentError) as caught:
        from_torch(layout, changed(layout, **changes))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("ndrplz", {}),
            r"^weights: expected cell_list\.0\.conv\.weight \(4C, C_in \+ C, kH, kW\), found none$",
        ),
        (("ndrplz", [1]), "^state_dict: expected arrays by name, found a list$"),
        (("ndrplz", {0: 1}), "^state_dict: expected arrays by name, found a dict$"),
        (("ndrplz", {"conv.weight": "w"}), r"^conv\.weight: expected an array of floats, found a str$"),
        (("nrdplz", {}), "^layout: expected one of 'ndrplz', 'automan000', .*, 'openstl'.*, found 'nrdplz'"),
        ((["ndrplz"], {}), r"^layout: expected one of 'ndrplz', .*, found \['ndrplz'\]"),
    ],
)
def test_from_torch_of_something_else_is_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        from_torch(*given)


@pytest.mark.parametrize(
    ("layout", "keywords", "message"),
    [
        (
            "ndrplz",
            {"nonlinearity": "relu"},
            "nonlinearity: 'ndrplz' has no such keyword, expected gate_order",
        ),
        ("hzzone", {"gate_order": "ifog"}, "gate_order: 'hzzone' has no such keyword, expected none"),
        ("ndrplz", {"gate_order": "ifgg"}, "gate_order: expected one of 'ifog', .*'fiog'.*, found 'ifgg'"),
        ("winsolider", {"nonlinearity": "elu"}, "nonlinearity: expected one of 'tanh', 'relu', found 'elu'"),
        ("hzzone-trajgru", {"align_corners": None}, "align_corners: expected one of True, False, found None"),
    ],
)
def test_from_torch_with_unknown_keywords_or_values_is_refused(layout, keywords, message):
    with pytest.raises(ArgumentError, match=f"^{message}$"):
        from_torch(layout, weights(layout), **keywords)


PLAIN = {"peephole": None}


def reparametrized(rnn):
    for cell in rnn.cells:
        parametrized(cell, "weight_hh")
    return rnn


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "peephole: None, found 'channel'"),
        ({"peephole": "pixel", "spatial_size": 8}, "peephole: None, found 'pixel'"),
        ({**PLAIN, "stride": 2}, r"stride: \(1, 1\), found \(2, 2\)"),
        ({**PLAIN, "padding": "valid"}, r"padding: 'same' or \(1, 1\), found 'valid'"),
        ({**PLAIN, "dilation": 2}, r"dilation: \(1, 1\), found \(2, 2\)"),
        ({**PLAIN, "padding_mode": "reflect"}, "padding_mode: 'zeros', found 'reflect'"),
        (
            {**PLAIN, "recurrent_padding_mode": "circular"},
            "recurrent_padding_mode: 'zeros', found 'circular'",
        ),
        ({**PLAIN, "recurrent_kernel_size": 5}, r"recurrent_kernel_size: \(3, 3\), found \(5, 5\)"),
        ({**PLAIN, "activation": "relu"}, "activation: 'tanh', found 'relu'"),
        ({**PLAIN, "activation": torch.relu}, "activation: 'tanh', found 'relu'"),
        (
            {**PLAIN, "recurrent_activation": "hard_sigmoid"},
            "recurrent_activation: 'sigmoid', found 'hard_sigmoid'",
        ),
        ({**PLAIN, "zoneout": 0.1}, r"zoneout: \(0, 0\), found \(0.1, 0.1\)"),
        ({**PLAIN, "norm": "layer"}, "norm: None, found 'layer'"),
        ({**PLAIN, "cell_clip": 1.0}, "cell_clip: None, found 1.0"),
        ({**PLAIN, "proj_channels": 2}, "proj_channels: None, found 2"),
        ({**PLAIN, "bidirectional": True}, "bidirectional: False, found True"),
        (
            {**PLAIN, "bias": [True, False]},
            r"bias: one value for all layers, found \[True, False\]",
        ),
        (
            {"kernel_size": 2, "cell_clip": 1.0, **PLAIN},
            r"cell_clip: None, found 1.0; kernel_size: odd sizes, found \(2, 2\)",
        ),
        ({"in_channels": 0, **PLAIN}, "in_channels: 1 or more, found 0"),
    ],
)
def test_to_torch_ndrplz_names_unsupported_settings(options, message):
    rnn = ConvLSTM2d(**{"in_channels": 2, "hidden_channels": 4, "kernel_size": 3, **options})
    with pytest.raises(ArgumentError, match=f"^module: layout 'ndrplz' requires {message}$"):
        to_torch("ndrplz", rnn)


def test_to_torch_accepts_equivalent_activations_and_padding():
    rnn = ConvLSTM2d(2, 4, 3, padding=1, activation=torch.tanh, recurrent_activation=torch.sigmoid, **PLAIN)
    assert to_torch("ndrplz", rnn)["cell_list.0.conv.weight"].shape == (16, 6, 3, 3)


@pytest.mark.parametrize(
    ("layout", "module", "message"),
    [
        (
            "ndrplz",
            ConvGRU2d(2, 4, 3),
            "layout 'ndrplz' requires a ConvLSTMCell2d, found a ConvGRUCell2d",
        ),
        (
            "ndrplz",
            ConvLSTM1d(2, 4, 3),
            "layout 'ndrplz' requires a ConvLSTMCell2d, found a ConvLSTMCell1d",
        ),
        (
            "ndrplz",
            reparametrized(ConvGRU2d(2, 4, 3)),
            "layout 'ndrplz' requires a ConvLSTMCell2d, found a ConvGRUCell2d",
        ),
        ("ndrplz", reparametrized(ConvLSTM2d(2, 4, 3)), "requires peephole: None, found 'channel'"),
        ("ndrplz", SkipConvLSTM2d(2, 4, 3), "requires a ConvLSTMCell2d, found a SkipConvLSTMCell2d"),
        ("ndrplz", torch.nn.LSTM(2, 4), "requires a ConvLSTMCell2d, found a LSTM"),
        ("hzzone-trajgru", ConvLSTM2d(2, 4, 3), "requires a TrajGRUCell2d, found a ConvLSTMCell2d"),
        ("hzzone-trajgru", TrajGRU2d(2, [4, 4], 3), "num_layers: 1, found 2"),
        ("hzzone-trajgru", TrajGRU2d(2, 4, 3, bias=False), "bias: True, found False"),
        ("hzzone-trajgru", TrajGRU2d(2, 4, 3, activation="tanh"), "activation: 'leaky_relu', found 'tanh'"),
        (
            "hzzone-trajgru",
            TrajGRU2d(2, 4, 3, flow_kernel_size=4),
            r"flow_kernel_size: odd sizes, found \(4, 4\)",
        ),
        ("hzzone", ConvLSTM2d(2, [4, 4], 3, peephole=None), "num_layers: 1, found 2"),
        ("hzzone", ConvLSTM2d(2, 4, 3), "peephole: 'pixel' or None, found 'channel'"),
        ("automan000", ConvLSTM2d(2, 4, 3, peephole=None, bias=False), "bias: True, found False"),
        ("openstl", ConvLSTM2d(2, 4, 3, peephole=None), "bias: False, found True"),
        (
            "openstl",
            ConvLSTM2d(2, 4, 3, peephole=None, bias=False, norm="layer-pixel", spatial_size=(5, 6)),
            "bias: True, found False",
        ),
        (
            "openstl",
            ConvLSTM2d(2, 4, 3, peephole=None, norm="layer"),
            "norm: 'layer-pixel' or None, found 'layer'",
        ),
        ("keras", ConvLSTMCell2d(2, 4, 3), "layout: expected one of 'ndrplz', .*, found 'keras'"),
    ],
)
def test_to_torch_of_other_layers_is_refused(layout, module, message):
    with pytest.raises(ArgumentError, match=f"{message}$"):
        to_torch(layout, module)
