"""What flows move, multiplied: either way beside the reference's warp and a product of its own."""

import pytest
import torch

from stormcell.nn.ops import compiler, moved, pieces, reference
from stormcell.nn.ops.terms import TrajGRUWeights
from stormcell.nn.ops.warp import Warp

HAS_COMPILER = pytest.mark.skipif(compiler.library(torch.float64) is None, reason="no C compiler")


@pytest.fixture(params=[pytest.param("compiled", marks=HAS_COMPILER), "sampled"])
def way(request):
    def compiled(w, real, align_corners):
        return moved.Compiled(w, real, Warp(compiler.library(real), align_corners))

    return compiled if request.param == "compiled" else moved.Sampled


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(channels, flows, dtype):
    w, b = numbers(3 * channels, flows * channels, 1, 1, seed=3), numbers(3 * channels, seed=4)
    fields = dict.fromkeys(TrajGRUWeights._fields)
    return TrajGRUWeights(**fields | {"weight_hh": w.to(dtype), "bias_hh": b.to(dtype)})


def in_rows(images):
    """Images (B, C, H, W) as pixels in a row, (P, C)."""
    return images.movedim(1, -1).flatten(0, 2)


def found(way, h, flow, align_corners, real):
    """What h (B, C, H, W) gives along flow (B, 2L, H, W), and the gradients of a sum weighted by numbers."""
    w = weights(h.shape[1], flow.shape[1] // 2, h.dtype)
    it = way(w, real, align_corners)
    images, flows = h.movedim(1, -1).contiguous(), in_rows(flow).contiguous()
    z = it.forward(images, flows)
    d_h = torch.ones_like(images)
    d_flows = it.backward(numbers(*z.shape, seed=9).to(real), images, flows, d_h, True)
    unweighted = way(w, real, align_corners)
    assert not unweighted.backward(z, images, flows, d_h.clone(), False).isnan().all()
    assert (unweighted.d_weight() == 0).all()
    return z, (d_h - 1).movedim(-1, 1), d_flows, it.d_weight()


def expected(h, flow, align_corners):
    h, flow = h.detach().requires_grad_(), flow.detach().requires_grad_()
    w = weights(h.shape[1], flow.shape[1] // 2, h.dtype)
    weight = w.weight_hh.requires_grad_()
    z = in_rows(reference._warp(h, flow, align_corners)) @ weight[..., 0, 0].T + w.bias_hh
    d_h, d_flow, d_weight = torch.autograd.grad(z, (h, flow, weight), numbers(*z.shape, seed=9).to(h.dtype))
    return z.detach(), d_h, in_rows(d_flow), d_weight


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("numbers_at_once", [1 << 20, 400, 90])  # all; of an image; of a few pixels
@pytest.mark.parametrize(
    ("batch", "channels", "size", "flows"),
    [(3, 3, (5, 7), 2), (2, 5, (4, 3), 1), (2, 2, (3, 2), 13), (1, 1, (1, 9), 2), (2, 2, (1, 1), 2)],
)
def test_it_is_the_reference(monkeypatch, way, batch, channels, size, flows, numbers_at_once, align_corners):
    monkeypatch.setattr(pieces, "_PIECE", 8 * numbers_at_once)
    h, flow = numbers(batch, channels, *size), 2 * numbers(batch, 2 * flows, *size, seed=2)
    # A place is off by the rounding of a few pixels, and what is there by that times a slope of order one.
    ours = found(way, h, flow, align_corners, torch.float64)
    torch.testing.assert_close(ours, expected(h, flow, align_corners), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("far", [float("nan"), float("inf"), 1e38, -(2.0**31), 2.0**63, 5, -5])
def test_flows_may_lead_anywhere(way, align_corners, axis, far):
    """Zeros come from beyond the edge, and NaN from nowhere, in the results and in the gradients."""
    h = numbers(2, 3, 3, 4).float()
    flow = 0.3 + 0.1 * numbers(2, 4, 3, 4, seed=2).float().clamp(-2, 2)
    flow[1, 2 + axis, 1, 2] = far
    ours, right = found(way, h, flow, align_corners, torch.float32), expected(h, flow, align_corners)
    assert right[0].isnan().any() == (not abs(far) < float("inf"))
    for each, other in zip(ours, right, strict=True):
        # Single precision: sums of 24 products of numbers below 10, and as many of their gradients.
        torch.testing.assert_close(each, other, rtol=1e-5, atol=24 * 10 * 2**-23, equal_nan=True)


@pytest.mark.parametrize("align_corners", [True, False])
def test_in_bfloat16_places_are_not_rounded(way, align_corners):
    """Pixel 257 of a wide image is not pixel 256, as it would be in bfloat16."""
    h, flow = numbers(1, 2, 1, 300).float(), torch.zeros(1, 2, 1, 300)
    real = torch.bfloat16
    z, *_ = found(way, h, flow.to(real), align_corners, real)
    right, *_ = found(way, h, flow, align_corners, torch.float32)
    # Of what is seen, the weights and the products each is rounded, to 8 bits.
    torch.testing.assert_close(z.float(), right, rtol=0, atol=4 * 2**-8 * float(right.abs().max()))
