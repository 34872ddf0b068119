"""The network of the ConvLSTM paper: one stack reads the past, another writes the future."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stormcell.nn import ConvLSTM2d
from stormcell.nn.arguments import PerAxis, PerLayer, count
from stormcell.nn.shapes import check_input


class EncoderForecaster(nn.Module):
    """The encoding–forecasting ConvLSTM of Shi et al. (2015), arXiv:1506.04214.

    Frames are cut into patches, whose pixels become channels. The encoder reads them; the forecaster,
    whose first layer has no input, starts from the encoder's last states, layer by layer, and runs on.
    A 1×1 convolution over the hidden states of all its layers gives the patches of the frames to come.
    With one channel in and out, patches of 4 and the paper's layers, the parameters are exactly as many
    as the paper counts.

    The output is the linear head's: what it means, and whether it may be negative, is the caller's.
    A frame whose sides are not multiples of the patch is padded with zeros at the bottom and the right,
    and the output is cropped to the frame; a mask channel then says that nothing was observed there.

    Args:
        in_channels: Channels of the frames read.
        hidden_channels: Channels of each layer, in the encoder's order, which the forecaster keeps.
        kernel_size: Of the convolutions: a tuple means per axis, a list per layer.
        patch_size: Side of a patch, in pixels.
        recurrent_kernel_size: Of the convolutions over the hidden state; None takes ``kernel_size``.
        out_channels: Channels of the frames forecast; None takes ``in_channels``.
        peephole: ``"channel"`` as the paper, or None.
        forget_bias: What the biases of the forget gates start at.

    Raises:
        ArgumentError: An argument has a value it cannot have.

    Examples:
        >>> import torch
        >>> model = EncoderForecaster(in_channels=1, hidden_channels=[16, 8], kernel_size=3)
        >>> model(torch.rand(2, 5, 1, 48, 37), steps=10).shape  # (B, T, C, H, W)
        torch.Size([2, 10, 1, 48, 37])
        >>> twin = EncoderForecaster(**model.arguments)
    """

    def __init__(
        self,
        in_channels: int = 1,
        hidden_channels: int | Sequence[int] = (128, 64, 64),
        kernel_size: PerLayer[PerAxis] = 5,
        patch_size: int = 4,
        recurrent_kernel_size: PerLayer[PerAxis | None] = None,
        out_channels: int | None = None,
        *,
        peephole: str | None = "channel",
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        pixels = count("patch_size", patch_size) ** 2

        def stack(channels: int) -> ConvLSTM2d:
            return ConvLSTM2d(
                channels,
                hidden_channels,
                kernel_size,
                batch_first=True,
                peephole=peephole,
                recurrent_kernel_size=recurrent_kernel_size,
                forget_bias=forget_bias,
            )

        self.encoder = stack(count("in_channels", in_channels) * pixels)
        self.forecaster = stack(0)
        self.head = nn.Conv2d(
            sum(self.forecaster.hidden_channels), count("out_channels", out_channels) * pixels, 1
        )
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels,
            "hidden_channels": self.forecaster.hidden_channels,
            "kernel_size": [list(k) for k in self.forecaster.kernel_size],
            "patch_size": patch_size,
            "recurrent_kernel_size": [list(k) for k in self.forecaster.recurrent_kernel_size],
            "out_channels": out_channels,
            "peephole": peephole,
            "forget_bias": forget_bias,
        }
        """What was given, spelt out layer by layer in the types JSON has: it builds the same network."""

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Forecast the frames that follow ``x``.

        Args:
            x: Frames, ``(B, T, in_channels, H, W)``, oldest first.
            steps: How many frames to forecast.

        Returns:
            ``(B, steps, out_channels, H, W)``.

        Raises:
            ArgumentError: ``x`` has not the expected shape, or ``steps`` is not a positive int.
        """
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        height, width = x.shape[-2:]
        padded = F.pad(x, (0, -width % self.patch_size, 0, -height % self.patch_size))
        _, state = self.encoder(F.pixel_unshuffle(padded, self.patch_size))
        hidden, _ = self.forecaster.all_layers(None, state, steps=steps)
        patches = self.head(torch.cat(hidden, dim=2).flatten(0, 1)).unflatten(0, (-1, steps))
        frames: Tensor = F.pixel_shuffle(patches, self.patch_size)
        return frames[..., :height, :width]
