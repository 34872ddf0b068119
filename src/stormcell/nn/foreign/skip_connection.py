"""tf.contrib's ConvLSTMCell with ``skip_connection``: the input is appended to the output and the state."""

from typing import cast

import torch
from torch import Tensor

from stormcell.nn.cells import Dropout
from stormcell.nn.conv_lstm import ConvLSTM1d, ConvLSTM2d, ConvLSTM3d
from stormcell.nn.conv_lstm_cell import ConvLSTMCell1d, ConvLSTMCell2d, ConvLSTMCell3d, LSTMCell
from stormcell.nn.ops.lstm import reference
from stormcell.nn.ops.types import CallSpec, LSTMWeights, State
from stormcell.nn.ops.unroll import unroll


class _SkipConnection(LSTMCell):
    """A cell whose hidden state is ``[h, x]``: the next step's convolution reads ``[x, h, previous x]``."""

    @property
    def state_channels(self) -> tuple[int, ...]:
        """Channels of ``[h, x]`` and c."""
        return self.hidden_channels + self.in_channels, self.hidden_channels

    def sequence(
        self, x: Tensor | None, state: State, spec: CallSpec, dropout: Dropout
    ) -> tuple[Tensor, State]:
        """Take a step for each frame of ``x``; without one the frames are zero."""
        one = spec._replace(steps=1, mask=None, input_dropout=dropout[0], recurrent_dropout=dropout[1])
        weights, variant = cast("LSTMWeights", self.weights()), self.variant()

        def step(x: Tensor | None, h: Tensor, c: Tensor) -> State:
            x = h.new_zeros(len(h), self.in_channels, *h.shape[2:]) if x is None else x
            # Other back ends take it that h has as many channels going in as coming out.
            _, (h, c) = reference.conv_lstm(x.unsqueeze(0), (h, c), weights, variant, one)
            return torch.cat([h, x.to(h.dtype)], dim=1), c

        return unroll(step, x, state, spec)


class SkipConvLSTMCell1d(_SkipConnection, ConvLSTMCell1d):
    """A skip-connection cell over one spatial axis."""


class SkipConvLSTMCell2d(_SkipConnection, ConvLSTMCell2d):
    """A skip-connection cell over two spatial axes."""


class SkipConvLSTMCell3d(_SkipConnection, ConvLSTMCell3d):
    """A skip-connection cell over three spatial axes."""


class SkipConvLSTM1d(ConvLSTM1d):
    """Layers of skip-connection cells over one spatial axis."""

    cell = SkipConvLSTMCell1d


class SkipConvLSTM2d(ConvLSTM2d):
    """Layers of skip-connection cells over two spatial axes."""

    cell = SkipConvLSTMCell2d


class SkipConvLSTM3d(ConvLSTM3d):
    """Layers of skip-connection cells over three spatial axes."""

    cell = SkipConvLSTMCell3d
