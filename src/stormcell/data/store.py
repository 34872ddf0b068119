"""Writing to an archive: one process at a time, with an atomic commit.

An archive survives a kill. Whether it survives a power cut depends on the file system, because chunks are not
flushed to the disk one by one.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import archive_files, schema
from stormcell.data.time_axis import TimeAxis, Times
from stormcell.errors import ArchiveError, InputError


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
        self.times: Times = np.array([], "datetime64[s]")
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
        return np.asarray(archive_files.open_array(self.path, schema.RATE)[position])

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
                archive_files.create(self.path, frames)
                self.reference = frames.isel(time=0).assign_attrs(
                    mlcast_created_on=datetime.now(UTC).isoformat(timespec="seconds"),
                    mlcast_created_with=f"stormcell {version('stormcell')}",
                )
            present = len(self.times)
            array = archive_files.open_array(self.path, schema.RATE)
            array.resize((present + frames.sizes["time"], *array.shape[1:]))
            array[present:] = frames[schema.RATE].values
            self.times = np.concatenate([self.times, frames["time"].values.astype("datetime64[s]")])

    def commit(self) -> None:
        """Make all appended frames part of the archive.

        Raises:
            ArchiveError: It cannot be written, for example on a full disk. Committed frames are intact.
        """
        if len(self.times) == self.committed:
            return
        assert self.reference is not None
        with self._or_archive_error():
            archive_files.append_times(self.path, self.times, self.committed)
            self._root = archive_files.write_root(self.path, self.reference.attrs)
            self.committed = len(self.times)

    def discard(self) -> None:
        """Remove everything that is not committed."""
        archive_files.remove_uncommitted(self.path, self._root, self.committed)

    def load(self) -> None:
        """Read the committed state, and remove everything that is not committed.

        Raises:
            ArchiveError: The folder is not an archive.
        """
        if (self.path / archive_files.ROOT).exists():
            self._root = archive_files.read_root(self.path)
            ds = xr.open_zarr(self.path, chunks=None, consolidated=True)
            if found := schema.problems(ds):
                raise ArchiveError(f"{self.path}: expected an archive to append to; {'; '.join(found)}")
            self.reference = ds.isel(time=0)
            self.times = ds["time"].values.astype("datetime64[s]")
            self.committed = len(self.times)
        else:
            archive_files.expect_unfinished(self.path)
        with self._or_archive_error():
            self.discard()

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
