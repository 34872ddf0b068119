"""The bytes of a file, packed or not, never more than a radar file can have."""

import gzip
import zlib
from io import BytesIO
from pathlib import Path
from typing import IO

from stormcell.errors import InputError

# A gzip stream can unpack to a thousand times its size; the largest radar files have some 200 MB.
MOST_BYTES = 2**30
_GZIP = b"\x1f\x8b"


def head(path: Path, size: int = 512) -> bytes:
    """The beginning of a file, unpacked: up to ``size`` bytes, at least one.

    Raises:
        InputError: The file is missing, not a file, not readable, or empty.
    """
    return _take(path, size)[:size]


def contents(path: Path) -> bytes:
    """A whole file, unpacked.

    Raises:
        InputError: The file cannot be read, is cut off, or unpacks to more than any radar file has.
    """
    found = _take(path, MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise InputError(f"expected at most {MOST_BYTES} bytes, found more")
    return found


def seekable(path: Path) -> Path | BytesIO:
    """What a library can open: the file itself, or, if it is packed, its contents in memory."""
    with _open(path) as file:
        packed = file.read(2) == _GZIP
    return BytesIO(contents(path)) if packed else path


def _open(path: Path) -> IO[bytes]:
    if not path.exists():
        raise InputError("expected a file, found nothing there")
    if not path.is_file():
        raise InputError("expected a file, found something else")
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
            raise InputError(f"expected a whole file, found it cut off or damaged: {error}") from None
    if not found:
        raise InputError("expected a radar file, found an empty one")
    return found
