"""The note of an archive about its two numberings: which files may still be used, and by whom.

The files of frames are numbered by position, in one of two namings. When a naming is to hold other frames,
the note says so before the first of its files is touched. A reader that opened the archive earlier compares
the note with the one it found then, after each read, and so never takes a frame for another.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from stormcell.data.archive_folder import PRIVATE, ArchiveFiles

NOTE = f"{PRIVATE}/spare.json"
# More would make the note long; the oldest are then joined, so that very old readers must open again earlier.
_MOST_CHANGES = 32


@dataclass(frozen=True)
class Numbering:
    """The state of the files in one naming.

    Attributes:
        valid: Number of files, from the first on, that hold the frames of the present order, if the archive
            uses the other naming.
        existing: Number of files, valid or not.
        changes: The changes of its files, oldest first: the number of the change, and the first position
            that it changed. Later ones changed only higher positions, because others before them are left
            out.
    """

    valid: int = 0
    existing: int = 0
    changes: tuple[tuple[int, int], ...] = ()

    @property
    def number(self) -> int:
        """The number of the last change; 0 before the first."""
        return self.changes[-1][0] if self.changes else 0

    def changed(self, first: int) -> "Numbering":
        """Return the state during and after a change of its files from a position on.

        Example:
            >>> numbering = Numbering().changed(5).changed(9).changed(7)
            >>> numbering.changes, numbering.unchanged_since(1), numbering.unchanged_since(3)
            (((1, 5), (3, 7)), 7, None)
        """
        kept = [change for change in self.changes if change[1] < first]
        changes = [*kept, (self.number + 1, first)]
        if len(changes) > _MOST_CHANGES:
            changes[:2] = [(changes[1][0], changes[0][1])]
        return replace(self, changes=tuple(changes))

    def unchanged_since(self, number: int) -> int | None:
        """Return the number of files that no change after this one has changed; None for all files."""
        if number > self.number:
            return 0  # the note was lost meanwhile
        return next((first for later, first in self.changes if later > number), None)


def content(folder: ArchiveFiles) -> bytes:
    """Return the note as it is in the archive, empty if it does not exist."""
    try:
        return folder.read(NOTE)
    except FileNotFoundError:
        return b""


def parse(note: bytes) -> dict[str, Numbering]:
    """Return the state of each naming, by its name; empty if the note is damaged or empty."""
    try:
        return {
            str(name): Numbering(
                int(valid), int(existing), tuple((int(number), int(first)) for number, first in changes)
            )
            # Earlier notes have no changes.
            for name, (valid, existing, changes, *_) in (
                (name, [*state, ()]) for name, state in json.loads(note).items()
            )
        }
    except (ValueError, TypeError, AttributeError):
        return {}


def read(folder: ArchiveFiles) -> dict[str, Numbering]:
    """Return the state of each naming, by its name; empty if there is no note, or a damaged one."""
    return parse(content(folder))


def write(folder: ArchiveFiles, numberings: Mapping[str, Numbering]) -> None:
    """Replace the note."""
    states = {name: (each.valid, each.existing, each.changes) for name, each in numberings.items()}
    folder.write(NOTE, json.dumps(states).encode())
