"""From the feed into the archive: which files are read, and what became of each."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from stormcell.atomic import make_folder
from stormcell.data.object_store import Location
from stormcell.errors import ArchiveError, StormcellError, WorkerError
from stormcell.live.archiving import AddFiles, Filed, Known, LookAtArchive
from stormcell.live.arrivals import Arrivals
from stormcell.live.feed import feed
from stormcell.live.live_settings import Settings

T = TypeVar("T")

_AT_ONCE = 64  # files that are added by one job
_SECONDS = 600.0  # for one job


class RunJob(Protocol):
    """Anything that does jobs, such as a :class:`~stormcell.live.child.Child`."""

    def __call__(self, job: Callable[[], T], *, seconds: float) -> T:
        """Do a job within a time, and return its result."""
        ...


class Intake:
    """Adds the files of a feed to an archive.

    Args:
        settings: The settings.
        run: Does jobs.
        log: Called with a line for each thing that a person should know.

    Raises:
        ArgumentError: The feed is not a folder.

    Attributes:
        known: What is known of the archive's newest frames.
        counts: Frames and files since the start by outcome, as in ``status.json``.
        problems: Sentences on what is wrong now.
    """

    def __init__(self, settings: Settings, run: RunJob, *, log: Callable[[str], None]) -> None:
        self.known = Known()
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        own = (Path(settings.archive), settings.out, *([settings.done] if settings.done else []))
        self._feed = feed(settings.feed, ignored=settings.ignored, but=own)
        self._settings, self._run, self._log = settings, run, log
        self._arrivals = Arrivals()
        self._looked = False

    def turn(self, now: datetime, *, final: bool = False) -> int:
        """Look at the feed once, and add what is whole.

        Args:
            now: The present time.
            final: Whether an unreadable file is given up at once.

        Returns:
            Number of frames that were added.
        """
        self.problems = []
        added: list[datetime] = []
        try:
            ready = self._arrivals.ready(self._feed.look(), now)
        except OSError as error:
            self.problems.append(f"the feed cannot be read: {error.strerror or error}")
            ready = []
        try:
            for start in range(0, len(ready), _AT_ONCE):
                added += self._add(ready[start : start + _AT_ONCE], now, final)
            if added or not self._looked:
                before, self.known = self.known.newest, self._look()
                self._looked = True
                late = sum(before is not None and time < before for time in added)
                self.counts.update(added=len(added) - late, late=late)
        except ArchiveError as error:  # another process writes to it, or the disk is full: tried again
            self._looked = False
            self.problems.append(str(error))
        return len(added)

    def _look(self) -> Known:
        return self._run(LookAtArchive(self._settings.archive), seconds=_SECONDS)

    def clock_went_back(self, now: datetime) -> None:
        """Wait for nothing that was due at a time of the clock as it was."""
        self._arrivals.clock_went_back(now)

    def _add(self, files: Sequence[Location], now: datetime, final: bool) -> list[datetime]:
        """Add files, and return the times of the new frames."""
        try:
            job = AddFiles(self._settings.archive, tuple(files), self._settings.reading, now)
            filed = self._run(job, seconds=_SECONDS)
        except WorkerError as error:
            if len(files) == 1:
                self._unreadable(files[0], str(error), now, final)
                return []
            return [time for file in files for time in self._add([file], now, final)]
        self.counts.update(present=len(filed.present))
        for file in files:
            self._settle(file, filed, now, final)
        return list(filed.added)

    def _settle(self, file: Location, filed: Filed, now: datetime, final: bool) -> None:
        reason = filed.refused.get(file)
        if reason is None:
            self._arrivals.done(file)
            self._move(file)
        elif file in filed.future:
            if self._arrivals.quarantine(file, now):
                self.counts["future"] += 1
                self._log(f"held back {file}: {reason}")
        elif file in filed.revised:
            self._arrivals.done(file)
            self.counts["revised"] += 1
            self._log(f"not used {file}: {reason}")
        else:
            self._unreadable(file, reason, now, final)

    def _unreadable(self, file: Location, reason: str, now: datetime, final: bool) -> None:
        outcome = self._arrivals.unreadable(file, now, final=final)
        if outcome is not None:
            self.counts[outcome] += 1
        if outcome == "corrupt":
            self._log(f"refused {file}: {reason}")

    def _move(self, file: Location) -> None:
        done = self._settings.done
        if done is None or not isinstance(file, Path):
            return
        try:
            make_folder(done)
            shutil.move(file, done / file.name)
        except (OSError, StormcellError) as error:
            self.problems.append(f"{file}: could not be moved to {done}: {error}")
