"""The files of an archive: a folder with a Zarr v3 array for each variable, and the root that commits them.

Frames and times are only appended. ``missing_times`` is the exception: all of it changes when a new frame
changes the time step. It is then written beside the old array, under chunk keys with the other separator
(``c/0`` or ``c.0``), and the root says which of the two is valid. So no write before that of the root touches
anything that the committed root describes, and the root is replaced by a rename.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec

from stormcell.atomic import write_file
from stormcell.data import schema
from stormcell.data.time_axis import TimeAxis, Times
from stormcell.errors import ArchiveError

ROOT = "zarr.json"
TIME_UNITS = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}

_FIXED = ("x", "y", "lat", "lon", "crs")
_GROWING = (schema.RATE, "time", "missing_times")
_ARRAYS = (*_FIXED, *_GROWING)
# Left by a process that was killed while it wrote a zarr.json; the second was its name in early archives.
_PARTIAL_ROOTS = (".zarr.*.part.json", "zarr.json.partial")
# A frame is one chunk, as the MLCast conventions require, unless a side is longer than this.
_LARGEST_TILE = 2048
_TIMES_PER_CHUNK = 4096


def open_array(archive: Path, name: str) -> zarr.Array[Any]:
    """Open an array for writing."""
    return zarr.open_array(store=str(archive / name), mode="r+")


def create(archive: Path, frames: xr.Dataset) -> None:
    """Create the arrays of an archive: the grid of ``frames``, and no frame yet."""
    rows, columns = frames.sizes["y"], frames.sizes["x"]
    for name in _FIXED:
        variable = frames[name]
        array = _create_array(archive, variable, variable.shape, variable.shape)
        array[...] = variable.values
    _create_array(archive, frames[schema.RATE], (0, rows, columns), (1, _tile(rows), _tile(columns)))
    for name in ("time", "missing_times"):
        _create_array(archive, frames[name], (0,), (_TIMES_PER_CHUNK,))


def append_times(archive: Path, times: Times, committed: int) -> None:
    """Write the times after the first ``committed``, and the missing times of all."""
    array = open_array(archive, "time")
    array.resize((len(times),))
    array[committed:] = times[committed:].astype(np.int64)
    file = archive / "missing_times" / ROOT
    metadata = json.loads(file.read_text())
    new, old = TimeAxis(times).missing(), TimeAxis(times[:committed]).missing()
    if not np.array_equal(old, new[: len(old)]):
        separator = metadata["chunk_key_encoding"]["configuration"]
        separator["separator"] = {"/": ".", ".": "/"}[separator["separator"]]
    metadata["shape"] = [len(new)]
    _replace(file, metadata)
    open_array(archive, "missing_times")[...] = new.astype(np.int64)


def write_root(archive: Path, attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Commit the arrays in their present state, and return the root's content."""
    arrays = {name: json.loads((archive / name / ROOT).read_text()) for name in _ARRAYS}
    root = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": _plain(attributes),
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": arrays},
    }
    _replace(archive / ROOT, root)
    return root


def read_root(archive: Path) -> dict[str, Any]:
    """Return the content of the root.

    Raises:
        ArchiveError: The folder is not an archive that Stormcell wrote.
    """
    try:
        root: dict[str, Any] = json.loads((archive / ROOT).read_text())
        arrays = root["consolidated_metadata"]["metadata"]
        ours = set(_ARRAYS) <= arrays.keys()
        ours = ours and arrays["time"]["attributes"]["units"] == TIME_UNITS["units"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{archive}: expected an archive, found another root: {error}") from None
    if not ours:
        raise ArchiveError(f"{archive}: expected an archive made by Stormcell, found another Zarr store")
    return root


def expect_unfinished(archive: Path) -> None:
    """Check that a folder without a root contains nothing except the arrays of an unfinished archive.

    Raises:
        ArchiveError: It contains other files.
    """
    for item in archive.iterdir():
        if item.name not in _ARRAYS and not any(map(item.match, _PARTIAL_ROOTS)):
            raise ArchiveError(f"{archive}: expected an archive, found a folder that contains {item.name}")


def remove_uncommitted(archive: Path, root: Mapping[str, Any] | None, committed: int) -> None:
    """Remove everything that the root does not describe, except the folder itself, which carries the lock."""
    _unlink(archive, _PARTIAL_ROOTS)
    if root is None:
        for name in _ARRAYS:
            shutil.rmtree(archive / name, ignore_errors=True)
        return
    for name in _ARRAYS:
        _unlink(archive / name, ("*.partial", "c/*.partial", *_PARTIAL_ROOTS))  # Zarr writes *.partial
    for frame in (archive / schema.RATE / "c").glob("*"):
        if frame.name.isdecimal() and int(frame.name) >= committed:
            shutil.rmtree(frame)
    # This comes last, because on a full disk it needs the space that was freed above.
    for name, metadata in root["consolidated_metadata"]["metadata"].items():
        file = archive / name / ROOT
        if json.loads(file.read_text()) != metadata:
            _replace(file, metadata)


def _unlink(folder: Path, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)


def _create_array(
    archive: Path, variable: xr.DataArray, shape: tuple[int, ...], chunks: tuple[int, ...]
) -> zarr.Array[Any]:
    dates = variable.dtype.kind == "M"
    attributes = _plain(variable.attrs) | (TIME_UNITS if dates else {})
    if variable.name == schema.RATE:
        attributes["coordinates"] = "lat lon"
    return zarr.create_array(
        store=str(archive / str(variable.name)),
        shape=shape,
        chunks=chunks,
        dtype=np.int64 if dates else variable.dtype,
        compressors=ZstdCodec(level=3, checksum=True),
        fill_value=np.nan if variable.dtype.kind == "f" else 0,
        attributes=attributes,
        dimension_names=[str(dim) for dim in variable.dims],
        overwrite=True,
    )


def _replace(file: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file."""
    write_file(file, json.dumps(content, indent=2).encode())


def _tile(length: int) -> int:
    """Return the length of the equal chunks into which a side of a frame is divided."""
    pieces = -(-length // _LARGEST_TILE)
    return -(-length // pieces)


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes with values that JSON can represent."""
    return {
        str(name): value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        for name, value in attributes.items()
    }
