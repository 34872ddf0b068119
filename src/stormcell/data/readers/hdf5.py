"""HDF5 files, opened only after a check of the sizes that they claim."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stormcell.data.grid import MOST_PIXELS
from stormcell.data.readers.hdf5_chunks import expect_sound_chunks
from stormcell.data.readers.hdf5_heap import expect_sound_heaps
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

MAGIC = b"\x89HDF"
_MOST_FRAMES = 2**24
# Errors of the HDF5 library for files that are damaged, or that lack a group.
_DAMAGED = (OSError, RuntimeError, SystemError, KeyError)


@contextmanager
def open_hdf5(source: Source) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises:
        InputError: It is not HDF5 or is damaged, an array is larger than a radar file can have, or its data
            are in another file.
    """
    source.head(1)  # names a missing file
    expect_sound_heaps(source.file())
    try:
        with _opened(source) as file:
            problem = file.visititems_links(_outside) or file.visititems(_impossible)
            if problem:
                raise InputError(problem)
            expect_sound_chunks(file, source.file())
            yield file
    except _DAMAGED as error:
        raise InputError(f"expected complete HDF5: {error}") from None


def has_groups(source: Source, *names: str) -> bool:
    """Whether the file is HDF5 with all these groups, datasets or attributes (``"group@attribute"``)."""
    if not source.head().startswith(MAGIC):
        return False
    try:
        with _opened(source) as file:
            return all(
                parent in file and (not attribute or attribute in file[parent].attrs)
                for parent, _, attribute in (name.partition("@") for name in names)
            )
    except (*_DAMAGED, InputError):
        return False  # A reader of general HDF5 names the error.


def attribute(group: h5py.Group | h5py.Dataset, name: str) -> Any:
    """Return an attribute: a number, or text that was stored in any of HDF5's ways.

    Bytes that are not UTF-8 are replaced, and padding is removed. An array of one element counts as the
    element.

    Raises:
        InputError: It is missing.
    """
    if name not in group.attrs:
        raise InputError(f"{group.name}: expected the attribute {name}, found none")
    value = group.attrs[name]
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value.strip(" \t\r\n\0")
    return value.item() if isinstance(value, np.generic) else value


def number(group: h5py.Group | h5py.Dataset, name: str) -> float:
    """Return an attribute that is a number, or the text of a number.

    Raises:
        InputError: It is missing or not a number.
    """
    value = attribute(group, name)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{group.name}: expected a number in {name}, found {str(value)[:40]!r}") from None


def numbers(data: h5py.Dataset) -> NDArray[Any]:
    """Return the stored numbers of a frame ``(y, x)``; ``(1, y, x)`` counts as one.

    Raises:
        InputError: It is not an array of numbers of this shape.
    """
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "uif":
        raise InputError(f"{data.name}: expected an array of numbers, found {getattr(data, 'dtype', data)}")
    if data.shape is None or data.shape[:-2] not in ((), (1,)) or len(data.shape) < 2:
        raise InputError(f"{data.name}: expected (y, x), found {data.shape}")
    found: NDArray[Any] = np.asarray(data[()]).reshape(data.shape[-2:])
    return found


def scaled(stored: NDArray[Any], gain: float, offset: float, unknown: Iterable[float]) -> NDArray[np.float32]:
    """Return values from stored numbers: NaN for the numbers that are no value.

    Example:
        >>> scaled(np.array([0, 50, 255], np.uint8), 0.01, 0.0, [255.0]).tolist()
        [0.0, 0.5, nan]
    """
    values = stored.astype(np.float32) * np.float32(gain) + np.float32(offset)
    for code in unknown:
        values[stored == stored.dtype.type(code) if stored.dtype.kind == "f" else stored == code] = np.nan
    return values


@contextmanager
def _opened(source: Source) -> Iterator[h5py.File]:
    file = source.file()
    try:
        opened = h5py.File(file, "r")
    except (OSError, RuntimeError) as error:
        raise InputError(f"expected complete HDF5: {error}") from None
    with opened:
        yield opened
    if isinstance(file, BytesIO):
        file.close()


# Functions that HDF5 calls must not raise; it stops at the first result that is not None.


def _outside(name: str, link: h5py.HardLink | h5py.SoftLink | h5py.ExternalLink) -> str | None:
    """Describe a link to another file, which the author of a file could point at anything."""
    if isinstance(link, h5py.ExternalLink):
        return f"{name}: expected data in the file, found a link to another file"
    return None


def _impossible(name: str, item: h5py.Group | h5py.Dataset) -> str | None:
    """Describe an impossible size, before memory is allocated for it, or data in another file."""
    if not isinstance(item, h5py.Dataset) or not item.shape:
        return None
    if item.is_virtual or item.external:
        return f"{name}: expected data in the file, found data in another file"
    frame = int(np.prod(item.shape[-2:], dtype=object)) if item.ndim > 1 else 0
    chunk = int(np.prod(item.chunks or (0,), dtype=object))
    if item.shape[0] > _MOST_FRAMES or frame > MOST_PIXELS or chunk > MOST_PIXELS:
        return (
            f"{name}: expected a size that a radar file can have, found {item.shape} in chunks {item.chunks}"
        )
    return None
