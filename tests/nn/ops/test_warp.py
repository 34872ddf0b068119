"""The compiled warp equals the reference's and finite differences, wherever flows lead."""

import pytest
import torch
from tests.nn.ops.recurrences import numbers

from stormcell.nn.ops import kernels
from stormcell.nn.ops.traj_gru import reference, warp

pytestmark = pytest.mark.skipif(kernels.library(torch.float64) is None, reason="no C compiler")


def warped_and_gradients(h, flow, align_corners, band=None):
    """Warp h (B, C, H, W) along flow (B, 2L, H, W), ``band`` pixels at a time, forward and backward.

    Returns the warped image, the same as written by the backward pass, and the gradients of a random sum.
    """
    batch, channels, height, width = h.shape
    count, flows = batch * height * width, flow.shape[1] // 2
    it = warp.Warp(kernels.library(flow.dtype), align_corners)
    images, pairs = h.movedim(1, -1).contiguous(), flow.movedim(1, -1).reshape(count, -1).contiguous()
    warped = flow.new_full((count, flows * channels), float("nan"))
    again = numbers(batch, flows * channels, height, width, seed=9).movedim(1, -1).reshape(count, -1)
    again = again.to(flow.dtype).contiguous()
    d_h, d_flow = torch.ones_like(images), torch.full_like(pairs, float("nan"), dtype=h.dtype)
    for first in range(0, count, band or count):
        some = slice(first, first + (band or count))
        it.forward(images, first, pairs[some], warped[some])
        d_flow[some] = it.backward(images, first, pairs[some], again[some], d_h)
    shape = batch, height, width, -1
    return tuple(each.view(shape).movedim(-1, 1) for each in (warped, again, d_h - 1, d_flow))


def expected(h, flow, align_corners):
    h, flow = h.detach().requires_grad_(), flow.detach().requires_grad_()
    warped = reference.warp(h, flow, align_corners)
    gradients = torch.autograd.grad(warped, (h, flow), numbers(*warped.shape, seed=9).to(h.dtype))
    return warped.detach(), warped.detach(), *gradients


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("band", [None, 1, 11])  # everything; a pixel; parts of two images
@pytest.mark.parametrize(
    ("batch", "channels", "size", "flows"),
    [
        (3, 3, (5, 7), 2),
        (2, 16, (4, 3), 1),
        (2, 35, (3, 4), 3),  # channels in several blocks and a part of one
        (2, 2, (3, 2), 35),  # flows too
        (1, 1, (1, 9), 2),
        (2, 2, (1, 1), 2),
    ],
)
def test_warp_matches_reference(batch, channels, size, flows, band, align_corners):
    h, flow = numbers(batch, channels, *size), 2 * numbers(batch, 2 * flows, *size, seed=2)
    found = warped_and_gradients(h, flow, align_corners, band)
    # Places have rounding errors of a few pixels, which are multiplied by a slope of order one.
    torch.testing.assert_close(found, expected(h, flow, align_corners), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("align_corners", [True, False])
def test_warp_gradients_match_finite_differences(align_corners):
    size = 3, 4
    h, flow = numbers(2, 3, *size), numbers(2, 4, *size, seed=2)
    flow = flow.floor() + 0.2 + 0.6 * torch.rand(flow.shape, generator=torch.Generator().manual_seed(3))
    if not align_corners:  # other flows lead to the centre of a pixel then
        place = torch.stack(
            [torch.arange(4.0).expand(3, 4), torch.arange(3.0)[:, None].expand(3, 4)]
        ).double()
        stretch = torch.tensor([4 / 3, 3 / 2], dtype=torch.float64)[:, None, None]
        flow = (place - (place - flow.view(2, 2, 2, *size) + 0.5) / stretch).view(2, 4, *size)
    upstream = numbers(2, 6, *size, seed=9)
    _, _, d_h, d_flow = warped_and_gradients(h, flow, align_corners)

    # Between kinks the function is a polynomial of degree two along any line: the difference is exact.
    for tensor, gradient in ((h, d_h), (flow, d_flow)):
        step = 0.1 * numbers(*tensor.shape, seed=4).clamp(-1, 1)
        there, here = (
            warped_and_gradients(
                *((tensor + s * step if t is tensor else t) for t in (h, flow)), align_corners
            )[0]
            for s in (1, -1)
        )
        change = ((there - here) * upstream).sum() / 2
        torch.testing.assert_close(change, (gradient * step).sum(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "far", [float("nan"), float("inf"), -float("inf"), 1e38, -1e38, 2.0**31, -(2.0**31), 2.0**63, 5, -5]
)
def test_warp_with_any_flow_matches_reference(dtype, align_corners, axis, far):
    """Outside the image there are zeros, and NaN only where the reference has them, also in gradients."""
    h = numbers(2, 3, 3, 4).to(dtype)
    flow = 0.3 + 0.1 * numbers(2, 4, 3, 4, seed=2).to(dtype).clamp(-2, 2)
    flow[1, 2 + axis, 1, 2] = far
    found, right = warped_and_gradients(h, flow, align_corners), expected(h, flow, align_corners)
    assert right[0].isnan().any() == (not abs(far) < float("inf"))
    for each, other in zip(found, right, strict=True):
        torch.testing.assert_close(each, other, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_warp_with_any_number_of_threads_gives_the_same_bits(dtype):
    h, flow = numbers(2, 40, 16, 12).float(), numbers(2, 6, 16, 12, seed=2).to(dtype)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(warped_and_gradients(h, flow, True, 150))
    finally:
        torch.set_num_threads(before)
    for each in found[1:]:
        torch.testing.assert_close(each, found[0], rtol=0, atol=0)


@pytest.mark.parametrize("align_corners", [True, False])
def test_warp_in_bfloat16_rounds_only_its_results(align_corners):
    h, flow = numbers(2, 5, 3, 4).float(), numbers(2, 4, 3, 4, seed=2).bfloat16()
    found = warped_and_gradients(h, flow, align_corners)
    right = warped_and_gradients(h, flow.float(), align_corners)
    for each, other in zip(found[:2], right[:2], strict=True):
        torch.testing.assert_close(each, other.bfloat16(), rtol=2**-7, atol=0)  # after a tie, a neighbour
    assert found[2].dtype == found[3].dtype == torch.float32
