"""The folder of what is found out once per machine and user: compiled kernels, and measurements.

The environment variable ``XDG_CACHE_HOME`` names the directory of the folder (``~/.cache``).
"""

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def folder() -> Path:
    """Return the folder, which belongs to the user and is writable only by the user.

    Raises:
        OSError: There cannot be such a folder.
    """
    path = Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "stormcell"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        raise PermissionError(f"{path}: expected a folder which only this user can write to")
    return path


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # HOME is not set, and no user has this process's number: in a container
        raise FileNotFoundError(f"{error} XDG_CACHE_HOME can name a folder instead.") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file to write, which replaces ``path`` if the block ends without error.

    So the file is complete or not there at all, even if other processes write the same.
    """
    handle, name = tempfile.mkstemp(suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def processor() -> str:
    """Return what distinguishes this processor from others, as unlike machines may share a home."""
    try:
        features = next(
            line
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.lower().startswith(("flags", "features"))
        )
    except (OSError, StopIteration):
        features = platform.processor()
    return f"{platform.machine()} {features}"
