"""Winsolider's ConvLSTM with a ReLU that works in place."""

import torch
from torch import Tensor

from stormcell.nn.cells import Dropout
from stormcell.nn.conv_lstm import ConvLSTM2d
from stormcell.nn.conv_lstm_cell import ConvLSTMCell2d
from stormcell.nn.ops.types import CallSpec, State
from stormcell.nn.ops.unroll import unroll


class InPlaceReLUConvLSTMCell2d(ConvLSTMCell2d):
    """A ConvLSTM cell with ``activation="relu"`` that stores ``relu(c')`` once the output gate has read c'.

    It differs from other cells only if the initial cell state has negative values.
    """

    def sequence(
        self, x: Tensor | None, state: State, spec: CallSpec, dropout: Dropout
    ) -> tuple[Tensor, State]:
        """Take a step for each frame of ``x``."""

        def step(x: Tensor | None, h: Tensor, c: Tensor) -> State:
            frames = None if x is None else x.unsqueeze(0)
            one = spec._replace(steps=1, mask=None)
            _, (h, c) = super(InPlaceReLUConvLSTMCell2d, self).sequence(frames, (h, c), one, dropout)
            return h, torch.relu(c)

        return unroll(step, x, state, spec)


class InPlaceReLUConvLSTM2d(ConvLSTM2d):
    """Layers of in-place ReLU cells."""

    cell = InPlaceReLUConvLSTMCell2d
