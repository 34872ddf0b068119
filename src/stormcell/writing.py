"""Files that are there whole, or as they were before."""

import os
from pathlib import Path

from stormcell.errors import OutputError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place, then put it there.

    Raises:
        OutputError: It cannot be written; what was there before still is.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_whole(Path(folder) / "a.txt", b"rain")
        ...     [entry.name for entry in Path(folder).iterdir()]
        ['a.txt']
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path}: could not be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
