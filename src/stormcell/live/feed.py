"""Feeds: the folder, or the folder of an object store, that radar files arrive in."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from stormcell.data.object_store import Listed, Location, ObjectUrl, location
from stormcell.errors import ArgumentError

# Names that programs give to files which they have not finished.
UNFINISHED = (".*", "*.tmp", "*.part", "*.partial", "*.filepart")

# Lists of an object store are paid for, and those of many objects are slow.
_LIST_NEW, _LIST_ALL = 5.0, 60.0  # seconds between two lists


@dataclass(frozen=True)
class Seen:
    """A file of a feed, at one look.

    Attributes:
        place: Where it is.
        size: In bytes.
        modified: When it was last written, in nanoseconds since 1970.
        changed: When it or its permissions were last changed, in the same way.
        complete: Whether it is known to be whole, because it was renamed or put there as a whole.
    """

    place: Location
    size: int
    modified: int
    changed: int
    complete: bool


class Feed(Protocol):
    """A place that radar files arrive in."""

    def look(self) -> list[Seen]:
        """Return the files that are there now, in the order of their names.

        Raises:
            OSError: The place cannot be read.
        """
        ...


def feed(name: str, *, ignored: Sequence[str] = (), but: Sequence[Path] = ()) -> Feed:
    """Return the feed at a path, or at an address in an object store.

    Args:
        name: The path or address.
        ignored: Patterns of names to ignore, besides those of unfinished files.
        but: Folders below it that are left out, such as the archive.

    Raises:
        ArgumentError: It is an address on a web server, which cannot list files, or it is not a folder.
        MissingExtraError: It is an address, and obstore is not installed.
    """
    place, patterns = location(name), (*UNFINISHED, *ignored)
    if isinstance(place, ObjectUrl):
        if place.text.startswith("http"):
            raise ArgumentError(f"{name}: expected a folder that can be listed, found a web server")
        return BucketFeed(place, patterns)
    if not place.is_dir():
        found = "a file" if place.exists() else "no such folder"
        raise ArgumentError(f"{name}: expected a folder that radar files arrive in, found {found}")
    return FolderFeed(place, patterns, tuple(folder.resolve() for folder in but))


@dataclass(frozen=True)
class FolderFeed:
    """A folder, with its subfolders.

    Attributes:
        folder: The folder.
        ignored: Patterns of names to ignore.
        but: Resolved paths of folders that are left out.
    """

    folder: Path
    ignored: tuple[str, ...] = UNFINISHED
    but: tuple[Path, ...] = ()

    def look(self) -> list[Seen]:
        """Return the files that are there now; see :class:`Feed`."""
        return sorted(self._below(self.folder), key=lambda seen: seen.place)

    def _below(self, folder: Path) -> Iterator[Seen]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _matches(entry.name, self.ignored):
                    continue
                path = Path(entry.path)
                try:
                    if entry.is_dir():
                        if path.resolve() not in self.but:
                            yield from self._below(path)
                        continue
                    stat = entry.stat()
                except FileNotFoundError:  # it was moved away meanwhile
                    continue
                # A rename changes the file's own record after its last write.
                renamed = stat.st_ctime_ns > stat.st_mtime_ns
                yield Seen(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, renamed)


class BucketFeed:
    """A folder of an object store. An object appears there only as a whole.

    Names usually follow each other in time. So those after the last known name are listed every five seconds,
    and all of them every minute.

    Args:
        folder: Its address.
        ignored: Patterns of names to ignore.
        monotonic: Returns seconds.
    """

    def __init__(
        self,
        folder: ObjectUrl,
        ignored: tuple[str, ...] = UNFINISHED,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._ignored, self._monotonic = folder, ignored, monotonic
        self._listed: list[Listed] = []
        self._listed_at = self._all_listed_at = -_LIST_ALL

    def look(self) -> list[Seen]:
        """Return the objects that are there now, or were at the last list; see :class:`Feed`."""
        now = self._monotonic()
        if now - self._listed_at >= _LIST_NEW:
            if self._listed and now - self._all_listed_at < _LIST_ALL:
                self._listed = self._listed + self._folder.listed(after=self._listed[-1].url)
            else:
                self._listed, self._all_listed_at = self._folder.listed(), now
            self._listed_at = now
        return [_seen(found) for found in self._listed if not self._is_ignored(found.url)]

    def _is_ignored(self, url: ObjectUrl) -> bool:
        parts = url.text.removeprefix(str(self._folder)).split("/")
        return any(_matches(part, self._ignored) for part in parts if part)


def _seen(found: Listed) -> Seen:
    modified = int(found.modified.timestamp() * 1e9)
    return Seen(found.url, found.size, modified, modified, complete=True)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
