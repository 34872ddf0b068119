"""Archives: radar frames in a Zarr v3 store that only grows forward, and that a kill cannot spoil.

The store's one truth is the root ``zarr.json``. It holds the metadata of every array, their lengths
among them, and is replaced in one atomic step after everything it speaks of has been written. Whatever
lies in the store beyond it was left by a process that died, is not seen by readers, and is cleared
away by the next :func:`append`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike, walk
from pathlib import Path

import numpy as np
import xarray as xr

from stormcell.data import schema
from stormcell.data.grid import difference
from stormcell.data.readers import Reader, Told, find, looks_like_radar
from stormcell.data.store import ROOT, Store, writing
from stormcell.errors import ArchiveError, InputError

# Decoded at a time, from one file: 64 MB of rates.
_BLOCK_PIXELS = 2**24
# A kill costs at most this many frames' work, or a block's.
_FRAMES_PER_COMMIT = 32
# Two conversions of one file may differ in the last bits, between versions of the libraries.
_SAME_TO = 1e-5


@dataclass(frozen=True)
class Appended:
    """What became of the files.

    Attributes:
        path: The archive.
        added: Times of the frames that are new in it, in the order of time.
        present: Times that were in it already, with the same rates.
        refused: Files that could not be used, or not wholly, and why.
    """

    path: Path
    added: tuple[np.datetime64, ...]
    present: tuple[np.datetime64, ...]
    refused: tuple[tuple[Path, str], ...]


def append(
    path: str | PathLike[str],
    files: Sequence[str | PathLike[str]],
    *,
    told: Told | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Appended:
    """Read radar files and append their frames to an archive, which is made if it is not there.

    The frames are put in order of time first, so the files may come in any. A file that cannot be used
    is refused, with the reason, and the others go on. A frame whose time is in the archive already is
    read and compared: the same rates are *present*, others are refused. A frame older than the archive's
    last that is not in it is refused, for archives grow only forward, and so is one so much newer that its
    date must be wrong. With a frame, all later ones of its file are refused; those before it stay. So a
    second call with the same files changes nothing, and a call after a killed one gives what that one would
    have given. At no time is more than one block of frames in memory.

    Args:
        path: The archive, a directory.
        files: Radar files, packed with gzip or not; of a directory, all radar files below it.
        told: What the files do not say about themselves.
        progress: Called with the number of frames done and the number of all.

    Raises:
        ArchiveError: ``path`` is something else than an archive, is being written by another process, or
            cannot be written (the disk is full); what was in it before is intact.

    Example:
        >>> append("rain.zarr", ["no-such-file.pgm"]).refused
        ((PosixPath('no-such-file.pgm'), 'expected a file, found nothing there'),)
    """
    told = told or Told()
    path = Path(path)
    refused: dict[Path, str] = {}
    frames = _survey([Path(file) for file in files], refused)
    added: list[np.datetime64] = []
    present: list[np.datetime64] = []
    if frames:
        with writing(path) as store:
            done = 0
            for run in _runs(frames, store):
                source = run[0].source
                if source.usable:
                    try:
                        block = source.read(told, run)
                        _expect_alike(block, store)
                        for index, frame in enumerate(run):
                            new = _put(block.isel(time=[index]), store)
                            (added if new else present).append(frame.time)
                    except InputError as error:
                        source.usable = False
                        refused[source.path] = str(error)
                if len(store.times) - store.committed >= _FRAMES_PER_COMMIT:
                    store.commit()
                done += len(run)
                if progress:
                    progress(done, len(frames))
    return Appended(path, tuple(added), tuple(present), tuple(refused.items()))


def open(path: str | PathLike[str]) -> xr.Dataset:  # noqa: A001 - read as archive.open
    """Open an archive; rates are read when they are asked for.

    What is seen is what is committed at this moment, whatever is being appended.

    Args:
        path: An archive of :func:`append`, or any Zarr store after the MLCast conventions.

    Raises:
        ArchiveError: There is none.
    """
    path = Path(path)
    if not (path / ROOT).is_file():
        found = "a folder or file that is none, or one not finished" if path.exists() else "nothing there"
        raise ArchiveError(f"{path}: expected an archive, found {found}")
    try:
        ds = xr.open_zarr(path, chunks=None, consolidated=True)
        return schema.adopt(ds)
    except ArchiveError as error:
        raise ArchiveError(f"{path}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(
            f"{path}: expected an archive, found a store that cannot be read: {error}"
        ) from None


def rain(ds: xr.Dataset) -> xr.DataArray:
    """The rain of an archive as forecasters take it: ``(time, y, x)`` in mm/h, lazy, georeferenced.

    Among its attributes are the archive's ``title``, ``source``, ``license``, ``institution``, where known.

    Raises:
        ArchiveError: The dataset is not what an archive is; see :func:`stormcell.data.schema.check`.
    """
    schema.check(ds)
    origin = {name: ds.attrs[name] for name in schema.ORIGIN if name in ds.attrs}
    return ds.set_coords(["lat", "lon", "crs"])[schema.RATE].assign_attrs(origin)


@dataclass
class _Source:
    path: Path
    reader: Reader
    usable: bool = True

    def read(self, told: Told, run: "list[_Frame]") -> xr.Dataset:
        """The frames of a run; whatever a library makes of a damaged file is an InputError."""
        try:
            return self.reader.read(self.path, told, slice(run[0].index, run[-1].index + 1))
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"could not be read: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class _Frame:
    time: np.datetime64
    source: _Source
    index: int


def _survey(files: Iterable[Path], refused: dict[Path, str]) -> list[_Frame]:
    """Every frame that the files say they hold, in order of time."""
    frames = []
    for path in dict.fromkeys(_expand(files, refused)):
        try:
            source = _Source(path, find(path))
            times = source.reader.times(path)
        except InputError as error:
            refused[path] = str(error)
        except Exception as error:  # Of a damaged file, a library may raise anything.
            refused[path] = f"could not be read: {type(error).__name__}: {error}"
        else:
            frames += [_Frame(time, source, index) for index, time in enumerate(times)]
    return sorted(frames, key=lambda frame: frame.time)


def _expand(files: Iterable[Path], refused: dict[Path, str]) -> Iterator[Path]:
    """The files themselves, and of a directory the radar files below it."""
    for path in files:
        if not path.is_dir():
            yield path
            continue
        below = [Path(folder, name) for folder, _, names in walk(path) for name in names]
        radar = [file for file in sorted(below) if looks_like_radar(file)]
        if not radar:
            refused[path] = "expected a folder with radar files in it, found none"
        yield from radar


def _runs(frames: list[_Frame], store: Store) -> Iterator[list[_Frame]]:
    """Frames that follow each other in one file as well as in time, as many as may be read at once."""
    run: list[_Frame] = []
    seen: set[Path] = set()
    for frame in frames:
        if run:
            last = run[-1]
            follows = frame.source is last.source and frame.index == last.index + 1 and frame.time > last.time
            # The first frame of a file is read alone: it shows whether the grid is the archive's.
            if not follows or last.source.path not in seen or len(run) == store.frames_in(_BLOCK_PIXELS):
                yield run
                seen.add(last.source.path)
                run = []
        run.append(frame)
    if run:
        yield run


def _expect_alike(block: xr.Dataset, store: Store) -> None:
    """Refuse frames on another grid, or converted otherwise, than those of the archive."""
    if store.reference is None:
        return
    if found := difference(store.reference, block):
        raise InputError(found)
    of_archive, of_file = store.reference[schema.RATE].attrs, block[schema.RATE].attrs
    for name in ("source_quantity", "accumulation_minutes", "zr_a", "zr_b"):
        if of_archive.get(name) != of_file.get(name):
            raise InputError(
                f"{name}: expected {of_archive.get(name)}, the archive's, found {of_file.get(name)}"
            )


def _put(frame: xr.Dataset, store: Store) -> bool:
    """Add a frame to the archive, unless it is there; whether it was added."""
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
            f"time: expected one after the archive's last, {store.times[-1]}, found {time}; "
            "archives grow only forward"
        )
    if not np.allclose(store.frame(position), rate[0], rtol=_SAME_TO, atol=0, equal_nan=True):
        raise InputError(f"time: {time} is in the archive already, with other rates")
    return False
