"""Changes of an archive: frames are appended, inserted, replaced and dropped by one operation.

The files of frames are numbered by position, so inserting a frame renumbers all later ones. A reader that has
the old root must never see that. Therefore only appending uses the present naming of the files. Any other
change builds the other naming, with hard links to the files of the present one, and the new root names it.
The old naming stays as it was until the next such change, so that readers that opened the archive before read
on. Its first files, up to the first changed position, are then still valid and are not linked again.

A note in the archive (:mod:`stormcell.data.numbering`) says up to which position the other naming is valid.
It is written before anything is changed, and holds whether or not the change is committed. A second note,
``dirty``, exists during a change. If a writer finds it, a process died, and its files are removed.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormcell.data import archive_files, committed, numbering
from stormcell.data.archive_files import ARRAYS, BY_FRAME, MISSING, ROOT, SERIES, TIMES_PER_CHUNK, Metadata
from stormcell.data.archive_folder import PRIVATE, STAGED, ArchiveFiles
from stormcell.data.committed import Committed
from stormcell.data.numbering import Numbering
from stormcell.data.staging import StagedFrame
from stormcell.data.time_axis import TimeAxis

DIRTY = f"{PRIVATE}/dirty"
_APPENDING, _CHANGING = b"appending", b"changing"


@dataclass(frozen=True)
class _Change:
    """A change of the frames.

    Attributes:
        state: The committed state before.
        order: For each new position the old one, or -1 - k for the frame ``staged[k]``.
        staged: New frames.
        first: The first changed position.
        naming: The naming of the files after the change.
        valid: Number of files that this naming has already, for frames in the old order.
        existing: Number of files that it has, valid or not.
    """

    state: Committed
    order: NDArray[np.int64]
    staged: Sequence[StagedFrame]
    first: int
    naming: str
    valid: int
    existing: int


def splice(
    folder: ArchiveFiles, state: Committed, order: NDArray[np.int64], staged: Sequence[StagedFrame]
) -> Committed:
    """Change the frames of an archive, and commit the change.

    Args:
        folder: The archive.
        state: Its committed state, with the attributes that the new one is to have.
        order: For each position of the new archive, the old position of its frame; or -1 - k for the frame
            ``staged[k]``. Times must be strictly increasing.
        staged: New frames.

    Returns:
        The new state.

    Raises:
        OSError: The change could not be written. It is not committed.
    """
    length, before = len(order), len(state.times)
    changed = np.flatnonzero(order[:before] != np.arange(before)[:length])
    first = int(changed[0]) if changed.size else min(length, before)
    appending = first == before
    if appending:
        folder.write(DIRTY, _APPENDING)
        change = _Change(state, order, staged, first, state.naming, valid=before, existing=0)
    else:
        valid, existing = _note_spare(folder, state.naming, before, first, length)
        folder.write(DIRTY, _CHANGING)
        change = _Change(state, order, staged, first, archive_files.other(state.naming), valid, existing)
    folder.sync([PRIVATE])

    staged_times = np.array([frame.time for frame in staged], "datetime64[s]")
    axis = TimeAxis(_in_order(order, state.times, staged_times))
    arrays = dict(state.arrays)
    _write_frames(folder, change)
    for name in SERIES:
        _write_series(folder, name, change)
    for name in (*BY_FRAME, *SERIES):
        arrays[name] = archive_files.renamed(arrays[name], change.naming, length)
    arrays[MISSING] = _write_missing(folder, arrays[MISSING], state.axis, axis)
    folder.sync((*BY_FRAME, *SERIES, MISSING))
    new = Committed(arrays, _with_consistent_start(state.attributes, axis), axis)
    committed.commit(folder, new)
    # The change is committed. The next writer does the rest, if the disk is full now.
    with suppress(OSError):
        for name in (*BY_FRAME, *SERIES, MISSING):
            if arrays[name] != state.arrays[name]:
                folder.write(f"{name}/{ROOT}", archive_files.as_json(arrays[name]))
        folder.delete(DIRTY)
    return new


def clean(folder: ArchiveFiles, state: Committed | None) -> None:
    """Remove everything that is not committed, except the folder itself, which carries the lock."""
    if state is None:
        for name in (*ARRAYS, PRIVATE):
            folder.delete_folder(name)
        return
    for name in folder.names(STAGED):
        folder.delete(f"{STAGED}/{name}")
    if not folder.exists(DIRTY):
        return
    appending = folder.read(DIRTY) == _APPENDING
    spare = archive_files.other(state.naming)
    valid = numbering.read(folder).get(spare, Numbering()).valid
    for name in BY_FRAME:
        for file in folder.names(name):
            naming, position = archive_files.chunk_of(file) or (None, 0)
            beyond = naming == state.naming and position >= len(state.times)
            # While frames are appended, readers may still use the spare naming.
            if beyond or (naming == spare and position >= valid and not appending):
                folder.delete(f"{name}/{file}")
    # This comes last, because on a full disk it needs the space that was freed above.
    for name in ARRAYS:
        content = archive_files.as_json(dict(state.arrays[name]))
        if not folder.exists(f"{name}/{ROOT}") or folder.read(f"{name}/{ROOT}") != content:
            folder.write(f"{name}/{ROOT}", content)
    folder.delete(DIRTY)


def free_spare(folder: ArchiveFiles, state: Committed) -> None:
    """Delete the files of the other naming that hold dropped or replaced frames, or renumbered ones.

    Readers that opened the archive before its last change, other than by appending, cannot read on.
    """
    spare = archive_files.other(state.naming)
    notes = numbering.read(folder)
    note = notes.get(spare, Numbering())
    if note.valid >= note.existing:
        return
    note = note.changed(note.valid)
    numbering.write(folder, {**notes, spare: note})
    for position in range(note.valid, note.existing):
        for name in BY_FRAME:
            folder.delete(archive_files.key(name, state.arrays[name], spare, position))
    numbering.write(folder, {**notes, spare: replace(note, existing=note.valid)})


def _note_spare(folder: ArchiveFiles, naming: str, before: int, first: int, length: int) -> tuple[int, int]:
    """Note what is valid during and after a change; return the other naming's files, valid ones and all."""
    other = archive_files.other(naming)
    notes = numbering.read(folder)
    present, spare = notes.get(naming, Numbering()), notes.get(other, Numbering())
    # If the change is not committed, the other naming is the spare one; if it is, the present one.
    changed = spare.changed(min(spare.valid, first))
    changed = replace(changed, valid=min(spare.valid, first), existing=max(spare.existing, length))
    numbering.write(folder, {other: changed, naming: replace(present, valid=first, existing=before)})
    return min(spare.valid, before), spare.existing


