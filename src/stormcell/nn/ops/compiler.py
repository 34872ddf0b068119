"""Compile the C kernels, once per machine, and store them on disk.

The environment variable ``CC`` names the compiler (``cc``); it is read when a kernel is first needed.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import torch

from stormcell.nn.ops import machine_cache

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
    path = machine_cache.folder() / f"native-{_key(compiler, dtype)}.so"
    if not path.exists():
        _compile(compiler, dtype, path)
    return path


def _compile(compiler: list[str], dtype: torch.dtype, path: Path) -> None:
    with machine_cache.replacing(path) as part:
        for flags in _ATTEMPTS:
            sources = map(str, sorted(_SOURCES.glob("*.c")))
            command = [*compiler, f"-D{DTYPES[dtype]}", *flags, *sources, "-o", str(part), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                return
        done.check_returncode()


def _key(compiler: list[str], dtype: torch.dtype) -> str:
    """Return a name for the compiled code which differs between unlike machines."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True).stdout
    choices = repr((compiler, dtype, _ATTEMPTS, machine_cache.processor())).encode()
    sources = (path.read_bytes() for path in sorted(_SOURCES.glob("*.[ch]")))
    parts = (*sources, version, choices)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]
