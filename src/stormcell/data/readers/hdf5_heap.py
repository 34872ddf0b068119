"""A check of the global heaps in an HDF5 file, in which it keeps texts and lists of variable length.

The HDF5 library goes through the objects of a heap by their sizes, and never ends if a damaged size is 0 or
wraps around. No limit of memory and no signal stops it, so the sizes are checked before the file is opened.
"""

import mmap
from io import BytesIO
from pathlib import Path

from stormcell.errors import InputError

# "HDF5 File Format Specification", III.E: signature, version 1, three zeros, size of the heap.
_SIGNATURE = b"GCOL\x01\x00\x00\x00"
_HEADER = 16
_INDEX, _SIZE = slice(0, 2), slice(8, 16)


def expect_sound_heaps(file: Path | BytesIO) -> None:
    """Check that the objects of every global heap lie one after the other inside of it.

    Args:
        file: An HDF5 file with sizes of eight bytes, as all are in practice.

    Raises:
        InputError: An object does not.
    """
    if isinstance(file, BytesIO):
        _check(file.getvalue())
        return
    if file.stat().st_size == 0:
        return
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _check(content)


def _check(content: bytes | mmap.mmap) -> None:
    at = content.find(_SIGNATURE)
    while at >= 0:
        end = at + int.from_bytes(content[at + 8 : at + _HEADER], "little")
        place = at + _HEADER
        # The library stops where no header fits any more.
        while place + _HEADER <= min(end, len(content)):
            header = content[place : place + _HEADER]
            size = int.from_bytes(header[_SIZE], "little")
            free = int.from_bytes(header[_INDEX], "little") == 0
            # The size of free space includes its header.
            needed = size if free else _HEADER + -(-size // 8) * 8
            if needed < _HEADER or place + needed > end:
                raise InputError(
                    f"expected complete HDF5, found a damaged heap at byte {at}: an object of {size} bytes"
                )
            place += needed
        at = content.find(_SIGNATURE, at + len(_SIGNATURE))
