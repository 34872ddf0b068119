"""A radar file as the readers use it: its beginning, or all of it, decompressed if need be."""

import bz2
import gzip
import zlib
from io import BytesIO
from pathlib import Path
from typing import IO

from stormcell.data.object_store import Location, ObjectUrl
from stormcell.errors import InputError

# A gzip stream can decompress to a thousand times its size. The largest radar files have about 200 MB.
MOST_BYTES = 2**30
_HEAD_BYTES = 2**16
_PART_BYTES = 2**24
# Of a file in an object store; enough for the head of a compressed file, whose blocks have 900 kB at most.
_FIRST_BYTES = 2**20
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"
# Beginnings of files that have others in them, and are not unpacked here.
_PACKED = {
    b"PK\x03\x04": "zip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x9d": "compress",
    b"7z\xbc\xaf": "7z",
    _GZIP: "gzip",
    _BZIP2: "bzip2",
}
_TAR = slice(257, 262)


class Source:
    """A radar file, or a folder that some formats use as a file, such as a Zarr store.

    The decompressed contents are read once and kept as long as the source.

    Attributes:
        path: Path of the file, or its address in an object store.
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

    def __init__(self, path: Location) -> None:
        self.path = path
        self.name = path.name
        for suffix in (".gz", ".bz2"):
            self.name = self.name.removesuffix(suffix)
        self._head: bytes | None = None
        self._contents: bytes | None = None
        self._fetched = b""  # from an object store
        self._fetched_all = False

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of the local disk."""
        return isinstance(self.path, Path) and self.path.is_dir()

    @property
    def is_tar(self) -> bool:
        """Whether it is a tar file, decompressed."""
        return self.head()[_TAR] == b"ustar"

    @property
    def packed(self) -> str:
        """Description of decompressed contents that are another packed file, for a message; else empty."""
        kind = next((kind for magic, kind in _PACKED.items() if self.head().startswith(magic)), "")
        kind = "tar" if self.is_tar else kind
        return f"a file packed by {kind}; unpack it first" * bool(kind)

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
        """Return what a library can open and seek in: the path, or the contents.

        The contents are returned of a compressed file, and of one in an object store.
        """
        if isinstance(self.path, Path):
            with self._open(_HEAD_BYTES) as file:
                if not _compression(file):
                    return self.path
        return BytesIO(self.contents())

    def _open(self, size: int) -> IO[bytes]:
        """Open the file as it is stored, to decompress ``size`` bytes of it."""
        if isinstance(self.path, ObjectUrl):
            return BytesIO(self._fetch(self.path, _FIRST_BYTES if size <= _HEAD_BYTES else MOST_BYTES + 1))
        if not self.path.exists():
            raise InputError("expected a file, found no such file")
        if not self.path.is_file():
            raise InputError("expected a file, found a folder or device")
        try:
            return self.path.open("rb")
        except OSError as error:
            raise InputError(f"expected a readable file: {error.strerror}") from None

    def _fetch(self, url: ObjectUrl, size: int) -> bytes:
        """Read from an object store: the beginning once, and the whole once, if it is needed."""
        if len(self._fetched) < size and not self._fetched_all:
            try:
                self._fetched = url.read(size)
            except OSError as error:
                raise InputError(f"expected a file, found {error.strerror}") from None
            self._fetched_all = len(self._fetched) < size
        return self._fetched

    def _take(self, size: int) -> bytes:
        with self._open(size) as file:
            compression = _compression(file)
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


def _compression(file: IO[bytes]) -> bytes:
    """Return the first bytes of a compressed file, or nothing; the file is then at its beginning again."""
    magic = file.read(3)
    file.seek(0)
    return _GZIP if magic[:2] == _GZIP else _BZIP2 if magic == _BZIP2 else b""


def _read(file: IO[bytes], size: int) -> bytes:
    """Return up to ``size`` bytes, without allocating all of them first, as ``file.read(size)`` does."""
    buffer = BytesIO()
    while part := file.read(min(size - buffer.tell(), _PART_BYTES)):
        buffer.write(part)
    return buffer.getvalue()
