"""Patches: squares of pixels that become channels, so that recurrent layers work at a lower resolution."""

import torch.nn.functional as F
from torch import Tensor


def to_patches(
    frames: Tensor,  # (B, T, C, H, W)
    side: int,
) -> Tensor:  # (B, T, C · side², ⌈H / side⌉, ⌈W / side⌉)
    """Turn every patch of ``side`` × ``side`` pixels into channels, ordered channel, row, column.

    Frames whose sides are not multiples of the patch are padded with zeros at the bottom and the right.

    Example:
        >>> import torch
        >>> to_patches(torch.rand(2, 5, 1, 48, 37), 4).shape
        torch.Size([2, 5, 16, 12, 10])
    """
    return F.pixel_unshuffle(pad(frames, side), side)


def to_frames(
    patches: Tensor,  # (B, T, C · side², ⌈H / side⌉, ⌈W / side⌉)
    side: int,
    size: tuple[int, int],
) -> Tensor:  # (B, T, C, H, W)
    """Undo :func:`to_patches` for frames of this size."""
    return F.pixel_shuffle(patches, side)[..., : size[0], : size[1]]


def pad(frames: Tensor, side: int) -> Tensor:
    """Pad frames with zeros at the bottom and the right until their sides are multiples of ``side``."""
    height, width = frames.shape[-2:]
    return F.pad(frames, (0, -width % side, 0, -height % side))
