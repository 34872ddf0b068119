"""Images as the fast ways see them: channels last, ``(B, *space, C)``, which is pixels in a row, ``(P, C)``."""

import torch
from torch import Tensor


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


def like(images: Tensor, channels: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return room for as many images, of so many channels."""
    return images.new_empty(*images.shape[:-1], channels, dtype=dtype)
