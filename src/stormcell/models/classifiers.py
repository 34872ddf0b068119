"""Classifiers of sequences of frames: a ConvLSTM, and a network that cannot see motion."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from stormcell.errors import ArgumentError
from stormcell.models.base import Network
from stormcell.models.patches import to_patches
from stormcell.nn import ConvLSTM2d
from stormcell.nn.arguments import PerAxis, PerLayer, count, one_of, per_axis
from stormcell.nn.shapes import check_input, shape


class SequenceClassifier(Network):
    """A ConvLSTM that reads a sequence, and a linear map from its last hidden state to classes.

    Args:
        in_channels: Channels of the frames.
        hidden_channels: Channels of each layer.
        kernel_size: Size of the kernels: a tuple means per axis, a list per layer.
        classes: Number of classes.
        spatial: Input of the linear map: ``"last"`` for every pixel of the top layer's last hidden state,
            ``"mean"`` for the mean over its pixels.
        spatial_size: Size of the frames, ``(H, W)``. Required by ``"last"``; None with ``"mean"``, which
            accepts frames of any size.
        patch_size: Side of the patches whose pixels become channels. Frames are padded with zeros at the
            bottom and the right to multiples of it.
        recurrent_kernel_size: Size of the kernels over the hidden state; None takes ``kernel_size``.
        peephole: ``"channel"`` as in the ConvLSTM paper, or None.
        forget_bias: Initial value of the forget gates' biases.

    Raises:
        ArgumentError: An argument has a value it cannot have.

    Examples:
        >>> import torch
        >>> model = SequenceClassifier(1, [8], 3, classes=10, spatial="last", spatial_size=(7, 7))
        >>> model(torch.rand(2, 16, 1, 7, 7)).shape  # (B, T, C, H, W): an MNIST image in 16 patches
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
            expected = "None" if spatial == "mean" else "the size of the frames"
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
        self.in_channels, self.patch_size, self.spatial_size = in_channels, patch_size, size
        self.record_layers(self.rnn)

    def forward(self, x: Tensor) -> Tensor:
        """Classify sequences.

        Args:
            x: Frames, ``(B, T, in_channels, H, W)``, oldest first.

        Returns:
            Logits, ``(B, classes)``.

        Raises:
            ArgumentError: ``x`` does not have the expected shape.
        """
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        if self.spatial_size is not None and tuple(x.shape[-2:]) != self.spatial_size:
            raise ArgumentError(f"x: expected frames of {self.spatial_size} pixels, found {shape(x)}")
        last, _ = self.rnn(to_patches(x, self.patch_size), return_sequence=False)
        logits: Tensor = self.head(last.mean(dim=(2, 3)) if self.spatial_size is None else last.flatten(1))
        return logits


class FrameAverageClassifier(Network):
    """A convolutional network that classifies each frame separately and averages over the frames.

    It has layers of a convolution and a ReLU, a mean over pixels and frames, and a linear map to classes. The
    order of the frames cannot change its output. With as many parameters as a recurrent network, it shows
    how much of that network's accuracy comes from motion.

    Args:
        in_channels: Channels of the frames.
        hidden_channels: Channels of each convolution.
        kernel_size: Size of all kernels, odd; images keep their size.
        classes: Number of classes.
        patch_size: Side of the patches, as in :class:`~stormcell.models.SequenceClassifier`.

    Raises:
        ArgumentError: An argument has a value it cannot have.

    Example:
        >>> model = FrameAverageClassifier(1, [8, 8], 3, classes=10)
        >>> model(torch.rand(2, 12, 1, 32, 32)).shape  # (B, T, C, H, W)
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: list[int],
        kernel_size: int,
        classes: int,
        patch_size: int = 1,
    ) -> None:
        super().__init__()
        channels = [count("in_channels", in_channels) * count("patch_size", patch_size) ** 2]
        channels += [count("hidden_channels", c) for c in hidden_channels]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(one, other, count("kernel_size", kernel_size), padding="same")
            for one, other in pairwise(channels)
        )
        self.head = nn.Linear(channels[-1], count("classes", classes))
        self.in_channels, self.patch_size = in_channels, patch_size

    @classmethod
    def matching(cls, model: SequenceClassifier, layers: int = 3) -> "FrameAverageClassifier":
        """Return a network with as many parameters as a classifier has, or a few more.

        All layers have the same width except the last, which is widened until there are enough parameters.

        Args:
            model: The classifier to match; its frames, classes, patches and first kernel are taken too.
            layers: Number of convolutions.

        Example:
            >>> model = SequenceClassifier(1, [32, 32], 5, classes=8, patch_size=4)
            >>> matched = FrameAverageClassifier.matching(model)
            >>> [sum(p.numel() for p in m.parameters()) for m in (model, matched)]
            [359112, 360924]
        """
        given = model.arguments
        target = _parameters(model)

        def of_width(width: int, last: int) -> "FrameAverageClassifier":
            return cls(
                given["in_channels"],
                [width] * (layers - 1) + [last],
                max(given["kernel_size"][0]),
                given["classes"],
                given["patch_size"],
            )

        width = 1
        with torch.device("meta"):
            while _parameters(of_width(width + 1, width + 1)) <= target:
                width += 1
            last = width
            while _parameters(of_width(width, last)) < target:
                last += 1
        return of_width(width, last)

    def forward(self, x: Tensor) -> Tensor:
        """Classify sequences; shapes and errors are those of :meth:`SequenceClassifier.forward`."""
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        images = to_patches(x, self.patch_size).flatten(0, 1)
        for convolution in self.convolutions:
            images = relu(convolution(images))
        features = images.mean(dim=(2, 3)).reshape(*x.shape[:2], -1)
        logits: Tensor = self.head(features.mean(dim=1))
        return logits


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
