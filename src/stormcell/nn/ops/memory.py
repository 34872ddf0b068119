"""Room for large tensors, which is used again.

What a training step allocates it soon lets go of. The C library then gives it back to the system, which
clears every page of it anew for the next step; that takes longer than to write to it. So on Linux large
pieces of memory are kept. What lies idle is marked as free to be taken (MADV_FREE): it is there for whatever
else needs memory, at no cost as long as nothing does.

A piece belongs to one tensor at a time, and comes back when the last view of it is gone, on whatever thread.
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

_PAGE = 2 << 20  # bytes: of the large ones, which are cleared and found faster
_LEAST = _PAGE  # of smaller tensors the C library takes care
_IDLE = 60.0  # seconds after which a piece is given back
_idle: dict[int, list[tuple[float, mmap.mmap]]] = {}  # by size; only ever changed by single operations


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a contiguous tensor of whatever numbers, like :func:`torch.empty`."""
    count = torch.Size(shape).numel()
    needed = count * dtype.itemsize
    piece = _piece(needed) if device.type == "cpu" and needed >= _LEAST else None
    if piece is None:
        return torch.empty(*shape, dtype=dtype, device=device)
    view = np.frombuffer(piece, np.uint8, needed)
    weakref.finalize(view, _give_back, piece).atexit = False
    tensor = torch.from_numpy(view).view(dtype).view(*shape)
    if torch.are_deterministic_algorithms_enabled() and torch.utils.deterministic.fill_uninitialized_memory:  # type: ignore[attr-defined]
        tensor.fill_(torch.nan)
    return tensor


def copy(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a contiguous tensor of the same numbers."""
    return empty(tensor.shape, dtype or tensor.dtype, tensor.device).copy_(tensor)


def _piece(needed: int) -> mmap.mmap | None:
    """Return a piece of memory of so many bytes or some more; None where there is none of this sort."""
    if sys.platform != "linux":
        return None
    size = _rounded(needed)
    _let_go()
    try:
        return _idle.setdefault(size, []).pop()[1]
    except IndexError:
        pass
    try:
        piece = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:  # torch.empty may still find it, and else says how much was asked for
        return None
    with suppress(OSError):  # not every kernel has them
        piece.madvise(mmap.MADV_HUGEPAGE)
    return piece


def _rounded(size: int) -> int:
    """Round up to one of four sizes for each power of two, so that what is nearly alike is shared."""
    quarter = max(_PAGE, 1 << (size - 1).bit_length() - 3)
    return -(-size // quarter) * quarter


def _give_back(piece: mmap.mmap) -> None:
    with suppress(OSError):  # not every kernel knows it: the piece is then as it was
        piece.madvise(mmap.MADV_FREE)
    _idle.setdefault(len(piece), []).append((time.monotonic(), piece))


def _let_go() -> None:
    """Give back to the system what has not been wanted for long."""
    before = time.monotonic() - _IDLE
    for pieces in list(_idle.values()):
        with suppress(IndexError):  # until there are no more
            while pieces[0][0] < before:  # the one that has waited longest
                pieces.pop(0)
