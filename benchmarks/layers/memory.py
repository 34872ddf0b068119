"""How much memory this process has had at most. Linux tells; elsewhere it is unknown."""

import ctypes
import gc
from pathlib import Path

_PROCESS = Path("/proc/self")


def held() -> int | None:
    """Return how many bytes of memory this process has written to, and begin to watch for a peak.

    Files that are mapped, libraries above all, are not counted: their pages come as they are first used.
    """
    gc.collect()
    _give_back()
    try:
        (_PROCESS / "clear_refs").write_text("5")  # the high-water mark is what there is now
    except OSError:
        return None
    return _kilobytes("RssAnon") * 1024


def peak() -> int:
    """Return how many bytes they have been at most since :func:`held`."""
    # Of the mark the files are a part. They are taken to be now what they were then.
    return (_kilobytes("VmHWM") - _kilobytes("RssFile") - _kilobytes("RssShmem")) * 1024


def _kilobytes(name: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _give_back() -> None:
    """Make the allocator return what it keeps for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
