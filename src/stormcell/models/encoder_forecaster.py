"""The network of the ConvLSTM paper: one stack reads the past, another writes the future."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stormcell.models.base import Network
from stormcell.models.patches import cut, lay
from stormcell.models.rollout import check_feedback, run_ahead, unfed
from stormcell.models.sampling_schedules import FREE_RUNNING, Feeding
from stormcell.nn import ConvLSTM2d
from stormcell.nn.arguments import PerAxis, PerLayer, count
from stormcell.nn.conv_lstm import States
from stormcell.nn.shapes import check_input


class EncoderForecaster(Network):
    """The encoding–forecasting ConvLSTM of Shi et al. (2015), arXiv:1506.04214.

    Frames are cut into patches, whose pixels become channels. The encoder reads them; the forecaster,
    whose first layer has no input, starts from the encoder's last states, layer by layer, and runs on.
    A 1×1 convolution over the hidden states of all its layers gives the patches of the frames to come.
    With one channel in and out, patches of 4 and the paper's layers, the parameters are exactly as many
    as the paper counts.

    The output is the linear head's: what it means, and whether it may be negative, is the caller's.
    A frame whose sides are not multiples of the patch is padded with zeros at the bottom and the right,
    and the output is cropped to the frame; a mask channel then says that nothing was observed there.

    With ``feedback`` the forecaster does have an input, which the paper's has not: the frame before, as the
    conditional decoder of Srivastava et al. (2015), arXiv:1502.04681. Only then can it be trained with
    anything else than free running.

    Args:
        in_channels: Channels of the frames read.
        hidden_channels: Channels of each layer, in the encoder's order, which the forecaster keeps.
        kernel_size: Of the convolutions: a tuple means per axis, a list per layer.
        patch_size: Side of a patch, in pixels.
        recurrent_kernel_size: Of the convolutions over the hidden state; None takes ``kernel_size``.
        out_channels: Channels of the frames forecast; None takes ``in_channels``.
        peephole: ``"channel"`` as the paper, or None.
        forget_bias: What the biases of the forget gates start at.
        feedback: None as the paper; else what makes a frame of the output before it is read again:
            ``"linear"`` nothing, ``"sigmoid"`` where outputs are logits.

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
        feedback: str | None = None,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        pixels = count("patch_size", patch_size) ** 2
        check_feedback(feedback, in_channels, out_channels)

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
        self.forecaster = stack(in_channels * pixels if feedback else 0)
        self.head = nn.Conv2d(
            sum(self.forecaster.hidden_channels), count("out_channels", out_channels) * pixels, 1
        )
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.hidden_channels = self.encoder.hidden_channels
        self.kernel_size = self.encoder.kernel_size
        self.recurrent_kernel_size = self.encoder.recurrent_kernel_size
        self.out_channels = out_channels
        self.feedback = feedback

    def forward(
        self, x: Tensor, steps: int, *, truth: Tensor | None = None, feeding: Feeding | Tensor = FREE_RUNNING
    ) -> Tensor:
        """Forecast the frames that follow ``x``.

        Args:
            x: Frames, ``(B, T, in_channels, H, W)``, oldest first.
            steps: How many frames to forecast.
            truth: The frames that did follow, ``(B, steps, in_channels, H, W)``, for a feeding that gives
                some of them.
            feeding: What the forecaster reads: a :class:`~stormcell.models.sampling_schedules.Feeding`,
                or what such a one has drawn. Without ``feedback`` it reads nothing, and
                only free running is there.

        Returns:
            ``(B, steps, out_channels, H, W)``.

        Raises:
            ArgumentError: ``x`` or ``truth`` has not the expected shape, or ``steps`` is not a positive int.
            NotOfferedError: The feeding asks for what this network does not read.
        """
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        _, state = self.encoder(cut(x, self.patch_size))
        size = (x.shape[-2], x.shape[-1])
        if self.feedback is None:
            unfed(feeding, "the forecaster has no input without feedback")
            hidden, _ = self.forecaster.all_layers(None, state, steps=steps)
            return self._frames(hidden, size)

        def read(seen: Tensor, state: States) -> tuple[Tensor, States]:
            hidden, state = self.forecaster.all_layers(cut(seen, self.patch_size), state)
            return self._frames(hidden, size), state

        return run_ahead(read, state, x, steps, truth, feeding, self.feedback)

    def _frames(self, hidden: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Make frames of the hidden states of all layers."""
        steps = hidden[0].shape[1]
        patches = self.head(torch.cat(tuple(hidden), dim=2).flatten(0, 1)).unflatten(0, (-1, steps))
        return lay(patches, self.patch_size, size)
