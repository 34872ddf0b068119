"""The publication that the newest frames need, and the way to it.

A forecast that takes long is published in two stages: extrapolation first, which is there within seconds. If
the forecast fails, the next best one is published with the reason: extrapolation, persistence, and in the end
the observed frames only.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from stormcell.errors import ArchiveError, OutputError, PublicationError, StormcellError
from stormcell.live.archiving import Known
from stormcell.live.intake import RunJob
from stormcell.live.live_settings import Settings
from stormcell.live.making import RUNGS, SHOWN, Forecast, Made, Rung
from stormcell.live.model_choice import Choice
from stormcell.published.manifest import OBSERVED, Manifest, ObservedFrame, picture_name, time_name
from stormcell.published.reading import Shelf
from stormcell.published.writing import point_to

_LAGS = 20  # newest lags between a frame's time and its publication


class Publisher:
    """Publishes forecasts from an archive.

    Args:
        settings: The settings.
        choice: The forecaster.
        run: Does jobs.
        clock: Returns the present time.
        log: Called with a line for each thing that a person should know.

    Attributes:
        choice: The forecaster; another one may take its place.
        stages: Seconds that the stages of the newest publication took.
        publications: Number of publications that ``latest.json`` has named since the start.
        last_success: When the last of them was published.
        dropped_through: Issue time up to which publications were dropped for want of space; these are not
            made again.
    """

    def __init__(
        self,
        settings: Settings,
        choice: Choice,
        run: RunJob,
        *,
        clock: Callable[[], datetime],
        log: Callable[[str], None],
    ) -> None:
        self.choice = choice
        self.stages: dict[str, float] = {}
        self.publications = 0
        self.last_success: datetime | None = None
        self.dropped_through: datetime | None = None
        self._settings, self._run, self._clock, self._log = settings, run, clock, log
        self._shelf = Shelf(settings.out)
        self._lags: list[float] = []
        self._preliminary_runs: dict[tuple[str, str], bool] = {}  # by issue and run

    def newest(self) -> Manifest | None:
        """Return the manifest that ``latest.json`` names; None before the first."""
        latest = self._shelf.latest()
        return None if latest is None else self._shelf.manifest(time_name(latest.issue), latest.run)

    def needed(self, known: Known) -> bool:
        """Whether the archive's newest frames need a publication that ``latest.json`` does not name.

        The answer depends on the archive, the forecaster and the published folder only. So a new process
        continues where a killed one ended.
        """
        if known.newest is None or known.step_seconds is None:
            return False
        newest = self.newest()
        if newest is None or newest.issue < known.newest:
            return True
        if newest.issue > known.newest:
            return False
        order = self._order(known.newest)
        if newest.degraded is not None:
            order = order.instead(newest.degraded.used, newest.degraded.reason)
        return newest.run != order.run(known.frames)

    def publish(self, known: Known) -> None:
        """Publish the forecast from the newest frames.

        Raises:
            ArchiveError: The archive cannot be read.
            OutputError: The publication cannot be written.
        """
        assert known.newest is not None
        self.stages = {}
        order = self._order(known.newest)
        if order.by not in RUNGS:
            self._preliminary(known, order)
        self._point_to(known, self._by_ladder(order))

    def publish_earlier(self, known: Known) -> bool:
        """Publish the forecast of one earlier issue that has none, or only a preliminary one: the newest.

        Returns:
            Whether there was one.
        """
        start = self._clock() - self._settings.keep_forecasts
        if self.dropped_through is not None:
            start = max(start, self.dropped_through)
        published = self._published()
        missing = [time for time in known.recent[1:] if time_name(time) not in published and time > start]
        if missing:
            self._by_ladder(self._order(missing[-1]))
        return bool(missing)

    def _published(self) -> set[str]:
        """Return the names of the issue times with a publication that is not preliminary."""
        before, names = self._preliminary_runs, self._shelf.publications()
        self._preliminary_runs = {
            name: before[name] if name in before else self._is_preliminary(*name) for name in names
        }
        return {issue for (issue, _), preliminary in self._preliminary_runs.items() if not preliminary}

    def _is_preliminary(self, issue: str, run: str) -> bool:
        try:
            return self._shelf.manifest(issue, run).preliminary
        except PublicationError:  # damaged: another attempt would find the same folder
            return False

    def _order(self, issue: datetime) -> Forecast:
        choice = self.choice
        return Forecast(
            self._settings.archive,
            self._settings.out,
            issue,
            choice.by,
            choice.name,
            choice.digest,
            self._settings.wanted,
            self._clock(),
        )

    def _make(self, order: Forecast) -> Made:
        return self._run(order, seconds=self._settings.forecast_seconds)

    def _preliminary(self, known: Known, order: Forecast) -> None:
        """Publish extrapolation, which takes little time, until the better forecast is made."""
        latest = self.newest()
        if latest is not None and latest.issue == order.issue:
            return  # it, or a better one of fewer frames or another model, is published
        rung: Rung = "extrapolation"
        first = replace(order, by=rung, name=rung, digest=rung, preliminary=True)
        try:
            self._point_to(known, self._make(first))
        except (ArchiveError, OutputError):
            raise
        except StormcellError as error:  # what follows says why, if it fails too
            self._log(f"{time_name(order.issue)}: no preliminary forecast: {error}")

    def _by_ladder(self, order: Forecast) -> Made:
        """Publish the wanted forecast, or else the best that can be made, with the reason."""
        try:
            return self._make(order)
        except (ArchiveError, OutputError):
            raise
        except StormcellError as error:
            reason = str(error)
        self._log(f"{time_name(order.issue)}: {order.name} failed: {reason}")
        below = RUNGS[RUNGS.index(order.by) + 1 :] if order.by in RUNGS else RUNGS
        for rung in below[:-1]:
            try:
                return self._make(order.instead(rung, reason))
            except (ArchiveError, OutputError):
                raise
            except StormcellError as error:
                self._log(f"{time_name(order.issue)}: {rung} failed: {error}")
        return self._make(order.instead("observation", reason))

    def _point_to(self, known: Known, made: Made) -> None:
        manifest = self._shelf.manifest(time_name(made.issue), made.run)
        now = self._clock()
        if made.forecast_seconds is not None and made.publish_seconds is not None:
            self.stages |= {"forecast": made.forecast_seconds, "publish": made.publish_seconds}
        if not self._lags or self.last_success is None or manifest.preliminary:
            self._lags = [*self._lags, (now - made.issue).total_seconds()][-_LAGS:]
        step = timedelta(seconds=manifest.step_seconds)
        recent = self._recent(made.issue)
        point_to(
            self._settings.out,
            manifest,
            expected=made.issue + step + timedelta(seconds=min(median(self._lags), 3600.0)),
            observed=_observed(recent, known, self._settings.out),
            earlier=[(one.issue, one.run) for one in recent if one.folder != manifest.folder],
            now=now,
        )
        self.publications += 1
        self.last_success = now

    def _recent(self, issue: datetime) -> list[Manifest]:
        """Return the manifests of the publications of the last hours, the newest first."""
        names = [name for name in reversed(self._shelf.publications()) if name[0] >= time_name(issue - SHOWN)]
        found = [self._shelf.manifest(*name) for name in names]
        return sorted(found, key=lambda one: (one.issue, one.created), reverse=True)


def _observed(recent: Sequence[Manifest], known: Known, out: Path) -> list[ObservedFrame]:
    """Return where the pictures of the observed frames of the last hours are."""
    found: dict[datetime, ObservedFrame] = {}
    for manifest in recent:
        product = next(one for one in manifest.products if one.name == OBSERVED)
        for time in product.times:
            there = (out / manifest.folder / picture_name(OBSERVED, time)).is_file()
            if there and time in known.recent:
                found[time] = ObservedFrame(time=time, issue=manifest.issue, run=manifest.run)
    return [found[time] for time in sorted(found)]
