"""A pool of memory for large tensors, used on Linux.

A training step allocates large tensors and soon frees them. The C library then returns the memory to the
system, which clears every page again for the next step; that takes longer than writing to it. The pool keeps
the memory mapped instead. An idle buffer is marked as reclaimable (MADV_FREE): the system takes it if other
programs need memory.

A buffer belongs to one tensor at a time. It returns to the pool when the tensor's last view is deleted, on
whatever thread.
"""

import mmap
import sys
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

_PAGE = 2 << 20  # bytes of a large page, which is found and cleared faster
_MIN_BYTES = _PAGE  # smaller tensors come from the C library
_MAX_IDLE_SECONDS = 60.0
_idle: dict[int, list[tuple[float, mmap.mmap]]] = {}  # by size; changed by atomic operations only


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a contiguous, uninitialised tensor, like :func:`torch.empty`."""
    size = torch.Size(shape).numel() * dtype.itemsize
    buffer = _take(size) if device.type == "cpu" and size >= _MIN_BYTES else None
    if buffer is None:
        return torch.empty(*shape, dtype=dtype, device=device)
    view = np.frombuffer(buffer, np.uint8, size)
    weakref.finalize(view, _put_back, buffer).atexit = False
    tensor = torch.from_numpy(view).view(dtype).view(*shape)
    if torch.are_deterministic_algorithms_enabled() and torch.utils.deterministic.fill_uninitialized_memory:  # type: ignore[attr-defined]
        tensor.fill_(torch.nan)
    return tensor


def copy(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a contiguous copy."""
    return empty(tensor.shape, dtype or tensor.dtype, tensor.device).copy_(tensor)


def _take(size: int) -> mmap.mmap | None:
    """Return a buffer of at least ``size`` bytes; None if this system has none to offer."""
    if sys.platform != "linux":
        return None
    size = _rounded(size)
    release(_MAX_IDLE_SECONDS)
    try:
        return _idle.setdefault(size, []).pop()[1]
    except IndexError:
        pass
    try:
        buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:  # torch.empty may still succeed, and otherwise names the size in its error
        return None
    with suppress(OSError):  # some kernels have no large pages
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


def _rounded(size: int) -> int:
    """Round up to one of four sizes per power of two, so that tensors of similar size share buffers."""
    quarter = max(_PAGE, 1 << (size - 1).bit_length() - 3)
    return -(-size // quarter) * quarter


def _put_back(buffer: mmap.mmap) -> None:
    with suppress(OSError):  # some kernels lack MADV_FREE; the buffer then stays mapped
        buffer.madvise(mmap.MADV_FREE)
    _idle.setdefault(len(buffer), []).append((time.monotonic(), buffer))


def release(idle_seconds: float = 0.0) -> None:
    """Return buffers to the system which have been idle for so long."""
    before = time.monotonic() - idle_seconds
    for buffers in list(_idle.values()):
        with suppress(IndexError):  # the list is empty
            while buffers[0][0] <= before:  # the first one has been idle for the longest time
                buffers.pop(0)
