"""Arrays in NumPy's files, .npz and .npy, read by frames and never unpickled.

The header of an array is checked before memory is allocated for it. Frames are read one after the other from
a compressed file; the place that was reached is remembered, so that reading all frames in blocks unpacks
everything only once.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from stormcell.data.grid import MOST_PIXELS
from stormcell.data.readers.source import MOST_BYTES, Source
from stormcell.data.readers.zip_members import expect_known_methods
from stormcell.errors import InputError

ZIP_MAGIC = b"PK\x03\x04"
NPY_MAGIC = npy.MAGIC_PREFIX

_MOST_FRAMES = 2**24
_MOST_MEMBERS = 1000
_MOST_HEADER = 10_000  # bytes; NumPy refuses more
_STEP = 2**22  # bytes that are skipped at once
_LARGE = 2**24  # bytes of arrays that are read in parts


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, described by its header.

    Attributes:
        source: The file.
        name: Name of the array; empty in .npy.
        shape: Its shape.
        dtype: Its type; ``object`` if the data are pickled.
        column_major: Whether the first index changes fastest.
        begin: Number of bytes before the data.
    """

    source: Source
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    column_major: bool
    begin: int

    @property
    def label(self) -> str:
        """Name for messages."""
        return self.name or "array"

    def read(self, frames: slice = slice(None)) -> NDArray[Any]:
        """Return the array, or part of it along its first dimension.

        Raises:
            InputError: The data are pickled, incomplete, or too large to be read at once.
        """
        if self.dtype.hasobject or self.dtype.names is not None:
            raise InputError(
                f"{self.name or 'array'}: expected numbers, found pickled objects or a structure"
            )
        if not self.shape:
            return self._values(0, 1).reshape(())
        start, stop, step = frames.indices(self.shape[0])
        if step != 1:
            raise InputError(f"frames: expected a step of 1, found {step}")
        if not self.column_major:
            row = math.prod(self.shape[1:])
            values = self._values(start * row, max(stop - start, 0) * row)
            return values.reshape(-1, *self.shape[1:]) if row else values.reshape(0, *self.shape[1:])
        whole = self._values(0, math.prod(self.shape)).reshape(self.shape, order="F")
        return np.ascontiguousarray(whole[start:stop])

    def raw(self, limit: int) -> bytes:
        """Return the bytes after the header, such as a pickle, if they are at most ``limit``.

        Raises:
            InputError: They are more.
        """
        found = _take(self, self.begin, limit + 1)
        if len(found) > limit:
            raise InputError(f"{self.name}: expected at most {limit} bytes, found more")
        return found

    def _values(self, first: int, count: int) -> NDArray[Any]:
        size = count * self.dtype.itemsize
        if size > MOST_BYTES:
            raise InputError(
                f"{self.name or 'array'}: expected at most {MOST_BYTES} bytes at once, found {size}"
            )
        found = _take(self, self.begin + first * self.dtype.itemsize, size)
        if len(found) != size:
            raise InputError(f"{self.label}: expected {size} bytes, found {len(found)}")
        return np.frombuffer(found, self.dtype, count)


def stored_arrays(source: Source) -> dict[str, StoredArray]:
    """Return the arrays of a .npz file by name, or that of a .npy file under the empty name.

    Raises:
        InputError: The file is damaged, or an array is larger than a radar file can have.
    """
    if source.head(len(NPY_MAGIC)) == NPY_MAGIC:
        with _stream(source, "") as stream:
            array = _header(source, "", stream)
            held = stream.seek(0, SEEK_END) - array.begin
            claimed = math.prod(array.shape) * array.dtype.itemsize
            if not array.dtype.hasobject and held != claimed:
                raise InputError(f"expected {claimed} bytes of data, found {held}")
            return {"": array}
    with _zip(source) as file:
        expect_known_methods(file)
        members = [info for info in file.infolist() if info.filename.endswith(".npy")]
        if len(members) > _MOST_MEMBERS:
            raise InputError(f"expected at most {_MOST_MEMBERS} arrays, found {len(members)}")
        found = {}
        for info in members:
            with _errors(), file.open(info) as stream:
                array = _header(source, info.filename, stream)
            claimed = array.begin + math.prod(array.shape) * array.dtype.itemsize
            if not array.dtype.hasobject and claimed != info.file_size:
                raise InputError(f"{array.name}: expected {claimed} bytes, found {info.file_size}")
            found[array.name] = array
        return found


