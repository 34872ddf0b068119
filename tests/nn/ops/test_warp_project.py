"""Both implementations of warp and projection equal the reference's warp and a matrix product."""

import pytest
import torch
from tests.nn.ops.recurrences import numbers

from stormcell.nn.ops import chunking, kernels
from stormcell.nn.ops.traj_gru import reference, warp_project
from stormcell.nn.ops.traj_gru.warp import Warp
from stormcell.nn.ops.types import TrajGRUWeights

HAS_COMPILER = pytest.mark.skipif(kernels.library(torch.float64) is None, reason="no C compiler")


@pytest.fixture(params=[pytest.param("compiled", marks=HAS_COMPILER), "PyTorch"])
def implementation(request):
    def compiled(w, dtype, align_corners):
        return warp_project.NativeWarpProject(w, dtype, Warp(kernels.library(dtype), align_corners))

    return compiled if request.param == "compiled" else warp_project.TorchWarpProject


def weights(channels, flows, dtype):
    w, b = numbers(3 * channels, flows * channels, 1, 1, seed=3), numbers(3 * channels, seed=4)
    fields = dict.fromkeys(TrajGRUWeights._fields)
    return TrajGRUWeights(**fields | {"weight_hh": w.to(dtype), "bias_hh": b.to(dtype)})


def in_rows(images):
    """Images (B, C, H, W) as pixels in a row, (P, C)."""
    return images.movedim(1, -1).flatten(0, 2)


def found(implementation, h, flow, align_corners, dtype):
    """Return the terms of h (B, C, H, W) and flow (B, 2L, H, W), and gradients of a random sum of them."""
    w = weights(h.shape[1], flow.shape[1] // 2, h.dtype)
    it = implementation(w, dtype, align_corners)
    images, flows = h.movedim(1, -1).contiguous(), in_rows(flow).contiguous()
    z = it.forward(images, flows)
    d_h = torch.ones_like(images)
    d_flows = it.backward(numbers(*z.shape, seed=9).to(dtype), images, flows, d_h, True)
    unweighted = implementation(w, dtype, align_corners)
    assert not unweighted.backward(z, images, flows, d_h.clone(), False).isnan().all()
    assert (unweighted.weight_gradient() == 0).all()
    return z, (d_h - 1).movedim(-1, 1), d_flows, it.weight_gradient()


def expected(h, flow, align_corners):
    h, flow = h.detach().requires_grad_(), flow.detach().requires_grad_()
    w = weights(h.shape[1], flow.shape[1] // 2, h.dtype)
    weight = w.weight_hh.requires_grad_()
    z = in_rows(reference.warp(h, flow, align_corners)) @ weight[..., 0, 0].T + w.bias_hh
    d_h, d_flow, d_weight = torch.autograd.grad(z, (h, flow, weight), numbers(*z.shape, seed=9).to(h.dtype))
    return z.detach(), d_h, in_rows(d_flow), d_weight


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("chunk_numbers", [1 << 20, 400, 90])  # everything; an image; a few pixels
@pytest.mark.parametrize(
    ("batch", "channels", "size", "flows"),
    [(3, 3, (5, 7), 2), (2, 5, (4, 3), 1), (2, 2, (3, 2), 13), (1, 1, (1, 9), 2), (2, 2, (1, 1), 2)],
)
def test_warp_project_matches_reference(
    monkeypatch, implementation, batch, channels, size, flows, chunk_numbers, align_corners
):
    monkeypatch.setattr(chunking, "_CHUNK_BYTES", 8 * chunk_numbers)
    h, flow = numbers(batch, channels, *size), 2 * numbers(batch, 2 * flows, *size, seed=2)
    # Places have rounding errors of a few pixels, which are multiplied by a slope of order one.
    ours = found(implementation, h, flow, align_corners, torch.float64)
    torch.testing.assert_close(ours, expected(h, flow, align_corners), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("far", [float("nan"), float("inf"), 1e38, -(2.0**31), 2.0**63, 5, -5])
def test_warp_project_with_any_flow_matches_reference(implementation, align_corners, axis, far):
    """Outside the image there are zeros, and NaN only where the reference has them, also in gradients."""
    h = numbers(2, 3, 3, 4).float()
    flow = 0.3 + 0.1 * numbers(2, 4, 3, 4, seed=2).float().clamp(-2, 2)
    flow[1, 2 + axis, 1, 2] = far
    ours, right = (
        found(implementation, h, flow, align_corners, torch.float32),
        expected(h, flow, align_corners),
    )
    assert right[0].isnan().any() == (not abs(far) < float("inf"))
    for each, other in zip(ours, right, strict=True):
        # Single precision: sums of 24 products of numbers below 10, and as many of their gradients.
        torch.testing.assert_close(each, other, rtol=1e-5, atol=24 * 10 * 2**-23, equal_nan=True)


@pytest.mark.parametrize("align_corners", [True, False])
def test_warp_project_in_bfloat16_does_not_round_places(implementation, align_corners):
    """Pixel 257 of a wide image is not pixel 256, as it would be in bfloat16."""
    h, flow = numbers(1, 2, 1, 300).float(), torch.zeros(1, 2, 1, 300)
    dtype = torch.bfloat16
    z, *_ = found(implementation, h, flow.to(dtype), align_corners, dtype)
    right, *_ = found(implementation, h, flow, align_corners, torch.float32)
    # Warped states, weights and products are each rounded to 8 bits.
    torch.testing.assert_close(z.float(), right, rtol=0, atol=4 * 2**-8 * float(right.abs().max()))
