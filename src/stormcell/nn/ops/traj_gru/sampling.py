"""The warp of images along flows in PyTorch's operations, differentiable in every way that they are."""

import torch
from torch import Tensor


def sample(images: Tensor, flows: Tensor, align_corners: bool, first: int = 0) -> Tensor:
    """Sample images at pixels displaced by flows: bilinear, with zeros outside the image.

    Between pixels the slope along an axis is the difference of the pixels on both sides. Exactly on a pixel
    it is the slope towards the next row or column, as in ``native/warp.c``. PyTorch's ``grid_sample`` rounds
    places, so that there either side would be possible.

    Args:
        images: (B, H, W, C).
        flows: (P, L, 2), pairs dx, dy in pixels, of P pixels, which are counted over all images.
        align_corners: As in :func:`.reference.warp`.
        first: The number of the first of these pixels.

    Returns:
        (P, L, C).
    """
    height, width = images.shape[1:3]
    pixels = first + torch.arange(flows.shape[0], device=images.device).unsqueeze(1)  # (P, 1)
    line = pixels // width  # counted over all images
    image = line // height * height  # the first line of the image
    row, column = line - image, pixels - line * width  # in ONNX there is no remainder of symbolic sizes
    y = _place(row - flows[..., 1], height, align_corners)
    x = _place(column - flows[..., 0], width, align_corners)
    top, left = y.floor(), x.floor()
    below, right = (y - top).unsqueeze(2), (x - left).unsqueeze(2)
    source = images.flatten(0, 2)

    def pixel(row: Tensor, column: Tensor) -> Tensor:
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        # NaN and huge numbers cannot be converted to integers.
        row, column = (torch.where(inside, place, 0.0).long() for place in (row, column))
        index = (image + row) * width + column
        found = source.index_select(0, index.flatten()).reshape(*index.shape, source.shape[1])
        return torch.where(inside.unsqueeze(2), found, 0.0)

    upper = (1 - right) * pixel(top, left) + right * pixel(top, left + 1)
    lower = (1 - right) * pixel(top + 1, left) + right * pixel(top + 1, left + 1)
    return (1 - below) * upper + below * lower


def _place(pixel: Tensor, size: int, align_corners: bool) -> Tensor:
    """Return where an image is sampled; see :func:`.reference.warp`."""
    return pixel if align_corners else pixel / max(size - 1, 1) * size - 0.5
