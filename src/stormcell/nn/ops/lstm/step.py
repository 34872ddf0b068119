"""One step of a fused ConvLSTM forward: a convolution of input and hidden state, and the gates.

Images are ``(B, *space, channels)``. ``xh`` has the channels of both input and hidden state.
"""

import functools
import logging
from typing import Protocol

import torch
from torch import Tensor

from stormcell.nn.ops import conv_backends, kernels
from stormcell.nn.ops.chunking import chunks_by_bytes
from stormcell.nn.ops.layout import as_pixels
from stormcell.nn.ops.lstm import amx
from stormcell.nn.ops.lstm.pointwise import (
    NativePointwise,
    Pointwise,
    StepImages,
    TorchPointwise,
    native_images,
)
from stormcell.nn.ops.winograd import Winograd


class Step(Protocol):
    """A step of a ConvLSTM."""

    def __call__(self, xh: Tensor, images: StepImages, saved: Tensor | None) -> Tensor | None:
        """Take a step.

        Args:
            xh: (B, *space, C_in + C), input and hidden state.
            images: The old cell state, and memory for the new state.
            saved: (B, *space, 4C), memory for the gates' arguments, or None not to save them.

        Returns:
            The gates' arguments, if they are in one piece of memory.
        """
        ...


class FusedStep:
    """The gates are computed within the convolution, as soon as those of a pixel are known."""

    def __init__(self, convolution: Winograd, bias: Tensor | None, w: Tensor) -> None:
        self._convolution, self._bias, self._w = convolution, bias, w

    def __call__(self, xh: Tensor, images: StepImages, saved: Tensor | None) -> Tensor | None:
        """See :class:`Step`."""
        gates = native_images(images, self._w)
        self._convolution.forward_with_gates(xh, self._bias, gates, saved)
        return saved


class SplitStep:
    """First the convolution, then the gates. An image too large for the caches is split into rows."""

    def __init__(
        self,
        convolution: conv_backends.Direct | conv_backends.InFloat32 | conv_backends.Matrix,
        pointwise: Pointwise,
        bias: Tensor | None,
        w: Tensor,
    ) -> None:
        self._convolution, self._pointwise, self._bias, self._w = convolution, pointwise, bias, w

    def __call__(self, xh: Tensor, images: StepImages, saved: Tensor | None) -> Tensor | None:
        """See :class:`Step`."""
        if xh.device.type != "cpu":  # a GPU is busy only with the whole image
            z = self._convolution.forward(xh, self._bias)
            self._pointwise.forward(as_pixels(z), self._w, images)
            return z
        # The gates are copied to ``saved``: PyTorch's convolution always allocates its result.
        row = images.c_old.shape[0] // xh.shape[1]  # pixels of a row of all samples
        for rows in self._row_groups(xh):
            z = self._convolution.forward(xh, self._bias, rows)
            pixels = slice(row * rows.start, row * rows.stop)
            self._pointwise.forward(
                as_pixels(z),
                self._w,
                StepImages(*(image[pixels] for image in images)),
                None if saved is None else as_pixels(saved)[pixels],
            )
        return saved

    def _row_groups(self, xh: Tensor) -> list[slice]:
        """Split a single image into groups of rows; a batch is not split."""
        if len(xh) > 1:
            return [slice(0, xh.shape[1])]
        return chunks_by_bytes(xh.shape[1], xh[0, 0, ..., 0].numel() * 4 * self._w.shape[1] * xh.itemsize)


def fastest_step(weight: Tensor, bias: Tensor | None, w: Tensor, *, peepholes: bool) -> Step:
    """Return the fastest step.

    Args:
        weight: (4C, C_in + C, *k).
        bias: (4C,), or None.
        w: (3, C), the peepholes, or zeros.
        peepholes: Whether there are peepholes.
    """
    if amx.is_faster(weight):
        return amx.AMXStep(weight, bias, w)
    convolution = conv_backends.conv_backend(weight)
    bias = None if bias is None else bias.to(weight.dtype)
    if isinstance(convolution, Winograd):
        return FusedStep(convolution, bias, w)
    return SplitStep(
        convolution, fastest_pointwise(weight.dtype, weight.device, peepholes=peepholes), bias, w
    )


def fastest_pointwise(dtype: torch.dtype, device: torch.device, *, peepholes: bool) -> Pointwise:
    """Return the fastest gate arithmetic for convolutions of this dtype on this device."""
    if device.type != "cpu":
        return _triton(device) or TorchPointwise(peepholes=peepholes)
    native = kernels.library(dtype)
    return TorchPointwise(peepholes=peepholes) if native is None else NativePointwise(native)


@functools.cache
def _triton(device: torch.device) -> Pointwise | None:
    """Return the gate arithmetic in Triton; log one warning and return None if that does not work here."""
    try:
        # Triton comes with PyTorch for CUDA, and only with that.
        from stormcell.nn.ops.lstm.triton_pointwise import TritonPointwise

        # It also needs a C compiler and a GPU which it supports: try it on one pixel.
        z, w, *images = (torch.zeros(*shape, device=device) for shape in ((1, 4), (3, 1), *[(1, 1)] * 4))
        pointwise = TritonPointwise()
        pointwise.forward(z, w, StepImages(*images))
    except Exception as error:  # compilers and drivers do not document what they raise
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        warning = "ConvLSTM runs slower on %s, without Triton: %s"
        logging.getLogger("stormcell").warning(warning, device, reason)
        return None
    return pointwise
