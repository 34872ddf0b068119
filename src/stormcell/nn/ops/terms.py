"""What the recurrences are given beside the input and the state."""

from typing import NamedTuple

import torch
from torch import Tensor

from stormcell.nn.activations import Activation
from stormcell.nn.ops.convolution import Convolution

State = tuple[Tensor, ...]  # h and c, or h alone


class Form(NamedTuple):
    """What may be varied in the equations. The defaults are the paper's."""

    activation: Activation = torch.tanh
    recurrent_activation: Activation = torch.sigmoid
    convolution: Convolution = Convolution()  # over the input
    recurrent_convolution: Convolution = Convolution()  # over the hidden state
    norm: str | None = None  # "layer" or "group": what W_x * X and W_h * H are normalised over
    cell_clip: float | None = None
    proj_clip: float | None = None
    zoneout: tuple[float, ...] = ()  # per state tensor; empty for none
    reset: str = "after"  # where a GRU's reset gate acts: "before" or "after" the convolution
    align_corners: bool = True  # what a TrajGRU takes its sampling grid to mean


class Run(NamedTuple):
    """What is particular to one run over a sequence."""

    steps: int
    mask: Tensor | None = None  # (T, B), False where a step is not there
    repeat: bool = True  # such a step's output is the one before it, or else zero
    input_dropout: Tensor | None = None  # (gates, B, C_in, *), multiplies what each gate sees of the input
    recurrent_dropout: Tensor | None = None  # (gates, B, P, *), and of the hidden state
    training: bool = False  # zoneout is drawn in training, elsewhere its expectation


class LSTMWeights(NamedTuple):
    """The tensors of a ConvLSTM's equations, the gates stacked in the order i, f, g, o."""

    weight_ih: Tensor | None  # (4C, C_in, *k) from the input to the gates
    weight_hh: Tensor  # (4C, P, *k) from the hidden state to the gates
    bias: Tensor | None  # (4C,), or (4C, *) with a norm
    peephole: Tensor | None  # (3, C) or (3, C, *) from the cell state to the gates i, f, o
    weight_hr: Tensor | None = None  # (P, C, 1, ...) projects the hidden state
    norm_ih: Tensor | None = None  # (4C,) or (4C, *) factors of the normalised W_x * X
    norm_hh: Tensor | None = None  # (4C,) or (4C, *) factors of the normalised W_h * H


class GRUWeights(NamedTuple):
    """The tensors of a ConvGRU's equations, the gates stacked in the order r, z, n."""

    weight_ih: Tensor | None  # (3C, C_in, *k)
    weight_hh: Tensor  # (3C, C, *k)
    bias_ih: Tensor | None  # (3C,)
    bias_hh: Tensor | None  # (3C,)
    norm_ih: Tensor | None = None  # (3C,)
    norm_hh: Tensor | None = None  # (3C,)


class TrajGRUWeights(NamedTuple):
    """The tensors of a TrajGRU's equations, the gates stacked in the order r, z, n."""

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
