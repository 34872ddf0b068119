"""Readers of radar files: one small module per format, all returning frames in the archive's schema.

To add a format, write a module with the names of :class:`Reader`, and a line in ``READERS``. Formats are
recognised by content. The first reader that recognises a file reads it, so specific formats come before
general ones. :class:`~stormcell.data.readers.source.Source` decompresses,
:func:`~stormcell.data.quantity.to_rate` converts to mm/h, :class:`~stormcell.data.grid.Grid` places the
pixels, and :func:`~stormcell.data.schema.build` returns the frames. Every reader must pass the tests of the
interface, in ``tests/data/readers/test_readers.py``, which need a sample file of the format.

A reader may have ``COMPANIONS``, patterns of the names of files that it reads together with others. They are
left out when a folder is searched for radar files. With ``STATED_NODATA = True``, it takes the numbers that
the user states for pixels that were not observed; other readers' files are then refused.

Another package adds a format by an entry point in the group ``stormcell.readers`` that names such a module;
see :mod:`stormcell.data.readers.foreign`. Readers of other packages are asked first.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.object_store import Location
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.foreign import foreign_readers
from stormcell.data.readers.source import Source
from stormcell.errors import InputError, StormcellError

__all__ = [
    "READERS",
    "RadarFile",
    "Reader",
    "find",
    "formats",
    "is_folder_source",
    "looks_like_radar",
    "open_radar",
    "readers",
]


class Reader(Protocol):
    """The interface of a module that reads one format."""

    @property
    def NAME(self) -> str:
        """Name of the format."""

    @property
    def SUFFIXES(self) -> tuple[str, ...]:
        """Usual suffixes of its files, in lower case, without ``.gz`` and ``.bz2``."""

    def recognises(self, source: Source) -> bool:
        """Whether a file is of this format."""

    def times(self, source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
        """Return the time of each frame in the file, UTC, in whole seconds, without decoding the frames.

        Raises:
            InputError: The file cannot be used.
        """

    def read(self, source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
        """Return some of the frames, in the archive's schema.

        Raises:
            InputError: The file cannot be used; the message gives the reason and need not name the file.
        """


_LONGEST_MESSAGE = 500

# Names of the modules. A library for a format is imported only when files are read.
READERS = (
    "fmi_pgm",
    "knmi_hdf5",
    "odim_h5",
    "sevir_h5",
    "radolan",
    "nimrod",
    "grib2",
    "geotiff",
    "meteonet_npz",
    "array_stack",
    "meteoswiss_gif",
    "hko7_png",
    "radolan_netcdf",
    "cf_zarr",
    "cf_netcdf",
)


@cache
def readers() -> tuple[Reader, ...]:
    """Return all readers, in the order in which they are asked."""
    own = [importlib.import_module(f"{__name__}.{name}") for name in READERS]
    return tuple(cast(Reader, reader) for reader in (*foreign_readers(), *own))


def formats() -> str:
    """Return the names of all formats, for a message.

    Example:
        >>> formats().startswith("FMI PGM, ")
        True
    """
    names = [reader.NAME for reader in readers()]
    return f"{', '.join(names[:-1])} or {names[-1]}"


@dataclass(frozen=True)
class RadarFile:
    """A radar file whose format is known.

    Attributes:
        path: Path of the file, or its address in an object store.
        reader: Reader of its format.
        times: Times of its frames ``(T,)``, UTC.
    """

    path: Location
    reader: Reader
    times: NDArray[np.datetime64]

    def read(self, options: ReadOptions, frames: slice) -> xr.Dataset:
        """Return some of the frames, in the archive's schema.

        Raises:
            InputError: The file cannot be used.
        """
        with _library_errors():
            ds = self.reader.read(Source(self.path), options, frames)
            measured = ds[schema.RATE].attrs
            if (minutes := measured.get("accumulation_minutes")) is not None:
                options.expect_period(minutes / 60)
            if options.nodata:
                measured["stated_nodata"] = " ".join(f"{code:g}" for code in sorted(options.nodata))
            return ds


def open_radar(path: Location, options: ReadOptions | None = None) -> RadarFile:
    """Recognise the format of a radar file, and read the times of its frames.

    Raises:
        InputError: The file cannot be used.
    """
    source = Source(path)
    with _library_errors():
        reader = find(source, options)
        if options is not None and options.nodata and not getattr(reader, "STATED_NODATA", False):
            raise InputError(
                f"nodata: expected a format that leaves codes open, found {reader.NAME}, which defines them"
            )
        times = reader.times(source, options or ReadOptions())
        ordered = np.sort(times)
        if (same := ordered[1:][ordered[1:] == ordered[:-1]]).size:
            raise InputError(f"time: expected one frame for each time, found two of {same[0]}")
        return RadarFile(path, reader, times)


def find(source: Source, options: ReadOptions | None = None) -> Reader:
    """Return the reader of a file: the one whose format the user states, or the first that recognises it.

    Raises:
        InputError: The file is missing, empty, damaged at its beginning, or of an unknown format.
    """
    if options is not None and options.format is not None:
        return named(options.format)
    for reader in readers():
        if reader.recognises(source):
            return reader
    found = "a folder of another kind" if source.is_folder else source.packed or "another format"
    raise InputError(f"expected {formats()}, found {found}")


def named(name: str) -> Reader:
    """Return the reader of a format that the user states, by the name of the format or of its module.

    Raises:
        InputError: There is no such format.
    """
    kind, _, inner = name.partition(":")
    if kind == "pysteps" and inner:
        from stormcell.data.readers.pysteps_importer import PystepsImporter

        return PystepsImporter(inner)
    if kind == "xarray" and inner:
        from stormcell.data.readers.xarray_engine import XarrayEngine

        return XarrayEngine(inner)
    own = dict(zip(reversed(READERS), reversed(readers()), strict=False))
    for reader in readers():
        if name.lower() in (reader.NAME.lower(), getattr(reader, "name", "")):
            return reader
    if name.lower() in own:
        return own[name.lower()]
    raise InputError(f"format: expected {formats()}, pysteps:NAME or xarray:ENGINE, found {name!r}")


def is_folder_source(path: Path) -> bool:
    """Whether a folder is read as one file, such as a Zarr store."""
    if not path.is_dir():
        return False
    source = Source(path)
    for reader in readers():
        try:
            if reader.recognises(source):
                return True
        except InputError:
            continue
    return False


def looks_like_radar(path: Location, options: ReadOptions | None = None) -> bool:
    """Whether a file in a folder is to be read as a radar file.

    A file with a suffix of radar files is to be read even if it is damaged. It is then refused by name. If
    the user states a format of another library, all files are to be read. Files that a reader reads together
    with others, such as the positions of pixels, are left out, and so are hidden files: programs that copy
    files give them such names until they are complete.
    """
    if path.name.startswith("."):
        return False
    if options is not None and options.format is not None and ":" in options.format:
        return True
    source = Source(path)
    for reader in readers():
        if any(fnmatch(source.name, pattern) for pattern in getattr(reader, "COMPANIONS", ())):
            return False
    if any(source.name.lower().endswith(suffix) for reader in readers() for suffix in reader.SUFFIXES):
        return True
    try:
        with _library_errors():
            find(source)
    except InputError:
        return False
    return True


@contextmanager
def _library_errors() -> Iterator[None]:
    """Turn any error into an InputError, because a library may raise any error for a damaged file."""
    try:
        yield
    except StormcellError as error:
        raise InputError(_one_line(str(error))) from error
    except Exception as error:
        raise InputError(_one_line(f"could not be read: {type(error).__name__}: {error}")) from error


def _one_line(message: str) -> str:
    """Return a message as one line of printable characters, although it may quote a damaged file."""
    line = " ".join(message.split())
    printable = "".join(character if character.isprintable() else "�" for character in line)
    return printable if len(printable) <= _LONGEST_MESSAGE else f"{printable[: _LONGEST_MESSAGE - 1]}…"
