"""The TrajGRU as its equations are written. Shapes are explained in :mod:`stormcell.nn.ops.types`."""

from functools import partial

import torch
from torch import Tensor

from stormcell.nn.activations import leaky_relu
from stormcell.nn.ops.convolution import SAME
from stormcell.nn.ops.gru.reference import input_terms, update
from stormcell.nn.ops.traj_gru.sampling import sample
from stormcell.nn.ops.types import CallSpec, State, TrajGRUWeights, Variant
from stormcell.nn.ops.unroll import unroll


def traj_gru(
    x: Tensor | None,  # (T, B, C_in, H, W) the input; None for a layer without one
    state: State,  # h (B, C, H, W) before the first step
    weights: TrajGRUWeights,
    variant: Variant,
    spec: CallSpec,
) -> tuple[
    Tensor,  # (T, B, C, H, W) the hidden state after each step
    State,  # h after the last step
]:
    """Run the TrajGRU of Shi et al. (2017), arXiv:1706.03458, over a sequence.

    The hidden state has at least the precision of the weights: it is a sum over all steps.
    """
    (h,) = state
    h = h.to(torch.promote_types(h.dtype, weights.weight_hh.dtype))
    step = partial(_step, w=weights, variant=variant, spec=spec)
    return unroll(step, x, (h,), spec, variant.zoneout)


def _step(x: Tensor | None, h: Tensor, w: TrajGRUWeights, variant: Variant, spec: CallSpec) -> tuple[Tensor]:
    i = input_terms(x, h, w, variant, spec)
    hidden = SAME(h, w.flow_weight_hh, w.flow_bias_hh)
    if x is not None and w.flow_weight_ih is not None:
        hidden = hidden + SAME(x, w.flow_weight_ih, w.flow_bias_ih)
    flow = SAME(leaky_relu(hidden), w.flow_weight, w.flow_bias).to(h.dtype)
    warped = warp(h, flow, variant.align_corners)
    h_r, h_z, h_n = SAME(warped, w.weight_hh, w.bias_hh).to(h.dtype).chunk(3, dim=1)
    return (update(i, h_r, h_z, lambda r: r * h_n, h, variant),)


def warp(h: Tensor, flow: Tensor, align_corners: bool) -> Tensor:
    """Sample the state along each flow; zeros outside the image.

    Args:
        h: (B, C, H, W).
        flow: (B, 2L, H, W), pairs dx, dy in pixels: the result at p is the state at p - (dx, dy).
        align_corners: The sampling grid runs from -1 at the centre of the first pixel to 1 at that of the
            last. True samples it so. False reproduces code written for PyTorch before 1.3 and run since: -1
            and 1 are then taken for the edges of the image.

    Returns:
        (B, L·C, H, W), flow by flow.
    """
    batch, channels, height, width = h.shape
    flows = flow.shape[1] // 2
    dtype = torch.promote_types(h.dtype, torch.float32)  # bfloat16 cannot distinguish pixels 256 and 257
    pairs = flow.to(dtype).movedim(1, -1).reshape(batch * height * width, flows, 2)
    warped = sample(h.to(dtype).movedim(1, -1), pairs, align_corners)
    return warped.to(h.dtype).flatten(1).reshape(batch, height, width, flows * channels).movedim(-1, 1)
