"""Compile the gates' arithmetic, once per machine, and keep it on disk."""

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

_SOURCE = Path(__file__).with_name("gates.c")
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
_TUNED = ("-march=native", "-mprefer-vector-width=512", "-fopenmp")  # not every compiler knows them


@functools.cache
def library(real: str) -> ctypes.CDLL | None:
    """Return the compiled arithmetic for activations of this type, ``"FLOAT32"`` …; None if that cannot be.

    It takes less than a second the first time. Where there is no compiler a line in the log says so, once.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))  # it may come with arguments
    if not compiler or shutil.which(compiler[0]) is None:
        _explain("no C compiler was found")
        return None
    try:
        path = _kept() / f"gates-{_key(compiler, real)}.so"
        if not path.exists():
            _compile(compiler, real, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        _explain(f"{compiler[0]}: {said.strip().splitlines()[0] if said.strip() else error}")
        return None


def _compile(compiler: list[str], real: str, path: Path) -> None:
    """Compile to a file that appears whole or not at all, whoever else is doing the same."""
    handle, name = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    try:
        for flags in ((*_FLAGS, *_TUNED), _FLAGS):
            command = [*compiler, f"-D{real}", *flags, str(_SOURCE), "-o", name, "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                os.replace(name, path)
                return
        done.check_returncode()
    finally:
        Path(name).unlink(missing_ok=True)


def _kept() -> Path:
    """Return where compiled code is kept: the user's own cache, readable by nobody who could replace it."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stormcell"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _key(compiler: list[str], real: str) -> str:
    """Tell apart whatever makes the compiled code another: homes are shared between unlike machines."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True).stdout
    try:
        processor = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if "flags" in line)
    except (OSError, StopIteration):
        processor = platform.processor()
    choices = repr((compiler, real, _FLAGS, _TUNED, platform.machine(), processor)).encode()
    parts = (_SOURCE.read_bytes(), version, choices)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]


@functools.cache
def _explain(reason: str) -> None:
    logging.getLogger("stormcell").warning(
        "ConvLSTM is slower on this machine's CPU than it could be: %s", reason
    )
