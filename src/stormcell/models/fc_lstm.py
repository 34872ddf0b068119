"""FC-LSTM: the fully connected encoder–forecaster that the ConvLSTM paper compares with."""

from collections.abc import Sequence

from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.models.base import Network
from stormcell.models.rollout import check_feedback, check_free_running, run_forecaster
from stormcell.models.sampling_schedules import FREE_RUNNING, SamplingSchedule
from stormcell.nn import PeepholeLSTM
from stormcell.nn.arguments import count, per_axis
from stormcell.nn.conv_lstm import States
from stormcell.nn.shapes import check_input, shape


class FCLSTMForecaster(Network):
    """The fully connected encoding–forecasting LSTM of Shi et al. (2015), arXiv:1506.04214.

    A frame is a vector with a feature for each pixel. The encoder, LSTM layers with peepholes, reads the
    frames. The forecaster, whose first layer has no input, starts layer by layer from the encoder's last
    states. A linear map from its top layer gives the forecast. With the paper's frames and layers, which are
    the defaults, the number of parameters is the paper's, 142 667 776. The network of its radar experiment is
    ``FCLSTMForecaster(1, (100, 100), [2000, 2000])``.

    Args:
        in_channels: Channels of the inputs.
        spatial_size: Size of the frames, ``(H, W)``.
        hidden_channels: Features of each layer, bottom layer first, in the encoder and in the forecaster.
        out_channels: Channels of the forecast; None takes ``in_channels``.
        peephole: ``"channel"`` as in the paper, or None.
        forget_bias: Initial value of the forget gates' biases.
        feedback: As in :class:`~stormcell.models.EncoderForecaster`.

    Raises:
        ArgumentError: An argument has a value it cannot have.

    Examples:
        >>> import torch
        >>> model = FCLSTMForecaster(in_channels=1, spatial_size=(16, 12), hidden_channels=[32, 32])
        >>> model(torch.rand(2, 5, 1, 16, 12), steps=10).shape  # (B, T, C, H, W)
        torch.Size([2, 10, 1, 16, 12])
        >>> twin = FCLSTMForecaster(**model.arguments)
    """

    def __init__(
        self,
        in_channels: int = 1,
        spatial_size: int | tuple[int, ...] | list[int] = (64, 64),
        hidden_channels: int | Sequence[int] = (2048, 2048),
        out_channels: int | None = None,
        *,
        peephole: str | None = "channel",
        forget_bias: float = 1.0,
        feedback: str | None = None,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        height, width = per_axis("spatial_size", spatial_size, 2)
        features = count("in_channels", in_channels) * height * width
        check_feedback(feedback, in_channels, out_channels)

        def stack(inputs: int) -> PeepholeLSTM:
            return PeepholeLSTM(
                inputs, hidden_channels, batch_first=True, peephole=peephole, forget_bias=forget_bias
            )

        self.encoder = stack(features)
        self.forecaster = stack(features if feedback else 0)
        self.head = nn.Linear(
            self.forecaster.hidden_channels[-1], count("out_channels", out_channels) * height * width
        )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.spatial_size, self.feedback = (height, width), feedback

    def forward(
        self,
        x: Tensor,
        steps: int,
        *,
        targets: Tensor | None = None,
        schedule: SamplingSchedule | Tensor = FREE_RUNNING,
    ) -> Tensor:
        """Forecast the frames that follow ``x``, which have the size ``spatial_size``.

        The arguments, the result and the errors are those of :meth:`EncoderForecaster.forward`.
        """
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        if tuple(x.shape[-2:]) != self.spatial_size:
            raise ArgumentError(f"x: expected frames of {self.spatial_size} pixels, found {shape(x)}")
        _, state = self.encoder(x.flatten(2))
        if self.feedback is None:
            check_free_running(schedule, "the forecaster has no input without feedback")
            top, _ = self.forecaster(None, state, steps=steps)
            return self._frames(top)

        def read(frames: Tensor, state: States) -> tuple[Tensor, States]:
            top, state = self.forecaster(frames.flatten(2), state)
            return self._frames(top), state

        return run_forecaster(read, state, x, steps, targets, schedule, self.feedback)

    def _frames(self, top: Tensor) -> Tensor:
        frames: Tensor = self.head(top).unflatten(-1, (-1, *self.spatial_size))
        return frames
