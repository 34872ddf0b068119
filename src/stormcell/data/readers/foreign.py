"""Readers of other packages, found by their entry points. A broken one does not break the others.

A package names its reader in its metadata, for example in ``pyproject.toml``::

    [project.entry-points."stormcell.readers"]
    imgw = "my_package.imgw_reader"

The module has the names of :class:`~stormcell.data.readers.Reader`. A reader that cannot be imported, or that
fails while it looks at a file, is named in a warning and left out.
"""

import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

_GROUP = "stormcell.readers"


class ForeignReader:
    """A reader of another package.

    Attributes:
        name: Name of its entry point.
        NAME: Name of its format.
        SUFFIXES: Suffixes of its files.
    """

    def __init__(self, name: str, module: Any) -> None:
        self.name = name
        self._module = module
        self.NAME = str(module.NAME)
        self.SUFFIXES = tuple(map(str, module.SUFFIXES))
        for function in ("recognises", "times", "read"):
            if not callable(getattr(module, function)):
                raise TypeError(f"{function} cannot be called")

    def recognises(self, source: Source) -> bool:
        """Whether the reader recognises a file; a reader that fails does not."""
        try:
            return bool(self._module.recognises(source))
        except Exception as error:
            _warn(self.name, error)
            return False

    def times(self, source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
        """Return the times of the frames in the file."""
        return np.asarray(self._module.times(source, options), "datetime64[s]")

    def read(self, source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
        """Return some of the frames, after a check of the schema.

        Raises:
            InputError: They do not follow it.
        """
        ds = self._module.read(source, options, frames)
        if not isinstance(ds, xr.Dataset):
            raise InputError(f"reader {self.name}: expected a dataset, found {type(ds).__name__}")
        if problems := schema.problems(ds):
            raise InputError(f"reader {self.name}: expected frames of the schema, found {problems[0]}")
        return ds


def foreign_readers() -> Iterator[ForeignReader]:
    """Yield the readers of other packages, in the order of their names."""
    for point in sorted(entry_points(group=_GROUP), key=lambda each: each.name):
        try:
            yield ForeignReader(point.name, point.load())
        except Exception as error:
            _warn(point.name, error)


def _warn(name: str, error: Exception) -> None:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    warnings.warn(f"reader {name} of another package: expected one that works, found {reason}", stacklevel=2)
