import math

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d, grid_sample, layer_norm, leaky_relu

from stormcell.errors import ArgumentError
from stormcell.models import MultiscaleForecaster, NextFrameForecaster, from_checkpoint
from stormcell.nn import foreign

# Float64 sums of at most a thousand terms below 10 in another order, over ten steps that hardly amplify.
EXACT = {"rtol": 1e-10, "atol": 1e-10}
# A small network of Hzzone's kind, level by level.
HIDDEN, CONV, KERNELS, STRIDES, FLOWS, BACK = [4, 6, 5], 3, [7, 5, 3], [5, 3, 2], [3, 2, 1], [1, 2, 3]
SIZE = (60, 90)


def random(seed, *shape, fan=None):
    scale = 1.5 / math.sqrt(fan) if fan else 0.4
    return scale * np.random.default_rng(seed).standard_normal(shape)


def convolution(name, seed, out, inputs, kernel, *, transposed=False):
    shape = (inputs, out) if transposed else (out, inputs)
    return {
        f"{name}.weight": random(seed, *shape, kernel, kernel, fan=inputs * kernel),
        f"{name}.bias": random(seed + 1, out),
    }


def traj_gru_arrays(name, seed, inputs, channels, flows):
    return {
        **convolution(f"{name}.i2h", seed, 3 * channels, inputs, 3),
        **convolution(f"{name}.i2f_conv1", seed + 2, 32, inputs, 5),
        **convolution(f"{name}.h2f_conv1", seed + 4, 32, channels, 5),
        **convolution(f"{name}.flows_conv", seed + 6, 2 * flows, 32, 5),
        **convolution(f"{name}.ret", seed + 8, 3 * channels, flows * channels, 1),
    }


def conv_lstm_arrays(name, seed, inputs, channels, size, *, peepholes):
    arrays = convolution(f"{name}._conv", seed, 4 * channels, inputs + channels, 3)
    if peepholes:
        arrays |= {f"{name}.Wc{gate}": random(seed + ord(gate), 1, channels, *size) for gate in "ifo"}
    return arrays


