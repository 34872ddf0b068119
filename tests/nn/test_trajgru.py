"""TrajGRU against its equations in numpy, with a separate bilinear sampler."""

import math

import numpy as np
import pytest
import torch

from stormcell.nn import ConvGRU2d, TrajGRU2d, TrajGRUCell2d
from stormcell.nn.ops import kernels
from stormcell.nn.ops.traj_gru import reference

# In float64: the order of sums of a hundred terms, over a few steps.
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomised(module, scale=0.3):
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(scale * numbers(*parameter.shape, seed=seed))
    return module.double().eval()


def sigma(v):
    return 1 / (1 + np.exp(-v))


def leaky(v):
    return np.where(v > 0, v, v / 5)


def sample(image, row, column):
    """Sample ``image``, (C, H, W), between its pixels: bilinear, zero outside."""
    total = np.zeros(len(image))
    for y in (math.floor(row), math.floor(row) + 1):
        for x in (math.floor(column), math.floor(column) + 1):
            if 0 <= y < image.shape[1] and 0 <= x < image.shape[2]:
                total += (1 - abs(row - y)) * (1 - abs(column - x)) * image[:, y, x]
    return total


def warp(image, flow, align_corners):
    """Warp the image (C, H, W) along the flow (2, H, W): each pixel gets the value upstream of it."""
    _, height, width = image.shape

    def place(pixel, size):
        return pixel if align_corners else (2 * pixel / (size - 1) * size - 1) / 2

    moved = np.empty_like(image)
    for y, x in np.ndindex(height, width):
        dx, dy = flow[:, y, x]
        moved[:, y, x] = sample(image, place(y - dy, height), place(x - dx, width))
    return moved


def loop(convolve, frames, h, cell, *, align_corners=True, zoneout=0.0):
    """The equations of one layer; also return the flows."""
    w = {name: value.detach().numpy() for name, value in cell.named_parameters()}

    def term(image, name):
        bias = w.get(name.replace("weight", "bias"), np.zeros(len(w[name])))
        return convolve(image, w[name]) + bias[:, None, None]

    outputs, flows = [], []
    for x in frames:
        seen, (x_r, x_z, x_n) = term(h, "flow_weight_hh"), (0, 0, 0)
        if x is not None:
            seen = seen + term(x, "flow_weight_ih")
            x_r, x_z, x_n = np.split(term(x, "weight_ih"), 3, axis=1)
        flow = term(leaky(seen), "flow_weight")
        flows.append(flow)
        images = [
            [warp(image, pair, align_corners) for pair in np.split(pairs, len(pairs) // 2)]
            for image, pairs in zip(h, flow, strict=True)
        ]
        warped = np.stack([np.concatenate(sample) for sample in images])
        h_r, h_z, h_n = np.split(term(warped, "weight_hh"), 3, axis=1)
        r, z = sigma(x_r + h_r), sigma(x_z + h_z)
        new = (1 - z) * leaky(x_n + r * h_n) + z * h
        h = zoneout * h + (1 - zoneout) * new
        outputs.append(h)
    return np.stack(outputs), h, np.stack(flows)


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((5, 7), {}),
        ((5, 7), {"align_corners": False}),
        ((6, 4), {"bias": False, "zoneout": 0.3}),
        ((6, 1), {}),  # of one column, which a flow may leave too
        ((1, 1), {}),
    ],
)
def test_traj_gru_matches_its_equations(convolve, size, options, blind):
    told = {"kernel_size": (3, 2), "num_flows": 3, "flow_channels": 4, "flow_kernel_size": (3, 4), **options}
    rnn = randomised(TrajGRU2d(2, 3, **told))
    h = numbers(2, 3, *size, seed=2)
    x = None if blind else numbers(3, 2, 2, *size)
    output, (h_n,) = rnn(x, (h,), steps=3)

    equations = {name: options[name] for name in ("align_corners", "zoneout") if name in options}
    frames = [None] * 3 if blind else x.numpy()
    expected, last, flows = loop(convolve, frames, h.numpy(), rnn.cells[0], **equations)
    assert np.abs(flows).max() > 0.5  # pixels: it is seen to move
    np.testing.assert_allclose(output.detach(), expected, **EXACT)
    np.testing.assert_allclose(h_n.detach(), last, **EXACT)


def test_list_gives_each_layer_its_own_flows(convolve):
    told = {"num_flows": [3, 2], "flow_channels": [4, 5], "flow_kernel_size": [3, (1, 2)]}
    rnn = randomised(TrajGRU2d(2, [3, 4], [1, 3], **told))
    assert [cell.flow_weight.shape for cell in rnn.cells] == [(6, 4, 3, 3), (4, 5, 1, 2)]
    x, states = numbers(2, 2, 2, 4, 5), (numbers(2, 3, 4, 5), numbers(2, 4, 4, 5))
    outputs, last = rnn.all_layers(x, states)
    expected = x.numpy()
    for k, cell in enumerate(rnn.cells):
        expected, end, _ = loop(convolve, expected, states[k].numpy(), cell)
        np.testing.assert_allclose(outputs[k].detach(), expected, **EXACT)
        np.testing.assert_allclose(last[k].detach(), end, **EXACT)


