"""Contents of a file, compressed by gzip or not, up to the size that a radar file can have."""

import gzip
import zlib
from io import BytesIO
from pathlib import Path
from typing import IO

from stormcell.errors import InputError

# A gzip stream can decompress to a thousand times its size. The largest radar files have about 200 MB.
MOST_BYTES = 2**30
_GZIP = b"\x1f\x8b"


def head(path: Path, size: int = 512) -> bytes:
    """Return the decompressed beginning of a file: up to ``size`` bytes, at least one.

    Raises:
        InputError: The file is missing, unreadable or empty, or is a folder.
    """
    return _take(path, size)[:size]


def contents(path: Path) -> bytes:
    """Return the decompressed contents of a file.

    Raises:
        InputError: The file cannot be read, is truncated, or is larger than any radar file.
    """
    found = _take(path, MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise InputError(f"expected at most {MOST_BYTES} bytes, found more")
    return found


def seekable(path: Path) -> Path | BytesIO:
    """Return the path of the file, or, if it is compressed, its contents in memory."""
    with _open(path) as file:
        packed = file.read(2) == _GZIP
    return BytesIO(contents(path)) if packed else path


def _open(path: Path) -> IO[bytes]:
    if not path.exists():
        raise InputError("expected a file, found no such file")
    if not path.is_file():
        raise InputError("expected a file, found a folder or device")
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"expected a readable file: {error.strerror}") from None


def _take(path: Path, size: int) -> bytes:
    with _open(path) as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        try:
            found = gzip.GzipFile(fileobj=file).read(size) if packed else file.read(size)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"expected a complete file, found a truncated or damaged one: {error}") from None
    if not found:
        raise InputError("expected a radar file, found an empty one")
    return found
