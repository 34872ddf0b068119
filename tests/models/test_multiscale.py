import math

import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d, grid_sample, leaky_relu, pad

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.models import MultiscaleForecaster, TeacherForcing

# Float32 sums of some hundred terms in another order, carried over seven steps of two or three levels.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def leaky(x):
    return leaky_relu(x, 0.2)


def same(x, weight, bias=None):
    return conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def conv_lstm(cell, x, state):
    h, c = state
    z = same(h, cell.weight_hh, cell.bias) + (0 if x is None else same(x, cell.weight_ih))
    i, f, g, o = z.chunk(4, dim=1)
    w = cell.peephole if cell.peephole.dim() == 4 else cell.peephole[:, :, None, None]
    i, f = torch.sigmoid(i + w[0] * c), torch.sigmoid(f + w[1] * c)
    c = f * c + i * torch.tanh(g)
    return torch.sigmoid(o + w[2] * c) * torch.tanh(c), c


def gru(cell, x, state, q):
    (h,) = state
    p = 0 * q if x is None else same(x, cell.weight_ih, cell.bias_ih)
    (r, z, n), (hr, hz, hn) = p.chunk(3, dim=1), q.chunk(3, dim=1)
    r, z = torch.sigmoid(r + hr), torch.sigmoid(z + hz)
    return (z * h + (1 - z) * leaky(n + r * hn),)


def conv_gru(cell, x, state):
    return gru(cell, x, state, same(state[0], cell.weight_hh, cell.bias_hh))


