"""The files of a feed that are to be read now: whole ones, each once, and unreadable ones again later."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from stormcell.data.object_store import Location
from stormcell.live.feed import Seen

# A file that cannot be read may still be written, until it has not grown for this time.
_MAY_GROW = timedelta(seconds=60)
_LONGEST_WAIT = 32  # seconds between two attempts to read it
_QUARANTINE = timedelta(seconds=60)  # between two looks at a file that is dated in the future

Unreadable = Literal["partial", "corrupt"]


@dataclass
class _File:
    seen: Seen
    since: datetime  # when a look first found it like this
    due: datetime | None  # when it is to be read; None if it is not read again until it changes
    attempts: int = 0


class Arrivals:
    """The files of a feed, by what is known of each.

    A file is whole if two looks find the same size and times, or if it was renamed into its place. Nothing is
    read twice unless its size, its time or its permissions change.
    """

    def __init__(self) -> None:
        self._files: dict[Location, _File] = {}

    def ready(self, seen: Iterable[Seen], now: datetime) -> list[Location]:
        """Return the files to read now.

        Args:
            seen: All files of the feed, at this look.
            now: Time of the look.
        """
        files: dict[Location, _File] = {}
        found = []
        for one in seen:
            file = self._files.get(one.place)
            if file is None or file.seen != one:
                file = _File(one, now, now)
                whole = one.complete
            else:
                whole = True
            files[one.place] = file
            if whole and one.size > 0 and file.due is not None and file.due <= now:
                found.append(one.place)
        self._files = files
        return found

    def done(self, place: Location) -> None:
        """Remember that a file need not be read again."""
        self._files[place].due = None

    def quarantine(self, place: Location, now: datetime) -> bool:
        """Remember that a file is dated in the future; return whether that is new."""
        file = self._files[place]
        file.due, file.attempts = now + _QUARANTINE, file.attempts + 1
        return file.attempts == 1

    def unreadable(
        self, place: Location, now: datetime, *, withheld: bool = False, final: bool = False
    ) -> Unreadable | None:
        """Decide on a file that could not be read.

        Args:
            place: The file.
            now: The present time.
            withheld: Whether the system did not give its contents, which may be whole: it is not given up.
            final: Whether it is not tried again in any case.

        Returns:
            ``partial`` at the first attempt, if others follow; ``corrupt`` when it is given up; None at the
            attempts between.
        """
        file = self._files[place]
        if final or (not withheld and now - file.since >= _MAY_GROW):
            file.due = None
            return "corrupt"
        file.due = now + timedelta(seconds=min(2**file.attempts, _LONGEST_WAIT))
        file.attempts += 1
        return "partial" if file.attempts == 1 else None

    def clock_went_back(self, now: datetime) -> None:
        """Forget times after ``now``, which are of a wrong clock."""
        for file in self._files.values():
            file.since = min(file.since, now)
            file.due = None if file.due is None else min(file.due, now)
