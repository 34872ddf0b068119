"""The network of the TrajGRU paper: down through the past in ever coarser levels, and up again."""

import math
from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor, nn

from stormcell.models.base import Network
from stormcell.models.multiscale_config import PADDING, read_levels
from stormcell.models.patches import pad
from stormcell.models.rollout import unfed
from stormcell.models.sampling_schedules import FREE_RUNNING, Feeding
from stormcell.nn.activations import leaky_relu
from stormcell.nn.arguments import PerAxis, count, per_axis
from stormcell.nn.shapes import check_input


class MultiscaleForecaster(Network):
    """The multiscale encoder–forecaster of Shi et al. (2017), arXiv:1706.03458, known from HKO-7.

    The encoder alternates between strided convolutions and recurrent layers, each a level coarser than the
    one before. The forecaster goes the way back: on every level a recurrent layer starts from the last
    state of the encoder's on that level, the coarsest without input, and a transposed convolution makes
    its hidden states finer; two convolutions, 3×3 and 1×1, end it. Leaky ReLUs of slope 0.2 follow every
    convolution but the last, whose output is linear.

    The defaults are Hzzone/Precipitation-Nowcasting's ConvLSTM for frames of 480², whose checkpoints
    :func:`stormcell.nn.foreign.from_torch` loads::

        down  conv 1→8, 7×7/5            RNN 64     deconv 64→8, 7×7/5; conv 8→8, 3×3; conv 8→1, 1×1   up
              conv 64→192, 5×5/3         RNN 192    deconv 192→64, 5×5/3
              conv 192→192, 3×3/2        RNN 192    deconv 192→192, 4×4/2

    Frames may be of any size: they are padded with zeros at the bottom and the right until their sides are
    multiples of the product of all strides (30 by default), and the output is cropped to the frame.

    Args:
        in_channels: Channels of the frames read.
        cell: ``"conv_lstm"``, ``"conv_gru"`` or ``"traj_gru"``; a list has one per level, finest first.
        hidden_channels: Channels of the recurrent layers, finest level first. A convolution to a coarser
            level makes as many as its layer has, one back to a finer level as many as that layer.
        conv_channels: Channels between the frames and the finest level.
        strides: Of the convolution down to each level, and of that back up from it.
        conv_kernel_size: Of the convolution down to each level, from 3 to its stride + 2; that back up has
            its stride + 2.
        kernel_size: Of the recurrent layers' convolutions over their inputs; a list has one per level.
        recurrent_kernel_size: Of those over the hidden state in ConvLSTM and ConvGRU; None takes
            ``kernel_size``.
        num_flows: Flows of the TrajGRUs; a list has one per level.
        forecaster_num_flows: Of those of the forecaster, finest level first too; None takes ``num_flows``.
        out_channels: Channels of the frames forecast; None takes ``in_channels``.
        peephole: Of the ConvLSTMs: ``"channel"``, ``"pixel"`` as Hzzone, or None.
        spatial_size: Of the frames, ``(H, W)``, which ``peephole="pixel"`` fixes; else None.
        forget_bias: What the biases of the ConvLSTMs' forget gates start at.
        align_corners: Of the TrajGRUs, as in :class:`~stormcell.nn.TrajGRUCell2d`.

    Raises:
        ArgumentError: An argument has a value it cannot have.

    Examples:
        >>> import torch
        >>> model = MultiscaleForecaster(hidden_channels=[8, 12], strides=[3, 2], conv_kernel_size=[5, 3])
        >>> model(torch.rand(2, 5, 1, 48, 37), steps=10).shape  # (B, T, C, H, W)
        torch.Size([2, 10, 1, 48, 37])
        >>> twin = MultiscaleForecaster(**model.arguments)
    """

    def __init__(
        self,
        in_channels: int = 1,
        cell: str | Sequence[str] = "conv_lstm",
        hidden_channels: Sequence[int] = (64, 192, 192),
        conv_channels: int = 8,
        strides: Sequence[int] = (5, 3, 2),
        conv_kernel_size: Sequence[int] = (7, 5, 3),
        kernel_size: PerAxis | list[PerAxis] = 3,
        recurrent_kernel_size: PerAxis | list[PerAxis | None] | None = None,
        num_flows: int | Sequence[int] = 13,
        forecaster_num_flows: int | Sequence[int] | None = None,
        out_channels: int | None = None,
        *,
        peephole: str | None = "channel",
        spatial_size: int | tuple[int, ...] | list[int] | None = None,
        forget_bias: float = 1.0,
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        size = None if spatial_size is None else per_axis("spatial_size", spatial_size, 2)
        levels = read_levels(
            cell,
            hidden_channels,
            strides,
            conv_kernel_size,
            kernel_size,
            recurrent_kernel_size,
            num_flows,
            forecaster_num_flows,
            size,
        )
        hidden = [level.channels for level in levels]
        entering = [
            count("conv_channels", conv_channels),
            *hidden[1:],
        ]  # a level's recurrent layer, going down
        leaving = [conv_channels, *hidden[:-1]]  # the step up from a level
        options: dict[str, Any] = {
            "peephole": peephole,
            "forget_bias": forget_bias,
            "align_corners": align_corners,
        }
        self.down = nn.ModuleList(
            nn.Conv2d(reads, makes, level.conv_kernel, level.stride, PADDING)
            for level, reads, makes in zip(
                levels, [count("in_channels", in_channels), *hidden[:-1]], entering, strict=True
            )
        )
        self.encoder = nn.ModuleList(
            level.layer(reads, level.flows, **options) for level, reads in zip(levels, entering, strict=True)
        )
        self.forecaster = nn.ModuleList(
            level.layer(reads, level.flows_back, **options)
            for level, reads in zip(levels, [*hidden[:-1], 0], strict=True)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(level.channels, makes, level.stride + 2 * PADDING, level.stride, PADDING)
            for level, makes in zip(levels, leaving, strict=True)
        )
        self.smooth = nn.Conv2d(conv_channels, conv_channels, 3, padding=1)
        self.head = nn.Conv2d(conv_channels, count("out_channels", out_channels), 1)
        self.multiple = math.prod(level.stride for level in levels)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.cell = [level.cell for level in levels]
        self.kernel_size = [level.kernel for level in levels]
        self.recurrent_kernel_size = [level.recurrent_kernel for level in levels]

    @classmethod
    def moving_mnist(cls, cell: str | Sequence[str] = "traj_gru", **changes: Any) -> Self:
        """Return the network of HKO-7's Moving-MNIST experiments, for frames of 64².

        A convolution 3×3 to 16 channels that keeps the size, recurrent layers of 64, 96 and 96 channels at
        64², 32² and 16², recurrent kernels of 5×5, 13 flows. Unlike theirs, a transposed convolution makes
        as many channels as the finer level has, here 64 in place of 96 before the finest.

        Args:
            cell: Of all levels, or of each; the paper compares ``"conv_gru"`` with ``"traj_gru"``.
            **changes: Other arguments, which go before these.

        Example:
            >>> import torch
            >>> model = MultiscaleForecaster.moving_mnist("conv_gru", hidden_channels=[4, 6, 6])
            >>> model(torch.rand(1, 10, 1, 64, 64), steps=10).shape
            torch.Size([1, 10, 1, 64, 64])
        """
        table: dict[str, Any] = {
            "hidden_channels": [64, 96, 96],
            "conv_channels": 16,
            "strides": [1, 2, 2],
            "conv_kernel_size": [3, 3, 3],
            "recurrent_kernel_size": 5,
        }
        return cls(cell=cell, **table | changes)

    def forward(
        self,
        x: Tensor,
        steps: int,
        *,
        truth: Tensor | None = None,  # noqa: ARG002 (as other forecasters)
        feeding: Feeding | Tensor = FREE_RUNNING,
    ) -> Tensor:
        """Forecast the frames that follow ``x``.

        Args:
            x: Frames, ``(B, T, in_channels, H, W)``, oldest first.
            steps: How many frames to forecast.
            truth: Read by no feeding that there is; here so that all forecasters are called alike.
            feeding: Free running: the forecaster reads no frames.

        Returns:
            ``(B, steps, out_channels, H, W)``, the last convolution's output, of any sign.

        Raises:
            ArgumentError: ``x`` has not the expected shape, or ``steps`` is not a positive int.
            NotOfferedError: The feeding is another.
        """
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        unfed(feeding, "the coarsest level has no input")
        height, width = x.shape[-2:]
        seen = pad(x, self.multiple)
        states = []
        for conv, rnn in zip(self.down, self.encoder, strict=True):
            seen, state = rnn(leaky_relu(_framewise(conv, seen)))
            states.append(state)
        ahead: Tensor | None = None
        for conv, rnn, state in zip(self.up[::-1], self.forecaster[::-1], states[::-1], strict=True):
            hidden, _ = rnn(ahead, state, steps=steps)
            ahead = leaky_relu(_framewise(conv, hidden))
        assert ahead is not None
        frames = _framewise(self.head, leaky_relu(_framewise(self.smooth, ahead)))
        return frames[..., :height, :width]


def _framewise(conv: nn.Module, frames: Tensor) -> Tensor:
    """Convolve every frame of ``(B, T, C, H, W)``."""
    convolved: Tensor = conv(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
    return convolved
