"""Feeds: the folder, or the folder of an object store, that radar files arrive in."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from stormcell.data.object_store import Location, ObjectUrl, location
from stormcell.errors import ArgumentError

# Names that programs give to files which they have not finished.
UNFINISHED = (".*", "*.tmp", "*.part", "*.partial", "*.filepart")


@dataclass(frozen=True)
class Seen:
    """A file of a feed, at one look.

    Attributes:
        place: Where it is.
        size: In bytes.
        modified: When it was last written, in nanoseconds since 1970.
        complete: Whether it is known to be whole, because it was renamed or put there as a whole.
    """

    place: Location
    size: int
    modified: int
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
                yield Seen(path, stat.st_size, stat.st_mtime_ns, renamed)


@dataclass(frozen=True)
class BucketFeed:
    """A folder of an object store. An object appears there only as a whole.

    Attributes:
        folder: Its address.
        ignored: Patterns of names to ignore.
    """

    folder: ObjectUrl
    ignored: tuple[str, ...] = UNFINISHED

    def look(self) -> list[Seen]:
        """Return the objects that are there now; see :class:`Feed`."""
        above = str(self.folder)
        return [
            Seen(found.url, found.size, int(found.modified.timestamp() * 1e9), complete=True)
            for found in self.folder.listed()
            if not any(
                _matches(part, self.ignored) for part in found.url.text.removeprefix(above).split("/") if part
            )
        ]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
