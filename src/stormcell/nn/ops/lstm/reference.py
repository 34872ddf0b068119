"""The ConvLSTM as its equations are written. Shapes are explained in :mod:`stormcell.nn.ops.types`."""

from functools import partial

import torch
from torch import Tensor

from stormcell.nn.ops.convolution import SAME, gate_term, over_space
from stormcell.nn.ops.types import CallSpec, LSTMWeights, State, Variant
from stormcell.nn.ops.unroll import unroll


def conv_lstm(
    x: Tensor | None,  # (T, B, C_in, *) the input; None for a layer without one
    state: State,  # h (B, P, *) and c (B, C, *) before the first step
    weights: LSTMWeights,
    variant: Variant,
    spec: CallSpec,
) -> tuple[
    Tensor,  # (T, B, P, *) the hidden state after each step
    State,  # h and c after the last step
]:
    """Run the ConvLSTM of Shi et al. (2015), arXiv:1506.04214, over a sequence.

    The hidden state has the dtype of the convolutions, which autocast may lower. The cell state has at least
    the precision of the weights: it is a sum over all steps, in which rounding errors would accumulate.
    """
    h, c = state
    c = c.to(torch.promote_types(c.dtype, weights.weight_hh.dtype))
    step = partial(_step, w=weights, variant=variant, spec=spec)
    return unroll(step, x, (h, c), spec, variant.zoneout)


def _step(
    x: Tensor | None, h: Tensor, c: Tensor, w: LSTMWeights, variant: Variant, spec: CallSpec
) -> tuple[Tensor, Tensor]:
    v, dropout = variant, spec.recurrent_dropout
    z = gate_term(v.recurrent_convolution, h, w.weight_hh, w.bias, w.norm_hh, v.norm, dropout, 4)
    if x is not None and w.weight_ih is not None:
        dropout = spec.input_dropout
        z = z + gate_term(v.convolution, x, w.weight_ih, None, w.norm_ih, v.norm, dropout, 4)
    z_i, z_f, z_g, z_o = z.to(c.dtype).chunk(4, dim=1)
    w_ci, w_cf, w_co = (None, None, None) if w.peephole is None else over_space(w.peephole, c.dim())
    σ, φ = v.recurrent_activation, v.activation

    i = σ(_add_peephole(z_i, w_ci, c))
    f = σ(_add_peephole(z_f, w_cf, c))
    g = φ(z_g)
    c = _clip(f * c + i * g, v.cell_clip)
    o = σ(_add_peephole(z_o, w_co, c))  # uses the new cell state
    h = (o * φ(c)).to(z.dtype)
    if w.weight_hr is not None:
        h = _clip(SAME(h, w.weight_hr), v.proj_clip)
    return h, c


def _add_peephole(gate: Tensor, weight: Tensor | None, c: Tensor) -> Tensor:
    return gate if weight is None else gate + weight * c


def _clip(value: Tensor, limit: float | None) -> Tensor:
    return value if limit is None else value.clamp(-limit, limit)
