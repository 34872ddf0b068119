"""CF NetCDF, version 3 (classic) and 4 (HDF5), from any provider: ``(time, y, x)`` on a regular grid.

Among the files of the shared formats: OpenMRG, OpenRainER, RADKLIM's NetCDF, and Rainfields of the Bureau of
Meteorology. A variable of rain in the only group that has one is found too, as in GPM IMERG.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import cf_roles
from stormcell.data.readers.cf_frames import UNDECODED, frames_of, times_of
from stormcell.data.readers.hdf5 import MAGIC, open_hdf5
from stormcell.data.readers.hdf5_kind import expect_grids
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "CF NetCDF"
STATED_NODATA = True
SUFFIXES = (".nc", ".nc4", ".cdf")


def recognises(source: Source) -> bool:
    """Whether the file is HDF5 or classic NetCDF."""
    return source.head(4).startswith((MAGIC, b"CDF"))


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    """Return the times; of times with bounds, the ends of their intervals."""
    with open_netcdf(source) as ds:
        return times_of(ds, options, source.name)


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return frames in mm/h, with rows from north to south."""
    with open_netcdf(source) as ds:
        return frames_of(ds, options, frames, source.name)


@contextmanager
def open_netcdf(source: Source) -> Iterator[xr.Dataset]:
    """Open a file without decoding, after a check of the sizes that it claims.

    Raises:
        InputError: It is not NetCDF, or damaged, or HDF5 of a kind that is not read.
    """
    magic = source.head(4)
    hdf5 = magic == MAGIC
    arguments: dict[str, object] = {}
    if hdf5:
        with open_hdf5(source) as file:  # checks the sizes
            expect_grids(file)
            arguments["group"] = _group(file)
        # HDF5 that is not NetCDF has dimensions without names.
        arguments["phony_dims"] = "sort"
    elif magic[3:] not in (b"\x01", b"\x02"):
        version = magic[3] if len(magic) == 4 else "none"
        # SciPy has no reader of 64-bit data.
        way = "; with the package netCDF4, --format xarray:netcdf4 reads it" if version == 5 else ""
        raise InputError(f"expected NetCDF of version 1, 2 or 4, found version {version}{way}")
    try:
        ds = xr.open_dataset(
            source.file(), engine="h5netcdf" if hdf5 else "scipy", backend_kwargs=arguments, **UNDECODED
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
        raise InputError(f"expected complete CF NetCDF: {error}") from None
    with ds:
        _remove_calendar_of_gpm(ds)
        yield ds


def _remove_calendar_of_gpm(ds: xr.Dataset) -> None:
    """Remove the calendar "julian" from grids of GPM (IMERG), which count the days of the usual one."""
    if "GridHeader" in ds.attrs:
        for variable in ds.variables.values():
            if cf_roles.text(variable.attrs.get("calendar")).lower() == "julian":
                del variable.attrs["calendar"]


def _group(file: h5py.File) -> str:
    """Return the only group with arrays ``(…, y, x)``: the root, or one below it."""

    def arrays(group: h5py.Group) -> bool:
        return any(isinstance(item, h5py.Dataset) and item.ndim > 1 for item in _items(group))

    if arrays(file):
        return "/"
    level: list[h5py.Group] = [file]
    while level:
        level = [item for group in level for item in _items(group) if isinstance(item, h5py.Group)]
        found = [group.name for group in level if arrays(group)]
        if len(found) == 1:
            return str(found[0])
        if found:
            raise InputError(f"expected one group with arrays of rain, found {', '.join(found[:8])}")
    return "/"


def _items(group: h5py.Group) -> list[h5py.Group | h5py.Dataset]:
    """Return what a group has.

    All of it at once: ``values()`` holds h5py's lock between two items. An iteration that stops early, and
    ends in another thread, would never let go of it. Dask's profiler is such a thread: it keeps frames.
    """
    return list(group.values())
