"""PyTorch's operations on some pixels at a time, so that what each makes for the next stays in the caches."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

_BLOCK = 1 << 20  # numbers that the first image may have of a block; with less, threads do not pay
Method = TypeVar("Method", bound=Callable[..., Tensor | None])


def in_blocks(method: Method) -> Method:
    """Have a method, of images ``(P, …)`` and others of fewer rows, go through the pixels in blocks.

    What it returns of each block is summed up. On a GPU all pixels are one block.
    """

    @wraps(method)
    def through(self: Any, *images: Any) -> Tensor | None:
        pixels, channels = images[0].shape
        size = max(1, _BLOCK // channels) if images[0].device.type == "cpu" else pixels
        if pixels <= size:
            return method(self, *images)
        starts = range(0, pixels, size)
        found = [method(self, *(_cut(each, pixels, slice(n, n + size)) for each in images)) for n in starts]
        sums = [each for each in found if each is not None]
        return torch.stack(sums).sum(0) if sums else None

    return through  # type: ignore[return-value]


def _cut(image: Any, pixels: int, some: slice) -> Any:
    if isinstance(image, tuple):
        return type(image)(*(_cut(each, pixels, some) for each in image))
    return image[some] if isinstance(image, Tensor) and len(image) == pixels else image