def hzzone(kind, *, peepholes=False, hidden=HIDDEN, conv=CONV, inputs=1, outputs=1):
    """Return a checkpoint of Hzzone's network, level by level."""
    entering, arrays = [conv, *hidden[1:]], {}
    size = SIZE
    for n, (channels, stride) in enumerate(zip(hidden, STRIDES, strict=True), 1):
        before = [inputs, *hidden][n - 1]
        size = tuple(side // stride for side in size)
        arrays |= convolution(
            f"encoder.stage{n}.conv{n}_leaky_1", 100 * n, entering[n - 1], before, KERNELS[n - 1]
        )
        after = [conv, *hidden][n - 1]
        arrays |= convolution(
            f"forecaster.stage{n}.deconv{4 - n}_leaky_1",
            100 * n + 50,
            after,
            channels,
            stride + 2,
            transposed=True,
        )
        for side, reads in (("encoder", entering[n - 1]), ("forecaster", channels)):
            name, seed = f"{side}.rnn{n}", 1000 * n + len(arrays)
            if kind == "traj_gru":
                flows = (FLOWS if side == "encoder" else BACK)[n - 1]
                arrays |= traj_gru_arrays(name, seed, reads, channels, flows)
            else:
                arrays |= conv_lstm_arrays(name, seed, reads, channels, size, peepholes=peepholes)
    arrays |= convolution("forecaster.stage1.conv3_leaky_2", 7, conv, conv, 3)
    return arrays | convolution("forecaster.stage1.conv3_3", 9, outputs, conv, 1)


def leaky(x):
    return leaky_relu(x, 0.2)


def same(w, name, x):
    weight = w[f"{name}.weight"]
    return conv2d(x, weight, w[f"{name}.bias"], padding=weight.shape[-1] // 2)


def conv_lstm_step(w, name, x, state, align_corners):  # noqa: ARG001 (as the other)
    channels = w[f"{name}._conv.bias"].shape[0] // 4
    inputs = w[f"{name}._conv.weight"].shape[1] - channels
    h, c = state
    x = torch.zeros(len(h), inputs, *h.shape[2:], dtype=h.dtype) if x is None else x
    i, f, g, o = same(w, f"{name}._conv", torch.cat([x, h], dim=1)).chunk(4, dim=1)
    i = torch.sigmoid(i + w.get(f"{name}.Wci", 0) * c)
    f = torch.sigmoid(f + w.get(f"{name}.Wcf", 0) * c)
    c = f * c + i * torch.tanh(g)
    return torch.sigmoid(o + w.get(f"{name}.Wco", 0) * c) * torch.tanh(c), c


def traj_gru_step(w, name, x, state, align_corners):
    (h,) = state
    flowing = same(w, f"{name}.h2f_conv1", h)
    if x is not None:
        flowing = flowing + same(w, f"{name}.i2f_conv1", x)
    flows = same(w, f"{name}.flows_conv", leaky(flowing))
    height, width = h.shape[-2:]
    rows, columns = torch.arange(height, dtype=h.dtype)[:, None], torch.arange(width, dtype=h.dtype)
    moved = []
    for n in range(0, flows.shape[1], 2):
        dx, dy = flows[:, n], flows[:, n + 1]
        across, down = 2 * (columns - dx) / (width - 1) - 1, 2 * (rows - dy) / (height - 1) - 1
        moved.append(grid_sample(h, torch.stack([across, down], dim=-1), align_corners=align_corners))
    r, u, m = same(w, f"{name}.ret", torch.cat(moved, dim=1)).chunk(3, dim=1)
    i_r, i_u, i_m = (0, 0, 0) if x is None else same(w, f"{name}.i2h", x).chunk(3, dim=1)
    r, u = torch.sigmoid(i_r + r), torch.sigmoid(i_u + u)
    return (u * h + (1 - u) * leaky(i_m + r * m),)


def hzzone_by_hand(arrays, kind, x, steps, align_corners=True):
    w = {name: torch.from_numpy(value) for name, value in arrays.items()}
    step, number = {"conv_lstm": (conv_lstm_step, 2), "traj_gru": (traj_gru_step, 1)}[kind]
    states = []
    frames = list(x.unbind(1))
    for n in (1, 2, 3):
        channels, state = HIDDEN[n - 1], None
        for t, frame in enumerate(frames):
            name = f"encoder.stage{n}.conv{n}_leaky_1"
            x_t = leaky(conv2d(frame, w[f"{name}.weight"], w[f"{name}.bias"], STRIDES[n - 1], padding=1))
            if state is None:
                state = (torch.zeros(len(x), channels, *x_t.shape[2:], dtype=x.dtype),) * number
            state = step(w, f"encoder.rnn{n}", x_t, state, align_corners)
            frames[t] = state[0]
        states.append(state)
    frames = [None] * steps
    for n in (3, 2, 1):
        state = states[n - 1]
        for t, frame in enumerate(frames):
            state = step(w, f"forecaster.rnn{n}", frame, state, align_corners)
            name = f"forecaster.stage{n}.deconv{4 - n}_leaky_1"
            x_t = conv_transpose2d(
                state[0], w[f"{name}.weight"], w[f"{name}.bias"], STRIDES[n - 1], padding=1
            )
            frames[t] = leaky(x_t)
    ended = [leaky(same(w, "forecaster.stage1.conv3_leaky_2", frame)) for frame in frames]
    return torch.stack([same(w, "forecaster.stage1.conv3_3", frame) for frame in ended], dim=1)


@pytest.mark.parametrize(
    ("kind", "made", "keywords"),
    [
        ("conv_lstm", {}, {}),  # as saved on a GPU
        ("conv_lstm", {"peepholes": True, "outputs": 2}, {}),  # as saved on a CPU
        ("traj_gru", {"inputs": 2}, {}),
        ("traj_gru", {}, {"align_corners": False}),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_from_checkpoint_of_hzzone_equals_their_equations(kind, made, keywords, prefix):
    arrays = hzzone(kind, **made)
    x = torch.from_numpy(random(1, 2, 4, made.get("inputs", 1), *SIZE))
    network = from_checkpoint(
        "hzzone-network", {prefix + name: value for name, value in arrays.items()}, **keywords
    )
    assert isinstance(network, MultiscaleForecaster)
    assert not network.training
    assert set(network.arguments["cell"]) == {kind}
    with torch.no_grad():
        found, expected = network(x, 3), hzzone_by_hand(arrays, kind, x, 3, **keywords)
    assert found.dtype == torch.float64
    assert expected.std() > 1e-2
    torch.testing.assert_close(found, expected, **EXACT)


def test_from_checkpoint_of_hzzone_is_rebuilt_from_its_arguments():
    network = from_checkpoint("hzzone-network", hzzone("traj_gru"), align_corners=False)
    twin = MultiscaleForecaster(**network.arguments).double()
    twin.load_state_dict(network.state_dict())
    x = torch.from_numpy(random(1, 1, 2, 1, *SIZE))
    assert torch.equal(twin(x, 2), network(x, 2))
    assert network.arguments["forecaster_num_flows"] == BACK


def test_from_checkpoint_of_hzzone_with_published_sizes_is_the_default_network():
    sizes = hzzone("conv_lstm", hidden=[64, 192, 192], conv=8)
    network = from_checkpoint("hzzone-network", {name: value.astype("f4") for name, value in sizes.items()})
    expected = MultiscaleForecaster(peephole=None).state_dict()
    assert {k: v.shape for k, v in network.state_dict().items()} == {k: v.shape for k, v in expected.items()}


def changed(arrays, **changes):
    """Return arrays with changes: None removes an array, a shape replaces it. ``__`` in a name is a dot."""
    arrays = dict(arrays)
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del arrays[name]
        else:
            arrays[name] = np.zeros(value)
    return arrays


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"encoder__stage2__conv2_leaky_1__weight": None},
            "weights: expected encoder.stage2.conv2_leaky_1.weight (C_out, C_in, k, k), found none",
        ),
        (
            {"forecaster__stage1__conv3_3__bias": None, "encoder__stage1__pool": (3,)},
            "weights: expected forecaster.stage1.conv3_3.bias (1,), found none; "
            "no encoder.stage1.pool, found (3,)",
        ),
        ({"encoder__rnn4___conv__bias": (4,)}, "weights: expected no encoder.rnn4._conv.bias, found (4,)"),
        (
            {"encoder__rnn2___conv__weight": (24, 7 + 6, 3, 3)},
            "weights: expected encoder.rnn2, as our cells.0.weight_ih (24, 6, 3, 3), found (24, 7, 3, 3)",
        ),
        (
            {"forecaster__rnn3___conv__bias": None},
            "weights: expected forecaster.rnn3._conv.bias (20,), found none",
        ),
    ],
)
def test_from_checkpoint_of_hzzone_lists_all_differences(changes, message):
    with pytest.raises(ArgumentError) as caught:
        from_checkpoint("hzzone-network", changed(hzzone("conv_lstm"), **changes))
    assert str(caught.value) == message


