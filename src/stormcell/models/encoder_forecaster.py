"""The network of the ConvLSTM paper: an encoder reads the inputs, a forecaster continues them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stormcell.models.base import Network
from stormcell.models.patches import to_frames, to_patches
from stormcell.models.rollout import check_feedback, check_free_running, run_forecaster
from stormcell.models.sampling_schedules import FREE_RUNNING, SamplingSchedule
from stormcell.nn import ConvLSTM2d
from stormcell.nn.arguments import PerAxis, PerLayer, count
from stormcell.nn.conv_lstm import States
from stormcell.nn.shapes import check_input


class EncoderForecaster(Network):
    """The encoding–forecasting ConvLSTM of Shi et al. (2015), arXiv:1506.04214.

    Frames are divided into patches, whose pixels become channels. The encoder reads them. The forecaster,
    whose first layer has no input, starts layer by layer from the encoder's last states. A 1×1 convolution
    over the hidden states of all its layers gives the patches of the forecast. With one channel, patches of
    4 pixels and the paper's layers, the number of parameters is exactly the paper's.

    The output is that of the linear head, so it may be negative. A frame whose sides are not multiples of the
    patch is padded with zeros at the bottom and the right, and the output is cropped to the frame.

    With ``feedback`` the forecaster reads the previous frame, as the conditional decoder of Srivastava et al.
    (2015), arXiv:1502.04681, does. Only then do sampling schedules other than free running apply.

    Args:
        in_channels: Channels of the inputs.
        hidden_channels: Channels of each layer, bottom layer first, in the encoder and in the forecaster.
        kernel_size: Size of the kernels: a tuple means per axis, a list per layer.
        patch_size: Side of a patch, in pixels.
        recurrent_kernel_size: Size of the kernels over the hidden state; None takes ``kernel_size``.
        out_channels: Channels of the forecast; None takes ``in_channels``.
        peephole: ``"channel"`` as in the paper, or None.
        forget_bias: Initial value of the forget gates' biases.
        feedback: None as in the paper, or the activation that turns an output into the next input:
            ``"linear"``, or ``"sigmoid"`` if outputs are logits.

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
        self.in_channels, self.out_channels = in_channels, out_channels
        self.patch_size, self.feedback = patch_size, feedback
        self.record_layers(self.encoder)

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
            targets: True frames after ``x``, ``(B, steps, in_channels, H, W)``, for a schedule that gives
                some of them.
            schedule: The frames that the forecaster is given: a
                :class:`~stormcell.models.sampling_schedules.SamplingSchedule`, or bools drawn from one. Only
                free running is possible without ``feedback``.

        Returns:
            The forecast, ``(B, steps, out_channels, H, W)``.

        Raises:
            ArgumentError: ``x`` or ``targets`` does not have the expected shape, or ``steps`` is less than 1.
            NotOfferedError: The schedule gives frames that the network does not read.
        """
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        _, state = self.encoder(to_patches(x, self.patch_size))
        size = (x.shape[-2], x.shape[-1])
        if self.feedback is None:
            check_free_running(schedule, "the forecaster has no input without feedback")
            hidden, _ = self.forecaster.all_layers(None, state, steps=steps)
            return self._frames(hidden, size)

        def read(frames: Tensor, state: States) -> tuple[Tensor, States]:
            hidden, state = self.forecaster.all_layers(to_patches(frames, self.patch_size), state)
            return self._frames(hidden, size), state

        return run_forecaster(read, state, x, steps, targets, schedule, self.feedback)

    def _frames(self, hidden: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Return the frames for the hidden states of all layers."""
        steps = hidden[0].shape[1]
        patches = self.head(torch.cat(tuple(hidden), dim=2).flatten(0, 1)).unflatten(0, (-1, steps))
        return to_frames(patches, self.patch_size, size)
