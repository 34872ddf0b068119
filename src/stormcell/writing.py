"""Files that are there whole or as they were before, lines added, folders made; what fails is named."""

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


def append(path: Path, text: str) -> None:
    r"""Add to the end of a file, or begin it.

    Raises:
        OutputError: It cannot be written; what was there before still is, and a part of the text may be.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     append(Path(folder) / "a.csv", "1,2\n")
        ...     append(Path(folder) / "a.csv", "3,4\n")
        ...     (Path(folder) / "a.csv").read_text()
        '1,2\n3,4\n'
    """
    try:
        with path.open("a") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"{path}: could not be written: {error.strerror or error}") from error


def make_folder(path: Path) -> None:
    """Make a folder, and those around it, where it is not there.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: could not be made: {error.strerror or error}") from error