def traj_gru(cell, x, state):
    (h,) = state
    flowing = same(h, cell.flow_weight_hh, cell.flow_bias_hh)
    if x is not None:
        flowing = flowing + same(x, cell.flow_weight_ih, cell.flow_bias_ih)
    flows = same(leaky(flowing), cell.flow_weight, cell.flow_bias)
    height, width = h.shape[-2:]
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    moved = []
    for n in range(flows.shape[1] // 2):
        dx, dy = flows[:, 2 * n], flows[:, 2 * n + 1]
        grid = torch.stack([2 * (across - dx) / (width - 1) - 1, 2 * (down - dy) / (height - 1) - 1], dim=-1)
        moved.append(grid_sample(h, grid, align_corners=True))
    return gru(cell, x, state, conv2d(torch.cat(moved, dim=1), cell.weight_hh, cell.bias_hh))


STEPS = {"conv_lstm": (conv_lstm, 2), "conv_gru": (conv_gru, 1), "traj_gru": (traj_gru, 1)}


def by_hand(model, x, steps):
    """Compute the network frame by frame through all levels; sides are multiples of the strides."""
    strides = model.arguments["strides"]
    kinds = [STEPS[name] for name in model.arguments["cell"]]
    states = [None] * len(strides)
    for t in range(x.shape[1]):
        x_t = x[:, t]
        for n, (step, number) in enumerate(kinds):
            conv, (cell,) = model.down[n], model.encoder[n].cells
            x_t = leaky(conv2d(x_t, conv.weight, conv.bias, strides[n], padding=1))
            if states[n] is None:
                states[n] = (torch.zeros(len(x), cell.hidden_channels, *x_t.shape[2:]),) * number
            states[n] = step(cell, x_t, states[n])
            x_t = states[n][0]
    frames = []
    for _ in range(steps):
        x_t = None
        for n in reversed(range(len(kinds))):
            conv, (cell,) = model.up[n], model.forecaster[n].cells
            states[n] = kinds[n][0](cell, x_t, states[n])
            x_t = leaky(conv_transpose2d(states[n][0], conv.weight, conv.bias, strides[n], padding=1))
        x_t = leaky(conv2d(x_t, model.smooth.weight, model.smooth.bias, padding=1))
        frames.append(conv2d(x_t, model.head.weight, model.head.bias))
    return torch.stack(frames, dim=1)


@pytest.mark.parametrize(
    ("cell", "changes"),
    [
        ("conv_lstm", {}),
        ("conv_lstm", {"recurrent_kernel_size": 5, "peephole": "pixel", "spatial_size": (12, 18)}),
        ("conv_gru", {"recurrent_kernel_size": [5, 3]}),
        ("traj_gru", {"num_flows": [3, 2], "forecaster_num_flows": [2, 4]}),
        (["traj_gru", "conv_lstm"], {"kernel_size": [3, 1], "num_flows": 2, "out_channels": 3}),
    ],
)
def test_multiscale_equals_the_paper_cell_by_cell(randomised, cell, changes):
    table = {"hidden_channels": [4, 5], "conv_channels": 3, "strides": [3, 2], "conv_kernel_size": [5, 3]}
    model = randomised(MultiscaleForecaster(2, cell, **table | changes), 0.15)
    x = torch.rand(2, 4, 2, 12, 18)
    with torch.no_grad():
        torch.testing.assert_close(model(x, 3), by_hand(model, x, 3), **CLOSE)


def test_multiscale_default_is_the_published_table():
    with torch.device("meta"):
        model = MultiscaleForecaster()
    assert [tuple(conv.weight.shape) for conv in model.down] == [
        (8, 1, 7, 7),
        (192, 64, 5, 5),
        (192, 192, 3, 3),
    ]
    assert [tuple(conv.weight.shape) for conv in model.up] == [
        (64, 8, 7, 7),
        (192, 64, 5, 5),
        (192, 192, 4, 4),
    ]
    assert [rnn.in_channels for rnn in model.encoder] == [8, 192, 192]
    assert [rnn.in_channels for rnn in model.forecaster] == [64, 192, 0]
    assert (tuple(model.smooth.weight.shape), tuple(model.head.weight.shape)) == ((8, 8, 3, 3), (1, 8, 1, 1))
    with torch.device("meta"):
        images = torch.zeros(1, 2, 1, 480, 480)
        shapes = []
        for rnn in model.encoder:
            rnn.register_forward_hook(lambda _, __, output: shapes.append(tuple(output[0].shape[2:])))
        assert model(images, 20).shape == (1, 20, 1, 480, 480)
    assert shapes == [(64, 96, 96), (192, 32, 32), (192, 16, 16)]


def test_multiscale_moving_mnist_has_the_levels_of_hko7():
    with torch.device("meta"):
        model = MultiscaleForecaster.moving_mnist("traj_gru")
        shapes = []
        for rnn in model.encoder:
            rnn.register_forward_hook(lambda _, __, output: shapes.append(tuple(output[0].shape[2:])))
        assert model(torch.zeros(1, 10, 1, 64, 64), 10).shape == (1, 10, 1, 64, 64)
    assert shapes == [(64, 64, 64), (96, 32, 32), (96, 16, 16)]
    assert {cell.num_flows for rnn in model.encoder for cell in rnn.cells} == {13}
    with torch.device("meta"):
        plain = MultiscaleForecaster.moving_mnist("conv_gru")
    assert {rnn.recurrent_kernel_size[0] for rnn in plain.encoder} == {(5, 5)}


@pytest.mark.parametrize("cell", ["conv_lstm", "conv_gru", "traj_gru"])
@pytest.mark.parametrize("size", [(13, 7), (6, 12), (2, 19)])
def test_multiscale_pads_frames_with_zeros_and_crops(randomised, cell, size):
    table = {"hidden_channels": [4, 5], "strides": [3, 2], "conv_kernel_size": [5, 3], "num_flows": 2}
    model = randomised(MultiscaleForecaster(1, cell, **table))
    height, width = size
    x = torch.rand(1, 3, 1, height, width)
    wide = pad(x, (0, 6 * math.ceil(width / 6) - width, 0, 6 * math.ceil(height / 6) - height))
    with torch.no_grad():
        found = model(x, 2)
        assert found.shape == (1, 2, 1, height, width)
        torch.testing.assert_close(found, model(wide, 2)[..., :height, :width], rtol=0, atol=0)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("more", [0, 1, 2])
def test_multiscale_with_any_accepted_kernel_returns_frames_of_the_same_size(stride, more):
    kernel = 3 + more
    if kernel > stride + 2:
        with pytest.raises(ArgumentError, match=f"conv_kernel_size: expected 3 to {stride + 2} with"):
            MultiscaleForecaster(hidden_channels=[2], strides=[stride], conv_kernel_size=[kernel])
        return
    model = MultiscaleForecaster(hidden_channels=[2], strides=[stride], conv_kernel_size=[kernel])
    shapes = []
    model.encoder[0].register_forward_hook(lambda _, __, output: shapes.append(output[0].shape[-2:]))
    assert model(torch.zeros(1, 1, 1, 4 * stride, 3 * stride), 1).shape[-2:] == (4 * stride, 3 * stride)
    assert shapes == [(4, 3)]


@pytest.mark.parametrize("cell", ["conv_lstm", "conv_gru", "traj_gru"])
def test_multiscale_has_a_gradient_for_every_parameter(randomised, cell):
    table = {"hidden_channels": [3, 2], "strides": [2, 2], "conv_kernel_size": [3, 3], "num_flows": 2}
    model = randomised(MultiscaleForecaster(1, cell, **table))
    model(torch.rand(2, 3, 1, 8, 12), 3).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "in_channels: expected an int of at least 1, found 0"),
        ({"out_channels": 0}, "out_channels: expected an int of at least 1, found 0"),
        ({"conv_channels": 0}, "conv_channels: expected an int of at least 1, found 0"),
        ({"hidden_channels": [4, 0, 4]}, "hidden_channels: expected an int of at least 1, found 0"),
        (
            {"hidden_channels": []},
            "hidden_channels: expected one for each level, at least one level, found .*",
        ),
        (
            {"hidden_channels": 64},
            "hidden_channels: expected one for each level, at least one level, found 64",
        ),
        ({"hidden_channels": [4, 4]}, r"strides: expected one for each of the 2 levels, found \(5, 3, 2\)"),
        ({"strides": [5, 0, 2]}, "strides: expected an int of at least 1, found 0"),
        ({"conv_kernel_size": [2, 5, 3]}, "conv_kernel_size: expected an int of at least 3, found 2"),
        ({"conv_kernel_size": [7, 6, 3]}, "conv_kernel_size: expected 3 to 5 with a stride of 3, found 6"),
        ({"cell": "lstm"}, "cell: expected one of 'conv_lstm', 'conv_gru', 'traj_gru', found 'lstm'"),
        ({"cell": ["conv_gru"]}, r"cell: expected one for each of the 3 levels, found \['conv_gru'\]"),
        ({"cell": "traj_gru", "num_flows": 0}, "num_flows: expected an int of at least 1, found 0"),
        ({"peephole": "pixel"}, "peephole='pixel' requires spatial_size"),
    ],
)
def test_multiscale_with_impossible_arguments_is_refused(arguments, message):
    with torch.device("meta"), pytest.raises(ArgumentError, match=f"^{message}$"):
        MultiscaleForecaster(**arguments)


@pytest.mark.parametrize(
    ("shape", "steps", "message"),
    [
        ((3, 1, 8, 8), 2, r"x: expected \(B, T, C, H, W\) with C = 1, found \(3, 1, 8, 8\)"),
        ((1, 3, 1, 8, 8), 0, "steps: expected an int of at least 1, found 0"),
    ],
)
def test_multiscale_given_other_frames_is_refused(shape, steps, message):
    model = MultiscaleForecaster(hidden_channels=[2], strides=[2], conv_kernel_size=[3])
    with pytest.raises(ArgumentError, match=f"^{message}$"):
        model(torch.zeros(shape), steps)
    with pytest.raises(NotOfferedError, match=r"^schedule: expected FreeRunning\(\), as the coarsest"):
        model(torch.zeros(1, 3, 1, 8, 8), 2, schedule=TeacherForcing())
