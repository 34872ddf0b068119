"""The network of the TrajGRU paper: an encoder and a forecaster at several resolutions."""

import math
from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor, nn

from stormcell.models.base import Network
from stormcell.models.multiscale_config import PADDING, read_levels
from stormcell.models.patches import pad
from stormcell.models.rollout import check_free_running
from stormcell.models.sampling_schedules import FREE_RUNNING, SamplingSchedule
from stormcell.nn.activations import leaky_relu
from stormcell.nn.arguments import PerAxis, count, per_axis
from stormcell.nn.shapes import check_input


class MultiscaleForecaster(Network):
    """The multiscale encoder–forecaster of Shi et al. (2017), arXiv:1706.03458, the network of HKO-7.

    Every level of the encoder has a strided convolution, which makes images coarser, and a recurrent layer.
    The forecaster runs from the coarsest level to the finest. On each level a recurrent layer starts from the
    encoder's last state on that level, and a transposed convolution makes its hidden states finer; the
    coarsest recurrent layer has no input. At the end there are two convolutions, 3×3 and 1×1. A leaky ReLU
    of slope 0.2 follows every convolution except the last, whose output is linear.

    The defaults are the ConvLSTM of Hzzone/Precipitation-Nowcasting for frames of 480 × 480 pixels, whose
    checkpoints :func:`stormcell.models.from_checkpoint` reads::

        down  conv 1→8, 7×7/5            RNN 64     deconv 64→8, 7×7/5; conv 8→8, 3×3; conv 8→1, 1×1   up
              conv 64→192, 5×5/3         RNN 192    deconv 192→64, 5×5/3
              conv 192→192, 3×3/2        RNN 192    deconv 192→192, 4×4/2

    Frames may be of any size: they are padded with zeros at the bottom and the right until their sides are
    multiples of the product of all strides (30 by default), and the output is cropped to the frame.

    Args:
        in_channels: Channels of the inputs.
        cell: ``"conv_lstm"``, ``"conv_gru"`` or ``"traj_gru"``; a list has one per level, finest first.
        hidden_channels: Channels of the recurrent layers, finest level first. The convolution down to a level
            has as many output channels as its recurrent layer; the one up to a level has as many as that
            level's layer.
        conv_channels: Channels between the frames and the finest level.
        strides: Stride of the convolution down to each level, and of the one up from it.
        conv_kernel_size: Kernel size of the convolution down to each level, from 3 to its stride + 2. The
            convolution up from the level has stride + 2.
        kernel_size: Kernel size of the recurrent layers over their inputs; a list has one per level.
        recurrent_kernel_size: Kernel size of ConvLSTMs and ConvGRUs over the hidden state; None takes
            ``kernel_size``.
        num_flows: Flows of the TrajGRUs; a list has one per level.
        forecaster_num_flows: The same for the forecaster's TrajGRUs; None takes ``num_flows``.
        out_channels: Channels of the forecast; None takes ``in_channels``.
        peephole: Peepholes of the ConvLSTMs: ``"channel"``, ``"pixel"`` as in Hzzone's, or None.
        spatial_size: Size of the frames, ``(H, W)``, required by ``peephole="pixel"``; else None.
        forget_bias: Initial value of the ConvLSTMs' forget gates' biases.
        align_corners: Sampling of the TrajGRUs, as in :class:`~stormcell.nn.TrajGRUCell2d`.

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
        down_channels = [count("conv_channels", conv_channels), *hidden[1:]]
        up_channels = [conv_channels, *hidden[:-1]]
        options: dict[str, Any] = {
            "peephole": peephole,
            "forget_bias": forget_bias,
            "align_corners": align_corners,
        }
        self.down = nn.ModuleList(
            nn.Conv2d(ins, outs, level.conv_kernel, level.stride, PADDING)
            for level, ins, outs in zip(
                levels, [count("in_channels", in_channels), *hidden[:-1]], down_channels, strict=True
            )
        )
        self.encoder = nn.ModuleList(
            level.layer(channels, level.flows, **options)
            for level, channels in zip(levels, down_channels, strict=True)
        )
        self.forecaster = nn.ModuleList(
            level.layer(channels, level.forecaster_flows, **options)
            for level, channels in zip(levels, [*hidden[:-1], 0], strict=True)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(level.channels, channels, level.stride + 2 * PADDING, level.stride, PADDING)
            for level, channels in zip(levels, up_channels, strict=True)
        )
        self.smooth = nn.Conv2d(conv_channels, conv_channels, 3, padding=1)
        self.head = nn.Conv2d(conv_channels, count("out_channels", out_channels), 1)
        self.multiple = math.prod(level.stride for level in levels)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.cell = [level.cell for level in levels]
        self.kernel_size = [level.kernel for level in levels]
        self.recurrent_kernel_size = [level.recurrent_kernel for level in levels]

    @classmethod
    def moving_mnist(cls, cell: str | Sequence[str] = "traj_gru", **changes: Any) -> Self:
        """Return the network of HKO-7's Moving-MNIST experiments, for frames of 64 × 64 pixels.

        It has a 3×3 convolution to 16 channels without stride, recurrent layers of 64, 96 and 96 channels at
        64², 32² and 16² pixels, recurrent kernels of 5×5, and 13 flows. Unlike in HKO-7, a transposed
        convolution has as many output channels as the finer level, here 64 instead of 96 before the finest.

        Args:
            cell: Cell of all levels, or a list; the paper compares ``"conv_gru"`` with ``"traj_gru"``.
            **changes: Other arguments, which replace these values.

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
        targets: Tensor | None = None,
        schedule: SamplingSchedule | Tensor = FREE_RUNNING,
    ) -> Tensor:
        """Forecast the frames that follow ``x``.

        Args:
            x: Inputs, ``(B, T, in_channels, H, W)``, oldest first.
            steps: Number of frames to forecast.
            targets: Ignored; all networks that forecast frames have this argument.
            schedule: Free running, because the forecaster reads no frames.

        Returns:
            The forecast, ``(B, steps, out_channels, H, W)``, with values of either sign.

        Raises:
            ArgumentError: ``x`` does not have the expected shape, or ``steps`` is less than 1.
            NotOfferedError: The schedule is not free running.
        """
        del targets
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        check_free_running(schedule, "the coarsest level has no input")
        height, width = x.shape[-2:]
        frames = pad(x, self.multiple)
        states = []
        for conv, rnn in zip(self.down, self.encoder, strict=True):
            frames, state = rnn(leaky_relu(_framewise(conv, frames)))
            states.append(state)
        finer: Tensor | None = None
        for conv, rnn, state in zip(self.up[::-1], self.forecaster[::-1], states[::-1], strict=True):
            hidden, _ = rnn(finer, state, steps=steps)
            finer = leaky_relu(_framewise(conv, hidden))
        assert finer is not None
        forecast = _framewise(self.head, leaky_relu(_framewise(self.smooth, finer)))
        return forecast[..., :height, :width]


def _framewise(conv: nn.Module, frames: Tensor) -> Tensor:
    """Convolve every frame of ``(B, T, C, H, W)``."""
    convolved: Tensor = conv(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
    return convolved
