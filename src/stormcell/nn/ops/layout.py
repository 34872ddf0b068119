"""The memory layouts of images: ``(B, C, *space)`` outside, channels last inside the fused back ends.

Inside, images are ``(B, *space, C)`` or, for the gate arithmetic, a list of pixels ``(P, C)``. The channels
of a pixel are always contiguous; the distance from one pixel to the next may be larger than C.
"""

import torch
from torch import Tensor

from stormcell.nn.ops import buffer_pool

SUM_BLOCK = 256  # pixels whose gradients are summed in sequence, before the partial sums are added up


def as_pixels(images: Tensor) -> Tensor:
    """Return images ``(..., C)`` as pixels ``(P, C)``: a view if their layout allows it, otherwise a copy."""
    if images.shape[-1] > 1 and images.stride(-1) != 1:
        images = buffer_pool.copy(images)
    return images.reshape(-1, images.shape[-1])


def channels_last(images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return images ``(B, C, *space)`` as ``(B, *space, C)``, copied only if layout or dtype require it."""
    last = images.movedim(1, -1)
    contiguous = last.shape[-1] == 1 or last.stride(-1) == 1
    if contiguous and dtype in (None, images.dtype):
        return as_pixels(last).view(last.shape)
    return buffer_pool.copy(last, dtype)


def channels_first(images: Tensor) -> Tensor:
    """Return images ``(B, *space, C)`` as ``(B, C, *space)``, which share their memory.

    The result is detached: autograd would forbid callers to write to a view.
    """
    return images.movedim(-1, 1).detach()


def empty_images(images: Tensor, channels: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return uninitialised images, as many and as large as these, ``(B, *space, channels)``."""
    return buffer_pool.empty((*images.shape[:-1], channels), dtype or images.dtype, images.device)


def empty_sequence(steps: int, h: Tensor, dtype: torch.dtype) -> Tensor:
    """Return an uninitialised sequence of images like ``h``: ``(T, B, C, *space)``, stored channels last."""
    batch, channels, *space = h.shape
    images = buffer_pool.empty((steps, batch, *space, channels), dtype, h.device)
    return images.movedim(-1, 2).detach()  # not a view, which autograd would forbid callers to write to


def sequence_or_empty(x: Tensor | None, steps: int, h: Tensor) -> Tensor:
    """Return the input sequence; without one, a sequence of images which have no channels."""
    return h.new_empty(steps, len(h), 0, *h.shape[2:]) if x is None else x


def write_input(x: Tensor, xh: Tensor) -> Tensor:
    """Write the input ``(B, C_in, *space)`` into the first channels of ``xh``, ``(B, *space, C_in + C)``.

    Returns:
        The other channels, which hold the hidden state.
    """
    inputs = x.shape[1]
    if inputs:
        xh[..., :inputs] = x.movedim(1, -1)
    return xh[..., inputs:]


def addresses(*images: Tensor | None) -> list[int]:
    """Return the address and the pixel distance of each ``(P, C)``, as compiled code expects them."""
    pairs = [(0, 0) if image is None else (image.data_ptr(), image.stride(0)) for image in images]
    return [number for pair in pairs for number in pair]


def empty_sums(h: Tensor, count: int) -> Tensor:
    """Return memory for ``count`` sums over each block of the pixels of ``h``, ``(P, C)``."""
    pixels, channels = h.shape
    return h.new_empty((pixels + SUM_BLOCK - 1) // SUM_BLOCK, count, channels)
