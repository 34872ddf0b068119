"""A check of the chunks in an HDF5 file, before any is read.

The HDF5 library takes as much memory for a compressed chunk as it unpacks to, however small the chunk is
said to be.
"""

import math
from pathlib import Path
from typing import Any

import h5py

from stormcell.data.readers.inflating import DEFLATE_RATIO, expect_unpacked_size
from stormcell.data.readers.remembered import remembered
from stormcell.errors import InputError

_DEFLATE, _FLETCHER32 = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32
# What unpacks to less needs no check.
_HARMLESS = 2**26
_CHECKSUM = 4


def expect_sound_chunks(file: h5py.File, path: object) -> None:
    """Check that chunks are not larger than the file, and unpack to their size. The answer is remembered.

    Args:
        file: The open file.
        path: Its path, or something else if it is in memory.

    Raises:
        InputError: A chunk is larger.
    """
    if problem := _problem_in(path) if isinstance(path, Path) else file.visititems(_problem):
        raise InputError(problem)


@remembered
def _problem_in(path: Path) -> str | None:
    with h5py.File(path, "r") as file:
        problem: str | None = file.visititems(_problem)
    return problem


def _problem(name: str, item: h5py.Group | h5py.Dataset) -> str | None:
    if not isinstance(item, h5py.Dataset) or not item.chunks:
        return None
    properties = item.id.get_create_plist()
    filters = [properties.get_filter(place)[0] for place in range(properties.get_nfilters())]
    deflated = [number for number in filters if number != _FLETCHER32][-1:] == [_DEFLATE]
    if filters.count(_DEFLATE) > deflated:
        return f"{name}: expected chunks that are deflated once, at last, found the filters {filters}"
    most, size = item.file.id.get_filesize(), math.prod(item.chunks) * item.dtype.itemsize
    problems: list[str] = []
    large: list[tuple[int, ...]] = []

    def check(chunk: Any) -> int | None:
        if chunk.size > most:
            problems.append(f"{name}: expected a chunk in the file, found one of {chunk.size} bytes")
        elif deflated and chunk.size * DEFLATE_RATIO > max(_HARMLESS, size):
            large.append(chunk.chunk_offset)
        return len(problems) or None

    item.id.chunk_iter(check)
    if problems:
        return problems[0]
    for offset in large:
        skipped, packed = item.id.read_direct_chunk(offset)
        if skipped & 1 << filters.index(_DEFLATE):
            continue
        try:
            expect_unpacked_size(packed, "zlib", size + _CHECKSUM * len(filters))
        except InputError as error:
            return f"{name}: chunk at {offset}: {error}"
    return None
