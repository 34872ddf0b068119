"""The files of an archive, and the atomic commit.

Every array is a Zarr v3 array in a separate folder. Frames and times are only appended. ``missing_times`` is
the exception: all of it changes when a new frame changes the time step. It is then written beside the old
array, under chunk keys with the other separator (``c/0`` or ``c.0``), and the root says which of the two is
valid. So no step before the last touches anything that the committed root describes. The last step is a
rename.

An archive survives a kill. Whether it survives a power cut depends on the file system, because chunks are not
flushed to the disk one by one.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from stormcell.atomic import write_file
from stormcell.data import schema
from stormcell.data.time_axis import TimeAxis
from stormcell.errors import ArchiveError, InputError

ROOT = "zarr.json"
_PARTIAL_ROOT = ".zarr.*.part.json"  # left by a process that was killed while it wrote a zarr.json
TIME_UNITS = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}

_FIXED = ("x", "y", "lat", "lon", "crs")
_GROWING = (schema.RATE, "time", "missing_times")
# A frame is one chunk, as the MLCast conventions require, unless a side is longer than this.
_LARGEST_TILE = 2048
_TIMES_PER_CHUNK = 4096


class Store:
    """An archive opened for writing, by one process at a time; use :func:`writing`.

    Attributes:
        path: Folder of the archive.
        times: Times of its frames, committed or not, as datetime64[s].
        committed: Number of committed frames.
        reference: A dataset with the archive's grid and attributes; None while it has no frame.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times: NDArray[np.datetime64] = np.array([], "datetime64[s]")
        self.committed = 0
        self.reference: xr.Dataset | None = None
        self._root: dict[str, Any] | None = None
        self._step: np.timedelta64 | None = None

    def frames_in(self, pixels: int) -> int:
        """Return the number of frames that together have ``pixels`` pixels, at least one."""
        if self.reference is None:
            return 1
        return max(1, pixels // (self.reference.sizes["y"] * self.reference.sizes["x"]))

    def frame(self, position: int) -> NDArray[np.float32]:
        """Return the rates ``(y, x)`` of a frame, committed or not."""
        return np.asarray(self._array(schema.RATE)[position])

    def expect_near(self, time: np.datetime64) -> None:
        """Refuse a frame that is so far after the last frame that its date must be wrong.

        Raises:
            InputError: The archive would have more missing steps than it may have.
        """
        if self._step is not None and time - self.times[-1] == self._step:
            return  # No gap and the same step, so the missing times stay the same.
        axis = TimeAxis(np.append(self.times, time))
        try:
            axis.missing()
        except ArchiveError as error:
            raise InputError(f"{error}, with {time} after the archive's last, {self.times[-1]}") from None
        self._step = axis.step if len(axis) > 1 else None

    def extend(self, frames: xr.Dataset) -> None:
        """Append frames of the schema. They become part of the archive only by :meth:`commit`.

        Raises:
            ArchiveError: They cannot be written. Committed frames are intact.
        """
        with self._or_archive_error():
            if self.reference is None:
                self._create(frames)
            held = len(self.times)
            array = self._array(schema.RATE)
            array.resize((held + frames.sizes["time"], *array.shape[1:]))
            array[held:] = frames[schema.RATE].values
            self.times = np.concatenate([self.times, frames["time"].values.astype("datetime64[s]")])

    def commit(self) -> None:
        """Make all appended frames part of the archive.

        Raises:
            ArchiveError: It cannot be written, for example on a full disk. Committed frames are intact.
        """
        if len(self.times) == self.committed:
            return
        with self._or_archive_error():
            array = self._array("time")
            array.resize((len(self.times),))
            array[self.committed :] = self.times[self.committed :].astype(np.int64)
            self._write_missing_times()
            assert self.reference is not None
            self._write_root(_plain(self.reference.attrs))
            self.committed = len(self.times)

    def discard(self) -> None:
        """Remove everything that is not committed, except the folder, which carries the lock."""
        for partial in self.path.glob(_PARTIAL_ROOT):
            partial.unlink()
        if self._root is None:
            for name in (*_FIXED, *_GROWING):
                shutil.rmtree(self.path / name, ignore_errors=True)
            return
        for name in (*_FIXED, *_GROWING):
            for pattern in ("*.partial", "c/*.partial", _PARTIAL_ROOT):
                for partial in (self.path / name).glob(pattern):
                    partial.unlink()
        for frame in (self.path / schema.RATE / "c").glob("*"):
            if frame.name.isdecimal() and int(frame.name) >= self.committed:
                shutil.rmtree(frame)
        # This comes last, because on a full disk it needs the space that was freed above.
        for name, metadata in self._root["consolidated_metadata"]["metadata"].items():
            file = self.path / name / ROOT
            if json.loads(file.read_text()) != metadata:
                _replace(file, metadata)

    def load(self) -> None:
        """Read the committed state, and remove everything that is not committed.

        Raises:
            ArchiveError: The folder is not an archive.
        """
        if (self.path / ROOT).exists():
            self._root = _read_root(self.path)
            ds = xr.open_zarr(self.path, chunks=None, consolidated=True)
            if found := schema.problems(ds):
                raise ArchiveError(f"{self.path}: expected an archive to append to; {'; '.join(found)}")
            self.reference = ds.isel(time=0)
            self.times = ds["time"].values.astype("datetime64[s]")
            self.committed = len(self.times)
        else:
            ours = {*_FIXED, *_GROWING}
            for item in self.path.iterdir():
                if item.name not in ours and not item.match(_PARTIAL_ROOT):
                    raise ArchiveError(
                        f"{self.path}: expected an archive, found a folder that contains {item.name}"
                    )
        with self._or_archive_error():
            self.discard()

    def _array(self, name: str) -> zarr.Array[Any]:
        return zarr.open_array(store=str(self.path / name), mode="r+")

    def _create(self, frames: xr.Dataset) -> None:
        rows, columns = frames.sizes["y"], frames.sizes["x"]
        for name in _FIXED:
            variable = frames[name]
            array = self._create_array(name, variable, variable.shape, variable.shape)
            array[...] = variable.values
        rate = frames[schema.RATE]
        self._create_array(schema.RATE, rate, (0, rows, columns), (1, _tile(rows), _tile(columns)))
        for name in ("time", "missing_times"):
            self._create_array(name, frames[name], (0,), (_TIMES_PER_CHUNK,))
        self.reference = frames.isel(time=0).assign_attrs(
            mlcast_created_on=datetime.now(UTC).isoformat(timespec="seconds"),
            mlcast_created_with=f"stormcell {version('stormcell')}",
        )

    def _create_array(
        self, name: str, variable: xr.DataArray, shape: tuple[int, ...], chunks: tuple[int, ...]
    ) -> zarr.Array[Any]:
        dates = variable.dtype.kind == "M"
        attributes = _plain(variable.attrs) | (TIME_UNITS if dates else {})
        if name == schema.RATE:
            attributes["coordinates"] = "lat lon"
        return zarr.create_array(
            store=str(self.path / name),
            shape=shape,
            chunks=chunks,
            dtype=np.int64 if dates else variable.dtype,
            compressors=ZstdCodec(level=3, checksum=True),
            fill_value=np.nan if variable.dtype.kind == "f" else 0,
            attributes=attributes,
            dimension_names=[str(dim) for dim in variable.dims],
            overwrite=True,
        )

    def _write_missing_times(self) -> None:
        file = self.path / "missing_times" / ROOT
        metadata = json.loads(file.read_text())
        new = TimeAxis(self.times).missing()
        old = TimeAxis(self.times[: self.committed]).missing()
        if not np.array_equal(old, new[: len(old)]):
            separator = metadata["chunk_key_encoding"]["configuration"]
            separator["separator"] = {"/": ".", ".": "/"}[separator["separator"]]
        metadata["shape"] = [len(new)]
        _replace(file, metadata)
        self._array("missing_times")[...] = new.astype(np.int64)

    def _write_root(self, attributes: dict[str, Any]) -> None:
        arrays = {name: json.loads((self.path / name / ROOT).read_text()) for name in (*_FIXED, *_GROWING)}
        root = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": attributes,
            "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": arrays},
        }
        _replace(self.path / ROOT, root)
        self._root = root

    @contextmanager
    def _or_archive_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ArchiveError(
                f"{self.path}: could not be written: {error.strerror or error}; "
                f"the {self.committed} frames committed before are intact"
            ) from error


