"""The peak memory of this process, which only Linux reports."""

import ctypes
import gc
from pathlib import Path

_PROCESS = Path("/proc/self")


def held() -> int | None:
    """Return the bytes of memory in use by this process, and reset the peak.

    Files that are mapped, libraries above all, are not counted: their pages come as they are first used.
    """
    gc.collect()
    _give_back()
    try:
        (_PROCESS / "clear_refs").write_text("5")  # resets the peak to the current value
    except OSError:
        return None
    return _kilobytes("RssAnon") * 1024


def peak() -> int:
    """Return the peak since :func:`held`, in bytes."""
    # The peak includes mapped files, whose size is assumed to be unchanged.
    return (_kilobytes("VmHWM") - _kilobytes("RssFile") - _kilobytes("RssShmem")) * 1024


def _kilobytes(name: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _give_back() -> None:
    """Make the allocator return its free memory."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
