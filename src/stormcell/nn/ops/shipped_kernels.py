"""The C kernels that a platform wheel carries: a library for each dtype and kind of processor."""

import platform
import sys
from pathlib import Path
from typing import NamedTuple

import torch

FOLDER = Path(__file__).with_name("native") / "shipped"
_SUFFIXES = {"win32": ".dll", "darwin": ".dylib"}
# What PyTorch says of an x86-64 processor, and the kernels that it runs, the fastest first.
_X86_64 = {"AVX512": ("x86-64-v4", "x86-64-v3"), "AVX2": ("x86-64-v3",)}


class ShippedKernels(NamedTuple):
    """A library of the wheel."""

    path: Path
    processor: str  # the kind of processor that it needs


def find(dtype: torch.dtype) -> ShippedKernels | None:
    """Return the fastest kernels of the wheel that this processor runs, or None."""
    name, suffix = str(dtype).removeprefix("torch."), _SUFFIXES.get(sys.platform, ".so")
    for processor in _processors():
        path = FOLDER / f"{name}-{processor}{suffix}"
        if path.exists():
            return ShippedKernels(path, processor)
    return None


def _processors() -> tuple[str, ...]:
    if platform.machine().lower() in ("aarch64", "arm64"):
        return ("aarch64",)
    return _X86_64.get(torch.backends.cpu.get_cpu_capability(), ())
