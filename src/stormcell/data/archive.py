"""Archives: radar frames in a Zarr v3 store that survives a kill at any moment.

Readers trust only the root ``zarr.json``. It has the metadata and the length of every array, and is replaced
atomically after all data have been written. Data beyond these lengths were left by a process that died.
Readers do not see them, and the next writer removes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import xarray as xr
from zarr.abc.store import Store
from zarr.storage import LocalStore, ObjectStore, StorePath

from stormcell.data import archive_files, numbering, schema
from stormcell.data.adding import Adding
from stormcell.data.archive_files import ROOT
from stormcell.data.archive_folder import ArchiveFiles, files_of
from stormcell.data.archive_store import ArchiveStore, Opened
from stormcell.data.object_store import Location, location
from stormcell.data.parallel import THIS_PROCESS, Workers
from stormcell.data.processing import Processing
from stormcell.data.read_options import ReadOptions
from stormcell.data.store import writing
from stormcell.errors import ArchiveError


@dataclass(frozen=True)
class Appended:
    """The result of appending files.

    Attributes:
        path: The archive, or its address in an object store.
        added: Times of the new frames, in time order.
        present: Times of frames that the archive already had, with the same rates.
        refused: Files that could not be used, or only in part, and the reasons.
        replaced: Times of frames that took the place of frames with other rates.
        pruned: Times of frames that are older than those that the archive keeps.
        cleaned: For each frame that was added or replaced, the pixels that each rule of
            :mod:`stormcell.data.cleaning` changed.
        revised: Refused files that have other rates than the archive at a time.
        future: Refused files that are dated in the future.
    """

    path: Location
    added: tuple[np.datetime64, ...]
    present: tuple[np.datetime64, ...]
    refused: tuple[tuple[Location, str], ...]
    replaced: tuple[np.datetime64, ...] = ()
    pruned: tuple[np.datetime64, ...] = ()
    cleaned: tuple[tuple[int, ...], ...] = ()
    revised: frozenset[Location] = frozenset()
    future: frozenset[Location] = frozenset()


def append(
    path: str | PathLike[str],
    files: Sequence[str | PathLike[str]],
    *,
    options: ReadOptions | None = None,
    processing: Processing | None = None,
    replace: bool = False,
    durable: bool = False,
    now: np.datetime64 | None = None,
    workers: Workers = THIS_PROCESS,
    progress: Callable[[int, int], None] | None = None,
) -> Appended:
    """Read radar files and add their frames to an archive, which is created if it does not exist.

    Frames are sorted by time first, so the order of the files does not matter. A file that cannot be used is
    refused with the reason, and the other files are added. When a frame is refused, so are all later frames
    of its file; earlier ones remain. The rules for a frame:

    - Newer than all frames of the archive, it is appended. Older, it is inserted where it belongs.
    - If the archive has a frame of the same time, the two are compared. With rates that are equal to 1e-5,
      the frame counts as present. With other rates, it is refused, or replaces the archive's with
      ``replace``. Among the files of one call, the first file with a time decides.
    - With another grid, another measured quantity or other rules for cleaning, it is refused.
    - Dated more than two minutes after the present time, it is refused. It is also refused if it is so far
      from the other frames that its date must be wrong.
    - Older than the frames that :func:`~stormcell.data.pruning.prune` left, it is not added again.

    The time step may change; ``missing_times`` always follows the most common one.

    A second call with the same files changes nothing. It does not open files that have not changed since an
    earlier call (:mod:`stormcell.data.source_table`), except, with ``replace``, those that are named
    themselves. A call after one that was killed completes it. At most
    one block of frames is in memory at a time, in each process.

    Args:
        path: Folder of the archive, or its address in an object store.
        files: Radar files, compressed or not, and folders, which are searched for radar files: paths, or
            addresses in object stores, such as ``s3://bucket/2024``.
        options: Statements about the files, where their metadata does not make them.
        processing: Cleaning and regridding of the frames; by default, impossible rates count as not observed.
            Its attributes also replace those of an archive that exists.
        replace: Whether frames replace those of the same time with other rates.
        durable: Whether the frames survive a power cut as soon as they are committed.
        now: The present time, UTC, if not the computer's.
        workers: What reads the files; see :func:`stormcell.data.parallel.workers`. The archive is the same
            to the bit, whatever does.
        progress: Called with the number of finished frames and the number of all frames.

    Raises:
        ArchiveError: ``path`` is not an archive, or another process is writing to it, or it cannot be written
            (full disk); its old contents are intact.

    Example:
        >>> append("rain.zarr", ["no-such-file.pgm"]).refused
        ((PosixPath('no-such-file.pgm'), 'expected a file, found no such file'),)
    """
    archive = location(path)
    processing = processing or Processing()
    adding = Adding(archive, options or ReadOptions(), processing, replace)
    opened = adding.survey(files, workers)
    some = any(len(file.times) for file in opened)
    if some or (processing.attributes and files_of(archive).exists(ROOT)):
        with writing(archive, durable=durable, now=now) as store:
            adding.convert(store, opened, workers, progress)
            store.put_attributes(processing.attributes)
    else:
        adding.record()
    times = {name: tuple(sorted(found)) for name, found in adding.times.items()}
    return Appended(
        archive,
        added=times["added"],
        present=times["present"],
        replaced=times["replaced"],
        pruned=times["pruned"],
        refused=tuple(adding.refused.items()),
        cleaned=tuple(adding.cleaned),
        revised=frozenset(adding.revised),
        future=frozenset(adding.future),
    )


def open(path: str | PathLike[str]) -> xr.Dataset:  # noqa: A001 - read as archive.open
    """Open an archive lazily: rates are read when they are used.

    The dataset has the frames that are committed at this moment, even while others are being appended. When
    frames are inserted, replaced or dropped for the second time since, frames that were renumbered raise an
    :class:`~stormcell.errors.ArchiveChangedError` when they are read, here, in a Dask worker or in training.

    Args:
        path: Path or address of an archive written by :func:`append`, or of another Zarr store that follows
            the MLCast conventions.

    Raises:
        ArchiveError: It does not exist or is not an archive.
    """
    try:
        return schema.adopt(open_as_stored(path))
    except ArchiveError as error:
        raise ArchiveError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def open_as_stored(path: str | PathLike[str]) -> xr.Dataset:
    """Open a Zarr store lazily as :func:`open` does, with the names that its variables have in the store.

    Raises:
        ArchiveError: It does not exist or is not a Zarr store.
    """
    place = location(path)
    files = files_of(place)
    try:
        while True:
            note, root = numbering.content(files), files.read(ROOT)
            try:
                ds: xr.Dataset = xr.open_zarr(_zarr(files, root, note), chunks=None, consolidated=True)
            except ArchiveError:
                if files.read(ROOT) == root:
                    raise
                continue
            # If the archive changed twice meanwhile, the times may be of different states.
            if files.read(ROOT) == root and numbering.content(files) == note:
                return ds
    except ArchiveError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        found = "something else, or an unfinished archive" if _exists(place) else "no such path"
        raise ArchiveError(f"{path}: expected an archive, found {found}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{path}: expected an archive, found an unreadable store: {error}") from None


def _exists(path: Location) -> bool:
    return path.exists() if isinstance(path, Path) else bool(files_of(path).names())


def _zarr(files: ArchiveFiles, root: bytes, note: bytes) -> StorePath:
    """Return what xarray opens, with a check of each read if Stormcell wrote the archive."""
    store: Store
    if isinstance(files.path, Path):
        store, name = LocalStore(files.path, read_only=True), ""
    else:
        bucket, name = files.path.store()
        store = ObjectStore(bucket, read_only=True)
    arrays = archive_files.arrays_of(root)
    if arrays is not None:
        store = ArchiveStore(store, Opened.of(files, f"{name}/" if name else "", arrays, note))
    return StorePath(store, name)


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
