"""Readers of radar files: one small module per format, all returning frames in the archive's schema.

A reader is a module with the functions of :class:`Reader`. To add a format, write such a module and add it to
``READERS``. The first reader that recognises a file reads it, so specific formats come before general ones.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.quantity import UnitOverrides
from stormcell.data.readers import cf_netcdf, fmi_pgm, knmi_hdf5
from stormcell.data.readers.contents import head
from stormcell.errors import InputError

__all__ = ["READERS", "Reader", "UnitOverrides", "find", "looks_like_radar"]


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
        """Return the time of each frame in the file, UTC, in whole seconds, without decoding the frames."""

    def read(self, path: Path, overrides: UnitOverrides, frames: slice) -> xr.Dataset:
        """Return some of the frames, in the archive's schema.

        Raises:
            InputError: The file cannot be used; the message gives the reason and need not name the file.
        """


READERS: tuple[Reader, ...] = (fmi_pgm, knmi_hdf5, cf_netcdf)


def find(path: Path) -> Reader:
    """Return the reader of a file.

    Raises:
        InputError: The file is missing, empty, damaged at its beginning, or of an unknown format.
    """
    beginning = head(path)
    for reader in READERS:
        if reader.recognises(path, beginning):
            return reader
    raise InputError(f"expected {', '.join(reader.NAME for reader in READERS)}, found another format")


def looks_like_radar(path: Path) -> bool:
    """Whether a file in a folder is to be read as a radar file.

    A file with a suffix of radar files is to be read even if it is damaged. It is then refused by name.
    """
    name = path.name.lower().removesuffix(".gz")
    if any(name.endswith(suffix) for reader in READERS for suffix in reader.SUFFIXES):
        return True
    try:
        find(path)
    except InputError:
        return False
    return True
