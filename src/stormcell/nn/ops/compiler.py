"""Compile what is written in C, once per machine, and keep it on disk."""

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
_REALS = {torch.float32: "FLOAT32", torch.bfloat16: "BFLOAT16", torch.float64: "FLOAT64"}
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
_TUNED = ("-march=native", "-fopenmp")
_WIDE = ("-mprefer-vector-width=512",)
_ATTEMPTS = ((*_FLAGS, *_TUNED, *_WIDE), (*_FLAGS, *_TUNED), _FLAGS)  # not every compiler knows them all


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the compiled arithmetic for activations of this type; None if that cannot be.

    It takes less than a second the first time. Where there is no compiler a line in the log says so, once.
    """
    try:
        compiler = shlex.split(os.environ.get("CC", "cc"))  # it may come with arguments
        if not compiler or shutil.which(compiler[0]) is None:
            raise FileNotFoundError("no C compiler was found")
        path = _kept() / f"native-{_key(compiler, dtype)}.so"
        if not path.exists():
            _compile(compiler, dtype, path)
        return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        _explain((said or repr(error)).splitlines()[0])
        return None


def _compile(compiler: list[str], dtype: torch.dtype, path: Path) -> None:
    """Compile to a file that appears whole or not at all, whoever else is doing the same."""
    handle, name = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    try:
        for flags in _ATTEMPTS:
            sources = map(str, sorted(_SOURCES.glob("*.c")))
            command = [*compiler, f"-D{_REALS[dtype]}", *flags, *sources, "-o", name, "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                os.replace(name, path)
                return
        done.check_returncode()
    finally:
        Path(name).unlink(missing_ok=True)


def _kept() -> Path:
    """Return where compiled code is kept: a folder of the user's own, which nobody else may write to."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stormcell"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        raise PermissionError(f"{folder} is not this user's alone, so nothing in it is run")
    return folder


def _key(compiler: list[str], dtype: torch.dtype) -> str:
    """Tell apart whatever makes the compiled code another: homes are shared between unlike machines."""
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
def _explain(reason: str) -> None:
    logging.getLogger("stormcell").warning(
        "the layers are slower on this machine's CPU than they could be: %s", reason
    )