@contextmanager
def writing(path: Path) -> Iterator[Store]:
    """Open an archive to append to it; appended frames are committed at the end.

    Raises:
        ArchiveError: It is not an archive, or another process is writing to it, or it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ArchiveError(f"{path}: expected an archive (a folder), found a file") from None
    except OSError as error:
        raise ArchiveError(f"{path}: could not be created: {error.strerror}") from None
    store = Store(path)
    with _locked(path):
        store.load()
        try:
            yield store
            store.commit()
        except BaseException:
            with suppress(OSError):  # The next process removes what cannot be removed now.
                store.discard()
                _remove_if_empty(store)
            raise
        if not store.committed:
            store.discard()
            _remove_if_empty(store)


def _remove_if_empty(store: Store) -> None:
    if not store.committed:
        with suppress(OSError):  # It may contain files of others.
            store.path.rmdir()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Prevent other processes from writing to the archive; the lock ends with the process."""
    if sys.platform == "win32":  # Windows cannot lock folders.
        yield
        return
    import fcntl

    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Since the folder was opened, another process may have removed it and a third created it again.
            locked = os.path.samestat(os.fstat(handle), os.stat(path))
        except (BlockingIOError, FileNotFoundError):
            locked = False
        if not locked:
            raise ArchiveError(f"{path}: expected no other writer, found another process writing to it")
        yield
    finally:
        os.close(handle)


def _read_root(path: Path) -> dict[str, Any]:
    try:
        root: dict[str, Any] = json.loads((path / ROOT).read_text())
        arrays = root["consolidated_metadata"]["metadata"]
        ours = {*_FIXED, *_GROWING} <= arrays.keys()
        ours = ours and arrays["time"]["attributes"]["units"] == TIME_UNITS["units"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{path}: expected an archive, found another root: {error}") from None
    if not ours:
        raise ArchiveError(f"{path}: expected an archive made by Stormcell, found another Zarr store")
    return root


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
