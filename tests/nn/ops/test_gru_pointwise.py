"""The gate arithmetic of GRUs with a leaky ReLU, which no test of the ConvGRU reaches."""

import pytest
import torch
from tests.nn.ops.recurrences import numbers

from stormcell.nn.activations import leaky_relu
from stormcell.nn.ops import kernels
from stormcell.nn.ops.gru.pointwise import NativePointwise
from stormcell.nn.ops.gru.torch_pointwise import TorchPointwise

# Sums of some hundred terms of order one, in float64.
EXACT = {"rtol": 1e-11, "atol": 1e-11}


@pytest.mark.parametrize("kind", [NativePointwise, TorchPointwise])
@pytest.mark.usefixtures("nan_memory")
def test_pointwise_with_leaky_relu_matches_autograd(kind):
    library = kernels.library(torch.float64)
    if kind is NativePointwise and library is None:
        pytest.skip("no C compiler")
    pointwise = TorchPointwise(leaky=True) if kind is TorchPointwise else kind(library, leaky=True)
    x, h, old = (numbers(300, n * 5, seed=seed).requires_grad_() for seed, n in enumerate((3, 3, 1)))
    (x_r, x_z, x_n), (h_r, h_z, h_n) = x.chunk(3, dim=1), h.chunk(3, dim=1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    expected = (1 - z) * leaky_relu(x_n + r * h_n) + z * old

    new, saved = torch.empty_like(old), old.new_empty(300, 20)
    with torch.no_grad():
        pointwise.forward(x, h, old, new, saved)
    torch.testing.assert_close(new, expected.detach(), **EXACT)
    parts = [numbers(300, 5, seed=seed) for seed in (6, 7, 8)]
    gradients = torch.autograd.grad(expected, [x, h, old], sum(parts))
    d_x, d_h = torch.empty_like(x), torch.empty_like(h)
    with torch.no_grad():
        sums = pointwise.backward(saved, old, *parts, d_x, d_h)
    torch.testing.assert_close((d_x, d_h, parts[2]), gradients, **EXACT)
    by_hand = torch.cat([gradients[0].sum(0), gradients[1].sum(0)[10:]]).view(4, 5)
    torch.testing.assert_close(sums, by_hand, **EXACT)
