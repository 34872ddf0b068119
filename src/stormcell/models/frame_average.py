"""What single frames tell of a sequence's class: the rival that sees no motion."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from stormcell.models.base import Network
from stormcell.models.classifier import SequenceClassifier
from stormcell.models.patches import cut
from stormcell.nn.arguments import count
from stormcell.nn.shapes import check_input


class FrameAverageClassifier(Network):
    """A convolutional network that sees each frame alone, and averages what it saw over the frames.

    Layers of a convolution and a ReLU, their output averaged over pixels and frames, and a linear map to
    classes. The order of the frames cannot change what it says: it is what a network that does see motion
    is measured against, with as many parameters.

    Args:
        in_channels: Channels of the frames.
        hidden_channels: Channels of each convolution.
        kernel_size: Of all convolutions, odd; images keep their size.
        classes: How many.
        patch_size: As in :class:`~stormcell.models.SequenceClassifier`.

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
        self.in_channels = in_channels
        self.patch_size = patch_size

    @classmethod
    def matching(cls, model: SequenceClassifier, layers: int = 3) -> "FrameAverageClassifier":
        """Return one with as many parameters as a classifier, or with a few more.

        Its layers are equally wide but for the last, which is made wider until there are no fewer.

        Args:
            model: The one to match, in its frames, classes, patches and first kernel too.
            layers: How many convolutions.

        Example:
            >>> model = SequenceClassifier(1, [32, 32], 5, classes=8, patch_size=4)
            >>> rival = FrameAverageClassifier.matching(model)
            >>> [sum(p.numel() for p in m.parameters()) for m in (model, rival)]
            [359112, 360924]
        """
        told = model.arguments
        target = _parameters(model)

        def wide(width: int, last: int) -> "FrameAverageClassifier":
            return cls(
                told["in_channels"],
                [width] * (layers - 1) + [last],
                max(told["kernel_size"][0]),
                told["classes"],
                told["patch_size"],
            )

        width = 1
        with torch.device("meta"):
            while _parameters(wide(width + 1, width + 1)) <= target:
                width += 1
            last = width
            while _parameters(wide(width, last)) < target:
                last += 1
        return wide(width, last)

    def forward(self, x: Tensor) -> Tensor:
        """Classify sequences.

        Args:
            x: Frames, ``(B, T, in_channels, H, W)``.

        Returns:
            Logits, ``(B, classes)``.

        Raises:
            ArgumentError: ``x`` has not the expected shape.
        """
        check_input(x, self.in_channels, ("B", "T", "C", "H", "W"))
        seen = cut(x, self.patch_size).flatten(0, 1)
        for convolution in self.convolutions:
            seen = relu(convolution(seen))
        each = seen.mean(dim=(2, 3)).reshape(*x.shape[:2], -1)
        logits: Tensor = self.head(each.mean(dim=1))
        return logits


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
