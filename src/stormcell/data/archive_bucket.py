"""Operations on the files of an archive in an object store.

A store has no renames, links and locks. A staged file is placed by a copy inside the store, and so is a link.
The lock is a file that a writer creates unless it exists, renews as long as it lives, and deletes. If it
was not renewed for five minutes, its writer is taken for dead and another may replace it. A writer that could
not renew it stops before its next operation, and a root is replaced only if it is the one that the writer
read. So two writers cannot both commit, even if one of them slept.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from stormcell.data.archive_files import ROOT
from stormcell.data.archive_folder import PRIVATE, STAGED
from stormcell.data.bucket_lock import BucketLock
from stormcell.data.object_store import ObjectUrl, errors
from stormcell.errors import ArchiveError

_LOCK, _CLOCK = f"{PRIVATE}/lock", f"{PRIVATE}/clock"
_TOGETHER = 32  # copies that the store makes at once


class ArchiveBucket:
    """The files of an archive in an object store.

    All methods raise ``OSError`` if the store cannot be reached or refuses access.

    Attributes:
        path: Address of the archive.
        durable: Without effect, because everything that an object store has confirmed is durable.
    """

    def __init__(self, path: ObjectUrl, durable: bool = False) -> None:
        self.path = path
        self.durable = durable
        self._lease: BucketLock | None = None
        self._root_tag: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it without the lock, which belongs to one process."""
        return ArchiveBucket, (self.path, self.durable)

    def read(self, name: str) -> bytes:
        """Return the content of a file; ``FileNotFoundError`` if it does not exist."""
        with errors():
            found = obstore.get(*self._at(name))
            if name == ROOT:
                self._root_tag = found.meta["e_tag"]
            return bytes(found.bytes())

    def exists(self, name: str) -> bool:
        """Whether a file or folder exists."""
        return (self.path / name).is_file() or bool(self.names(name))

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder, in any order; empty if it does not exist."""
        with errors():
            found = obstore.list_with_delimiter(*self._at(folder))
        paths = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        return [path.rpartition("/")[2] for path in paths]

    def stage(self, content: bytes, *, durable: bool | None = None) -> str:  # noqa: ARG002 - always durable
        """Write a new file that is not part of the archive yet, and return its name for :meth:`place`."""
        name = f"{STAGED}/{uuid4().hex}"
        self._put(name, content)
        return name

    def expect_shared(self) -> None:
        """Do nothing: every process reaches the same object store."""

    def place(self, staged: str, name: str) -> None:
        """Move a staged file to its place, where it replaces another."""
        self.link(staged, name)
        self.delete(staged)

    def place_all(self, places: Iterable[tuple[str, str]]) -> None:
        """Move staged files to their places, several at a time."""
        _together(self.place, places)

    def write(self, name: str, content: bytes, *, durable: bool | None = None) -> None:  # noqa: ARG002
        """Write a file, or replace it.

        Raises:
            ArchiveError: It is the root, and another process has replaced it.
        """
        if name != ROOT:
            self._put(name, content)
            return
        try:
            self._root_tag = self._put(name, content, self._root_tag or "")
        except (AlreadyExistsError, PreconditionError):
            # A request that succeeded may be repeated, if the answer was lost.
            if self.read(name) != content:
                raise ArchiveError(
                    f"{self.path}: expected no other writer, found that another process has committed"
                ) from None

    def link(self, name: str, to: str) -> None:
        """Copy a file inside the store; the copy replaces another file."""
        self._expect_lock()
        (store, source), (_, target) = self._at(name), self._at(to)
        with errors():
            obstore.copy(store, source, target)

    def link_all(self, links: Iterable[tuple[str, str]]) -> None:
        """Copy files inside the store, several at a time."""
        _together(self.link, links)

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        self._expect_lock()
        with errors(), suppress(FileNotFoundError):
            obstore.delete(*self._at(name))

    def make(self, folder: str = "") -> None:
        """Do nothing: an object store has no empty folders."""

    def delete_folder(self, folder: str) -> None:
        """Delete a folder with everything inside, if it exists, except the lock."""
        self._expect_lock()
        for file in (self.path / folder).files():
            if file != self.path / _LOCK:
                with errors(), suppress(FileNotFoundError):
                    obstore.delete(*file.store())

    def remove_if_empty(self) -> None:
        """Do nothing: an object store has no empty folders."""

    def sync(self, folders: Iterable[str]) -> None:
        """Do nothing: what an object store has confirmed is durable."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Prevent other processes from writing to the archive, until five minutes after this process dies.

        Raises:
            ArchiveError: Another process is writing to it.
        """
        self._lease = BucketLock(self)
        try:
            with self._lease.held():
                yield
        finally:
            self._lease = None

    def server_time(self) -> datetime:
        """Return the present time by the store's clock."""
        self._put(_CLOCK, b"", locked=False)
        with errors():
            modified: datetime = obstore.head(*self._at(_CLOCK))["last_modified"]
        return modified

    def read_lock(self) -> tuple[bytes, str, datetime]:
        """Return the content of the lock, its tag, and when it was written, by the store's clock."""
        with errors():
            found = obstore.get(*self._at(_LOCK))
            return bytes(found.bytes()), str(found.meta["e_tag"]), found.meta["last_modified"]

    def write_lock(self, content: bytes, tag: str) -> str:
        """Write the lock, if it has this tag (empty: if it does not exist), and return the new tag.

        Raises:
            AlreadyExistsError, PreconditionError: It has another tag.
        """
        return self._put(_LOCK, content, tag, locked=False)

    def delete_lock(self) -> None:
        """Delete the lock."""
        with errors(), suppress(FileNotFoundError):
            obstore.delete(*self._at(_LOCK))

    def _at(self, name: str) -> tuple[Any, str]:
        return (self.path / name if name else self.path).store()

    def _expect_lock(self) -> None:
        if self._lease is not None:
            self._lease.expect_held()

    def _put(self, name: str, content: bytes, tag: str | None = None, *, locked: bool = True) -> str:
        """Write a file, if it has this tag (empty: if it does not exist; None: always); return the new."""
        if locked:
            self._expect_lock()
        store, key = self._at(name)
        mode: Any = "overwrite" if tag is None else {"e_tag": tag} if tag else "create"
        try:
            return str(obstore.put(store, key, content, mode=mode, use_multipart=False)["e_tag"])
        except (AlreadyExistsError, PreconditionError):
            raise
        except (BaseError, FileNotFoundError) as error:
            with errors():
                raise error


def _together(function: Any, pairs: Iterable[tuple[str, str]]) -> None:
    with ThreadPoolExecutor(_TOGETHER) as pool:
        for done in [pool.submit(function, *pair) for pair in pairs]:
            done.result()
