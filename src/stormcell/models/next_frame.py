"""One ConvLSTM that says of every frame what the next will be: OpenSTL's, and PredRNN's way to train it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stormcell.models.base import Network
from stormcell.models.patches import cut, lay
from stormcell.models.rollout import FEEDBACKS, drawn, run
from stormcell.models.sampling_schedules import FREE_RUNNING, Feeding
from stormcell.nn import ConvLSTM2d
from stormcell.nn.arguments import PerAxis, PerLayer, count, one_of, per_axis
from stormcell.nn.conv_lstm import States
from stormcell.nn.shapes import check_input


class NextFrameForecaster(Network):
    """A ConvLSTM that reads frames, then its own forecasts, one by one.

    Frames are cut into patches, whose pixels become channels. A 1×1 convolution of the top layer's hidden
    state gives the patches of the next frame, which is read in turn. The defaults are the published
    configuration of ConvLSTM on Moving MNIST in OpenSTL (Tan et al. 2023, arXiv:2306.11249): gates
    without biases and peepholes, no normalisation, a head without bias. OpenSTL counts 15.0 million
    parameters, of which 3.4 million are in convolutions that it never uses and that are not here.

    Padding and cropping are as in :class:`~stormcell.models.EncoderForecaster`.

    Args:
        in_channels: Channels of the frames.
        hidden_channels: Channels of each layer.
        kernel_size: Of the convolutions: a tuple means per axis, a list per layer.
        patch_size: Side of a patch, in pixels.
        recurrent_kernel_size: Of the convolutions over the hidden state; None takes ``kernel_size``.
        bias: Whether gates and head have biases.
        peephole: ``"channel"`` as the ConvLSTM paper, or None as OpenSTL.
        norm: None, or as in :class:`~stormcell.nn.ConvLSTMCell2d`; OpenSTL's ``layer_norm`` is
            ``"layer-pixel"``, and has the gates' bias for its own.
        spatial_size: Of the frames, ``(H, W)``, which ``norm="layer-pixel"`` fixes; else None.
        forget_bias: What the biases of the forget gates start at, if there are any.
        feedback: What makes a frame of the output before it is read again: ``"linear"`` nothing,
            ``"sigmoid"`` where outputs are logits.

    Raises:
        ArgumentError: An argument has a value it cannot have.

    Examples:
        >>> import torch
        >>> model = NextFrameForecaster(in_channels=1, hidden_channels=[16, 16], kernel_size=3)
        >>> x, truth = torch.rand(2, 5, 1, 48, 37), torch.rand(2, 10, 1, 48, 37)  # (B, T, C, H, W)
        >>> model(x, steps=10).shape
        torch.Size([2, 10, 1, 48, 37])

        OpenSTL's loss is that of every frame but the first:

        >>> from stormcell.models import ScheduledSampling
        >>> sampling = ScheduledSampling.at(update=1000)
        >>> every = model(x, steps=10, truth=truth, feeding=sampling, every=True)
        >>> loss = (every - torch.cat([x, truth], dim=1)[:, 1:]).square().mean()
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
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.hidden_channels = self.rnn.hidden_channels
        self.kernel_size = self.rnn.kernel_size
        self.recurrent_kernel_size = self.rnn.recurrent_kernel_size
        self.spatial_size = size
        self.feedback = feedback

    def forward(
        self,
        x: Tensor,
        steps: int,
        *,
        truth: Tensor | None = None,
        feeding: Feeding | Tensor = FREE_RUNNING,
        every: bool = False,
    ) -> Tensor:
        """Forecast the frames that follow ``x``.

        Args:
            x: Frames, ``(B, T, in_channels, H, W)``, oldest first.
            steps: How many frames to forecast.
            truth: The frames that did follow, ``(B, steps, in_channels, H, W)``, for a feeding that gives
                some of them.
            feeding: What is read: a :class:`~stormcell.models.sampling_schedules.Feeding`, or what such
                a one has drawn.
            every: Whether to return the forecasts of the known frames too.

        Returns:
            ``(B, steps, in_channels, H, W)``; with ``every`` ``(B, T - 1 + steps, in_channels, H, W)``,
            that of the second frame first.

        Raises:
            ArgumentError: ``x`` or ``truth`` has not the expected shape, or ``steps`` is not a positive int.
        """
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        given = drawn(feeding, x, truth, count("steps", steps))
        frames = x if truth is None else torch.cat([x, truth[:, :-1]], dim=1)
        size = (x.shape[-2], x.shape[-1])

        def read(seen: Tensor, state: States | None) -> tuple[Tensor, States | None]:
            top, state = self.rnn(cut(seen, self.patch_size), state)
            patches = self.head(top.flatten(0, 1)).unflatten(0, (-1, top.shape[1]))
            return lay(patches, self.patch_size, size), state

        forecasts = run(read, None, frames, given, self.feedback)
        return forecasts if every else forecasts[:, -steps:]
