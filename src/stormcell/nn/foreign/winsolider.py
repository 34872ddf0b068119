"""Winsolider's ConvLSTM with a ReLU, which works in place."""

import torch
from torch import Tensor

from stormcell.nn.cells import Dropout
from stormcell.nn.conv_lstm import ConvLSTM2d, ConvLSTMCell2d
from stormcell.nn.ops.terms import Form, Run, State
from stormcell.nn.ops.unroll import unroll


class InPlaceReLUConvLSTMCell2d(ConvLSTMCell2d):
    """A ConvLSTM cell with ``activation="relu"``, which stores ``relu(c')`` where the output gate saw ``c'``.

    It differs from other cells only where the initial cell state has a negative part.
    """

    def sequence(self, x: Tensor | None, state: State, run: Run, dropout: Dropout) -> tuple[Tensor, State]:
        """Take a step for each frame of ``x``."""

        def step(x: Tensor | None, h: Tensor, c: Tensor) -> State:
            frames = None if x is None else x.unsqueeze(0)
            one = run._replace(steps=1, mask=None)
            _, (h, c) = super(InPlaceReLUConvLSTMCell2d, self).sequence(frames, (h, c), one, dropout)
            return h, torch.relu(c)

        return unroll(step, x, state, Form(), run)


class InPlaceReLUConvLSTM2d(ConvLSTM2d):
    """A stack of such cells."""

    cell = InPlaceReLUConvLSTMCell2d
