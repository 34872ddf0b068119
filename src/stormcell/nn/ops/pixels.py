"""Images as the fast ways see them: channels last, ``(B, *space, C)``, or pixels in a row, ``(P, C)``."""

import math

import torch
from torch import Tensor

BLOCK = 256  # pixels whose gradients are summed in a row, before the sums are summed


def pixels(images: Tensor) -> Tensor:
    """Return the pixels of images, each in one piece and as far from the next as any; copied if need be."""
    if images.shape[-1] > 1 and images.stride(-1) != 1:
        images = images.contiguous()
    return images.reshape(-1, images.shape[-1])


def channels_last(images: Tensor) -> Tensor:
    """Return images ``(B, C, *space)`` as images ``(B, *space, C)``, copied if their pixels lie in pieces."""
    images = images.movedim(1, -1)
    return pixels(images).view(images.shape)


def channels_first(images: Tensor) -> Tensor:
    """Return images ``(B, *space, C)`` as PyTorch's ``(B, C, *space)``, which share their memory."""
    return images.movedim(-1, 1)


def side_by_side(x: Tensor, h: Tensor) -> list[Tensor]:
    """Return what a step sees, images ``(B, *space, C)``: the input ``(B, C_in, *space)``, if any, and h."""
    return [channels_last(x.to(h.dtype)), h] if x.shape[1] else [h]


def like(images: Tensor, channels: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return room for as many images, of so many channels."""
    return images.new_empty(*images.shape[:-1], channels, dtype=dtype)


def sequence(steps: int, h: Tensor, dtype: torch.dtype) -> Tensor:
    """Return room for ``(T, B, C, *space)`` like ``h``, ``(B, C, *space)``, with pixels in one piece."""
    batch, channels, *space = h.shape
    inner = [math.prod(space[axis + 1 :]) * channels for axis in range(len(space))]
    size = math.prod(space) * channels
    return h.new_empty_strided((steps, batch, channels, *space), (batch * size, size, 1, *inner), dtype=dtype)


def located(*images: Tensor | None) -> list[int]:
    """Return, for compiled code, of each ``(P, C)`` where it is and how far a pixel is from the next."""
    places = [(0, 0) if each is None else (each.data_ptr(), each.stride(0)) for each in images]
    return [number for place in places for number in place]


def room_for_sums(h: Tensor, sums: int) -> Tensor:
    """Return room for so many sums over the pixels of ``h``, ``(P, C)``, block by block."""
    count, channels = h.shape
    return h.new_empty((count + BLOCK - 1) // BLOCK, sums, channels)
