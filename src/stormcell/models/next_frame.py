"""A ConvLSTM that forecasts the next frame from every frame, as in OpenSTL and PredRNN."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stormcell.models.base import Network
from stormcell.models.patches import to_frames, to_patches
from stormcell.models.rollout import FEEDBACKS, draw_given, run
from stormcell.models.sampling_schedules import FREE_RUNNING, SamplingSchedule
from stormcell.nn import ConvLSTM2d
from stormcell.nn.arguments import PerAxis, PerLayer, count, one_of, per_axis
from stormcell.nn.conv_lstm import States
from stormcell.nn.shapes import check_input


class NextFrameForecaster(Network):
    """A ConvLSTM that reads the inputs, and then its own forecasts one after another.

    Frames are divided into patches, whose pixels become channels. A 1×1 convolution of the top layer's hidden
    state gives the patches of the next frame, which the network reads in turn. The defaults are the
    configuration that OpenSTL publishes for Moving MNIST (Tan et al. 2023, arXiv:2306.11249): no biases, no
    peepholes, no normalisation. OpenSTL reports 15.0 million parameters; 3.4 million of them belong to
    convolutions that it never uses, which this class leaves out.

    Frames are padded and cropped as in :class:`~stormcell.models.EncoderForecaster`.

    Args:
        in_channels: Channels of the frames.
        hidden_channels: Channels of each layer.
        kernel_size: Size of the kernels: a tuple means per axis, a list per layer.
        patch_size: Side of a patch, in pixels.
        recurrent_kernel_size: Size of the kernels over the hidden state; None takes ``kernel_size``.
        bias: Whether the gates and the head have biases.
        peephole: ``"channel"`` as in the ConvLSTM paper, or None as in OpenSTL.
        norm: Normalisation as in :class:`~stormcell.nn.ConvLSTMCell2d`, or None. OpenSTL's ``layer_norm`` is
            ``"layer-pixel"``, whose bias is the gates' bias.
        spatial_size: Size of the frames, ``(H, W)``, required by ``norm="layer-pixel"``; else None.
        forget_bias: Initial value of the forget gates' biases, if they have any.
        feedback: Activation that turns an output into the next input: ``"linear"``, or ``"sigmoid"`` if
            outputs are logits.

    Raises:
        ArgumentError: An argument has a value it cannot have.

    Examples:
        >>> import torch
        >>> model = NextFrameForecaster(in_channels=1, hidden_channels=[16, 16], kernel_size=3)
        >>> x, targets = torch.rand(2, 5, 1, 48, 37), torch.rand(2, 10, 1, 48, 37)  # (B, T, C, H, W)
        >>> model(x, steps=10).shape
        torch.Size([2, 10, 1, 48, 37])

        OpenSTL's loss covers all frames except the first:

        >>> from stormcell.models import ScheduledSampling
        >>> schedule = ScheduledSampling.at(update=1000)
        >>> every = model(x, steps=10, targets=targets, schedule=schedule, every=True)
        >>> loss = (every - torch.cat([x, targets], dim=1)[:, 1:]).square().mean()
    """

    def __init__(
        self,
        in_channels: int = 1,
        hidden_channels: int | Sequence[int] = (128, 128, 128, 128),
        kernel_size: PerLayer[PerAxis] = 5,
        patch_size: int = 4,
        recurrent_kernel_size: PerLayer[PerAxis | None] = None,
        *,
        bias: bool = False,
        peephole: str | None = None,
        norm: str | None = None,
        spatial_size: int | tuple[int, ...] | list[int] | None = None,
        forget_bias: float = 1.0,
        feedback: str = "linear",
    ) -> None:
        super().__init__()
        pixels = count("patch_size", patch_size) ** 2
        size = None if spatial_size is None else per_axis("spatial_size", spatial_size, 2)
        one_of("feedback", feedback, FEEDBACKS)
        self.rnn = ConvLSTM2d(
            count("in_channels", in_channels) * pixels,
            hidden_channels,
            kernel_size,
            bias=bias or norm is not None,
            batch_first=True,
            peephole=peephole,
            norm=norm,
            spatial_size=None if size is None else tuple(-(-side // patch_size) for side in size),
            recurrent_kernel_size=recurrent_kernel_size,
            forget_bias=forget_bias,
        )
        self.head = nn.Conv2d(self.rnn.hidden_channels[-1], in_channels * pixels, 1, bias=bias)
        self.in_channels, self.patch_size = in_channels, patch_size
        self.spatial_size, self.feedback = size, feedback
        self.record_layers(self.rnn)

    def forward(
        self,
        x: Tensor,
        steps: int,
        *,
        targets: Tensor | None = None,
        schedule: SamplingSchedule | Tensor = FREE_RUNNING,
        every: bool = False,
    ) -> Tensor:
        """Forecast the frames that follow ``x``.

        Args:
            x: Inputs, ``(B, T, in_channels, H, W)``, oldest first.
            steps: Number of frames to forecast.
            targets: True frames after ``x``, ``(B, steps, in_channels, H, W)``, for a schedule that gives
                some of them.
            schedule: The frames that the network is given: a
                :class:`~stormcell.models.sampling_schedules.SamplingSchedule`, or bools drawn from one.
            every: Whether to return the forecasts of the inputs too.

        Returns:
            The forecast, ``(B, steps, in_channels, H, W)``. With ``every`` it is
            ``(B, T - 1 + steps, in_channels, H, W)`` and begins with the forecast of the second input.

        Raises:
            ArgumentError: ``x`` or ``targets`` does not have the expected shape, or ``steps`` is less than 1.
        """
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        given = draw_given(schedule, x, targets, count("steps", steps))
        frames = x if targets is None else torch.cat([x, targets[:, :-1]], dim=1)
        size = (x.shape[-2], x.shape[-1])

        def read(frames: Tensor, state: States | None) -> tuple[Tensor, States | None]:
            top, state = self.rnn(to_patches(frames, self.patch_size), state)
            patches = self.head(top.flatten(0, 1)).unflatten(0, (-1, top.shape[1]))
            return to_frames(patches, self.patch_size, size), state

        forecasts = run(read, None, frames, given, self.feedback)
        return forecasts if every else forecasts[:, -steps:]