@pytest.mark.parametrize(("flow", "shift"), [((1, 0), (0, 1)), ((0, 1), (1, 0)), ((-2, 1), (1, -2))])
def test_warp_moves_rain_along_the_flow(flow, shift):
    """A flow (dx, dy) of whole pixels moves one pixel of rain by dx columns and dy rows."""
    cell = randomised(TrajGRUCell2d(0, 1, 1, num_flows=1, flow_channels=1, activation="linear"), scale=0)
    with torch.no_grad():
        cell.flow_bias.copy_(torch.tensor(flow))
        cell.weight_hh[2] = 1  # n is what was moved
        cell.bias_hh[0], cell.bias_hh[1] = 50, -50  # r is 1, z is 0, but for 2e-22
    h = torch.zeros(1, 1, 6, 7, dtype=torch.float64)
    h[0, 0, 3, 4] = 1
    expected = torch.zeros_like(h)
    expected[0, 0, 3 + shift[0], 4 + shift[1]] = 1
    torch.testing.assert_close(cell(None, h), expected, **EXACT)


@pytest.mark.parametrize("fresh", [True, False])
def test_traj_gru_without_motion_matches_gru_with_1x1_recurrent_kernel(fresh):
    torch.manual_seed(1)
    rnn = TrajGRU2d(2, 3, (3, 2), num_flows=5, flow_channels=4, dtype=torch.float64)
    if not fresh:
        randomised(rnn)
        with torch.no_grad():
            rnn.cells[0].flow_weight.zero_()
            rnn.cells[0].flow_bias.zero_()
    gru = ConvGRU2d(2, 3, (3, 2), recurrent_kernel_size=1, activation="leaky_relu", dtype=torch.float64)
    cell, twin = rnn.cells[0], gru.cells[0]
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            parameter.copy_(getattr(cell, name) if name != "weight_hh" else 0)
        for flow in range(5):  # each of which shows h itself
            twin.weight_hh += cell.weight_hh[:, 3 * flow : 3 * flow + 3]
    x, h = numbers(4, 2, 2, 5, 6), (numbers(2, 3, 5, 6, seed=2),)
    torch.testing.assert_close(rnn(x, h), gru(x, h), **EXACT)


def test_initial_flows_get_a_gradient():
    torch.manual_seed(1)
    rnn = TrajGRU2d(2, 3, 3, num_flows=2, flow_channels=4)
    rnn(torch.randn(3, 2, 2, 5, 6))[0].square().sum().backward()
    cell = rnn.cells[0]
    assert cell.flow_weight.count_nonzero() == cell.flow_bias.count_nonzero() == 0
    assert cell.flow_weight.grad.abs().min() > 0
    assert cell.flow_bias.grad.abs().min() > 0


# torch's compiler uses deprecated functions of torch.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("how", ["fused", "fused, by PyTorch", "aot_eager", "inductor"])
def test_initial_flows_get_the_gradient_of_the_same_side_everywhere(how, align_corners, monkeypatch):
    """The slope towards the next row or column; images of 5 × 7 pixels have a centre that no grid moves."""
    if how == "inductor" and kernels.library(torch.float32) is None:
        pytest.skip("no C compiler")
    if how == "fused, by PyTorch":
        monkeypatch.setattr(kernels, "library", lambda _: None)
    torch.manual_seed(1)
    options = {"num_flows": 2, "flow_channels": 4, "align_corners": align_corners}
    rnn = TrajGRU2d(2, 3, 3, **options, backend="reference")
    fused = how.startswith("fused")
    other = TrajGRU2d(2, 3, 3, **options, backend="fused" if fused else "auto")
    other.load_state_dict(rnn.state_dict())
    x = torch.randn(2, 1, 2, 5, 7)
    for layer in (rnn, other if fused else torch.compile(other, backend=how)):
        layer(x)[0].square().sum().backward()
    # Float32: sums of some hundred terms of order one.
    torch.testing.assert_close(
        other.cells[0].flow_weight.grad, rnn.cells[0].flow_weight.grad, rtol=1e-4, atol=1e-4
    )


def test_warp_at_whole_pixels_has_the_slope_towards_the_next_column():
    h = torch.tensor([1.0, 2, 4, 8]).reshape(1, 1, 1, 4)
    flow = torch.zeros(1, 2, 1, 4, requires_grad=True)
    reference.warp(h, flow, True).sum().backward()
    assert flow.grad[0, 0].tolist() == [[-1, -2, -4, 8]]  # of h(p - dx); zero beyond the edge


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize("align_corners", [True, False])
def test_gradients_match_finite_differences(check, align_corners):
    options = {"num_flows": 2, "flow_channels": 1, "flow_kernel_size": 1, "align_corners": align_corners}
    rnn = randomised(TrajGRU2d(1, 1, 1, **options))
    with torch.no_grad():
        rnn.cells[0].flow_bias.copy_(torch.tensor([0.4, -0.7, 1.3, 0.6]))
        rnn.cells[0].flow_weight.mul_(0.1)  # so that no pixel comes from another's very centre
    names = [name for name, _ in rnn.named_parameters()]

    def run(x, h, *parameters):
        given = dict(zip(names, parameters, strict=True))
        output, (h_n,) = torch.func.functional_call(rnn, given, (x, (h,)))
        return output, h_n

    inputs = [numbers(2, 1, 1, 2, 3), numbers(1, 1, 2, 3, seed=2)]
    inputs += [parameter.detach().clone() for parameter in rnn.parameters()]
    assert check(run, [value.requires_grad_() for value in inputs])
