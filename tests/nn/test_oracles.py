"""The ladder of oracles: each rung is computed without the code under test and checks the next."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from stormcell.nn import ConvLSTM2d, ConvLSTMCell2d

# In float64 two correct computations differ by the order of their sums only: a hundred terms of order
# one, carried over a few steps, make some 1e-14. A wrong term is off by 1e-3 and more.
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomised(module):
    """Give every parameter, peepholes included, values that matter."""
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(0.3 * numbers(*parameter.shape, seed=seed))
    return module.double()


def test_two_steps_on_one_pixel_are_those_worked_by_hand():
    def sigma(v):
        return 1 / (1 + math.exp(-v))

    w_xi, w_xf, w_xg, w_xo = 0.1, -0.2, 0.3, 0.4
    w_hi, w_hf, w_hg, w_ho = -0.5, 0.6, 0.7, -0.8
    b_i, b_f, b_g, b_o = 0.01, 1.0, -0.02, 0.03
    w_ci, w_cf, w_co = 0.9, -1.1, 1.3
    cell = ConvLSTMCell2d(1, 1, 1, dtype=torch.float64)
    cell.load_state_dict(
        {
            "weight_ih": torch.tensor([w_xi, w_xf, w_xg, w_xo]).double().view(4, 1, 1, 1),
            "weight_hh": torch.tensor([w_hi, w_hf, w_hg, w_ho]).double().view(4, 1, 1, 1),
            "bias": torch.tensor([b_i, b_f, b_g, b_o]).double(),
            "peephole": torch.tensor([[w_ci], [w_cf], [w_co]]).double(),
        }
    )

    h, c = 0.25, -0.75
    state = tuple(torch.full((1, 1, 1, 1), v, dtype=torch.float64) for v in (h, c))
    for x in (0.5, -1.25):
        i = sigma(w_xi * x + w_hi * h + w_ci * c + b_i)
        f = sigma(w_xf * x + w_hf * h + w_cf * c + b_f)
        g = math.tanh(w_xg * x + w_hg * h + b_g)
        c = f * c + i * g
        o = sigma(w_xo * x + w_ho * h + w_co * c + b_o)
        h = o * math.tanh(c)
        state = cell(torch.full((1, 1, 1, 1), x, dtype=torch.float64), state)

    # torch.tensor() took the weights through float32, which moves each by up to 6e-8 of itself.
    assert [s.item() for s in state] == pytest.approx([h, c], rel=1e-6)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_on_one_pixel_without_peepholes_it_is_an_lstm(kernel_size):
    steps, batch, inputs, hidden, layers = 7, 3, 4, 5, 2
    lstm = randomised(nn.LSTM(inputs, hidden, layers))
    ours = ConvLSTM2d(inputs, hidden, kernel_size, layers, peephole=None, dtype=torch.float64)
    middle = kernel_size // 2  # a larger kernel sees zeros around its one pixel
    with torch.no_grad():
        for k, cell in enumerate(ours.cells):
            cell.weight_ih[:, :, middle, middle] = getattr(lstm, f"weight_ih_l{k}")
            cell.weight_hh[:, :, middle, middle] = getattr(lstm, f"weight_hh_l{k}")
            cell.bias.copy_(getattr(lstm, f"bias_ih_l{k}") + getattr(lstm, f"bias_hh_l{k}"))

    x = numbers(steps, batch, inputs).requires_grad_()
    h_0, c_0 = (numbers(layers, batch, hidden, seed=s).requires_grad_() for s in (2, 3))
    theirs = lstm(x, (h_0, c_0))
    image = x.detach()[..., None, None].requires_grad_()
    state = tuple([s.detach()[..., None, None].requires_grad_() for s in layer] for layer in (h_0, c_0))
    output, (h_n, c_n) = ours(image, state)

    results = [(output, theirs[0]), (torch.stack(h_n), theirs[1][0]), (torch.stack(c_n), theirs[1][1])]
    for found, expected in results:
        torch.testing.assert_close(found[..., 0, 0], expected, **EXACT)
    upstream = [numbers(*expected.shape, seed=4 + n) for n, (_, expected) in enumerate(results)]
    torch.autograd.backward([expected for _, expected in results], upstream)
    torch.autograd.backward([found[..., 0, 0] for found, _ in results], upstream)

    gradients = {"x": (image.grad[..., 0, 0], x.grad)}
    for k, cell in enumerate(ours.cells):
        for name, given, tensor in (("h_0", state[0], h_0), ("c_0", state[1], c_0)):
            gradients[f"{name} {k}"] = given[k].grad[..., 0, 0], tensor.grad[k]
        for name in ("weight_ih", "weight_hh"):
            found = getattr(cell, name).grad[:, :, middle, middle]
            gradients[f"{name} {k}"] = found, getattr(lstm, f"{name}_l{k}").grad
        gradients[f"bias {k}"] = cell.bias.grad, getattr(lstm, f"bias_ih_l{k}").grad
    for name, (found, expected) in gradients.items():
        torch.testing.assert_close(found, expected, **EXACT, msg=lambda m, name=name: f"{name}: {m}")


def loop(x, h, c, parameters):
    """The paper's equations for one layer in numpy, a pixel at a time; ``x`` is (T, B, C, H, W)."""

    def sigma(v):
        return 1 / (1 + np.exp(-v))

    def seen(image, kernel, row, column):
        """What a kernel sees around a pixel: zeros beyond the edge, one more row at an even one's end."""
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
def test_on_images_it_is_the_papers_equations(kernel_size, recurrent_kernel_size):
    rnn = ConvLSTM2d(2, [3, 2], kernel_size, recurrent_kernel_size=recurrent_kernel_size)
    rnn = randomised(rnn)
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


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_gradients_are_those_of_finite_differences(check):
    rnn = randomised(ConvLSTM2d(1, 2, (3, 2)))
    names = [name for name, _ in rnn.named_parameters()]

    def run(x, h, c, *parameters):
        given = dict(zip(names, parameters, strict=True))
        output, (h_n, c_n) = torch.func.functional_call(rnn, given, (x, ((h,), (c,))))
        return output, *h_n, *c_n

    inputs = [numbers(2, 1, 1, 2, 3), numbers(1, 2, 2, 3, seed=2), numbers(1, 2, 2, 3, seed=3)]
    inputs += [parameter.detach().clone() for parameter in rnn.parameters()]
    assert check(run, [value.requires_grad_() for value in inputs])


def test_under_autocast_it_errs_at_most_twice_as_much_as_plain_torch():
    """Plain torch: the loop people write, one convolution over [x, h] and autocast's choice of the rest."""
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
