"""The committed state of an archive: reading it, replacing it, and creating the arrays of a new archive."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import archive_files, schema
from stormcell.data.archive_files import ARRAYS, BY_FRAME, ROOT, TIMES_PER_CHUNK, Metadata, Values
from stormcell.data.archive_folder import PRIVATE, ArchiveFiles
from stormcell.data.grid import Grid
from stormcell.data.staging import SAME_TO, StagedFrame
from stormcell.data.time_axis import TimeAxis, Times
from stormcell.errors import ArchiveError, FrameRefusedError

# Left by early versions that were killed while they wrote the root.
_PARTIAL_ROOTS = (".zarr.*.part.json", "zarr.json.partial")
NO_TIMES: Times = np.array([], "datetime64[s]")


@dataclass(frozen=True)
class Committed:
    """The committed state of an archive.

    Attributes:
        arrays: Metadata of its arrays.
        attributes: Attributes of the dataset.
        axis: Times of its frames, ``datetime64[s]``.
    """

    arrays: Mapping[str, Metadata]
    attributes: Mapping[str, Any]
    axis: TimeAxis

    @property
    def times(self) -> Times:
        """Times of its frames, ``datetime64[s]``."""
        return self.axis.times

    @property
    def pruned_before(self) -> np.datetime64 | None:
        """Frames before this time have been dropped, and are not archived again."""
        found = self.attributes.get("pruned_before")
        return None if found is None else np.datetime64(str(found), "s")

    @property
    def naming(self) -> str:
        """The naming of the files of frames."""
        return archive_files.naming(self.arrays[schema.RATE])


class Frames:
    """The committed frames of an archive, read one by one.

    Args:
        folder: The archive.
        state: Its committed state; None if nothing is committed.
    """

    def __init__(self, folder: ArchiveFiles, state: Committed | None) -> None:
        self._folder = folder
        self._state = state
        self._hashes: dict[int, NDArray[np.uint64]] = {}  # by chunk

    def position(self, time: np.datetime64) -> int | None:
        """Return the position of the frame at a time; None if there is no such frame."""
        times = NO_TIMES if self._state is None else self._state.times
        found = int(np.searchsorted(times, time))
        return found if found < len(times) and times[found] == time else None

    def hash(self, position: int) -> int:
        """Return the hash of a frame.

        Raises:
            ArchiveError: The archive is damaged.
        """
        assert self._state is not None
        chunk, offset = divmod(position, TIMES_PER_CHUNK)
        if chunk not in self._hashes:
            metadata = self._state.arrays[archive_files.HASH]
            start = chunk * TIMES_PER_CHUNK
            last = min(len(self._state.times), start + TIMES_PER_CHUNK)
            self._hashes[chunk] = archive_files.read_chunks(
                self._folder, archive_files.HASH, metadata, start, last
            )
        return int(self._hashes[chunk][offset])

    def hashes(self, times: Times) -> dict[np.datetime64, int]:
        """Return the hashes of those frames that the archive has at these times."""
        positions = {time: self.position(time) for time in times.astype("datetime64[s]")}
        return {time: self.hash(where) for time, where in positions.items() if where is not None}

    def values(self, array: str, position: int) -> Values:
        """Return what an array with a file per frame has of a frame, for example its rates ``(y, x)``.

        Raises:
            ArchiveError: Its file is missing or damaged.
        """
        assert self._state is not None
        metadata = self._state.arrays[array]
        return self.decode(array, archive_files.key(array, metadata, self._state.naming, position))

    def same(self, position: int, frame: StagedFrame, *, replace: bool) -> bool:
        """Whether a committed frame has the rates of a staged one; to be replaced, it may be damaged.

        Raises:
            FrameRefusedError: It is damaged, and not to be replaced.
        """
        same_hash = self.hash(position) == frame.frame_hash
        if same_hash and not (replace and frame.files):
            return True
        for array in BY_FRAME if same_hash else (schema.RATE,):
            try:
                old = self.values(array, position)
            except ArchiveError as error:
                if replace:
                    return False
                reason = f"time: {frame.time} is in the archive already, but damaged: {error}"
                raise FrameRefusedError(reason) from None
            new = self.decode(array, frame.files[array])
            if not np.allclose(old, new, rtol=SAME_TO, atol=0, equal_nan=True):
                return False
        return True

    def decode(self, array: str, file: str) -> Values:
        """Return the same from a file, which may be a staged one.

        Raises:
            ArchiveError: The file is missing or damaged.
        """
        assert self._state is not None
        try:
            content = self._folder.read(file)
        except FileNotFoundError:
            raise ArchiveError(f"expected a file for every frame, found no {file}") from None
        frame: Values = archive_files.decode_chunk(self._state.arrays[array], content, 1)[0]
        return frame


def read(folder: ArchiveFiles) -> Committed | None:
    """Read the committed state of an archive; None if nothing is committed.

    Raises:
        ArchiveError: The folder is not an archive that Stormcell wrote, or it is damaged.
    """
    root = archive_files.read_root(folder)
    if root is None:
        return None
    arrays = root["consolidated_metadata"]["metadata"]
    times = archive_files.read_chunks(folder, "time", arrays["time"]).astype("datetime64[s]")
    if len(times) == 0 or (np.diff(times) <= np.timedelta64(0)).any():
        raise ArchiveError(f"{folder.path}: expected increasing times, found other ones")
    return Committed(arrays, root["attributes"], TimeAxis(times))


def read_reference(folder: ArchiveFiles, state: Committed) -> xr.Dataset:
    """Return a dataset of the schema with the archive's grid and attributes, without frames."""
    attributes = {name: dict(metadata["attributes"]) for name, metadata in state.arrays.items()}
    attributes[schema.RATE].pop("coordinates", None)
    axes = {
        name: (name, archive_files.read_chunks(folder, name, state.arrays[name]), attributes[name])
        for name in ("y", "x")
    }
    shape = state.arrays[schema.RATE]["shape"][1:]
    return xr.Dataset(
        {schema.RATE: (("time", "y", "x"), np.empty((0, *shape), np.float32), attributes[schema.RATE])},
        coords={**axes, "crs": ((), np.int32(0), attributes["crs"])},
        attrs=dict(state.attributes),
    )


