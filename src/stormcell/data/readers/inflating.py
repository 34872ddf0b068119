"""A check that compressed data unpack to no more than they should, without keeping what they unpack to.

A library that unpacks them takes whatever memory the data ask for: a thousand times their size for deflate,
and more for the others.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from io import BytesIO

from stormcell.errors import InputError

# Deflate makes data smaller by this factor at most.
DEFLATE_RATIO = 1032
_PART = 2**20
_DEFLATED_PART = 2**14  # unpacks to 16 MiB at most


def expect_unpacked_size(packed: bytes | memoryview, kind: str, most: int) -> None:
    """Check that data unpack to at most ``most`` bytes. Damaged data are left to the library that uses them.

    Args:
        packed: The compressed data.
        kind: One of zlib, gzip, bz2 and lzma.
        most: Number of bytes.

    Raises:
        InputError: They unpack to more.

    Example:
        >>> expect_unpacked_size(zlib.compress(bytes(100)), "zlib", 100)
        >>> expect_unpacked_size(zlib.compress(bytes(101)), "zlib", 100)
        Traceback (most recent call last):
        stormcell.errors.InputError: compressed data: expected at most 100 bytes, found more
    """
    data = memoryview(packed)
    if kind in ("zlib", "gzip") and data.nbytes * DEFLATE_RATIO <= most:
        return
    found = 0
    try:
        for size in _sizes(data, kind):
            found += size
            if found > most:
                raise InputError(f"compressed data: expected at most {most} bytes, found more")
    except (zlib.error, OSError, EOFError, lzma.LZMAError):
        return


def _sizes(data: memoryview, kind: str) -> Iterator[int]:
    """Yield the sizes of the parts that data unpack to."""
    if kind == "zlib":
        unpacker = zlib.decompressobj()
        for at in range(0, data.nbytes, _DEFLATED_PART):
            yield len(unpacker.decompress(data[at : at + _DEFLATED_PART]))
        return
    stored = BytesIO(data)
    with (
        gzip.GzipFile(fileobj=stored)
        if kind == "gzip"
        else bz2.BZ2File(stored)
        if kind == "bz2"
        else lzma.LZMAFile(stored)
    ) as file:
        while part := file.read(_PART):
            yield len(part)
