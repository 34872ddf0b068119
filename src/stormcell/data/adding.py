"""Adding the frames of radar files to an archive: which files are read, and what becomes of each."""

from collections.abc import Callable, Sequence
from os import PathLike

import numpy as np

from stormcell.data import committed, conversion
from stormcell.data.archive_files import ROOT
from stormcell.data.archive_folder import files_of
from stormcell.data.conversion import Converted
from stormcell.data.object_store import Location, location
from stormcell.data.parallel import Workers
from stormcell.data.processing import Processing
from stormcell.data.radar_files import radar_files
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import RadarFile
from stormcell.data.source_table import SourceOutcome, SourceTable
from stormcell.data.store import Outcome, Store
from stormcell.errors import ArchiveError, FrameRefusedError, InputError, WorkerError


class Adding:
    """One call that adds files to an archive.

    Args:
        archive: The archive.
        options: Statements about the files.
        processing: Steps between a decoded frame and the archive.
        replace: Whether frames replace those of the same time with other rates.

    Attributes:
        times: Times of the frames, by what became of them.
        cleaned: For each new frame, the number of pixels that each rule of the cleaning changed.
        refused: Files that could not be used, or only in part, and the reasons.
        revised: Those of them that have other rates than the archive at a time.
        future: Those of them that are dated in the future.
    """

    def __init__(
        self, archive: Location, options: ReadOptions, processing: Processing, replace: bool
    ) -> None:
        self.times: dict[Outcome, list[np.datetime64]] = {
            "added": [],
            "present": [],
            "replaced": [],
            "pruned": [],
        }
        self.refused: dict[Location, str] = {}
        self.revised: set[Location] = set()
        self.future: set[Location] = set()
        self.cleaned: list[tuple[int, ...]] = []
        self._archive = archive
        self._options = options
        self._processing = processing
        self._replace = replace
        self._table = SourceTable(archive, _statement(options, processing))
        self._settled: set[np.datetime64] = set()  # times of frames from files of this call
        self._used: dict[Location, list[np.datetime64]] = {}  # the same, by file
        self._left: dict[Location, int] = {}  # number of frames, by file, that are still to be read
        self._outcomes: dict[Location, SourceOutcome] = {}  # to be recorded

    def survey(self, files: Sequence[str | PathLike[str]], workers: Workers) -> list[RadarFile]:
        """Return those files that must be read, with the times of their frames."""
        places = [location(file) for file in files]
        listed = self._table.listed
        found = dict.fromkeys(
            radar_files(places, self.refused, self._options, but=self._archive, listed=listed)
        )
        # To be replaced, a file that is named itself is read in any case; one in a folder, if it has changed.
        named = set(places) if self._replace else set[Location]()
        self._take_unchanged([file for file in found if file not in named])
        opened = []
        rest = [file for file in found if file not in self._used]
        for place, file in conversion.survey(rest, self._options, workers):
            if isinstance(file, str):
                self._refuse(place, file)
            else:
                opened.append(file)
                self._left[place] = len(file.times)
        return opened

    def convert(
        self,
        store: Store,
        files: Sequence[RadarFile],
        workers: Workers,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Read files, and add their frames in time order; all are committed in the end.

        Raises:
            ArchiveError: The archive cannot be written.
        """
        done, total = 0, sum(len(file.times) for file in files)
        for run in conversion.convert(
            files,
            store,
            self._options,
            self._processing,
            workers,
            skip=lambda run: run.file.path in self.refused,
            stage_all=self._replace,
        ):
            file = run.task.file
            try:
                converted = store.staged(run.result)
                if file.path in self.refused:  # since the run was begun
                    store.forget(converted.staged.frames)
                else:
                    self._add(store, file, converted)
            except FrameRefusedError as error:
                if error.future:
                    self.future.add(file.path)
                # Without this, it depends on the present time or on other frames: the file is read again.
                self._refuse(file.path, str(error), file, replaceable=error.replaceable)
            except InputError as error:
                self._refuse(file.path, str(error), file)
            except WorkerError as error:
                self.refused.setdefault(file.path, str(error))
            self._left[file.path] -= len(run.task.times)
            if self._left[file.path] == 0 and file.path not in self.refused:
                used = np.array(self._used.get(file.path, []), "datetime64[s]")
                self._outcomes[file.path] = SourceOutcome(used, format=file.reader.NAME)
            if store.pending == 0:
                self.record()
            done += len(run.task.times)
            if progress:
                progress(done, total)
        store.commit()
        self.record()

    def record(self) -> None:
        """Remember the files that are finished, if the archive exists."""
        if self._outcomes and files_of(self._archive).exists(ROOT):
            self._table.record(self._outcomes)
        self._outcomes = {}

    def _take_unchanged(self, files: Sequence[Location]) -> None:
        """Take what became of the files that have not changed since an earlier call."""
        unchanged = self._table.unchanged(files)
        try:
            state = committed.read(files_of(self._archive)) if unchanged else None
        except ArchiveError:  # if it persists, writing says so
            return
        if state is None:
            return
        for file, outcome in unchanged.items():
            pruned = np.zeros(len(outcome.times), bool)
            if state.pruned_before is not None:
                pruned = outcome.times < state.pruned_before
            kept = outcome.times[~pruned]
            places = np.minimum(np.searchsorted(state.times, kept), len(state.times) - 1)
            if (state.times[places] != kept).any():
                continue  # the archive is another one
            if outcome.refusal is not None:
                if self._replace and outcome.replaceable:
                    continue
                self.refused[file] = outcome.refusal
                self.revised |= {file} if outcome.replaceable else set()
            self._used[file] = list(outcome.times)
            self._settled |= set(outcome.times)
            self.times["pruned"] += list(outcome.times[pruned])
            self.times["present"] += list(kept)

    def _add(self, store: Store, file: RadarFile, converted: Converted) -> None:
        """Add the frames of a run one by one.

        Raises:
            InputError: A frame was refused. The others are not added.
        """
        frames = list(converted.staged.frames)
        try:
            while frames:
                frame = frames.pop(0)
                replace = self._replace and frame.time not in self._settled
                outcome = store.add(frame, converted.reference, replace=replace)
                self._settled.add(frame.time)
                self._used.setdefault(file.path, []).append(frame.time)
                self.times[outcome].append(frame.time)
                if outcome in ("added", "replaced"):
                    self.cleaned.append(frame.cleaned)
        finally:
            store.forget(frames)
        if converted.staged.problem:
            raise InputError(converted.staged.problem)

    def _refuse(
        self, place: Location, reason: str, file: RadarFile | None = None, *, replaceable: bool | None = None
    ) -> None:
        """Refuse a file; ``replaceable`` is False if it is to be read again by the next call."""
        self.refused.setdefault(place, reason)
        self.revised |= {place} if replaceable else set()
        if replaceable is not False:
            used = np.array(self._used.get(place, []), "datetime64[s]")
            name = "" if file is None else file.reader.NAME
            self._outcomes[place] = SourceOutcome(used, reason, replaceable is True, name)


def _statement(options: ReadOptions, processing: Processing) -> str:
    """Return everything that decides what becomes of a file, besides the file."""
    mask = processing.cleaning.clutter
    stat = mask.stat() if mask is not None and mask.exists() else None
    return repr((options, processing, stat and (stat.st_size, stat.st_mtime_ns)))