def _write_frames(folder: ArchiveFiles, change: _Change) -> None:
    """Give every frame its file in the new naming."""
    order = change.order
    positions = np.arange(len(order))
    todo = positions[(order != positions) | (positions >= change.valid)]
    for name in BY_FRAME:
        metadata = change.state.arrays[name]
        links, places = [], []
        for position in todo:
            source = int(order[position])
            target = archive_files.key(name, metadata, change.naming, int(position))
            if source < 0:
                places.append((change.staged[-1 - source].files[name], target))
            else:
                links.append((archive_files.key(name, metadata, change.state.naming, source), target))
        folder.link_all(links)
        folder.place_all(places)
        for position in range(len(order), change.existing):
            folder.delete(archive_files.key(name, metadata, change.naming, position))


def _write_series(folder: ArchiveFiles, name: str, change: _Change) -> None:
    """Write the chunks of a series from the first changed one; link those before, unless they are valid."""
    state = change.state
    metadata = state.arrays[name]
    first = change.first // TIMES_PER_CHUNK
    # When frames are appended, all chunks before the first changed one are valid.
    for chunk in range(change.valid // TIMES_PER_CHUNK, first):
        source, target = (
            archive_files.key(name, metadata, each, chunk) for each in (state.naming, change.naming)
        )
        folder.link(source, target)
    start = first * TIMES_PER_CHUNK
    # Frames after the unchanged ones come from positions after the unchanged ones.
    old = archive_files.read_chunks(folder, name, metadata, start) if len(state.times) > start else None
    new = {
        "time": [frame.time.astype(np.int64) for frame in change.staged],
        archive_files.HASH: [frame.frame_hash for frame in change.staged],
        archive_files.FRAMES: [frame.statistics for frame in change.staged],
    }[name]
    dtype = np.dtype(metadata["data_type"])
    width = metadata["shape"][1:]
    added = np.array(new, dtype).reshape(-1, *width)
    old = np.empty((0, *width), dtype) if old is None else old
    tail = change.order[start:]
    values = _in_order(np.where(tail < 0, tail, tail - start), old, added)
    for offset in range(0, len(values), TIMES_PER_CHUNK):
        file = archive_files.key(name, metadata, change.naming, first + offset // TIMES_PER_CHUNK)
        part = values[offset : offset + TIMES_PER_CHUNK]
        folder.write(file, archive_files.encode_chunk(metadata, part))


def _write_missing(folder: ArchiveFiles, metadata: Metadata, before: TimeAxis, after: TimeAxis) -> Metadata:
    """Write the missing times, and return the metadata of their array."""
    old, new = before.missing(), after.missing()
    naming, start = archive_files.naming(metadata), 0
    if np.array_equal(old, new[: len(old)]):
        if len(old) == len(new):
            return metadata
        start = len(old) // TIMES_PER_CHUNK * TIMES_PER_CHUNK
    else:
        naming = archive_files.other(naming)
    for first in range(start, len(new), TIMES_PER_CHUNK):
        file = archive_files.key(MISSING, metadata, naming, first // TIMES_PER_CHUNK)
        part = new[first : first + TIMES_PER_CHUNK].astype("datetime64[s]").astype(np.int64)
        folder.write(file, archive_files.encode_chunk(metadata, part))
    return archive_files.renamed(metadata, naming, len(new))


def _in_order(order: NDArray[np.int64], old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
    """Return old and new values by their place in the new order."""
    both = np.concatenate([old, new])
    return both[np.where(order < 0, len(old) - 1 - order, order)]


def _with_consistent_start(attributes: Mapping[str, Any], axis: TimeAxis) -> dict[str, Any]:
    """Return the attributes with the time from which the time step is regular, if it is not always."""
    rest = {name: value for name, value in attributes.items() if name != "consistent_timestep_start"}
    start = axis.regular_from
    if start is None:
        return rest
    return rest | {"consistent_timestep_start": str(np.datetime_as_string(start, "s"))}
