"""Compile the C kernels, once per machine, and store them on disk.

Environment variables, read when a kernel is first needed: ``STORMCELL_NATIVE=0`` turns compilation off,
``CC`` names the compiler (``cc``), and ``XDG_CACHE_HOME`` the directory of the cache (``~/.cache``).
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

_SOURCES = Path(__file__).with_name("native")
_DTYPES = {torch.float32: "FLOAT32", torch.bfloat16: "BFLOAT16", torch.float64: "FLOAT64"}
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
_TUNED = ("-march=native", "-fopenmp")
_WIDE = ("-mprefer-vector-width=512",)
_ATTEMPTS = ((*_FLAGS, *_TUNED, *_WIDE), (*_FLAGS, *_TUNED), _FLAGS)  # some compilers lack some flags
_failures: dict[torch.dtype, str] = {}


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the compiled kernels for convolutions of this dtype, or None if they are not available.

    Compilation takes less than a second and happens once per machine. If it fails, one warning is logged per
    process, and the layers use PyTorch's operations.
    """
    if os.environ.get("STORMCELL_NATIVE") == "0":
        _failures[dtype] = "STORMCELL_NATIVE=0"
        return None
    try:
        compiler = shlex.split(os.environ.get("CC", "cc"))  # the variable may contain flags
        if not compiler or shutil.which(compiler[0]) is None:
            raise FileNotFoundError("no C compiler was found")
        path = _cache_folder() / f"native-{_key(compiler, dtype)}.so"
        if not path.exists():
            _compile(compiler, dtype, path)
        return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        output = str(getattr(error, "stderr", "") or error).strip()
        _failures[dtype] = (output or repr(error)).splitlines()[0]
        _warn(_failures[dtype])
        return None


def is_supported(dtype: torch.dtype) -> bool:
    """Return whether there are kernels for convolutions of this dtype."""
    return dtype in _DTYPES


def failure(dtype: torch.dtype) -> str | None:
    """Return why the kernels for this dtype are not available; None if they are."""
    return _failures.get(dtype) if library(dtype) is None else None


def _compile(compiler: list[str], dtype: torch.dtype, path: Path) -> None:
    """Compile to a file which appears complete or not at all, even if other processes do the same."""
    handle, name = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    try:
        for flags in _ATTEMPTS:
            sources = map(str, sorted(_SOURCES.glob("*.c")))
            command = [*compiler, f"-D{_DTYPES[dtype]}", *flags, *sources, "-o", name, "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                os.replace(name, path)
                return
        done.check_returncode()
    finally:
        Path(name).unlink(missing_ok=True)


def _cache_folder() -> Path:
    """Return the folder of compiled kernels, which belongs to the user and is writable only by the user."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stormcell"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        raise PermissionError(f"{folder}: expected a folder which only this user can write to")
    return folder


def _key(compiler: list[str], dtype: torch.dtype) -> str:
    """Return a name for the compiled code which differs between unlike machines, as they may share a home."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True).stdout
    try:
        processor = next(
            line
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.lower().startswith(("flags", "features"))
        )
    except (OSError, StopIteration):
        processor = platform.processor()
    choices = repr((compiler, dtype, _ATTEMPTS, platform.machine(), processor)).encode()
    sources = (path.read_bytes() for path in sorted(_SOURCES.glob("*.[ch]")))
    parts = (*sources, version, choices)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]


@functools.cache
def _warn(reason: str) -> None:
    logging.getLogger("stormcell").warning("the layers run slower, without compiled CPU kernels: %s", reason)
