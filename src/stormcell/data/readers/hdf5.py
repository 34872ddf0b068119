"""HDF5 files, opened only after a check of the sizes that they claim."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import h5py
import numpy as np

from stormcell.data.grid import MOST_PIXELS
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

MAGIC = b"\x89HDF"
_MOST_FRAMES = 2**24


@contextmanager
def open_hdf5(source: Source) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises:
        InputError: It is not HDF5 or is damaged, or an array is larger than a radar file can have.
    """
    with _opened(source) as file:
        file.visititems(_check_size)
        yield file


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
    except (RuntimeError, KeyError, InputError):
        return False  # A reader of general HDF5 names the error.


def attribute(group: h5py.Group | h5py.Dataset, name: str) -> Any:
    """Return an attribute: a number, or text that was stored in any of HDF5's ways.

    Bytes that are not UTF-8 are replaced. An array of one element counts as the element.

    Raises:
        InputError: It is missing.
    """
    if name not in group.attrs:
        raise InputError(f"{group.name}: expected the attribute {name}, found none")
    value = group.attrs[name]
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip("\0")
    return value.item() if isinstance(value, np.generic) else value


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


def _check_size(name: str, item: h5py.Group | h5py.Dataset) -> None:
    """Refuse impossible sizes before memory is allocated for them."""
    if not isinstance(item, h5py.Dataset) or not item.shape:
        return
    frame = int(np.prod(item.shape[-2:], dtype=object)) if item.ndim > 1 else 0
    chunk = int(np.prod(item.chunks or (0,), dtype=object))
    if item.shape[0] > _MOST_FRAMES or frame > MOST_PIXELS or chunk > MOST_PIXELS:
        raise InputError(
            f"{name}: expected a size that a radar file can have, found {item.shape} in chunks {item.chunks}"
        )
