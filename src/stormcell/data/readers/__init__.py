"""Radar files in, frames in the archive's schema out: one small module per format.

A reader is a module that satisfies :class:`Reader`. To add a format, write one and name it in
``READERS``; the first that recognises a file reads it, so the particular come before the general.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.quantity import Told
from stormcell.data.readers import cf_netcdf, fmi_pgm, knmi_hdf5
from stormcell.data.readers.contents import head
from stormcell.errors import InputError

__all__ = ["READERS", "Reader", "Told", "find", "looks_like_radar"]


class Reader(Protocol):
    """What a module that reads one format has."""

    @property
    def NAME(self) -> str:
        """The format, as a person would call it."""

    @property
    def SUFFIXES(self) -> tuple[str, ...]:
        """How its files usually end, in lower case, ``.gz`` aside."""

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether a file, of which ``head`` is the (unpacked) beginning, is of this format."""

    def times(self, path: Path) -> NDArray[np.datetime64]:
        """The time of each frame in the file, UTC, in whole seconds, without decoding the frames."""

    def read(self, path: Path, told: Told, frames: slice) -> xr.Dataset:
        """Some of the frames, in the archive's schema.

        Raises:
            InputError: The file cannot be used; the message says why, and need not name the file.
        """


READERS: tuple[Reader, ...] = (fmi_pgm, knmi_hdf5, cf_netcdf)


def find(path: Path) -> Reader:
    """The reader of a file.

    Raises:
        InputError: The file is missing, empty or damaged at its very beginning, or of no known format.
    """
    beginning = head(path)
    for reader in READERS:
        if reader.recognises(path, beginning):
            return reader
    raise InputError(f"expected {', '.join(reader.NAME for reader in READERS)}, found none of them")


def looks_like_radar(path: Path) -> bool:
    """Whether a file that nobody named, but that lies in a folder of radar files, is meant to be read.

    A file that ends as radar files do is meant even when it is damaged: it is then refused by name.
    """
    name = path.name.lower().removesuffix(".gz")
    if any(name.endswith(suffix) for reader in READERS for suffix in reader.SUFFIXES):
        return True
    try:
        find(path)
    except InputError:
        return False
    return True