def names(source: Source) -> set[str]:
    """Return the names of the arrays of a .npz file; of other and damaged files, an empty set."""
    if source.head(4) != ZIP_MAGIC:
        return set()
    try:
        with _zip(source) as file:
            return {name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")}
    except InputError:
        return set()


def _header(source: Source, member: str, stream: IO[bytes]) -> StoredArray:
    name = member.removesuffix(".npy")
    try:
        version = npy.read_magic(stream)
        # NumPy reads a header of any length before it refuses one that is too long.
        length = int.from_bytes(stream.read(2 if version == (1, 0) else 4), "little")
        if length > _MOST_HEADER:
            raise InputError(f"{name or 'array'}: expected a header of {_MOST_HEADER} bytes, found {length}")
        stream.seek(npy.MAGIC_LEN)
        if version == (1, 0):
            shape, column_major, dtype = npy.read_array_header_1_0(stream)
        elif version in ((2, 0), (3, 0)):
            shape, column_major, dtype = npy.read_array_header_2_0(stream)
        else:
            raise InputError(f"{name or 'array'}: expected .npy of version 1 to 3, found {version}")
    except InputError:
        raise
    except Exception as error:  # NumPy parses the header as Python's literals: many errors are possible
        raise InputError(f"{name or 'array'}: expected NumPy's header: {error}") from None
    frame = math.prod(shape[-2:])
    if (
        len(shape) > 4
        or min(shape, default=0) < 0
        or frame > MOST_PIXELS
        or max(shape, default=0) > _MOST_FRAMES
    ):
        raise InputError(f"{name or 'array'}: expected a size that a radar file can have, found {shape}")
    return StoredArray(source, name, shape, dtype, column_major and len(shape) > 1, stream.tell())


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise InputError(f"expected complete arrays: {error}") from None
    except Exception as error:  # zlib.error, lzma.LZMAError: each library has its own
        raise InputError(f"expected complete arrays: {type(error).__name__}: {error}") from None


@contextmanager
def _zip(source: Source) -> Iterator[zipfile.ZipFile]:
    with _errors():
        file = zipfile.ZipFile(source.file())
    with file:
        yield file


@contextmanager
def _stream(source: Source, name: str) -> Iterator[IO[bytes]]:
    with _errors():
        stream = _open(source, name)
        try:
            yield stream
        finally:
            stream.close()


def _open(source: Source, name: str) -> IO[bytes]:
    file = source.file()
    if not name:
        return file if isinstance(file, BytesIO) else file.open("rb")
    return zipfile.ZipFile(file).open(f"{name}.npy")


# The stream that was read last. It is taken out while it is used, so that no two threads share it.
_last: dict[tuple[object, ...], IO[bytes]] = {}
_lock = Lock()


def _take(array: StoredArray, begin: int, size: int) -> bytes:
    """Return up to ``size`` bytes from the position ``begin`` of an array's file or member."""
    path = array.source.file()
    large = math.prod(array.shape) * array.dtype.itemsize > _LARGE
    key: tuple[object, ...] = ()
    if large and isinstance(path, Path):  # the contents of a compressed file are not kept
        status = path.stat()
        key = (path, status.st_mtime_ns, status.st_size, array.name)
    with _lock:
        stream = _last.pop(key, None)
    with _errors():
        if stream is None or stream.tell() > begin:
            stream = _open(array.source, array.name)
        if array.name:
            while (left := begin - stream.tell()) > 0:
                if not stream.read(min(left, _STEP)):
                    break
        else:
            stream.seek(begin)
        found = stream.read(size)
    if key:
        with _lock:
            _last.clear()
            _last[key] = stream
    else:
        stream.close()
    return found
