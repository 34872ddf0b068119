"""The ConvGRU as its equations are written. Shapes are explained in :mod:`stormcell.nn.ops.types`."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from stormcell.nn.ops.convolution import gate_term
from stormcell.nn.ops.types import CallSpec, GRUWeights, State, TrajGRUWeights, Variant
from stormcell.nn.ops.unroll import unroll


def conv_gru(
    x: Tensor | None,  # (T, B, C_in, *) the input; None for a layer without one
    state: State,  # h (B, C, *) before the first step
    weights: GRUWeights,
    variant: Variant,
    spec: CallSpec,
) -> tuple[
    Tensor,  # (T, B, C, *) the hidden state after each step
    State,  # h after the last step
]:
    """Run the ConvGRU of Ballas et al. (2016), arXiv:1511.06432, over a sequence.

    They apply the reset gate before the recurrent convolution, :class:`torch.nn.GRU` after it:
    ``variant.reset``. The hidden state has at least the precision of the weights: it is a sum over all steps.
    """
    (h,) = state
    h = h.to(torch.promote_types(h.dtype, weights.weight_hh.dtype))
    step = partial(_step, w=weights, variant=variant, spec=spec)
    return unroll(step, x, (h,), spec, variant.zoneout)


def _step(x: Tensor | None, h: Tensor, w: GRUWeights, variant: Variant, spec: CallSpec) -> tuple[Tensor]:
    i = input_terms(x, h, w, variant, spec)
    if variant.reset == "after":
        h_r, h_z, h_n = _hidden_terms(h, w, variant, spec, first=0, last=3)
        return (update(i, h_r, h_z, lambda r: r * h_n, h, variant),)
    h_r, h_z = _hidden_terms(h, w, variant, spec, first=0, last=2)

    def hidden_n(r: Tensor) -> Tensor:
        return _hidden_terms(r * h, w, variant, spec, first=2, last=3)[0]

    return (update(i, h_r, h_z, hidden_n, h, variant),)


def update(
    i: Sequence[Tensor | float],  # the input's terms of r, z and n
    h_r: Tensor,  # the hidden state's term of r
    h_z: Tensor,
    h_n: Callable[[Tensor], Tensor],  # returns its term of n, given the reset gate
    h: Tensor,
    variant: Variant,
) -> Tensor:
    """Return the new hidden state."""
    i_r, i_z, i_n = i
    σ, φ = variant.recurrent_activation, variant.activation

    r = σ(i_r + h_r)
    z = σ(i_z + h_z)
    n = φ(i_n + h_n(r))
    return (1 - z) * n + z * h


def input_terms(
    x: Tensor | None, h: Tensor, w: GRUWeights | TrajGRUWeights, variant: Variant, spec: CallSpec
) -> Sequence[Tensor | float]:
    """Return W_x * X + b_x for the gates r, z, n."""
    if x is None or w.weight_ih is None:
        return 0.0, 0.0, 0.0
    norm_ih = w.norm_ih if isinstance(w, GRUWeights) else None
    v, dropout = variant, spec.input_dropout
    z = gate_term(v.convolution, x, w.weight_ih, w.bias_ih, norm_ih, v.norm, dropout, 3)
    return z.to(h.dtype).chunk(3, dim=1)


def _hidden_terms(
    h: Tensor, w: GRUWeights, variant: Variant, spec: CallSpec, *, first: int, last: int
) -> Sequence[Tensor]:
    """Return W_h * H + b_h for the gates ``first`` to ``last - 1`` of r, z, n."""
    channels, v = h.shape[1], variant
    rows = slice(first * channels, last * channels)
    bias, scale = (None if t is None else t[rows] for t in (w.bias_hh, w.norm_hh))
    dropout = None if spec.recurrent_dropout is None else spec.recurrent_dropout[first:last]
    gates, weight = last - first, w.weight_hh[rows]
    z = gate_term(v.recurrent_convolution, h, weight, bias, scale, v.norm, dropout, gates)
    return z.to(h.dtype).chunk(gates, dim=1)
