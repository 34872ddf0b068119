"""The types shared by all back ends: states, weights, options of the equations, and one call.

Shapes are written with T time steps, B batch size, C hidden channels, C_in input channels, P channels of
the hidden state (C without a projection), L flows, k kernel sizes, and ``*`` for the spatial axes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stormcell.nn.activations import Activation
from stormcell.nn.ops.convolution import Convolution

State = tuple[Tensor, ...]  # (h, c) of an LSTM, (h,) of a GRU


class Variant(NamedTuple):
    """The options which vary the equations. The defaults are those of the ConvLSTM paper."""

    activation: Activation = torch.tanh
    recurrent_activation: Activation = torch.sigmoid
    convolution: Convolution = Convolution()  # of the input
    recurrent_convolution: Convolution = Convolution()  # of the hidden state
    norm: str | None = None  # normalise W_x * X and W_h * H over all gates ("layer") or per gate ("group")
    cell_clip: float | None = None
    proj_clip: float | None = None
    zoneout: tuple[float, ...] = ()  # one probability per state tensor; empty without zoneout
    reset: str = "after"  # a GRU applies its reset gate "before" or "after" the recurrent convolution
    align_corners: bool = True  # the meaning of a TrajGRU's sampling grid


class CallSpec(NamedTuple):
    """The parameters of one call: what changes from sequence to sequence."""

    steps: int
    mask: Tensor | None = None  # (T, B), False for a missing step
    repeat: bool = True  # a missing step repeats the previous output; otherwise its output is zero
    input_dropout: Tensor | None = None  # (gates, B, C_in, *), one factor per gate and element of the input
    recurrent_dropout: Tensor | None = None  # (gates, B, P, *), the same for the hidden state
    training: bool = False  # zoneout is random in training and takes its expectation otherwise


class LSTMWeights(NamedTuple):
    """The weights of a ConvLSTM. Gates are stacked in the order i, f, g, o."""

    weight_ih: Tensor | None  # (4C, C_in, *k) from the input to the gates
    weight_hh: Tensor  # (4C, P, *k) from the hidden state to the gates
    bias: Tensor | None  # (4C,), or (4C, *) with a norm per pixel
    peephole: Tensor | None  # (3, C) or (3, C, *) from the cell state to the gates i, f, o
    weight_hr: Tensor | None = None  # (P, C, 1, ...) projects the hidden state
    norm_ih: Tensor | None = None  # (4C,) or (4C, *) scale of the normalised W_x * X
    norm_hh: Tensor | None = None  # (4C,) or (4C, *) scale of the normalised W_h * H


class GRUWeights(NamedTuple):
    """The weights of a ConvGRU. Gates are stacked in the order r, z, n."""

    weight_ih: Tensor | None  # (3C, C_in, *k)
    weight_hh: Tensor  # (3C, C, *k)
    bias_ih: Tensor | None  # (3C,)
    bias_hh: Tensor | None  # (3C,)
    norm_ih: Tensor | None = None  # (3C,)
    norm_hh: Tensor | None = None  # (3C,)


class TrajGRUWeights(NamedTuple):
    """The weights of a TrajGRU. Gates are stacked in the order r, z, n; F is the number of flow channels."""

    weight_ih: Tensor | None  # (3C, C_in, *k)
    weight_hh: Tensor  # (3C, L·C, 1, 1), flow by flow
    bias_ih: Tensor | None  # (3C,)
    bias_hh: Tensor | None  # (3C,)
    flow_weight_ih: Tensor | None  # (F, C_in, *k)
    flow_bias_ih: Tensor | None  # (F,)
    flow_weight_hh: Tensor  # (F, C, *k)
    flow_bias_hh: Tensor | None  # (F,)
    flow_weight: Tensor  # (2L, F, *k), the flows as pairs dx, dy in pixels
    flow_bias: Tensor | None  # (2L,)


Weights = LSTMWeights | GRUWeights | TrajGRUWeights
