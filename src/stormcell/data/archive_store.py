"""The Zarr store through which an archive is read: it never gives a frame for another.

A reader that opened an archive reads on while frames are inserted, replaced and dropped. From the second such
change on, the files that it knows may hold other frames (:mod:`stormcell.data.splice`). The archive's note is
therefore compared after each read of a file, and a read that came too late raises an error.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import WrapperStore

from stormcell.data import archive_files, numbering
from stormcell.data.archive_files import BY_FRAME, SERIES, Metadata
from stormcell.data.archive_folder import ArchiveFiles, ArchiveFolder
from stormcell.errors import ArchiveChangedError, ArchiveError


@dataclass(frozen=True)
class Opened:
    """An archive as it was when it was opened.

    Attributes:
        folder: The archive.
        prefix: The beginning of the names of its files in the Zarr store.
        arrays: For each array of frames, its naming, number of frames, and frames in a file.
        note: The archive's note.
        numbers: For each naming, the number of the last change of its files.
    """

    folder: ArchiveFiles
    prefix: str
    arrays: dict[str, tuple[str, int, int]]
    note: bytes
    numbers: dict[str, int]

    @classmethod
    def of(cls, folder: ArchiveFiles, prefix: str, arrays: Metadata, note: bytes) -> "Opened":
        """Return the state of an archive with this root and note; the note was read first."""
        states = {}
        for name in (*BY_FRAME, *SERIES):
            shape, grid = arrays[name]["shape"], arrays[name]["chunk_grid"]["configuration"]
            states[name] = archive_files.naming(arrays[name]), int(shape[0]), int(grid["chunk_shape"][0])
        numbers = {name: each.number for name, each in numbering.parse(note).items()}
        return cls(folder, prefix, states, note, numbers)

    async def expect_valid(self, key: str, found: Buffer | None) -> None:
        """Check what was read from a file.

        Raises:
            ArchiveChangedError: The file may hold another frame since the archive was changed.
            ArchiveError: The file of a frame is missing.
        """
        array, _, file = key.removeprefix(self.prefix).rpartition("/")
        chunk = archive_files.chunk_of(file)
        if array not in self.arrays or chunk is None:
            return
        naming, frames, at_once = self.arrays[array]
        if isinstance(self.folder, ArchiveFolder):  # it takes microseconds
            note = numbering.content(self.folder)
        else:
            note = await asyncio.to_thread(numbering.content, self.folder)
        if note != self.note:
            state = numbering.parse(note).get(naming, numbering.Numbering())
            kept = state.unchanged_since(self.numbers.get(naming, 0))
            if kept is not None and kept < min((chunk[1] + 1) * at_once, frames):
                raise ArchiveChangedError(
                    f"{self.folder.path}: expected at most one change since the archive was opened, found a "
                    "second one; open it again"
                )
        # Zarr takes what is missing for frames that were not observed.
        if found is None:
            path = self.folder.path
            raise ArchiveError(f"{path}: expected a file for every frame, found no {array}/{file}")


class ArchiveStore(WrapperStore[Store]):
    """A Zarr store that checks each read of a file against the state in which the archive was opened."""

    def __init__(self, store: Store, opened: Opened) -> None:
        super().__init__(store)
        self._opened = opened

    def _with_store(self, store: Store) -> "ArchiveStore":
        return ArchiveStore(store, self._opened)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and isinstance(other, ArchiveStore) and other._opened == self._opened

    __hash__ = None  # type: ignore[assignment]

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the content of a file, or a part of it; None if it does not exist."""
        found = await self._store.get(key, prototype or default_buffer_prototype(), byte_range)
        await self._opened.expect_valid(key, found)
        return found

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of files; None for those that do not exist."""
        wanted = list(key_ranges)
        found: list[Any] = await self._store.get_partial_values(prototype, wanted)
        for (key, _), each in zip(wanted, found, strict=True):
            await self._opened.expect_valid(key, each)
        return found
