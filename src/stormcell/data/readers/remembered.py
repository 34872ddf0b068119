"""Checks of whole files that are made once, however often a file is opened."""

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path

Check = Callable[[Path], str | None]


def remembered(check: Check) -> Check:
    """Remember the problem, or None, that a check has found in a file, until the file changes.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> calls = []
        >>> check = remembered(lambda path: calls.append(path))
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "rain.h5"
        ...     size = path.write_bytes(b"rain")
        ...     check(path), check(path), len(calls)
        (None, None, 1)
    """

    @lru_cache(maxsize=256)
    def answer(path: Path, changed: int, size: int) -> str | None:  # noqa: ARG001 - a changed file is new
        return check(path)

    @wraps(check)
    def found(path: Path) -> str | None:
        status = path.stat()
        return answer(path, status.st_mtime_ns, status.st_size)

    return found
