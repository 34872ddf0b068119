"""Conversion of radar files into staged frames of an archive, in this process or by workers.

A task is a run: some frames that follow each other in one file and in time. The process that works on it
reads the frames, converts them to mm/h and stages them; see :mod:`stormcell.data.staging`. Results come in
time order wherever the tasks run, so that one process can add the frames to the archive, which is then the
same to the bit. A worker that is killed leaves staged files at most, and its run is done again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import xarray as xr

from stormcell.data import archive_files, staging
from stormcell.data.archive_files import Metadata
from stormcell.data.archive_folder import ArchiveFiles
from stormcell.data.object_store import Location
from stormcell.data.parallel import THIS_PROCESS, Done, Workers, in_worker
from stormcell.data.processing import Processing
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import RadarFile, open_radar
from stormcell.data.staging import Staged
from stormcell.data.store import Store
from stormcell.data.time_axis import minute
from stormcell.errors import InputError

# Pixels that are decoded at once from one file: 64 MB of rates.
BLOCK_PIXELS = 2**24
_FILES_PER_TASK = 32  # whose headers are read by one task


@dataclass(frozen=True)
class Run:
    """Frames that follow each other in one file and in time, and are read at once.

    Attributes:
        file: The file.
        first: Position of the first frame in the file.
        times: Times of the frames.
        present: Hashes of those frames that the archive has; they are not staged again.
    """

    file: RadarFile
    first: int
    times: tuple[np.datetime64, ...]
    present: Mapping[np.datetime64, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.file.path}, frame of {minute(self.times[0])}"


@dataclass(frozen=True)
class Converted:
    """The result of a run.

    Attributes:
        staged: The staged frames.
        reference: A dataset with the grid and the attributes of the frames, without frames.
    """

    staged: Staged
    reference: xr.Dataset


def survey(
    files: Iterable[Location], options: ReadOptions, workers: Workers
) -> Iterator[tuple[Location, RadarFile | str]]:
    """Read the headers of files, and yield each with its times, or with the reason for refusing it.

    Args:
        files: The files, in any order.
        options: Statements about the files.
        workers: What reads them.
    """
    paths = list(files)
    batches = [paths[k : k + _FILES_PER_TASK] for k in range(0, len(paths), _FILES_PER_TASK)]
    for done in workers.run(partial(_open_all, options), batches, name=_first):
        yield from zip(done.task, done.result(), strict=True)


def _open_all(options: ReadOptions, files: Sequence[Location]) -> list[RadarFile | str]:
    found: list[RadarFile | str] = []
    for file in files:
        try:
            found.append(open_radar(file, options))
        except InputError as error:
            found.append(str(error))
    return found


def _first(files: Sequence[Location]) -> str:
    return f"{files[0]} or one of the {len(files) - 1} files after it"


def convert(
    files: Iterable[RadarFile],
    store: Store,
    options: ReadOptions,
    processing: Processing,
    workers: Workers,
    *,
    skip: Callable[[Run], bool],
    stage_all: bool = False,
) -> Iterator[Done[Run, Converted]]:
    """Read, convert and stage the frames of files, in the order of their times.

    Args:
        files: The files.
        store: The archive. A new archive must be given the frames of each result before the next is asked
            for, because the first frame decides about its grid.
        options: Statements about the files.
        processing: Cleaning and regridding of the frames.
        workers: What works on the runs.
        skip: Whether a run need not be converted, because its file is refused.
        stage_all: Whether frames are staged that the archive has already.

    Yields:
        Each run. Its result raises :class:`~stormcell.errors.InputError` if the file cannot be used, and
        :class:`~stormcell.errors.WorkerError` if all workers were killed that tried.
    """
    frames = sorted(
        ((time, file, index) for file in files for index, time in enumerate(file.times)),
        key=lambda frame: frame[0],
    )
    begun, started = 0, set[Location]()
    while store.reference is None and begun < len(frames):
        time, file, index = frames[begun]
        begun += 1
        started.add(file.path)
        yield from THIS_PROCESS.run(_task(store, options, processing), [Run(file, index, (time,))], skip=skip)
    runs = list(_runs(frames[begun:], store.frames_in(BLOCK_PIXELS), started))
    if not stage_all:
        present = store.hashes(np.array([time for run in runs for time in run.times], "datetime64[s]"))
        runs = [
            replace(run, present={time: present[time] for time in run.times if time in present})
            for run in runs
        ]
    store.prepare()
    yield from workers.run(_task(store, options, processing), runs, skip=skip)


def _runs(
    frames: Sequence[tuple[np.datetime64, RadarFile, int]], most: int, started: set[Location]
) -> Iterator[Run]:
    """Yield runs of at most ``most`` frames; a file that is not ``started`` begins with a run of one."""
    run: Run | None = None
    for time, file, index in frames:
        if run is not None:
            follows = file is run.file and index == run.first + len(run.times) and time > run.times[-1]
            # The first frame of a file is read alone, to find out whether its grid is the archive's.
            if follows and file.path in started and len(run.times) < most:
                run = replace(run, times=(*run.times, time))
                continue
            yield run
            started.add(run.file.path)
        run = Run(file, index, (time,))
    if run is not None:
        yield run


def _task(store: Store, options: ReadOptions, processing: Processing) -> "partial[Converted]":
    arrays = store.arrays
    if arrays is None and store.reference is not None:
        arrays = archive_files.new_arrays(store.reference)
    return partial(_convert, store.folder, options, processing, store.reference, arrays)


def _convert(
    folder: ArchiveFiles,
    options: ReadOptions,
    processing: Processing,
    reference: xr.Dataset | None,
    arrays: Mapping[str, Metadata] | None,
    run: Run,
) -> Converted:
    """Read, convert, process and stage the frames of a run, perhaps in another process."""
    if in_worker():
        folder.expect_shared()
    frames = processing(run.file.read(options, slice(run.first, run.first + len(run.times))))
    if reference is not None:
        staging.expect_same(reference, frames)
    staged = staging.stage(folder, frames, arrays, run.present)
    return Converted(staged, staging.without_frames(frames))
