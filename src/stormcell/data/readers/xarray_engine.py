"""Files that an engine of xarray opens, as CF datasets: ``--format xarray:ENGINE``.

Other packages bring engines, for example wradlib (``radolan``) and cfgrib (``cfgrib``).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.cf_frames import UNDECODED, frames_of, times_of
from stormcell.data.readers.plain_file import plain_file
from stormcell.data.readers.source import Source
from stormcell.errors import InputError, MissingExtraError


class XarrayEngine:
    """A reader that opens files by an engine of xarray.

    Attributes:
        NAME: Name of the format.
        SUFFIXES: Nothing: the user states the format.
    """

    SUFFIXES: tuple[str, ...] = ()

    STATED_NODATA = True

    def __init__(self, engine: str) -> None:
        self.NAME = f"xarray:{engine}"
        self._engine = engine

    def recognises(self, source: Source) -> bool:  # noqa: ARG002
        """Whether the engine can be tried, which is always so."""
        return True

    def times(self, source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
        """Return the times of the frames."""
        with self._open(source) as ds:
            return times_of(ds, options, source.name)

    def read(self, source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
        """Return frames in mm/h, with rows from north to south."""
        with self._open(source) as ds:
            return frames_of(ds, options, frames, source.name)

    @contextmanager
    def _open(self, source: Source) -> Iterator[xr.Dataset]:
        engines = xr.backends.list_engines()
        if self._engine not in engines:
            raise MissingExtraError(
                f"{self.NAME}: expected an engine of xarray that is installed ({', '.join(engines)}), "
                f"found {self._engine!r}; install the package that has it"
            )
        with plain_file(source) as path:
            try:
                ds = xr.open_dataset(path, engine=self._engine, **UNDECODED)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                raise InputError(f"{self.NAME}: expected a file that it opens: {error}") from None
            with ds:
                yield ds
