"""Archives: radar frames in a Zarr v3 store that only grows forward in time and survives a kill.

Readers trust only the root ``zarr.json``. It has the metadata and the length of every array, and is replaced
atomically after all data have been written. Data beyond these lengths were left by a process that died.
Readers do not see them, and the next :func:`append` removes them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isclose
from os import PathLike
from pathlib import Path

import numpy as np
import xarray as xr

from stormcell.data import schema
from stormcell.data.archive_files import ROOT
from stormcell.data.grid import Grid
from stormcell.data.object_store import Location, location
from stormcell.data.radar_files import radar_files
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import RadarFile, open_radar
from stormcell.data.store import Store, writing
from stormcell.errors import ArchiveError, InputError

# Pixels that are decoded at once from one file: 64 MB of rates.
_BLOCK_PIXELS = 2**24
# A kill loses the work on at most this number of frames, or on one block.
_FRAMES_PER_COMMIT = 32
# Conversions of the same file by different library versions may differ in the last bits.
_SAME_TO = 1e-5


@dataclass(frozen=True)
class Appended:
    """The result of appending files.

    Attributes:
        path: The archive.
        added: Times of the new frames, in time order.
        present: Times of frames that the archive already had, with the same rates.
        refused: Files that could not be used, or only in part, and the reasons.
    """

    path: Path
    added: tuple[np.datetime64, ...]
    present: tuple[np.datetime64, ...]
    refused: tuple[tuple[Location, str], ...]


def append(
    path: str | PathLike[str],
    files: Sequence[str | PathLike[str]],
    *,
    options: ReadOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Appended:
    """Read radar files and append their frames to an archive, which is created if it does not exist.

    Frames are sorted by time first, so the order of the files does not matter. A file that cannot be used is
    refused with the reason, and the other files are appended.

    A frame whose time the archive already has is compared: with the same rates it counts as present, with
    other rates it is refused. Archives grow only forward, so a frame that is older than the archive's last
    and not in it is refused. A frame is also refused if it is so much newer that its date must be wrong. When
    a frame is refused, so are all later frames of its file; earlier ones remain.

    A second call with the same files changes nothing. A call after one that was killed completes it. At most
    one block of frames is in memory at a time.

    Args:
        path: Folder of the archive.
        files: Radar files, compressed or not, and folders, which are searched for radar files: paths, or
            addresses in object stores, such as ``s3://bucket/2024``.
        options: Statements about the files, where their metadata does not make them.
        progress: Called with the number of finished frames and the number of all frames.

    Raises:
        ArchiveError: ``path`` is not an archive, or another process is writing to it, or it cannot be written
            (full disk); its old contents are intact.

    Example:
        >>> append("rain.zarr", ["no-such-file.pgm"]).refused
        ((PosixPath('no-such-file.pgm'), 'expected a file, found no such file'),)
    """
    options = options or ReadOptions()
    path = Path(path)
    refused: dict[Location, str] = {}
    frames = _survey([location(file) for file in files], options, refused)
    added: list[np.datetime64] = []
    present: list[np.datetime64] = []
    if frames:
        with writing(path) as store:
            done = 0
            for run in _runs(frames, store):
                file = run[0].file
                if file.path not in refused:
                    try:
                        block = file.read(options, slice(run[0].index, run[-1].index + 1))
                        _expect_alike(block, store)
                        for index, frame in enumerate(run):
                            new = _put(block.isel(time=[index]), store)
                            (added if new else present).append(frame.time)
                    except InputError as error:
                        refused[file.path] = str(error)
                if len(store.times) - store.committed >= _FRAMES_PER_COMMIT:
                    store.commit()
                done += len(run)
                if progress:
                    progress(done, len(frames))
    return Appended(path, tuple(added), tuple(present), tuple(refused.items()))


def open(path: str | PathLike[str]) -> xr.Dataset:  # noqa: A001 - read as archive.open
    """Open an archive lazily: rates are read when they are used.

    The dataset has the frames that are committed at this moment, even while others are being appended.

    Args:
        path: An archive written by :func:`append`, or another Zarr store that follows the MLCast conventions.

    Raises:
        ArchiveError: It does not exist or is not an archive.
    """
    path = Path(path)
    if not (path / ROOT).is_file():
        found = "something else, or an unfinished archive" if path.exists() else "no such path"
        raise ArchiveError(f"{path}: expected an archive, found {found}")
    try:
        ds = xr.open_zarr(path, chunks=None, consolidated=True)
        return schema.adopt(ds)
    except ArchiveError as error:
        raise ArchiveError(f"{path}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{path}: expected an archive, found an unreadable store: {error}") from None


def rain(ds: xr.Dataset) -> xr.DataArray:
    """Return the rain rates of an archive, as forecasters take them: ``(time, y, x)`` in mm/h, georeferenced.

    The rates are lazy. The attributes include the archive's ``title``, ``source``, ``license`` and
    ``institution``, if known.

    Raises:
        ArchiveError: The dataset does not follow the schema; see :func:`stormcell.data.schema.check`.
    """
    schema.check(ds)
    origin = {name: ds.attrs[name] for name in schema.ORIGIN if name in ds.attrs}
    return ds.set_coords(["lat", "lon", "crs"])[schema.RATE].assign_attrs(origin)


@dataclass(frozen=True)
class _Frame:
    time: np.datetime64
    file: RadarFile
    index: int


def _survey(files: Iterable[Location], options: ReadOptions, refused: dict[Location, str]) -> list[_Frame]:
    """Return every frame that the files list, in time order."""
    frames = []
    for path in dict.fromkeys(radar_files(files, refused)):
        try:
            file = open_radar(path, options)
        except InputError as error:
            refused[path] = str(error)
        else:
            frames += [_Frame(time, file, index) for index, time in enumerate(file.times)]
    return sorted(frames, key=lambda frame: frame.time)


def _runs(frames: list[_Frame], store: Store) -> Iterator[list[_Frame]]:
    """Yield runs of frames that are consecutive in one file and in time, and small enough to read at once."""
    run: list[_Frame] = []
    started: set[Location] = set()
    for frame in frames:
        if run:
            last = run[-1]
            follows = frame.file is last.file and frame.index == last.index + 1 and frame.time > last.time
            # The first frame of a file is read alone, to find out whether its grid is the archive's.
            if not follows or last.file.path not in started or len(run) == store.frames_in(_BLOCK_PIXELS):
                yield run
                started.add(last.file.path)
                run = []
        run.append(frame)
    if run:
        yield run


def _expect_alike(block: xr.Dataset, store: Store) -> None:
    """Refuse frames whose grid or conversion differs from the archive's."""
    if store.reference is None:
        return
    if differs := Grid.of(store.reference).difference(Grid.of(block)):
        raise InputError(differs)
    of_archive, of_file = store.reference[schema.RATE].attrs, block[schema.RATE].attrs
    for name in ("source_quantity", "accumulation_minutes", "zr_a", "zr_b"):
        expected, found = of_archive.get(name), of_file.get(name)
        if not _agree(expected, found):
            raise InputError(f"{name}: expected the archive's {expected}, found {found}")


def _agree(expected: object, found: object) -> bool:
    """Whether two attributes are equal; numbers, except for rounding."""
    if isinstance(expected, float) and isinstance(found, float):
        return isclose(expected, found, rel_tol=_SAME_TO)
    return expected == found


def _put(frame: xr.Dataset, store: Store) -> bool:
    """Add a frame to the archive unless the archive has it, and return whether it was added."""
    rate = frame[schema.RATE].values
    if found := schema.value_problems(rate):
        raise InputError("; ".join(found))
    time = frame["time"].values[0].astype("datetime64[s]")
    position = int(np.searchsorted(store.times, time))
    if position == len(store.times):
        store.expect_near(time)
        store.extend(frame)
        return True
    if store.times[position] != time:
        raise InputError(
            f"time: expected a time after the archive's last, {store.times[-1]}, found {time}; "
            "archives grow only forward"
        )
    if not np.allclose(store.frame(position), rate[0], rtol=_SAME_TO, atol=0, equal_nan=True):
        raise InputError(f"time: {time} is in the archive already, with other rates")
    return False
