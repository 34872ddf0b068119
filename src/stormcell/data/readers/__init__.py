"""Readers of radar files: one small module per format, all returning frames in the archive's schema.

To add a format, write a module with the names of :class:`Reader` and add it to ``READERS``. Formats are
recognised by content. The first reader that recognises a file reads it, so specific formats come before
general ones. :mod:`~stormcell.data.readers.contents` decompresses, :func:`~stormcell.data.quantity.to_rate`
converts to mm/h, :class:`~stormcell.data.grid.Grid` places the pixels, and
:func:`~stormcell.data.schema.build` returns the frames. Every reader must pass the tests of the interface, in
``tests/data/readers/test_readers.py``, which need a sample file of the format.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.quantity import UnitOverrides
from stormcell.data.readers import cf_netcdf, fmi_pgm, knmi_hdf5
from stormcell.data.readers.contents import head
from stormcell.errors import InputError, StormcellError

__all__ = [
    "FORMATS",
    "READERS",
    "RadarFile",
    "Reader",
    "UnitOverrides",
    "find",
    "looks_like_radar",
    "open_radar",
]


class Reader(Protocol):
    """The interface of a module that reads one format."""

    @property
    def NAME(self) -> str:
        """Name of the format."""

    @property
    def SUFFIXES(self) -> tuple[str, ...]:
        """Usual suffixes of its files, in lower case, without ``.gz``."""

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether a file is of this format; ``head`` is its (unpacked) beginning."""

    def times(self, path: Path) -> NDArray[np.datetime64]:
        """Return the time of each frame in the file, UTC, in whole seconds, without decoding the frames.

        Raises:
            InputError: The file cannot be used.
        """

    def read(self, path: Path, overrides: UnitOverrides, frames: slice) -> xr.Dataset:
        """Return some of the frames, in the archive's schema.

        Raises:
            InputError: The file cannot be used; the message gives the reason and need not name the file.
        """


READERS: tuple[Reader, ...] = (fmi_pgm, knmi_hdf5, cf_netcdf)
FORMATS = f"{', '.join(reader.NAME for reader in READERS[:-1])} or {READERS[-1].NAME}"


@dataclass(frozen=True)
class RadarFile:
    """A radar file whose format is known.

    Attributes:
        path: Path of the file.
        reader: Reader of its format.
        times: Times of its frames ``(T,)``, UTC.
    """

    path: Path
    reader: Reader
    times: NDArray[np.datetime64]

    def read(self, overrides: UnitOverrides, frames: slice) -> xr.Dataset:
        """Return some of the frames, in the archive's schema.

        Raises:
            InputError: The file cannot be used.
        """
        with _library_errors():
            return self.reader.read(self.path, overrides, frames)


def open_radar(path: Path) -> RadarFile:
    """Recognise the format of a radar file, and read the times of its frames.

    Raises:
        InputError: The file cannot be used.
    """
    with _library_errors():
        reader = find(path)
        return RadarFile(path, reader, reader.times(path))


def find(path: Path) -> Reader:
    """Return the reader of a file.

    Raises:
        InputError: The file is missing, empty, damaged at its beginning, or of an unknown format.
    """
    beginning = head(path)
    for reader in READERS:
        if reader.recognises(path, beginning):
            return reader
    raise InputError(f"expected {FORMATS}, found another format")


def looks_like_radar(path: Path) -> bool:
    """Whether a file in a folder is to be read as a radar file.

    A file with a suffix of radar files is to be read even if it is damaged. It is then refused by name.
    """
    name = path.name.lower().removesuffix(".gz")
    if any(name.endswith(suffix) for reader in READERS for suffix in reader.SUFFIXES):
        return True
    try:
        with _library_errors():
            find(path)
    except InputError:
        return False
    return True


@contextmanager
def _library_errors() -> Iterator[None]:
    """Turn any error into an InputError, because a library may raise any error for a damaged file."""
    try:
        yield
    except InputError:
        raise
    except StormcellError as error:
        raise InputError(str(error)) from error
    except Exception as error:
        raise InputError(f"could not be read: {type(error).__name__}: {error}") from error
