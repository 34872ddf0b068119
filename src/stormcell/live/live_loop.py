"""The live loop: from files that arrive to published forecasts, turn after turn."""

import shutil
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from stormcell.errors import OutputError, StormcellError
from stormcell.live.archiving import Known
from stormcell.live.intake import Intake, RunJob
from stormcell.live.live_settings import Settings
from stormcell.live.model_choice import Choice, ModelFile
from stormcell.live.publisher import Publisher
from stormcell.live.scoring_job import ScoreForecasts
from stormcell.published.manifest import Manifest, Status, time_of_name
from stormcell.published.retention import make_room, prune
from stormcell.published.staleness import stale_after
from stormcell.published.writing import write_status

if TYPE_CHECKING:
    from stormcell.live.alert_turns import AlertTurns

_AFTER_FAILURE = timedelta(seconds=30)  # before something that could not be written is tried again
_STATUS = timedelta(seconds=10)  # between two writes of a status that did not change
_SCORING_SECONDS = 300.0
_GRACE_SHARE = 0.1  # of a time step is the longest wait for a missing frame
_BACK = timedelta(seconds=2)  # smaller jumps of the clock are corrections


class LiveLoop:
    """Adds files to an archive, publishes forecasts, and scores them.

    Args:
        settings: The settings.
        choice: The forecaster.
        run: Does jobs.
        clock: Returns the present time.
        log: Called with a line for each thing that a person should know.
        model_file: Watches the model file; None for another forecaster.
        alerts: Judges the rules; None without rules.
        free: Returns the free space at a path, in bytes.

    Attributes:
        intake: Adds files.
        publisher: Publishes forecasts.
        holds: Whether the newest frame waits for the one before it.
    """

    def __init__(
        self,
        settings: Settings,
        choice: Choice,
        run: RunJob,
        *,
        clock: Callable[[], datetime],
        log: Callable[[str], None],
        model_file: ModelFile | None = None,
        alerts: "AlertTurns | None" = None,
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self.intake = Intake(settings, run, log=log)
        self.publisher = Publisher(settings, choice, run, clock=clock, log=log)
        self.holds = False
        self._settings, self._out, self._run, self._clock, self._log = settings, settings.out, run, clock, log
        self._model_file, self._alerts, self._free = model_file, alerts, free
        self._now = clock()
        self._problems: dict[str, str] = {}
        self._again = self._now  # not before this time is something tried again that failed
        self._newest_came: tuple[datetime | None, datetime] = (None, self._now)
        self._unscored = True
        self._written: Status | None = None

    def turn(self, *, final: bool = False) -> bool:
        """Look at the feed once, and do what follows.

        Args:
            final: Whether unreadable files are given up at once.

        Returns:
            Whether something was done, so that more may be left to do.
        """
        now = self._look_at_clock()
        if now >= self._again:  # before anything is written, also into the archive
            self._guarded("space", self._make_room)
        began = time.monotonic()
        busy = added = self.intake.turn(now, final=final) > 0
        appended = time.monotonic() - began
        self._unscored |= added
        self.note("intake", "; ".join(self.intake.problems))
        self._take_newer_model()
        if now >= self._again:
            busy |= self._guarded("publish", lambda: self._publish(final=final))
        if self._alerts is not None:
            self.note("alerts", self._alerts.turn(self._newest()))
        if now >= self._again:
            busy |= self._guarded("score", self._score)
        if added:
            self.publisher.stages["append"] = appended
        self.write_status("waiting")
        return busy

    def stop(self) -> None:
        """Say in ``status.json`` that the loop has ended."""
        self.write_status("stopped")

    def write_status(self, state: str) -> None:
        """Write ``status.json``, if it changed or is old; a failure is shown by its age."""
        now, newest = self._clock(), self._newest()
        known = self.intake.known
        status = Status.model_validate(
            {
                "updated": now,
                "state": state,
                "newest_frame": known.newest,
                "issue": newest and newest.issue,
                "run": newest and newest.run,
                "step_seconds": known.step_seconds,
                "stale_after_seconds": int(stale_after(known.step_seconds).total_seconds()),
                "degraded": newest and newest.degraded,
                "observed_share": newest and newest.observed_share,
                "missing_frames_1h": known.missing(timedelta(hours=1)),
                "files": dict(self.intake.counts),
                "stages": self.publisher.stages,
                "publications": self.publisher.publications,
                "last_success": self.publisher.last_success,
                "problems": tuple(text for text in self._problems.values() if text),
            }
        )
        before = self._written
        if (
            before is not None
            and timedelta(0) <= now - before.updated < _STATUS
            and status.model_copy(update={"updated": before.updated}) == before
        ):
            return
        try:
            write_status(self._out, status)
            self._written = status
            self.note("status", "")
        except StormcellError as error:
            self.note("status", str(error))

    def _look_at_clock(self) -> datetime:
        """Return the present time; after a jump backwards, wait for nothing of the time before."""
        now = self._clock()
        if now < self._now - _BACK:
            back = self._now - now
            self.note("clock", f"the clock went back by {back.total_seconds():.0f} s")
            self.intake.clock_went_back(now)
            self._again = now
        elif (
            self._problems.get("clock") and self.publisher.last_success and now > self.publisher.last_success
        ):
            self.note("clock", "")
        self._now = now
        return now

    def _take_newer_model(self) -> None:
        if self._model_file is None:
            return
        try:
            choice = self._model_file.newer()
        except StormcellError as error:
            self.note("model", f"a new model file is not used: {error}")
            return
        if choice is not None:
            self._take(choice)

    def _take(self, choice: Choice) -> None:
        self.publisher.choice = choice
        self.note("model", "")
        self._log(f"{choice.name}: new model {choice.title}, SHA-256 {choice.digest[:8]}")

    def _publish(self, *, final: bool) -> bool:
        known = self.intake.known
        self.holds = not final and self._holds(known)
        if self.holds:
            return False
        if self.publisher.needed(known):
            self.write_status("working")
            self.publisher.publish(known)
            keep = self._settings.keep_pictures, self._settings.keep_forecasts
            prune(self._out, *keep, self._clock(), self._protected())
            return True
        return self._settings.backfill and self.publisher.publish_earlier(known)

    def _holds(self, known: Known) -> bool:
        """Whether the newest frame came just now, without the one before it, which may still come."""
        if known.newest is None or known.step_seconds is None:
            return False
        if self._newest_came[0] != known.newest:
            self._newest_came = known.newest, self._now
        step = timedelta(seconds=known.step_seconds)
        age = self._now - self._newest_came[1]
        missing = len(known.recent) > 1 and known.newest - step not in known.recent
        return missing and timedelta(0) <= age < min(self._settings.grace, step * _GRACE_SHARE)

    def _score(self) -> bool:
        if not self._unscored or self._newest() is None:
            return False
        scored = self._run(ScoreForecasts(self._settings.archive, self._out), seconds=_SCORING_SECONDS)
        self.note("skill", scored.warning)
        self._unscored = scored.frames > 0
        return self._unscored

    def _make_room(self) -> bool:
        """Drop the oldest publications if there is too little free space.

        Raises:
            OutputError: That was not enough.
        """
        least = self._settings.least_free
        dropped = make_room(self._out, lambda: self._free(self._out) >= least, self._protected())
        if dropped:
            self.publisher.dropped_through = time_of_name(dropped[-1].partition("-")[0])
            what = f"{len(dropped)} publications up to {dropped[-1]}"
            self._log(f"{self._out}: too little free space: dropped {what}")
        if (free := self._free(self._out)) < least:
            raise OutputError(
                f"{self._out}: expected {least / 1e6:.0f} MB of free space, found {free / 1e6:.0f} MB; "
                "nothing is published"
            )
        return bool(dropped)

    def _protected(self) -> Collection[str]:
        return () if self._alerts is None else self._alerts.open_publications

    def _newest(self) -> Manifest | None:
        try:
            newest = self.publisher.newest()
        except StormcellError as error:
            self.note("published", str(error))
            return None
        self.note("published", "")
        return newest

    def _guarded(self, what: str, do: Callable[[], bool]) -> bool:
        """Do something, and note a failure; it is tried again after a while."""
        try:
            done = do()
        except (StormcellError, OSError) as error:
            self.note(what, str(error))
            self._again = self._now + _AFTER_FAILURE
            return False
        self.note(what, "")
        return done

    def note(self, what: str, problem: str) -> None:
        """Remember a problem, and log it when it is new."""
        if problem and problem != self._problems.get(what):
            self._log(problem)
        self._problems[what] = problem
