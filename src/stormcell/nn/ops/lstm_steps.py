"""A ConvLSTM's step forwards: the convolution of what is seen, and the gates.

Images are ``(B, *space, channels)``. What is seen, input and hidden state side by side, is one of them.
"""

from typing import Protocol

from torch import Tensor

from stormcell.nn.ops import gates
from stormcell.nn.ops.engines import Direct, Matrix, engine
from stormcell.nn.ops.gates import Gates, Images
from stormcell.nn.ops.pieces import pieces
from stormcell.nn.ops.pixels import pixels
from stormcell.nn.ops.winograd import Winograd


class Step(Protocol):
    """A step, again and again."""

    def __call__(self, seen: Tensor, images: Images, kept: Tensor | None) -> Tensor | None:
        """Take a step.

        Args:
            seen: (B, *space, C_in + C), input and hidden state.
            images: What else is read and written.
            kept: (B, *space, 4C), where what makes the gates is written, if it is to be.

        Returns:
            What makes the gates, where there is all of it.
        """
        ...


class Together:
    """The gates within the convolution, as soon as a pixel's are known."""

    def __init__(self, convolution: Winograd, bias: Tensor | None, w: Tensor) -> None:
        self._convolution, self._bias, self._w = convolution, bias, w

    def __call__(self, seen: Tensor, images: Images, kept: Tensor | None) -> Tensor | None:
        """See :class:`Step`."""
        self._convolution.step(seen, self._bias, images, self._w, kept)
        return kept


class Apart:
    """First the one, then the other; of an image too large to stay in the caches, some rows at a time."""

    def __init__(
        self, convolution: Direct | Matrix, arithmetic: Gates, bias: Tensor | None, w: Tensor
    ) -> None:
        self._convolution, self._gates, self._bias, self._w = convolution, arithmetic, bias, w

    def __call__(self, seen: Tensor, images: Images, kept: Tensor | None) -> Tensor | None:
        """See :class:`Step`."""
        if seen.device.type != "cpu":  # more to do at once, and no caches to keep it in
            z = self._convolution.forward(seen, self._bias)
            self._gates.forward(pixels(z), self._w, images)
            return z
        # Kept are copies: PyTorch's convolution only writes to memory that is new.
        row = images.c_old.shape[0] // seen.shape[1]  # of all samples: there is one if there are many rows
        for rows in self._rows(seen):
            z = self._convolution.forward(seen, self._bias, rows)
            some = slice(row * rows.start, row * rows.stop)
            self._gates.forward(
                pixels(z),
                self._w,
                Images(*(image[some] for image in images)),
                None if kept is None else pixels(kept)[some],
            )
        return kept

    def _rows(self, seen: Tensor) -> list[slice]:
        """Cut an image into rows to be worked through together; samples are not cut."""
        if len(seen) > 1:
            return [slice(0, seen.shape[1])]
        return pieces(seen.shape[1], seen[0, 0, ..., 0].numel() * 4 * self._w.shape[1] * seen.itemsize)


def step(weight: Tensor, bias: Tensor | None, w: Tensor, *, peepholes: bool) -> Step:
    """Return the fastest step by a weight ``(4C, C_in + C, *k)`` and peepholes ``(3, C)``, or zeros."""
    convolution = engine(weight)
    bias = None if bias is None else bias.to(weight.dtype)
    if isinstance(convolution, Winograd):
        return Together(convolution, bias, w)
    return Apart(convolution, gates.gates(weight.dtype, weight.device, peepholes=peepholes), bias, w)
