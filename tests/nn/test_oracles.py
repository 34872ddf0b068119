"""The ladder of oracles: each rung is computed without the code under test and checks the next."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from stormcell.nn import (
    ConvGRU1d,
    ConvGRU2d,
    ConvGRU3d,
    ConvGRUCell2d,
    ConvLSTM1d,
    ConvLSTM2d,
    ConvLSTM3d,
    ConvLSTMCell2d,
    PeepholeLSTM,
)

# In float64 two correct computations differ by the order of their sums only: a hundred terms of order
# one, carried over a few steps, make some 1e-14. A wrong term has an error of 1e-3 or more.
EXACT = {"rtol": 1e-12, "atol": 1e-12}

BACKENDS = ["reference", "auto"]  # what is plain and what is fast are held to the same


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomised(module):
    """Give every parameter random values, including peepholes."""
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(0.3 * numbers(*parameter.shape, seed=seed))
    return module.double()


def exact(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("backend", BACKENDS)
def test_lstm_on_one_pixel_matches_hand_calculation(backend):
    def sigma(v):
        return 1 / (1 + math.exp(-v))

    w_xi, w_xf, w_xg, w_xo = 0.1, -0.2, 0.3, 0.4
    w_hi, w_hf, w_hg, w_ho = -0.5, 0.6, 0.7, -0.8
    b_i, b_f, b_g, b_o = 0.01, 1.0, -0.02, 0.03
    w_ci, w_cf, w_co = 0.9, -1.1, 1.3
    cell = ConvLSTMCell2d(1, 1, 1, backend=backend, dtype=torch.float64)
    cell.load_state_dict(
        {
            "weight_ih": exact(w_xi, w_xf, w_xg, w_xo).view(4, 1, 1, 1),
            "weight_hh": exact(w_hi, w_hf, w_hg, w_ho).view(4, 1, 1, 1),
            "bias": exact(b_i, b_f, b_g, b_o),
            "peephole": exact(w_ci, w_cf, w_co).view(3, 1),
        }
    )

    h, c = 0.25, -0.75
    state = tuple(exact(v).view(1, 1, 1, 1) for v in (h, c))
    for x in (0.5, -1.25):
        i = sigma(w_xi * x + w_hi * h + w_ci * c + b_i)
        f = sigma(w_xf * x + w_hf * h + w_cf * c + b_f)
        g = math.tanh(w_xg * x + w_hg * h + b_g)
        c = f * c + i * g
        o = sigma(w_xo * x + w_ho * h + w_co * c + b_o)
        h = o * math.tanh(c)
        state = cell(exact(x).view(1, 1, 1, 1), state)

    # Some tens of roundings, each to 1e-16.
    assert [s.item() for s in state] == pytest.approx([h, c], rel=1e-14)


@pytest.mark.parametrize("reset", ["before", "after"])
def test_gru_on_one_pixel_matches_hand_calculation(reset):
    def sigma(v):
        return 1 / (1 + math.exp(-v))

    w_xr, w_xz, w_xn = 0.1, -0.2, 0.3
    w_hr, w_hz, w_hn = -0.5, 0.6, 0.7
    b_xr, b_xz, b_xn = 0.01, 0.4, -0.02
    b_hr, b_hz, b_hn = -0.3, 0.2, 0.9
    cell = ConvGRUCell2d(1, 1, 1, reset=reset, dtype=torch.float64)
    weights = {"ih": [w_xr, w_xz, w_xn], "hh": [w_hr, w_hz, w_hn]}
    biases = {"ih": [b_xr, b_xz, b_xn], "hh": [b_hr, b_hz, b_hn]}
    cell.load_state_dict(
        {f"weight_{which}": exact(*w).view(3, 1, 1, 1) for which, w in weights.items()}
        | {f"bias_{which}": exact(*b) for which, b in biases.items()}
    )

    h = 0.25
    state = exact(h).view(1, 1, 1, 1)
    for x in (0.5, -1.25):
        r = sigma(w_xr * x + b_xr + w_hr * h + b_hr)
        z = sigma(w_xz * x + b_xz + w_hz * h + b_hz)
        seen = w_hn * (r * h) + b_hn if reset == "before" else r * (w_hn * h + b_hn)
        h = (1 - z) * math.tanh(w_xn * x + b_xn + seen) + z * h
        state = cell(exact(x).view(1, 1, 1, 1), state)

    assert state.item() == pytest.approx(h, rel=1e-14)


def assert_same_as_torchs(ours, theirs):
    """Give both the same weights, run them, and compare outputs, last states and all gradients.

    What a kernel has beside its middle stays random: around the one pixel it sees zeros.
    """
    steps, batch, axes = 7, 3, len(ours.cells[0].space)

    def middle(parameter):
        """The kernel element at an image's only pixel: an even kernel reaches further after its centre."""
        return parameter[(..., *((n - 1) // 2 for n in parameter.shape[2:]))]

    def on_one_pixel(tensor):
        return tensor.detach().reshape(*tensor.shape, *(1,) * axes).requires_grad_()

    shared = {}
    with torch.no_grad():
        for k, cell in enumerate(ours.cells):
            layer, reverse = divmod(k, 2) if ours.bidirectional else (k, 0)
            for name, parameter in cell.named_parameters():
                names = ["bias_ih", "bias_hh"] if name == "bias" else [name]  # an LSTM's second is idle
                values = [getattr(theirs, f"{n}_l{layer}{'_reverse' * reverse}") for n in names]
                middle(parameter).copy_(sum(values))
                shared[f"cells.{k}.{name}"] = parameter, values[0]

    x = numbers(steps, batch, theirs.input_size).requires_grad_()
    widths = [theirs.proj_size or theirs.hidden_size]
    if theirs.mode == "LSTM":
        widths.append(theirs.hidden_size)
    sizes = [(len(ours.cells), batch, width) for width in widths]
    start = [numbers(*size, seed=2 + n).requires_grad_() for n, size in enumerate(sizes)]
    expected, end = theirs(x, start[0] if len(start) == 1 else start)
    image = on_one_pixel(x)
    given = [[on_one_pixel(layer) for layer in states] for states in start]
    output, last = ours(image, given[0] if len(given) == 1 else tuple(given))
    if len(start) == 1:
        end, last = [end], [last]

    results = {"output": (output, expected)}
    for n, states in enumerate(last):
        results[f"state {n}"] = torch.stack(states), end[n]
    results = {name: (found.flatten(expected.dim() - 1), e) for name, (found, e) in results.items()}
    upstream = [numbers(*e.shape, seed=4 + n) for n, (_, e) in enumerate(results.values())]
    torch.autograd.backward([e for _, e in results.values()], upstream)
    torch.autograd.backward([found for found, _ in results.values()], upstream)
    results["gradient of x"] = image.grad.flatten(2), x.grad
    for n, states in enumerate(given):
        results[f"gradient of state {n}"] = torch.stack([s.grad.flatten(1) for s in states]), start[n].grad
    for name, (parameter, value) in shared.items():
        results[f"gradient of {name}"] = middle(parameter.grad), value.grad
    for name, (found, e) in results.items():
        torch.testing.assert_close(found, e, **EXACT, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("proj_channels", [None, 2])
@pytest.mark.parametrize(
    ("kind", "kernel"),
    [
        (PeepholeLSTM, {}),
        (ConvLSTM1d, {"kernel_size": 1}),
        (ConvLSTM2d, {"kernel_size": [1, (3, 2)]}),
        *((ConvLSTM2d, {"kernel_size": 3, "backend": backend}) for backend in BACKENDS),
        (ConvLSTM3d, {"kernel_size": (2, 1, 3), "recurrent_kernel_size": 1}),
    ],
)
def test_lstm_on_one_pixel_without_peepholes_matches_torch(kind, kernel, proj_channels, bidirectional):
    ours = kind(
        4,
        5,
        **kernel,
        num_layers=2,
        bidirectional=bidirectional,
        peephole=None,
        proj_channels=proj_channels,
        dtype=torch.float64,
    )
    theirs = nn.LSTM(4, 5, 2, bidirectional=bidirectional, proj_size=proj_channels or 0)
    assert_same_as_torchs(ours, randomised(theirs))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("kind", "kernel"),
    [
        (ConvGRU1d, {"kernel_size": 1}),
        (ConvGRU2d, {"kernel_size": [1, (3, 2)]}),
        (ConvGRU3d, {"kernel_size": (2, 1, 3), "recurrent_kernel_size": 1}),
    ],
)
def test_gru_on_one_pixel_matches_torch(kind, kernel, bidirectional):
    ours = kind(4, 5, **kernel, num_layers=2, bidirectional=bidirectional, dtype=torch.float64)
    assert_same_as_torchs(ours, randomised(nn.GRU(4, 5, 2, bidirectional=bidirectional)))


def loop(x, h, c, parameters):
    """The paper's equations for one layer in numpy, a pixel at a time; ``x`` is (T, B, C, H, W)."""

    def sigma(v):
        return 1 / (1 + np.exp(-v))

    def seen(image, kernel, row, column):
        """The window of a kernel around a pixel, zeros outside; an even one has one more row at its end."""
        total = 0.0
        for a in range(kernel.shape[2]):
            for b in range(kernel.shape[3]):
                y, z = row + a - (kernel.shape[2] - 1) // 2, column + b - (kernel.shape[3] - 1) // 2
                if 0 <= y < image.shape[1] and 0 <= z < image.shape[2]:
                    total = total + kernel[:, :, a, b] @ image[:, y, z]
        return total

    hidden = h.shape[1]
    w_i, w_f, w_o = parameters["peephole"]
    outputs = []
    for frames in x:
        new_h, new_c = np.empty_like(h), np.empty_like(c)
        for sample, row, column in np.ndindex(h.shape[0], *h.shape[2:]):
            gates = (
                seen(frames[sample], parameters["weight_ih"], row, column)
                + seen(h[sample], parameters["weight_hh"], row, column)
                + parameters["bias"]
            )
            old = c[sample, :, row, column]
            i = sigma(gates[:hidden] + w_i * old)
            f = sigma(gates[hidden : 2 * hidden] + w_f * old)
            g = np.tanh(gates[2 * hidden : 3 * hidden])
            new = f * old + i * g
            o = sigma(gates[3 * hidden :] + w_o * new)
            new_c[sample, :, row, column] = new
            new_h[sample, :, row, column] = o * np.tanh(new)
        h, c = new_h, new_c
        outputs.append(h)
    return np.stack(outputs), h, c


@pytest.mark.parametrize(
    ("kernel_size", "recurrent_kernel_size"),
    [(3, None), ((3, 5), (5, 1)), ((2, 4), (4, 3)), ([3, (1, 2)], [2, 3])],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_conv_lstm_on_images_matches_equations_of_the_paper(kernel_size, recurrent_kernel_size, backend):
    kernels = {"kernel_size": kernel_size, "recurrent_kernel_size": recurrent_kernel_size}
    rnn = randomised(ConvLSTM2d(2, [3, 2], **kernels, backend=backend))
    x = numbers(3, 2, 2, 5, 7)
    h_0 = [numbers(2, channels, 5, 7, seed=10 + channels) for channels in (3, 2)]
    c_0 = [numbers(2, channels, 5, 7, seed=20 + channels) for channels in (3, 2)]
    output, (h_n, c_n) = rnn(x, (h_0, c_0))

    expected = x.numpy()
    for k, cell in enumerate(rnn.cells):
        parameters = {name: value.detach().numpy() for name, value in cell.named_parameters()}
        expected, h, c = loop(expected, h_0[k].numpy(), c_0[k].numpy(), parameters)
        np.testing.assert_allclose(h_n[k].detach(), h, **EXACT)
        np.testing.assert_allclose(c_n[k].detach(), c, **EXACT)
    np.testing.assert_allclose(output.detach(), expected, **EXACT)


# fmt: off
DIFFERENTIATED = [  # kind, sizes, options, image
    (ConvLSTM2d, (1, 2, (3, 1)), {"backend": "reference"}, (2, 3)),
    (ConvLSTM2d, (1, 2, (3, 1)), {"backend": "auto"}, (2, 3)),
    (ConvLSTM2d, (1, 2, (2, 3)), {
        "stride": (1, 2), "padding_mode": "replicate", "recurrent_padding_mode": "circular",
        "peephole": "pixel", "norm": "layer-pixel", "spatial_size": (1, 3), "zoneout": (0.2, 0.6),
        "cell_clip": 0.2, "proj_channels": 1, "proj_clip": 0.1,
    }, (1, 3)),
    (ConvLSTM1d, (1, 2, 2), {
        "padding": "valid", "dilation": 2, "norm": "group", "recurrent_activation": "hard_sigmoid_keras2",
    }, (4,)),
    (ConvLSTM3d, (1, 1, (1, 2, 1)), {"padding": (0, 1, 0), "activation": "leaky_relu"}, (1, 1, 2)),
    (PeepholeLSTM, (2, 2), {"proj_channels": 1, "bidirectional": True}, ()),
    (ConvGRU2d, (1, 2, (3, 2)), {"reset": "after", "zoneout": 0.3}, (2, 2)),
    (ConvGRU2d, (1, 2, (3, 2)), {"reset": "before", "norm": "layer", "padding_mode": "circular"}, (2, 2)),
    (ConvGRU1d, (1, 1, 2), {"bidirectional": True, "norm": "group"}, (3,)),
]
# fmt: on


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize(("kind", "sizes", "options", "space"), DIFFERENTIATED)
def test_gradients_match_finite_differences(kind, sizes, options, space, check):
    rnn = randomised(kind(*sizes, **options)).eval()
    names = [name for name, _ in rnn.named_parameters()]
    x = numbers(2, 1, rnn.in_channels, *space)
    with torch.no_grad():
        _, last = rnn(x)
    paired = isinstance(last[0], tuple)
    shapes = [s.shape for s in (sum(last, ()) if paired else last)]

    def run(x, *rest):
        state, parameters = rest[: len(shapes)], rest[len(shapes) :]
        if paired:
            state = state[: len(state) // 2], state[len(state) // 2 :]
        given = dict(zip(names, parameters, strict=True))
        output, last = torch.func.functional_call(rnn, given, (x, state))
        return output, *(sum(last, ()) if paired else last)

    inputs = [x, *(numbers(*shape, seed=2 + k) for k, shape in enumerate(shapes))]
    inputs += [parameter.detach().clone() for parameter in rnn.parameters()]
    assert check(run, [value.requires_grad_() for value in inputs])


def test_hard_sigmoid_of_torch_differentiated_twice_raises():
    rnn = PeepholeLSTM(1, 1, recurrent_activation="hard_sigmoid")
    x = numbers(2, 1, 1).float().requires_grad_()
    (gradient,) = torch.autograd.grad(rnn(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="derivative for aten::hardsigmoid_backward is not implemented"):
        gradient.sum().backward()


def test_error_under_autocast_is_at_most_twice_that_of_plain_torch():
    """The usual loop in torch: one convolution of [x, h], with autocast's choice of dtypes."""
    rnn = randomised(ConvLSTM2d(3, 8, 3, peephole=None)).float()
    cell = rnn.cells[0]
    x = numbers(12, 2, 3, 9, 11).float()
    upstream = numbers(12, 2, 8, 9, 11, seed=2)

    def plain(x):
        weight = torch.cat([cell.weight_ih, cell.weight_hh], dim=1)
        h = c = x.new_zeros(2, 8, 9, 11)
        outputs = []
        for x_t in x:
            z = functional.conv2d(torch.cat([x_t, h], dim=1), weight, cell.bias, padding=1)
            i, f, g, o = z.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), c

    def run(function, x):
        rnn.zero_grad()
        output, c = function(x)
        (output.double() * upstream).sum().backward()
        gradients = {name: p.grad.double() for name, p in rnn.named_parameters()}
        return {"output": output.double().detach(), "c": c.double().detach(), **gradients}

    def ours(x):
        output, (_, c_n) = rnn(x)
        return output, c_n[0]

    with torch.autocast("cpu", torch.bfloat16):
        found, peer = run(ours, x), run(plain, x)
        output, (h_n, c_n) = rnn(x)
    assert (output.dtype, h_n[0].dtype, c_n[0].dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    rnn.double()
    truth = run(plain, x.double())
    for name, expected in truth.items():
        error = (found[name] - expected).norm()
        assert 0 < error <= 2 * (peer[name] - expected).norm(), name
