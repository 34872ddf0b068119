"""The recurrences stated plainly, in any number of spatial dimensions from one to three.

T time, B batch, C channels, C_in input channels, ``*`` the spatial axes, k the kernel's extents.
"""

from collections.abc import Callable
from functools import partial
from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor, sigmoid, tanh

_CONVOLUTION = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def conv_lstm(
    x: Tensor | None,  # (T, B, C_in, *) the input; None for a layer without one
    h: Tensor,  # (B, C, *) hidden state before the first step
    c: Tensor,  # (B, C, *) cell state before the first step
    weight_ih: Tensor | None,  # (4C, C_in, *k) from the input to the gates i, f, g, o
    weight_hh: Tensor,  # (4C, C, *k) from the hidden state to the gates
    bias: Tensor | None,  # (4C,)
    peephole: Tensor | None,  # (3, C) from the cell state to the gates i, f, o
    *,
    steps: int,  # T
) -> tuple[
    Tensor,  # (T, B, C, *) the hidden state after each step
    Tensor,  # (B, C, *) the hidden state after the last step
    Tensor,  # (B, C, *) the cell state after the last step
]:
    """Run the ConvLSTM of Shi et al. (2015), arXiv:1506.04214, over a sequence.

    The hidden state has the precision of the convolutions, which autocast may lower. The cell state
    sums over all steps, where rounding would pile up: it keeps at least the weights' precision.
    """
    c = c.to(torch.promote_types(c.dtype, weight_hh.dtype))
    step = partial(_conv_lstm_step, weight_ih=weight_ih, weight_hh=weight_hh, bias=bias, peephole=peephole)
    output, (h, c) = unroll(step, x, (h, c), steps=steps)
    return output, h, c


def _conv_lstm_step(
    x: Tensor | None,
    h: Tensor,
    c: Tensor,
    weight_ih: Tensor | None,
    weight_hh: Tensor,
    bias: Tensor | None,
    peephole: Tensor | None,
) -> tuple[Tensor, Tensor]:
    gates = convolve(h, weight_hh, bias)
    if x is not None and weight_ih is not None:
        gates = gates + convolve(x, weight_ih)
    i, f, g, o = gates.to(c.dtype).chunk(4, dim=1)
    w_ci, w_cf, w_co = (None, None, None) if peephole is None else _over_space(peephole, c)

    i = sigmoid(_look(i, w_ci, c))
    f = sigmoid(_look(f, w_cf, c))
    g = tanh(g)
    c = f * c + i * g
    o = sigmoid(_look(o, w_co, c))  # at the new cell state
    h = o * tanh(c)
    return h.to(gates.dtype), c


def unroll(
    step: Callable[..., tuple[Tensor, ...]],
    x: Tensor | None,
    state: tuple[Tensor, ...],
    *,
    steps: int,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Apply ``state = step(x_t, *state)`` at every step; also return each step's ``state[0]``, stacked."""
    outputs = []
    for x_t in repeat(None, steps) if x is None else x.unbind(0):
        state = step(x_t, *state)
        outputs.append(state[0])
    return torch.stack(outputs), state


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve and keep the image's size: zeros around it, for an even kernel one more row at the end."""
    kernel = weight.shape[2:]
    if any(k % 2 == 0 for k in kernel):
        # F.pad counts axes from the last; only even kernels need it, and it copies the image.
        x = F.pad(x, [side for k in reversed(kernel) for side in (0, (k - 1) % 2)])
    return _CONVOLUTION[len(kernel)](x, weight, bias, padding=[(k - 1) // 2 for k in kernel])


def _look(gate: Tensor, weight: Tensor | None, c: Tensor) -> Tensor:
    """Let a gate look at the cell state through its peephole, where it has one."""
    return gate if weight is None else gate + weight * c


def _over_space(peephole: Tensor, c: Tensor) -> Tensor:
    """Give peepholes per channel, (3, C), the spatial axes of the cell state they multiply."""
    return peephole.reshape(*peephole.shape, *(1,) * (c.dim() - peephole.dim()))
