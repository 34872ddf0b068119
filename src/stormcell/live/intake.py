"""From the feed into the archive: which files are read, and what became of each."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Protocol, TypeVar

from stormcell.atomic import make_folder
from stormcell.data.object_store import Location, location
from stormcell.errors import ArgumentError, StormcellError, WorkerError
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
        ArgumentError: The feed is not a folder, or its files are to be moved and it is in an object store.

    Attributes:
        known: What is known of the archive's newest frames.
        counts: Frames and files since the start by outcome, as in ``status.json``.
        problems: Sentences on what is wrong now.
    """

    def __init__(self, settings: Settings, run: RunJob, *, log: Callable[[str], None]) -> None:
        self.known = Known()
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._folder = location(settings.feed)
        if settings.done is not None and not isinstance(self._folder, Path):
            raise ArgumentError(
                f"--done: expected a feed on the disk, whose files can be moved, found {settings.feed}"
            )
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
        newest = self.known.newest
        try:
            ready = self._arrivals.ready(self._feed.look(), now)
        except OSError as error:
            self.problems.append(f"the feed cannot be read: {error.strerror or error}")
            ready = []
        try:
            for start in range(0, len(ready), _AT_ONCE):
                added += self._add(ready[start : start + _AT_ONCE], now, final)
            if added or not self._looked:
                self.known = self._run(LookAtArchive(self._settings.archive), seconds=_SECONDS)
                self._looked = True
        except StormcellError as error:  # another process writes to it, or the disk is full: tried again
            self._looked = False
            self.problems.append(str(error))
        late = sum(newest is not None and time < newest for time in added)
        self.counts.update(added=len(added) - late, late=late)
        return len(added)

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
            self._unreadable(file, reason, now, final, withheld=file in filed.withheld)

    def _unreadable(
        self, file: Location, reason: str, now: datetime, final: bool, *, withheld: bool = False
    ) -> None:
        outcome = self._arrivals.unreadable(file, now, withheld=withheld, final=final)
        if outcome is not None:
            self.counts[outcome] += 1
        if outcome == "corrupt":
            self._log(f"refused {file}: {reason}")
        elif outcome is not None and withheld:
            self._log(f"not read yet {file}: {reason}")

    def _move(self, file: Location) -> None:
        done = self._settings.done
        if done is None or not isinstance(file, Path) or not isinstance(self._folder, Path):
            return
        try:
            target = _free_name(done / file.relative_to(self._folder))
            make_folder(target.parent)
            shutil.move(file, target)
        except (OSError, StormcellError) as error:
            self.problems.append(f"{file}: could not be moved to {done}: {error}")


def _free_name(path: Path) -> Path:
    """Return the path, with a number if it is taken: a feed may use a name twice."""
    names = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return next(name for name in chain([path], names) if not os.path.lexists(name))
