"""The lock of an archive in an object store: a file that its writer renews as long as it lives."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Protocol
from uuid import uuid4

from obstore.exceptions import AlreadyExistsError, PreconditionError

from stormcell.data.object_store import ObjectUrl
from stormcell.errors import ArchiveError

_RENEW_SECONDS, _STALE_SECONDS = 30.0, 300.0


class Lockable(Protocol):
    """The operations of an archive in an object store that its lock needs."""

    @property
    def path(self) -> ObjectUrl:
        """Address of the archive."""

    def read_lock(self) -> tuple[bytes, str, datetime]:
        """Return the content of the lock, its tag, and when it was written, by the store's clock."""

    def write_lock(self, content: bytes, tag: str) -> str:
        """Write the lock, if it has this tag (empty: if it does not exist), and return the new tag."""

    def delete_lock(self) -> None:
        """Delete the lock."""

    def server_time(self) -> datetime:
        """Return the present time by the store's clock."""


class BucketLock:
    """The lock of one writer, renewed by a thread."""

    def __init__(self, bucket: Lockable) -> None:
        self._bucket = bucket
        self._content = json.dumps(
            {
                "writer": uuid4().hex,
                "host": socket.gethostname(),
                "process": os.getpid(),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        ).encode()
        self._tag = ""
        self._renewed = 0.0
        self._lost = False
        self._stop = threading.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock."""
        self._take()
        thread = threading.Thread(target=self._renew, daemon=True, name="lock of an archive")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            with suppress(OSError, ArchiveError):
                self.expect_held()
                self._bucket.delete_lock()

    def expect_held(self) -> None:
        """Check that no other process can have taken the lock over.

        Raises:
            ArchiveError: It was taken over, or could not be renewed for too long.
        """
        if self._lost or time.monotonic() - self._renewed > _STALE_SECONDS / 2:
            raise ArchiveError(
                f"{self._bucket.path}: expected to keep the lock, found that it was not renewed in time; "
                "the frames committed before are intact"
            )

    def _take(self) -> None:
        began = time.monotonic()
        try:
            self._tag = self._bucket.write_lock(self._content, "")
        except (AlreadyExistsError, PreconditionError):
            self._take_over()
        self._renewed = began

    def _take_over(self) -> None:
        """Take the lock of a process that does not renew it."""
        content, tag, modified = self._bucket.read_lock()
        if content == self._content:
            self._tag = tag
            return
        idle = (self._bucket.server_time() - modified).total_seconds()
        try:
            if idle > _STALE_SECONDS:
                self._tag = self._bucket.write_lock(self._content, tag)
                return
        except (AlreadyExistsError, PreconditionError):
            pass
        raise ArchiveError(
            f"{self._bucket.path}: expected no other writer, found another process writing to it: "
            f"{_described(content)}, which renewed its lock {max(0, idle):.0f} s ago"
        )

    def _renew(self) -> None:
        while not self._stop.wait(_RENEW_SECONDS):
            began = time.monotonic()
            try:
                self._tag = self._bucket.write_lock(self._content, self._tag)
            except (AlreadyExistsError, PreconditionError):
                if not self._still_ours():
                    self._lost = True
                    return
            except OSError:
                continue
            self._renewed = began

    def _still_ours(self) -> bool:
        """Whether the lock is this writer's after all: a request is repeated if the answer was lost."""
        try:
            content, self._tag, _ = self._bucket.read_lock()
        except OSError:
            return False
        return content == self._content


def _described(content: bytes) -> str:
    """Return the process that a lock names."""
    try:
        found = json.loads(content)
        return (
            f"process {int(found['process'])} on {str(found['host'])[:80]}, since {str(found['since'])[:40]}"
        )
    except (ValueError, KeyError, TypeError):
        return "an unknown one"
