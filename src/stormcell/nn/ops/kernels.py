"""The C kernels: those that came with the wheel, those compiled on this machine, or none.

The environment variable ``STORMCELL_NATIVE=0`` turns both off; it is read when a kernel is first needed.
"""

import ctypes
import functools
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

from stormcell.nn.ops import compiler, shipped_kernels

_logger = logging.getLogger("stormcell")
_origins: dict[torch.dtype, str] = {}
_failures: dict[torch.dtype, str] = {}


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the kernels for convolutions of this dtype, or None if they are not available.

    Those of the wheel are taken where they suit the processor and can be loaded. Otherwise they are compiled,
    which takes less than a second and happens once per machine. If that fails, one warning is logged per
    process, and the layers use PyTorch's operations.
    """
    if os.environ.get("STORMCELL_NATIVE") == "0":
        _failures[dtype] = "STORMCELL_NATIVE=0"
        return None
    try:
        found, _origins[dtype] = _of_wheel(dtype) or (
            ctypes.CDLL(str(compiler.compiled(dtype))),
            "compiled on this machine",
        )
        return found
    except (OSError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        output = str(getattr(error, "stderr", "") or error).strip()
        _failures[dtype] = (output or repr(error)).splitlines()[0]
        _warn(_failures[dtype])
        return None


def _of_wheel(dtype: torch.dtype) -> tuple[ctypes.CDLL, str] | None:
    """Return the wheel's kernels and their origin, or None; that a file cannot be loaded is logged."""
    shipped = shipped_kernels.find(dtype) if _parallel_for_of_torch() is not None else None
    if shipped is None:
        return None
    try:
        return ctypes.CDLL(str(shipped.path)), f"from the wheel, for {shipped.processor}"
    except OSError as error:
        _logger.warning("the wheel's kernels cannot be loaded: %s", error)
        return None


def is_supported(dtype: torch.dtype) -> bool:
    """Return whether there are kernels for convolutions of this dtype."""
    return dtype in compiler.DTYPES


def origin(dtype: torch.dtype) -> str | None:
    """Return where the kernels for this dtype come from; None if they are not available."""
    return None if library(dtype) is None else _origins[dtype]


def failure(dtype: torch.dtype) -> str | None:
    """Return why the kernels for this dtype are not available; None if they are."""
    return _failures.get(dtype) if library(dtype) is None else None


class Kernel:
    """A function of a library, which PyTorch's threads run in parts; see ``native/number.h``."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self._function = getattr(library, name)
        self._parallel_for = _parallel_for_of_torch() or _typed(library.parallel_for)

    def __call__(self, results: int, *arguments: int) -> None:
        """Compute results, numbered from 0, given the sizes and addresses that the C code expects."""
        self._parallel_for(0, results, 1, self._function, _array(arguments))

    def in_this_thread(self, results: int, *arguments: int) -> None:
        """Compute results as a call does, but all of them in the thread that calls."""
        self._function(ctypes.c_int64(0), ctypes.c_int64(results), _array(arguments))


@functools.cache
def _parallel_for_of_torch() -> Callable[..., Any] | None:
    """Return PyTorch's C function that runs loops in its threads; None before version 2.10."""
    try:
        name = "torch_cpu.dll" if sys.platform == "win32" else torch._C.__file__
        return _typed(ctypes.CDLL(name).torch_parallel_for)
    except (AttributeError, OSError):
        return None


def _array(arguments: tuple[int, ...]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(arguments))(*arguments)


def _typed(parallel_for: Any) -> Callable[..., Any]:
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    parallel_for.argtypes = (size, size, size, pointer, pointer)
    function: Callable[..., Any] = parallel_for
    return function


@functools.cache
def _warn(reason: str) -> None:
    _logger.warning("the layers run slower, without compiled CPU kernels: %s", reason)
