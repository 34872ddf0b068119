"""Images as the fast ways see them: channels last, ``(B, *space, C)``, or pixels in a row, ``(P, C)``."""

import torch
from torch import Tensor

from stormcell.nn.ops import memory

BLOCK = 256  # pixels whose gradients are summed in a row, before the sums are summed


def pixels(images: Tensor) -> Tensor:
    """Return the pixels of images, each in one piece and as far from the next as any; copied if need be."""
    if images.shape[-1] > 1 and images.stride(-1) != 1:
        images = memory.copy(images)
    return images.reshape(-1, images.shape[-1])


def channels_last(images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return images ``(B, C, *space)`` as ``(B, *space, C)``, copied if their pixels lie in pieces."""
    last = images.movedim(1, -1)
    whole = last.shape[-1] == 1 or last.stride(-1) == 1
    if whole and dtype in (None, images.dtype):
        return pixels(last).view(last.shape)
    return memory.copy(last, dtype)


def channels_first(images: Tensor) -> Tensor:
    """Return images ``(B, *space, C)`` as PyTorch's ``(B, C, *space)``, which share their memory.

    To autograd they are no view, which might not be written to.
    """
    return images.movedim(-1, 1).detach()


def show(x: Tensor, seen: Tensor) -> Tensor:
    """Write the input ``(B, C_in, *space)`` beside the hidden state; return that, ``(B, *space, C)``."""
    inputs = x.shape[1]
    if inputs:
        seen[..., :inputs] = x.movedim(1, -1)
    return seen[..., inputs:]


def like(images: Tensor, channels: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return room for as many images, of so many channels."""
    return memory.empty((*images.shape[:-1], channels), dtype or images.dtype, images.device)


def sequence(steps: int, h: Tensor, dtype: torch.dtype) -> Tensor:
    """Return room for ``(T, B, C, *space)`` like ``h``, ``(B, C, *space)``, with pixels in one piece."""
    batch, channels, *space = h.shape
    images = memory.empty((steps, batch, *space, channels), dtype, h.device)
    return images.movedim(-1, 2).detach()  # no view, which might not be written to


def located(*images: Tensor | None) -> list[int]:
    """Return, for compiled code, of each ``(P, C)`` where it is and how far a pixel is from the next."""
    places = [(0, 0) if each is None else (each.data_ptr(), each.stride(0)) for each in images]
    return [number for place in places for number in place]


def room_for_sums(h: Tensor, sums: int) -> Tensor:
    """Return room for so many sums over the pixels of ``h``, ``(P, C)``, block by block."""
    count, channels = h.shape
    return h.new_empty((count + BLOCK - 1) // BLOCK, sums, channels)
