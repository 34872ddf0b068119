"""CF Zarr, version 2 and 3, from any provider: a folder, or a zip file of one.

Archives of MLCast and of Stormcell are of this kind. So one archive can be copied into another.
"""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.storage import ZipStore

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.cf_frames import UNDECODED, frames_of, times_of
from stormcell.data.readers.plain_file import plain_file
from stormcell.data.readers.rain_variable import find_rain
from stormcell.data.readers.source import Source
from stormcell.data.readers.zarr_limits import MOST_METADATA, LimitedStore, limits
from stormcell.data.readers.zip_members import expect_sound_members
from stormcell.errors import InputError

NAME = "CF Zarr"
STATED_NODATA = True
SUFFIXES = (".zarr.zip", ".zarr")

_ZIP = b"PK\x03\x04"
_ROOTS = ("zarr.json", ".zgroup", ".zmetadata")
# A chunk of the largest frame in double precision has 196 MB.
_MOST_BYTES = 2**28
_DEEPEST = 4  # groups within groups that are looked at


def recognises(source: Source) -> bool:
    """Whether it is a Zarr store: a folder, or a zip file, with the metadata of a group."""
    if source.is_folder:
        return any((Path(str(source.path)) / name).is_file() for name in _ROOTS)
    if source.head(4) != _ZIP:
        return False
    try:
        with zipfile.ZipFile(source.file()) as file:
            return _root_in(file) is not None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False  # A reader of other zip files names the error.


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    """Return the times; of times with bounds, the ends of their intervals."""
    with _open(source) as ds:
        _expect_clear_zeros(ds, options)
        return times_of(ds, options, source.name)


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return frames in mm/h, with rows from north to south."""
    with _open(source) as ds:
        _expect_clear_zeros(ds, options)
        return frames_of(ds, options, frames, source.name)


@contextmanager
def _open(source: Source) -> Iterator[xr.Dataset]:
    with plain_file(source) as path, limits():
        store: LimitedStore | ZipStore
        if path.is_dir():
            group, consolidated = "", _consolidated(lambda name: _text(path / name))
            store = LimitedStore(path, read_only=True)
        else:
            expect_sound_members(path)
            with zipfile.ZipFile(path) as file:
                group = _checked(file)
                # xarray looks for the metadata of all arrays at the root only.
                consolidated = not group and _consolidated(lambda name: _member(file, name))
            store = ZipStore(path, mode="r")
        try:
            ds = _opened(store, group, consolidated)
            if not any(variable.ndim > 1 for variable in ds.variables.values()):
                ds = _opened(store, _group_of_rain(store, group), False)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
            store.close()
            raise InputError(f"expected a complete Zarr store: {error}") from None
        except InputError:
            store.close()
            raise
        try:
            _remove_fill_values(ds)
            yield ds
        finally:
            ds.close()
            store.close()


def _opened(store: LimitedStore | ZipStore, group: str, consolidated: bool) -> xr.Dataset:
    return xr.open_dataset(
        store,  # type: ignore[arg-type]
        engine="zarr",
        group=group or None,
        consolidated=consolidated,
        **UNDECODED,
    )


def _group_of_rain(store: LimitedStore | ZipStore, group: str) -> str:
    """Return the only group with arrays ``(…, y, x)`` below one that has none, or else that one."""
    root = zarr.open_group(store, path=group, mode="r", use_consolidated=False)
    found = {
        name.rpartition("/")[0]
        for name, member in root.members(max_depth=_DEEPEST)
        if isinstance(member, zarr.Array) and member.ndim > 1
    }
    if len(found) > 1:
        raise InputError(f"expected one group with arrays of rain, found {', '.join(sorted(found)[:8])}")
    return "/".join(filter(None, (group, *found)))


def _remove_fill_values(ds: xr.Dataset) -> None:
    """Remove fill values of 0, which Zarr writes unless another is given.

    In format 2, xarray takes the value of chunks that were never written for that of missing pixels. In
    coordinates and in floating-point arrays, 0 is a place, a time or no rain, and not missing. In arrays of
    whole numbers, it may be either, and ``_expect_clear_zeros`` refuses it.
    """
    for variable in ds.variables.values():
        fill = variable.attrs.get("_FillValue")
        whole = variable.dtype.kind in "iu" and variable.ndim > 1
        if _is_format_2(variable) and not whole and isinstance(fill, float | int | np.number) and fill == 0:
            del variable.attrs["_FillValue"]


def _is_format_2(variable: xr.Variable) -> bool:
    return "serializer" not in variable.encoding  # which only format 3 has


def _expect_clear_zeros(ds: xr.Dataset, options: ReadOptions) -> None:
    """Refuse whole numbers of rain whose fill value is 0, because 0 may be missing, or dry.

    Raises:
        InputError: The fill value of the rain is 0.
    """
    rain = find_rain(ds, options)
    own = _is_format_2(rain.variable) and rain.variable.dtype.kind in "iu"
    if own and rain.variable.attrs.get("_FillValue") == 0:
        raise InputError(
            f"{rain.name}: expected a fill value that is not 0, found 0, which may mean missing or dry; "
            "set the array's fill_value to null or to another number"
        )


def _consolidated(read: Any) -> bool:
    """Whether the store has the metadata of all arrays in one place."""
    if read(".zmetadata") is not None:
        return True
    root = read("zarr.json")
    if root is None:
        return False
    try:
        return json.loads(root).get("consolidated_metadata") is not None
    except (ValueError, AttributeError):
        raise InputError("zarr.json: expected the metadata of a group, found other text") from None


def _text(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    if path.stat().st_size > MOST_METADATA:
        raise InputError(f"{path.name}: expected at most {MOST_METADATA} bytes of metadata, found more")
    return path.read_bytes()


def _member(file: zipfile.ZipFile, name: str) -> bytes | None:
    return file.read(name) if name in file.namelist() else None


def _root_in(file: zipfile.ZipFile) -> str | None:
    """Return the folder of the group in a zip file, usually the root ``""``; None for another zip file."""
    parents = {str(PurePosixPath(name).parent) for name in file.namelist() if name.split("/")[-1] in _ROOTS}
    parents = {"" if parent == "." else parent for parent in parents}
    return min(parents, key=lambda parent: (parent.count("/") + bool(parent), parent)) if parents else None


def _checked(file: zipfile.ZipFile) -> str:
    """Return the folder of the group in a zip file, after a check of the sizes that its members claim."""
    for member in file.infolist():
        metadata = member.filename.split("/")[-1].startswith((".z", "zarr.json"))
        most = MOST_METADATA if metadata else _MOST_BYTES
        if member.file_size > most:
            raise InputError(
                f"{member.filename[:80]}: expected at most {most} bytes, found {member.file_size}"
            )
    root = _root_in(file)
    assert root is not None
    return root
