"""Split work into chunks small enough to stay in the processor's caches."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

_CHUNK_BYTES = 16 << 20
_BLOCK_NUMBERS = 1 << 20  # of the first image in a block; smaller blocks do not keep all threads busy
Method = TypeVar("Method", bound=Callable[..., Tensor | None])


def chunks(count: int, size: int) -> list[slice]:
    """Split ``count`` items into chunks of ``size``; the last one may be smaller."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def chunks_by_bytes(count: int, bytes_each: int) -> list[slice]:
    """Split ``count`` samples, steps or rows into chunks which fit into the caches."""
    return chunks(count, max(1, _CHUNK_BYTES // bytes_each))


def in_pixel_blocks(method: Method) -> Method:
    """Decorate a method of images ``(P, channels)`` to process them block by block, by PyTorch's operations.

    Results of the blocks are added up. Arguments with another number of rows are passed on whole. On a GPU
    all pixels are one block.
    """

    @wraps(method)
    def blockwise(self: Any, *images: Any) -> Tensor | None:
        pixels, channels = images[0].shape
        size = max(1, _BLOCK_NUMBERS // channels) if images[0].device.type == "cpu" else pixels
        if pixels <= size:
            return method(self, *images)
        results = [
            method(self, *(_rows(image, pixels, block) for image in images))
            for block in (slice(start, start + size) for start in range(0, pixels, size))
        ]
        sums = [result for result in results if result is not None]
        return torch.stack(sums).sum(0) if sums else None

    return blockwise  # type: ignore[return-value]


def _rows(image: Any, pixels: int, rows: slice) -> Any:
    if isinstance(image, tuple):
        return type(image)(*(_rows(each, pixels, rows) for each in image))
    return image[rows] if isinstance(image, Tensor) and len(image) == pixels else image