def openstl(channels=1, patch=2, hidden=(4, 3), *, norm=False, size=(4, 6)):
    """Return a checkpoint of OpenSTL's network, with its unused arrays."""
    arrays, inputs = {}, channels * patch**2
    for n, c in enumerate(hidden):
        name = f"cell_list.{n}"
        for which, reads, makes in (("x", inputs, 4 * c), ("h", c, 4 * c), ("o", 2 * c, c)):
            arrays[f"{name}.conv_{which}.0.weight"] = random(n + reads, makes, reads, 3, 3, fan=3 * reads)
            if norm:
                arrays[f"{name}.conv_{which}.1.weight"] = 1 + random(n + 20, makes, *size)
                arrays[f"{name}.conv_{which}.1.bias"] = random(n + 30, makes, *size)
        arrays[f"{name}.conv_last.weight"] = random(n + 40, c, 2 * c, 1, 1)
        inputs = c
    return arrays | {"conv_last.weight": random(50, channels * patch**2, hidden[-1], 1, 1)}


def openstl_by_hand(arrays, x, steps, patch, hidden=(4, 3)):
    """Compute OpenSTL's forecast: channels last, patches with their channels innermost."""
    w = {name: torch.from_numpy(value) for name, value in arrays.items()}
    batch, inputs, channels, height, width = x.shape
    states = [(torch.zeros(batch, c, height // patch, width // patch, dtype=x.dtype),) * 2 for c in hidden]

    def normalised(z, name):
        if f"{name}.1.weight" not in w:
            return z
        return layer_norm(z, z.shape[1:], w[f"{name}.1.weight"], w[f"{name}.1.bias"])

    forecasts = []
    for t in range(inputs + steps - 1):
        if t < inputs:
            tiles = x[:, t].reshape(batch, channels, height // patch, patch, width // patch, patch)
            x_t = tiles.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
        for n, c in enumerate(hidden):
            name, (h, cell) = f"cell_list.{n}", states[n]
            z = normalised(conv2d(x_t, w[f"{name}.conv_x.0.weight"], padding=1), f"{name}.conv_x")
            z = z + normalised(conv2d(h, w[f"{name}.conv_h.0.weight"], padding=1), f"{name}.conv_h")
            i, f, g, o = torch.split(z, c, dim=1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            states[n] = (torch.sigmoid(o) * torch.tanh(cell), cell)
            x_t = states[n][0]
        x_t = conv2d(x_t, w["conv_last.weight"])
        forecasts.append(x_t)
    tiles = torch.stack(forecasts[-steps:], dim=1).unflatten(2, (patch, patch, channels))
    return tiles.permute(0, 1, 4, 5, 2, 6, 3).reshape(batch, steps, channels, height, width)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_from_checkpoint_of_openstl_equals_their_equations(norm, channels, prefix):
    arrays = openstl(channels, norm=norm)
    x = torch.from_numpy(random(1, 2, 3, channels, 8, 12))
    theirs = {prefix + name: value for name, value in arrays.items()}
    network = from_checkpoint("openstl-network", theirs, patch_size=2)
    assert isinstance(network, NextFrameForecaster)
    with torch.no_grad():
        found, expected = network(x, 4), openstl_by_hand(arrays, x, 4, 2)
    assert expected.std() > 1e-2
    torch.testing.assert_close(found, expected, **EXACT)
    twin = NextFrameForecaster(**network.arguments).double()
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin(x, 2), network(x, 2))


@pytest.mark.parametrize(
    ("keywords", "changes", "message"),
    [
        (
            {"patch_size": 3},
            {},
            "weights: expected conv_last.weight (9C_in, C, 1, 1), as patch_size is 3, found (4, 3, 1, 1)",
        ),
        (
            {"patch_size": 2},
            {"conv_last__weight": None},
            "weights: expected conv_last.weight (4C_in, C, 1, 1), as patch_size is 2, found none",
        ),
        (
            {"patch_size": 2},
            {"conv_last__weight": (8, 3, 1, 1)},
            "weights: expected conv_last.weight (4, C, 1, 1), as the input has, found (8, 3, 1, 1)",
        ),
        (
            {"patch_size": 2},
            {"conv_last__weight": (4, 5, 1, 1)},
            "weights: expected conv_last.weight (4, 3, 1, 1), found (4, 5, 1, 1)",
        ),
        (
            {"patch_size": 2},
            {"cell_list__1__conv_h__0__weight": None},
            "weights: expected cell_list.1.conv_h.0.weight (4C, C, kH, kW), found none",
        ),
        ({"patch_size": 0}, {}, "patch_size: expected an int of at least 1, found 0"),
        ({"patches": 2}, {}, "patches: 'openstl-network' has no such keyword, expected patch_size"),
    ],
)
def test_from_checkpoint_of_openstl_with_differences_is_refused(keywords, changes, message):
    with pytest.raises(ArgumentError) as caught:
        from_checkpoint("openstl-network", changed(openstl(), **changes), **keywords)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        ([1], "state_dict: expected arrays by name, found a list"),
        ({}, "weights: expected encoder.stage1.…, found none"),
        ({"cell_list.0.w": np.zeros(1)}, "weights: expected encoder.stage1.…, found cell_list.0.w"),
        (
            {"module.encoder.stage1.w": np.zeros(1), "encoder.stage2.w": np.zeros(1)},
            "weights: expected the prefix 'module.', found encoder.stage2.w",
        ),
        ({"encoder.stage1.w": "w"}, "encoder.stage1.w: expected an array of floats, found a str"),
    ],
)
def test_from_checkpoint_of_something_else_is_refused(state_dict, message):
    with pytest.raises(ArgumentError) as caught:
        from_checkpoint("hzzone-network", state_dict)
    assert str(caught.value) == message


@pytest.mark.parametrize("layout", ["hzzone-network", "openstl-network"])
@pytest.mark.parametrize("convert", [foreign.from_torch, foreign.to_torch])
def test_layer_converters_given_a_network_layout_point_to_from_checkpoint(layout, convert):
    message = f"found {layout!r}; stormcell.models.from_checkpoint reads it$"
    with pytest.raises(ArgumentError, match=message):
        convert(layout, {})


def test_from_checkpoint_given_another_layout_lists_the_known_ones():
    message = "^layout: expected one of 'hzzone-network', 'openstl-network', found 'openstl'$"
    with pytest.raises(ArgumentError, match=message):
        from_checkpoint("openstl", openstl())
