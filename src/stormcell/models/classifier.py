"""A class for a sequence of frames, told by a ConvLSTM."""

from collections.abc import Sequence

from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.models.base import Network
from stormcell.models.patches import cut
from stormcell.nn import ConvLSTM2d
from stormcell.nn.arguments import PerAxis, PerLayer, count, one_of, per_axis
from stormcell.nn.shapes import check_input, shape


class SequenceClassifier(Network):
    """A ConvLSTM that reads a sequence, and a linear map of its last hidden state to classes.

    Args:
        in_channels: Channels of the frames.
        hidden_channels: Channels of each layer.
        kernel_size: Of the convolutions: a tuple means per axis, a list per layer.
        classes: How many.
        spatial: What of the top layer's last hidden state the linear map sees: ``"last"`` every pixel of
            it, ``"mean"`` its mean over the pixels.
        spatial_size: Of the frames, ``(H, W)``, which ``"last"`` fixes; None with ``"mean"``, where frames
            may be of any size.
        patch_size: Side of the patches whose pixels become channels; frames are padded with zeros at the
            bottom and the right to multiples of it.
        recurrent_kernel_size: Of the convolutions over the hidden state; None takes ``kernel_size``.
        peephole: ``"channel"`` as the ConvLSTM paper, or None.
        forget_bias: What the biases of the forget gates start at.

    Raises:
        ArgumentError: An argument has a value it cannot have.

    Examples:
        >>> import torch
        >>> model = SequenceClassifier(1, [8], 3, classes=10, spatial="last", spatial_size=(7, 7))
        >>> model(torch.rand(2, 16, 1, 7, 7)).shape  # (B, T, C, H, W): an MNIST image in 16 pieces
        torch.Size([2, 10])
        >>> twin = SequenceClassifier(**model.arguments)
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | Sequence[int],
        kernel_size: PerLayer[PerAxis],
        classes: int,
        spatial: str = "mean",
        spatial_size: int | tuple[int, ...] | list[int] | None = None,
        patch_size: int = 1,
        recurrent_kernel_size: PerLayer[PerAxis | None] = None,
        *,
        peephole: str | None = "channel",
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        one_of("spatial", spatial, ("last", "mean"))
        size = None if spatial_size is None else per_axis("spatial_size", spatial_size, 2)
        if (size is None) != (spatial == "mean"):
            expected = "None" if spatial == "mean" else "that of the frames"
            raise ArgumentError(
                f"spatial_size: expected {expected} with spatial={spatial!r}, found {spatial_size!r}"
            )
        self.rnn = ConvLSTM2d(
            count("in_channels", in_channels) * count("patch_size", patch_size) ** 2,
            hidden_channels,
            kernel_size,
            batch_first=True,
            peephole=peephole,
            recurrent_kernel_size=recurrent_kernel_size,
            forget_bias=forget_bias,
        )
        features = self.rnn.hidden_channels[-1]
        for side in size or ():
            features *= -(-side // patch_size)
        self.head = nn.Linear(features, count("classes", classes))
        self.in_channels = in_channels
        self.hidden_channels = self.rnn.hidden_channels
        self.kernel_size = self.rnn.kernel_size
        self.recurrent_kernel_size = self.rnn.recurrent_kernel_size
        self.patch_size = patch_size
        self.spatial_size = size

    def forward(self, x: Tensor) -> Tensor:
        """Classify sequences.

        Args:
            x: Frames, ``(B, T, in_channels, H, W)``, oldest first.

        Returns:
            Logits, ``(B, classes)``.

        Raises:
            ArgumentError: ``x`` has not the expected shape.
        """
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        if self.spatial_size is not None and tuple(x.shape[-2:]) != self.spatial_size:
            raise ArgumentError(f"x: expected frames of {self.spatial_size} pixels, found {shape(x)}")
        last, _ = self.rnn(cut(x, self.patch_size), return_sequence=False)
        logits: Tensor = self.head(last.mean(dim=(2, 3)) if self.spatial_size is None else last.flatten(1))
        return logits
