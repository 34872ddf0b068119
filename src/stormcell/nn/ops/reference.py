"""The recurrences stated plainly, over any number of spatial axes from none to three.

T time, B batch, C channels, C_in input channels, P channels of the hidden state (C, but where it is
projected), L flows, ``*`` the spatial axes.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from stormcell.nn.activations import leaky_relu
from stormcell.nn.ops.convolution import Convolution
from stormcell.nn.ops.terms import Form, GRUWeights, LSTMWeights, Run, State, TrajGRUWeights
from stormcell.nn.ops.unroll import unroll

_SAME = Convolution()


def conv_lstm(
    x: Tensor | None,  # (T, B, C_in, *) the input; None for a layer without one
    state: State,  # h (B, P, *) and c (B, C, *) before the first step
    weights: LSTMWeights,
    form: Form,
    run: Run,
) -> tuple[
    Tensor,  # (T, B, P, *) the hidden state after each step
    State,  # h and c after the last step
]:
    """Run the ConvLSTM of Shi et al. (2015), arXiv:1506.04214, over a sequence.

    The hidden state has the precision of the convolutions, which autocast may lower. The cell state
    sums over all steps, where rounding would pile up: it keeps at least the weights' precision.
    """
    h, c = state
    c = c.to(torch.promote_types(c.dtype, weights.weight_hh.dtype))
    return unroll(partial(_conv_lstm_step, w=weights, form=form, run=run), x, (h, c), form, run)


def conv_gru(
    x: Tensor | None,  # (T, B, C_in, *) the input; None for a layer without one
    state: State,  # h (B, C, *) before the first step
    weights: GRUWeights,
    form: Form,
    run: Run,
) -> tuple[
    Tensor,  # (T, B, C, *) the hidden state after each step
    State,  # h after the last step
]:
    """Run the ConvGRU of Ballas et al. (2016), arXiv:1511.06432, over a sequence.

    Their reset gate acts before the convolution, that of :class:`torch.nn.GRU` after it: ``form.reset``.
    The hidden state sums over all steps: it keeps at least the weights' precision.
    """
    (h,) = state
    h = h.to(torch.promote_types(h.dtype, weights.weight_hh.dtype))
    return unroll(partial(_conv_gru_step, w=weights, form=form, run=run), x, (h,), form, run)


def traj_gru(
    x: Tensor | None,  # (T, B, C_in, H, W) the input; None for a layer without one
    state: State,  # h (B, C, H, W) before the first step
    weights: TrajGRUWeights,
    form: Form,
    run: Run,
) -> tuple[
    Tensor,  # (T, B, C, H, W) the hidden state after each step
    State,  # h after the last step
]:
    """Run the TrajGRU of Shi et al. (2017), arXiv:1706.03458, over a sequence.

    The hidden state has the precision that :func:`conv_gru` gives it.
    """
    (h,) = state
    h = h.to(torch.promote_types(h.dtype, weights.weight_hh.dtype))
    return unroll(partial(_traj_gru_step, w=weights, form=form, run=run), x, (h,), form, run)


def _conv_lstm_step(
    x: Tensor | None, h: Tensor, c: Tensor, w: LSTMWeights, form: Form, run: Run
) -> tuple[Tensor, Tensor]:
    z = _term(form.recurrent_convolution, h, w.weight_hh, w.bias, w.norm_hh, form, run.recurrent_dropout, 4)
    if x is not None and w.weight_ih is not None:
        z = z + _term(form.convolution, x, w.weight_ih, None, w.norm_ih, form, run.input_dropout, 4)
    z_i, z_f, z_g, z_o = z.to(c.dtype).chunk(4, dim=1)
    w_ci, w_cf, w_co = (None, None, None) if w.peephole is None else _over_space(w.peephole, c.dim())
    σ, φ = form.recurrent_activation, form.activation

    i = σ(_look(z_i, w_ci, c))
    f = σ(_look(z_f, w_cf, c))
    g = φ(z_g)
    c = _clip(f * c + i * g, form.cell_clip)
    o = σ(_look(z_o, w_co, c))  # at the new cell state
    h = (o * φ(c)).to(z.dtype)
    if w.weight_hr is not None:
        h = _clip(_SAME(h, w.weight_hr), form.proj_clip)
    return h, c


def _conv_gru_step(x: Tensor | None, h: Tensor, w: GRUWeights, form: Form, run: Run) -> tuple[Tensor]:
    i = _gru_input(x, h, w, form, run)
    if form.reset == "after":
        h_r, h_z, h_n = _gru_hidden(h, w, form, run, first=0, last=3)
        return _gru(i, h_r, h_z, lambda r: r * h_n, h, form)
    h_r, h_z = _gru_hidden(h, w, form, run, first=0, last=2)
    return _gru(i, h_r, h_z, lambda r: _gru_hidden(r * h, w, form, run, first=2, last=3)[0], h, form)


def _traj_gru_step(x: Tensor | None, h: Tensor, w: TrajGRUWeights, form: Form, run: Run) -> tuple[Tensor]:
    i = _gru_input(x, h, w, form, run)
    seen = _SAME(h, w.flow_weight_hh, w.flow_bias_hh)
    if x is not None and w.flow_weight_ih is not None:
        seen = seen + _SAME(x, w.flow_weight_ih, w.flow_bias_ih)
    flow = _SAME(leaky_relu(seen), w.flow_weight, w.flow_bias).to(h.dtype)
    warped = _warp(h, flow, form.align_corners)
    h_r, h_z, h_n = _SAME(warped, w.weight_hh, w.bias_hh).to(h.dtype).chunk(3, dim=1)
    return _gru(i, h_r, h_z, lambda r: r * h_n, h, form)


def _gru(
    i: Sequence[Tensor | float],  # what the input gives to r, z and n
    h_r: Tensor,  # what the hidden state gives to r
    h_z: Tensor,
    h_n: Callable[[Tensor], Tensor],  # what it gives to n, the reset gate having acted
    h: Tensor,
    form: Form,
) -> tuple[Tensor]:
    i_r, i_z, i_n = i
    σ, φ = form.recurrent_activation, form.activation

    r = σ(i_r + h_r)
    z = σ(i_z + h_z)
    n = φ(i_n + h_n(r))
    h = (1 - z) * n + z * h
    return (h,)


def _gru_input(
    x: Tensor | None, h: Tensor, w: GRUWeights | TrajGRUWeights, form: Form, run: Run
) -> Sequence[Tensor | float]:
    """Return W_x * X + b_x for the gates r, z, n."""
    if x is None or w.weight_ih is None:
        return 0.0, 0.0, 0.0
    norm_ih = w.norm_ih if isinstance(w, GRUWeights) else None
    z = _term(form.convolution, x, w.weight_ih, w.bias_ih, norm_ih, form, run.input_dropout, 3)
    return z.to(h.dtype).chunk(3, dim=1)


def _gru_hidden(h: Tensor, w: GRUWeights, form: Form, run: Run, *, first: int, last: int) -> Sequence[Tensor]:
    """Return W_h * H + b_h for the gates from the first to before the last of r, z, n."""
    channels = h.shape[1]
    rows = slice(first * channels, last * channels)
    bias, factor = (None if t is None else t[rows] for t in (w.bias_hh, w.norm_hh))
    dropout = None if run.recurrent_dropout is None else run.recurrent_dropout[first:last]
    z = _term(form.recurrent_convolution, h, w.weight_hh[rows], bias, factor, form, dropout, last - first)
    return z.to(h.dtype).chunk(last - first, dim=1)


def _term(
    convolution: Convolution,
    x: Tensor,  # (B, C_in, *)
    weight: Tensor,  # (gates·C, C_in, *k)
    bias: Tensor | None,  # (gates·C,) or (gates·C, *)
    factor: Tensor | None,  # the same
    form: Form,
    dropout: Tensor | None,  # (gates, B, C_in, *)
    gates: int,
) -> Tensor:
    """Return W * X + b, what an image gives to the gates, stacked; W * X normalised if there is a factor."""
    if dropout is not None:  # every gate sees the image through a mask of its own
        each = zip(dropout, weight.chunk(gates), strict=True)
        z = torch.cat([convolution(x * mask, rows) for mask, rows in each], dim=1)
    elif factor is None:
        return convolution(x, weight, bias)  # which adds the bias for nothing
    else:
        z = convolution(x, weight)
    precision = z.dtype  # that of the convolution, which what follows may raise
    if factor is not None:
        groups = gates if form.norm == "group" else 1
        # functional.group_norm refuses a group of one value, but only in a batch of one.
        z = torch.group_norm(z, groups) * _over_space(factor, z.dim() - 1)
    if bias is not None:
        z = z + _over_space(bias, z.dim() - 1)
    return z.to(precision)


def _warp(h: Tensor, flow: Tensor, align_corners: bool) -> Tensor:
    """Return what moves along each flow into each pixel, zeros from beyond the edge: (B, L·C, H, W).

    Args:
        h: (B, C, H, W).
        flow: (B, 2L, H, W), pairs dx, dy in pixels.
        align_corners: The grid runs from -1 at the first pixel's centre to 1 at the last one's, which is
            what True says of it. False is what PyTorch since 1.3 assumes of code that does not say.
    """
    batch, channels, height, width = h.shape
    dx, dy = flow[:, 0::2], flow[:, 1::2]  # (B, L, H, W)

    def grid(pixel: Tensor, size: int) -> Tensor:
        """Say as the sampler does, -1 and 1 being the image's edges, where something is in pixels.

        It can also take them to be centres, but not in an image of one pixel: there they are one point.
        """
        return (2 * pixel + 1) / size - 1 if align_corners else 2 * pixel / max(size - 1, 1) - 1

    dtype = torch.promote_types(h.dtype, torch.float32)  # in bfloat16 pixel 257 is pixel 256
    column = torch.arange(width, device=h.device, dtype=dtype)
    row = torch.arange(height, device=h.device, dtype=dtype).unsqueeze(1)
    places = torch.stack([grid(column - dx, width), grid(row - dy, height)], dim=-1)
    # The images of the flows one below the other: h need not be copied for each.
    images = F.grid_sample(h.to(dtype), places.flatten(1, 2), align_corners=False)  # (B, C, L·H, W)
    images = images.to(h.dtype).reshape(batch, channels, dx.shape[1], height, width)
    return images.transpose(1, 2).flatten(1, 2)


def _look(gate: Tensor, weight: Tensor | None, c: Tensor) -> Tensor:
    """Let a gate look at the cell state through its peephole, where it has one."""
    return gate if weight is None else gate + weight * c


def _clip(value: Tensor, limit: float | None) -> Tensor:
    return value if limit is None else value.clamp(-limit, limit)


def _over_space(weights: Tensor, axes: int) -> Tensor:
    """Give weights per channel the spatial axes that make them so many; weights per pixel have them."""
    return weights.reshape(*weights.shape, *(1,) * (axes - weights.dim()))
