"""Compile the C kernels, once per machine, and store them on disk.

Environment variables, read when a kernel is first needed: ``CC`` names the compiler (``cc``), and
``XDG_CACHE_HOME`` the directory of the cache (``~/.cache``).
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

_SOURCES = Path(__file__).with_name("native")
DTYPES = {torch.float32: "FLOAT32", torch.bfloat16: "BFLOAT16", torch.float64: "FLOAT64"}
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
_TUNED = ("-march=native", "-fopenmp")
_WIDE = ("-mprefer-vector-width=512",)
_ATTEMPTS = ((*_FLAGS, *_TUNED, *_WIDE), (*_FLAGS, *_TUNED), _FLAGS)  # some compilers lack some flags


def compiled(dtype: torch.dtype) -> Path:
    """Return the library of the kernels for convolutions of this dtype; compile it if it is not stored yet.

    Raises:
        OSError: There is no compiler, or no folder to store its results in.
        CalledProcessError: The compiler refuses.
        ValueError: ``CC`` has unbalanced quotes.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))  # the variable may contain flags
    if not compiler or shutil.which(compiler[0]) is None:
        raise FileNotFoundError("no C compiler was found")
    path = _cache_folder() / f"native-{_key(compiler, dtype)}.so"
    if not path.exists():
        _compile(compiler, dtype, path)
    return path


def _compile(compiler: list[str], dtype: torch.dtype, path: Path) -> None:
    """Compile to a file which appears complete or not at all, even if other processes do the same."""
    handle, name = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    try:
        for flags in _ATTEMPTS:
            sources = map(str, sorted(_SOURCES.glob("*.c")))
            command = [*compiler, f"-D{DTYPES[dtype]}", *flags, *sources, "-o", name, "-lm"]
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
