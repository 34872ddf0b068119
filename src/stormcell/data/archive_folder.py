"""Operations on the files of an archive, and how a folder of the local disk does them.

Names are relative to the archive and use ``/``. Every operation either happens or does not, even if the
process is killed meanwhile.
"""

import os
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from stormcell.data.object_store import Location
from stormcell.errors import ArchiveError

# Everything beside the Zarr arrays: staged files and the writer's notes.
PRIVATE = ".stormcell"
STAGED = f"{PRIVATE}/staged"


class ArchiveFiles(Protocol):
    """The operations on the files of an archive, as :class:`ArchiveFolder` describes them.

    Another implementation is :class:`~stormcell.data.archive_bucket.ArchiveBucket`.
    """

    @property
    def path(self) -> Location: ...  # noqa: D102
    def read(self, name: str) -> bytes: ...  # noqa: D102
    def exists(self, name: str) -> bool: ...  # noqa: D102
    def names(self, folder: str = "") -> list[str]: ...  # noqa: D102
    def stage(self, content: bytes, *, durable: bool | None = None) -> str: ...  # noqa: D102
    def expect_shared(self) -> None: ...  # noqa: D102
    def place(self, staged: str, name: str) -> None: ...  # noqa: D102
    def place_all(self, places: Iterable[tuple[str, str]]) -> None: ...  # noqa: D102
    def write(self, name: str, content: bytes, *, durable: bool | None = None) -> None: ...  # noqa: D102
    def link(self, name: str, to: str) -> None: ...  # noqa: D102
    def link_all(self, links: Iterable[tuple[str, str]]) -> None: ...  # noqa: D102
    def delete(self, name: str) -> None: ...  # noqa: D102
    def make(self, folder: str = "") -> None: ...  # noqa: D102
    def delete_folder(self, folder: str) -> None: ...  # noqa: D102
    def remove_if_empty(self) -> None: ...  # noqa: D102
    def sync(self, folders: Iterable[str]) -> None: ...  # noqa: D102
    def lock(self) -> AbstractContextManager[None]: ...  # noqa: D102


def files_of(archive: Location, *, durable: bool = False) -> ArchiveFiles:
    """Return the files of the archive at a path, or at an address in an object store."""
    if isinstance(archive, Path):
        return ArchiveFolder(archive, durable)
    from stormcell.data.archive_bucket import ArchiveBucket

    return ArchiveBucket(archive, durable)


@dataclass(frozen=True)
class ArchiveFolder:
    """The files of an archive on a local disk. All methods raise ``OSError`` if it is full or cannot be used.

    Attributes:
        path: The folder.
        durable: Whether written files, and the folders' entries when :meth:`sync` is called, reach the disk
            before the call returns.
    """

    path: Path
    durable: bool = False

    def read(self, name: str) -> bytes:
        """Return the content of a file; ``FileNotFoundError`` if it does not exist."""
        return (self.path / name).read_bytes()

    def exists(self, name: str) -> bool:
        """Whether a file or folder exists."""
        return (self.path / name).exists()

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder, in any order; empty if it does not exist."""
        try:
            return os.listdir(self.path / folder)
        except FileNotFoundError:
            return []

    def stage(self, content: bytes, *, durable: bool | None = None) -> str:
        """Write a new file that is not part of the archive yet, and return its name for :meth:`place`."""
        name = f"{STAGED}/{uuid4().hex}"
        try:
            file = (self.path / name).open("xb")
        except FileNotFoundError:
            self.make(STAGED)
            file = (self.path / name).open("xb")
        try:
            with file:
                file.write(content)
                if self.durable if durable is None else durable:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError:
            self.delete(name)
            raise
        return name

    def expect_shared(self) -> None:
        """Check that this process sees the folder in which the writing process expects staged files.

        Raises:
            ArchiveError: It does not.
        """
        if not self.exists(STAGED):
            raise ArchiveError(
                f"{self.path}: expected a folder that all workers share, found no such archive on "
                f"{socket.gethostname()}"
            )

    def place(self, staged: str, name: str) -> None:
        """Move a staged file to its place, where it replaces another."""
        os.replace(self.path / staged, self.path / name)

    def write(self, name: str, content: bytes, *, durable: bool | None = None) -> None:
        """Write a file, or replace it."""
        staged = self.stage(content, durable=durable)
        try:
            self.place(staged, name)
        except OSError:
            self.delete(staged)
            raise

    def link(self, name: str, to: str) -> None:
        """Give a file a second name, which replaces another file; without hard links, copy it."""
        with suppress(FileNotFoundError):
            os.unlink(self.path / to)
        try:
            os.link(self.path / name, self.path / to)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without hard links, or with too few for one file
            self.write(to, self.read(name))

    def place_all(self, places: Iterable[tuple[str, str]]) -> None:
        """Move staged files to their places."""
        for staged, name in places:
            self.place(staged, name)

    def link_all(self, links: Iterable[tuple[str, str]]) -> None:
        """Give files second names."""
        for name, to in links:
            self.link(name, to)

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        with suppress(FileNotFoundError):
            os.unlink(self.path / name)

    def make(self, folder: str = "") -> None:
        """Create a folder and its parents, unless it exists."""
        (self.path / folder).mkdir(parents=True, exist_ok=True)

    def delete_folder(self, folder: str) -> None:
        """Delete a folder with everything inside, if it exists."""
        shutil.rmtree(self.path / folder, ignore_errors=True)

    def remove_if_empty(self) -> None:
        """Delete the archive's folder, unless it contains something."""
        with suppress(OSError):
            self.path.rmdir()

    def sync(self, folders: Iterable[str]) -> None:
        """If writing is durable, make sure that renames and links in these folders survive a power cut."""
        if not self.durable or os.name == "nt":  # Windows cannot open folders.
            return
        for folder in folders:
            handle = os.open(self.path / folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Prevent other processes from writing to the archive; the lock ends with the process.

        Raises:
            ArchiveError: Another process is writing to it.
        """
        if sys.platform == "win32":  # Windows cannot lock folders.
            yield
            return
        import fcntl

        handle = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Since the folder was opened, one process may have removed it and another created it again.
                locked = os.path.samestat(os.fstat(handle), os.stat(self.path))
            except (BlockingIOError, FileNotFoundError):
                locked = False
            if not locked:
                raise ArchiveError(
                    f"{self.path}: expected no other writer, found another process writing to it"
                )
            yield
        finally:
            os.close(handle)