def create(folder: ArchiveFiles, reference: xr.Dataset) -> Committed:
    """Write the arrays of a new archive, with its grid and no frame, and return its state.

    Args:
        folder: The archive.
        reference: A dataset with the grid and the attributes.

    Raises:
        OSError: They cannot be written.
    """
    grid = Grid.of(reference)
    frames = schema.build(
        np.empty((0, grid.rows, grid.columns)),
        NO_TIMES,
        grid,
        measured=reference[schema.RATE].attrs,
        attributes=reference.attrs,
    )
    # Frames have been staged in this form already.
    frames[schema.RATE].encoding = reference[schema.RATE].encoding
    arrays = archive_files.new_arrays(frames)
    for name, metadata in arrays.items():
        folder.make(name)
        folder.write(f"{name}/{ROOT}", archive_files.as_json(metadata))
        if name in archive_files.FIXED:
            for file, content in archive_files.encode(metadata, frames[name].values).items():
                folder.write(f"{name}/{file}", content)
    folder.sync([*archive_files.FIXED, ""])
    attributes = archive_files.plain(reference.attrs) | {
        "mlcast_created_on": datetime.now(UTC).isoformat(timespec="seconds"),
        "mlcast_created_with": f"stormcell {version('stormcell')}",
    }
    return Committed(arrays, attributes, TimeAxis(NO_TIMES))


def commit(folder: ArchiveFiles, state: Committed) -> None:
    """Replace the root, so that readers see a new state.

    Raises:
        OSError: It cannot be written.
    """
    root = archive_files.root_content(state.arrays, state.attributes)
    # It is flushed always: it is small, and without it there is no archive.
    folder.write(ROOT, archive_files.as_json(root), durable=True)
    folder.sync([""])


def expect_unfinished(folder: ArchiveFiles) -> None:
    """Check that a folder without a root contains nothing except the arrays of an unfinished archive.

    Raises:
        ArchiveError: It contains other files.
    """
    for name in folder.names():
        if name not in (*ARRAYS, PRIVATE) and not _is_partial_root(name):
            raise ArchiveError(f"{folder.path}: expected an archive, found a folder that contains {name}")


def remove_partial_roots(folder: ArchiveFiles) -> None:
    """Remove the roots that early versions left incomplete."""
    for name in filter(_is_partial_root, folder.names()):
        folder.delete(name)


def _is_partial_root(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _PARTIAL_ROOTS)
