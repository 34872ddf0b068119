"""The files that have been archived, so that an unchanged one is not opened again.

The table is a small database in the archive's folder. Nothing depends on it: if it is missing or damaged, the
files are opened, their frames are compared with the archive's, and the table is written again.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from stormcell.data.archive_folder import PRIVATE
from stormcell.data.object_store import Location, ObjectUrl
from stormcell.data.time_axis import Times

_FILE = "sources.sqlite"
_COLUMNS = (
    "path BLOB, statement TEXT, size INTEGER, modified INTEGER, changed INTEGER, recorded INTEGER, "
    "hash BLOB, format TEXT, times BLOB, refusal TEXT, replaceable INTEGER, PRIMARY KEY (path, statement)"
)
_AT_ONCE = 500  # paths in one query
# A file that was written less than two seconds before it was recorded may have been written again within the
# resolution of its time. Then its contents are compared.
_RECENT = 2 * 10**9
# Errors that say nothing about the table: another process uses it, or the disk is full or read-only.
_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
)
# Packages that readers use if they are installed: other files can be read with them.
_OPTIONAL = ("cfgrib", "eccodes", "pysteps", "wradlib", "xradar")


@dataclass(frozen=True)
class SourceOutcome:
    """The outcome of archiving a file.

    Attributes:
        times: Times of its frames that the archive has, or has dropped as too old.
        refusal: Reason for refusing the file, or its later frames; None if all frames were used.
        replaceable: Whether it was refused because the archive has other rates at a time.
        format: Name of the format.
    """

    times: Times
    refusal: str | None = None
    replaceable: bool = False
    format: str = ""


@dataclass(frozen=True)
class _Stat:
    size: int
    modified: int  # in nanoseconds
    changed: int  # of the file or of its permissions
    tag: str = ""  # that an object store gives to the contents

    @classmethod
    def of(cls, file: Location) -> "_Stat | None":
        """Return the state of a file; None if it is not a file that can be recorded."""
        try:
            if isinstance(file, ObjectUrl):
                size, modified, tag = file.version()
                nanoseconds = int(modified.timestamp() * 1e9)
                return cls(size, nanoseconds, nanoseconds, tag) if tag else None
            found = file.stat()
        except OSError:
            return None
        return None if file.is_dir() else cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class SourceTable:
    """The table of an archive's source files; use it within one call, which sees one state of the files.

    Args:
        archive: The archive. If it is not a folder of the local disk, nothing is recorded.
        statement: Everything that decides what the frames of a file become, besides the file. The versions of
            Stormcell and of readers' packages are added.
    """

    def __init__(self, archive: Location, statement: str) -> None:
        self._path = archive / PRIVATE / _FILE if isinstance(archive, Path) else None
        installed = [name for name in _OPTIONAL if find_spec(name) is not None]
        others = sorted(point.value for point in entry_points(group="stormcell.readers"))
        self._statement = " ".join([version("stormcell"), *installed, *others, statement])
        self._seen: dict[Location, _Stat] = {}
        self._hashes: dict[Location, bytes | None] = {}

    def listed(self, files: Iterable[Location]) -> set[Location]:
        """Return those files that are in the table, whether they have changed or not."""
        paths = {_name(file): file for file in files}
        return {paths[row[0]] for row in self._rows(paths, "path")}

    def unchanged(self, files: Iterable[Location]) -> dict[Location, SourceOutcome]:
        """Return the outcomes of those files that have not changed since they were archived."""
        paths = {_name(file): file for file in files}
        found: dict[Location, SourceOutcome] = {}
        confirmed: dict[Location, SourceOutcome] = {}
        for file in paths.values():
            if (stat := _Stat.of(file)) is not None:
                self._seen[file] = stat
        columns = "path, size, modified, changed, recorded, hash, format, times, refusal, replaceable"
        for name, size, modified, changed, recorded, digest, kind, times, refusal, replaceable in self._rows(
            paths, columns
        ):
            file, stat = paths[name], self._seen.get(paths[name])
            if stat is None or stat.size != size or (refusal is not None and stat.changed != changed):
                continue
            doubtful = stat.modified != modified or modified > recorded - _RECENT
            if doubtful:
                self._hashes[file] = _hash(file, stat)
                if self._hashes[file] != digest:
                    continue
            moments = np.frombuffer(times, "<i8").astype("datetime64[s]")
            outcome = SourceOutcome(moments, refusal, bool(replaceable), kind)
            found[file] = outcome
            if doubtful:
                confirmed[file] = outcome
        self.record(confirmed)
        return found

    def record(self, outcomes: Mapping[Location, SourceOutcome]) -> None:
        """Remember the outcomes of files, after their frames have been committed.

        A file that has changed since :meth:`unchanged` was called is not recorded.
        """
        rows = []
        for file, outcome in outcomes.items():
            stat = self._seen.get(file)
            if stat is None:
                continue
            now = time.time_ns()
            digest = self._hashes[file] if file in self._hashes else _hash(file, stat)
            if digest is None or _Stat.of(file) != stat:
                continue
            times = outcome.times.astype("datetime64[s]").astype("<i8").tobytes()
            key = (_name(file), self._statement)
            rest = (outcome.format, times, outcome.refusal, outcome.replaceable)
            rows.append((*key, stat.size, stat.modified, stat.changed, now, digest, *rest))
        if not rows or self._path is None or not self._path.parent.is_dir():
            return
        with self._or_forget(), closing(self._connect()) as database, database:
            database.execute(f"CREATE TABLE IF NOT EXISTS sources ({_COLUMNS})")
            database.executemany(f"INSERT OR REPLACE INTO sources VALUES ({','.join('?' * 11)})", rows)

    def _rows(self, paths: Iterable[bytes], columns: str) -> list[tuple]:  # type: ignore[type-arg]
        """Return the rows of some files; empty if there is no table, or a damaged one."""
        if self._path is None or not self._path.exists():
            return []
        names, rows = list(paths), []
        with self._or_forget(), closing(self._connect()) as database:
            for start in range(0, len(names), _AT_ONCE):
                some = names[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT {columns} FROM sources WHERE statement = ? AND path IN ({marks})"
                rows += database.execute(query, (self._statement, *some)).fetchall()
            return rows
        return []

    def _connect(self) -> sqlite3.Connection:
        assert self._path is not None
        return sqlite3.connect(self._path, timeout=1)

    @contextmanager
    def _or_forget(self) -> Iterator[None]:
        """Continue without the table if it cannot be used; delete it if it is damaged."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING:
                assert self._path is not None
                self._path.unlink(missing_ok=True)


def _name(file: Location) -> bytes:
    return os.fsencode(os.path.abspath(file) if isinstance(file, Path) else str(file))


def _hash(file: Location, stat: _Stat) -> bytes | None:
    """Return a digest of a file's contents, for an object its tag; None if it cannot be read."""
    if isinstance(file, ObjectUrl):
        return stat.tag.encode()
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError:
        return None
