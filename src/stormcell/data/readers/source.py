"""A radar file as the readers use it: its beginning, or all of it, decompressed if need be."""

import bz2
import gzip
import zlib
from io import BytesIO
from pathlib import Path
from typing import IO

from stormcell.errors import InputError

# A gzip stream can decompress to a thousand times its size. The largest radar files have about 200 MB.
MOST_BYTES = 2**30
_HEAD_BYTES = 2**16
_PART_BYTES = 2**24
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"


class Source:
    """A radar file, or a folder that some formats use as a file, such as a Zarr store.

    The decompressed contents are read once and kept as long as the source.

    Attributes:
        path: Path of the file.
        name: File name, without the suffix of a compression.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "rain.dat.gz"
        ...     size = path.write_bytes(gzip.compress(b"rain"))
        ...     source = Source(path)
        ...     source.name, source.head(2), source.contents()
        ('rain.dat', b'ra', b'rain')
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        for suffix in (".gz", ".bz2"):
            self.name = self.name.removesuffix(suffix)
        self._head: bytes | None = None
        self._contents: bytes | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    def head(self, size: int = 512) -> bytes:
        """Return the decompressed beginning, up to ``size`` ≤ 65536 bytes; of a folder, nothing.

        Raises:
            InputError: The file is missing, unreadable or empty.
        """
        if self.is_folder:
            return b""
        if self._head is None:
            self._head = self._take(_HEAD_BYTES)
        return self._head[:size]

    def contents(self) -> bytes:
        """Return the decompressed contents.

        Raises:
            InputError: The file cannot be read, is truncated, or is larger than any radar file.
        """
        if self._contents is None:
            found = self._take(MOST_BYTES + 1)
            if len(found) > MOST_BYTES:
                raise InputError(f"expected at most {MOST_BYTES} bytes, found more")
            self._contents = found
        return self._contents

    def file(self) -> Path | BytesIO:
        """Return what a library can open and seek in: the path, or the contents of a compressed file."""
        return BytesIO(self.contents()) if self._compression() else self.path

    def _compression(self) -> bytes:
        with self._open() as file:
            magic = file.read(3)
        return _GZIP if magic[:2] == _GZIP else _BZIP2 if magic == _BZIP2 else b""

    def _open(self) -> IO[bytes]:
        if not self.path.exists():
            raise InputError("expected a file, found no such file")
        if not self.path.is_file():
            raise InputError("expected a file, found a folder or device")
        try:
            return self.path.open("rb")
        except OSError as error:
            raise InputError(f"expected a readable file: {error.strerror}") from None

    def _take(self, size: int) -> bytes:
        compression = self._compression()
        with self._open() as file:
            unpacked: IO[bytes] = file
            if compression == _GZIP:
                unpacked = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
            elif compression == _BZIP2:
                unpacked = bz2.BZ2File(file)
            try:
                found = _read(unpacked, size)
            except (EOFError, OSError, zlib.error) as error:
                raise InputError(
                    f"expected a complete file, found a truncated or damaged one: {error}"
                ) from None
        if not found:
            raise InputError("expected a radar file, found an empty one")
        return found


def _read(file: IO[bytes], size: int) -> bytes:
    """Return up to ``size`` bytes, without allocating all of them first, as ``file.read(size)`` does."""
    buffer = BytesIO()
    while part := file.read(min(size - buffer.tell(), _PART_BYTES)):
        buffer.write(part)
    return buffer.getvalue()
