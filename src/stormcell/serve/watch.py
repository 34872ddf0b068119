"""Watch a published folder: each new publication is loaded whole, then replaces the one before."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stormcell.errors import PublicationError
from stormcell.published.alerts import ALERTS, Alerts
from stormcell.published.manifest import LATEST, STATUS, Latest, Status, time_name
from stormcell.published.observed_frames import SeenFrame, observed_frames
from stormcell.published.reading import Shelf
from stormcell.published.staleness import Timeliness, timeliness
from stormcell.serve.entity_tags import weak_tag
from stormcell.serve.problems import nothing_yet
from stormcell.serve.publication import Publication

EVERY = 0.5  # seconds

_WHY_STALE: dict[Timeliness, str | None] = {
    "current": None,
    "old": "no new frame has come for too long",
    "ahead": "the newest frame is dated ahead of the clock",
}

Clock = Callable[[], datetime]
Sleep = Callable[[float], Awaitable[None]]
_Signature = tuple[int, int, int] | None

_LOG = logging.getLogger(__name__)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@dataclass(frozen=True, eq=False)
class Newest:
    """All that answers are made from. It never changes: a newer publication is another object.

    Attributes:
        latest: Which publication it is.
        text: ``latest.json`` on one line.
        etag: Entity tag of the text.
        publication: The publication.
        observed: Observed frames of the last hours, ascending; the last is that of the issue time.
    """

    latest: Latest
    text: bytes
    etag: str
    publication: Publication
    observed: tuple[SeenFrame, ...]


class Watch:
    """The newest publication and the state of the loop, looked at twice a second.

    Args:
        root: The published folder; it need not exist yet.
        clock: Returns the time.

    Attributes:
        shelf: The folder.
        status: How the loop is; None before its first turn.
        problem: Why the newest publication cannot be used; None if it can. The one before stays.
        loaded: Publications that were loaded since the start.
    """

    def __init__(self, root: Path, clock: Clock = utc_now) -> None:
        self.shelf = Shelf(root)
        self.clock = clock
        self.status: Status | None = None
        self.problem: str | None = None
        self.loaded = 0
        self._alerts: Alerts | None = None
        self._was_stale = False
        self._newest: Newest | None = None
        self._signatures: dict[str, _Signature] = {}
        self._waiting: list[asyncio.Event] = []

    @property
    def newest(self) -> Newest:
        """The newest publication.

        Raises:
            Problem: Nothing has been published yet.
        """
        if self._newest is None:
            raise nothing_yet()
        return self._newest

    @property
    def is_ready(self) -> bool:
        """Whether something has been published."""
        return self._newest is not None

    @property
    def is_stale(self) -> bool:
        """Whether the newest forecast does not describe the present rain."""
        return self.why_stale is not None

    @property
    def why_stale(self) -> str | None:
        """The reason why the newest forecast does not describe the present rain; None if it does."""
        if self._newest is None:
            return None
        now = self.clock()
        limit = (self.status or Status(updated=now, state="waiting")).stale_after_seconds
        return _WHY_STALE[timeliness(self._newest.latest.issue, now, timedelta(seconds=limit))]

    @property
    def alerts(self) -> Alerts | None:
        """The states of the alert rules; None if the loop has no rules.

        If the newest forecast does not describe the present rain, all of them are unknown: after the loop
        has ended, there is no all-clear for longer than that.
        """
        why = self.why_stale
        if self._alerts is None or why is None:
            return self._alerts
        unknown = tuple(alert.as_unknown(why) for alert in self._alerts.alerts)
        return self._alerts.model_copy(update={"alerts": unknown})

    def max_age(self) -> int:
        """Return for how many seconds the newest publication may be kept by caches."""
        if self._newest is None:
            return 2
        return min(30, max(2, int((self._newest.latest.expected - self.clock()).total_seconds())))

    def look(self) -> bool:
        """Look whether something is new, and load it. Return whether something was."""
        news = False
        try:
            if self._is_new(STATUS):
                self.status = self.shelf.status()
                news = True
            if self._is_new(ALERTS):
                self._alerts = self.shelf.alerts()
                news = True
            if self._is_new(LATEST):
                news |= self._load()
            self.problem = None
        except PublicationError as error:
            if str(error) != self.problem:
                _LOG.warning("%s", error)
            self.problem = str(error)
            self._signatures.clear()
        if self.is_stale != self._was_stale:
            self._was_stale = self.is_stale
            news = True
        return news

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """Look again and again, until cancelled."""
        while True:
            if await asyncio.to_thread(self.look):
                self.tell()
            await sleep(EVERY)

    def tell(self) -> None:
        """Tell those who wait for changes that there is one."""
        for event in self._waiting:
            event.set()

    def subscribe(self) -> asyncio.Event:
        """Return an event that is set at each change, until it is given back to :meth:`unsubscribe`."""
        event = asyncio.Event()
        self._waiting.append(event)
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        """Set an event no more."""
        self._waiting.remove(event)

    @property
    def subscribers(self) -> int:
        """Number of those who wait for changes."""
        return len(self._waiting)

    def _is_new(self, name: str) -> bool:
        # A file that replaces another has another number, even if it is of the same size and second.
        signature: _Signature = None
        with suppress(OSError):
            stat = (self.shelf.root / name).stat()
            signature = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._signatures.get(name) == signature:
            return False
        self._signatures[name] = signature
        return True

    def _load(self) -> bool:
        latest = self.shelf.latest()
        if latest is None:
            return False
        publication = Publication.load(self.shelf, time_name(latest.issue), latest.run)
        observed = observed_frames(self.shelf, latest)
        text = latest.model_dump_json().encode()
        self._newest = Newest(latest, text, weak_tag(text), publication, observed)
        self.loaded += 1
        return True
