"""Writing to an archive: one process at a time, with an atomic commit.

An archive survives a kill at any moment, and a power cut if it is written with ``durable=True``.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import committed, splice, time_axis
from stormcell.data.archive_files import Metadata
from stormcell.data.archive_folder import STAGED, ArchiveFiles, files_of
from stormcell.data.committed import NO_TIMES, Committed, Frames
from stormcell.data.object_store import Location
from stormcell.data.staging import StagedFrame
from stormcell.data.time_axis import Times
from stormcell.errors import ArchiveError, FrameRefusedError

T = TypeVar("T")
Outcome = Literal["added", "present", "replaced", "pruned"]

# A kill loses the work on at most this number of frames …
_FRAMES_PER_COMMIT = 32
# … or on this share of the frames that are newer. They must be renumbered at every commit.
_SHARE_PER_COMMIT = 1 / 16
_FUTURE = np.timedelta64(120, "s")


class Store:
    """An archive opened for writing, by one process at a time; use :func:`writing`.

    Attributes:
        folder: Its files.
        now: The present time; frames dated later are refused.
        reference: A dataset with the archive's grid and attributes, without frames; None for a new archive.
    """

    def __init__(self, folder: ArchiveFiles, now: np.datetime64) -> None:
        self.folder = folder
        self.now = now.astype("datetime64[s]")
        self.reference: xr.Dataset | None = None
        self._state: Committed | None = None
        self._times: list[np.datetime64] = []  # of the pending frames, in order
        self._pending: dict[np.datetime64, StagedFrame] = {}
        self._shortest = time_axis.shortest(NO_TIMES)  # distance between two frames, committed or pending

    @cached_property
    def _frames(self) -> Frames:
        return Frames(self.folder, self._state)

    @property
    def times(self) -> Times:
        """Times of the committed frames, as datetime64[s]."""
        return NO_TIMES if self._state is None else self._state.times

    @property
    def arrays(self) -> Metadata | None:
        """Metadata of the archive's arrays, which decide how frames are encoded; None for a new archive."""
        return None if self._state is None else dict(self._state.arrays)

    @property
    def pruned_before(self) -> np.datetime64 | None:
        """Frames before this time have been dropped, and are not archived again."""
        return None if self._state is None else self._state.pruned_before

    @property
    def pending(self) -> int:
        """Number of added frames that are not committed."""
        return len(self._pending)

    def frames_in(self, pixels: int) -> int:
        """Return the number of frames that together have ``pixels`` pixels, at least one."""
        if self.reference is None:
            return 1
        return max(1, pixels // (self.reference.sizes["y"] * self.reference.sizes["x"]))

    def hashes(self, times: Times) -> dict[np.datetime64, int]:
        """Return the hashes of those frames that are committed at these times."""
        return self._frames.hashes(times)

    def prepare(self) -> None:
        """Make the archive ready for staged files of other processes; ArchiveError if that fails."""
        with self._or_archive_error():
            self.folder.make(STAGED)

    def staged(self, result: Callable[[], T]) -> T:
        """Return the result of staging frames; ArchiveError if they could not be written."""
        with self._or_archive_error():
            return result()

    def forget(self, frames: Iterable[StagedFrame]) -> None:
        """Delete the files of staged frames that are not added."""
        with self._or_archive_error():
            for frame in frames:
                for file in frame.files.values():
                    self.folder.delete(file)

    def add(self, frame: StagedFrame, reference: xr.Dataset, *, replace: bool = False) -> Outcome:
        """Add a frame, unless the archive has it or has dropped it. Commit, if enough frames are pending.

        Args:
            frame: A staged frame.
            reference: A dataset without frames, whose grid and attributes a new archive takes.
            replace: Whether it replaces a committed frame of the same time with other rates.

        Raises:
            FrameRefusedError: Its date is in the future or too far from the others, or the archive has a
                frame of the same time with other rates.
            ArchiveError: It cannot be written. Committed frames are intact.
        """
        try:
            outcome = self._outcome(frame, replace)
        except FrameRefusedError:
            self.forget([frame])
            raise
        if outcome in ("present", "pruned"):
            self.forget([frame])
            return outcome
        if self.reference is None:
            self.reference = reference
        insort(self._times, frame.time)
        self._pending[frame.time] = frame
        newer = len(self.times) - int(np.searchsorted(self.times, self._times[0]))
        if len(self._pending) >= max(_FRAMES_PER_COMMIT, newer * _SHARE_PER_COMMIT):
            self.commit()
        return outcome

    def commit(self) -> None:
        """Make all added frames part of the archive.

        Raises:
            ArchiveError: It cannot be written, for example on a full disk. Committed frames are intact.
        """
        if not self._pending:
            return
        staged = [self._pending[time] for time in self._times]
        new = np.array(self._times, "datetime64[s]")
        kept = np.flatnonzero(~np.isin(self.times, new))
        both = np.concatenate([self.times[kept], new])
        order = np.concatenate([kept, -1 - np.arange(len(new))])[np.argsort(both, kind="stable")]
        with self._or_archive_error():
            self._splice(order, staged)
        self._times, self._pending = [], {}

    def put_attributes(self, attributes: Mapping[str, str]) -> None:
        """Replace attributes of the dataset, and commit it, if there is one and they differ.

        Raises:
            ArchiveError: It cannot be written. The archive is intact.
        """
        state = self._state
        if state is None or attributes.items() <= state.attributes.items():
            return
        state = replace(state, attributes={**state.attributes, **attributes})
        with self._or_archive_error():
            committed.commit(self.folder, state)
        self._state = state

    def prune(self, before: np.datetime64) -> Times:
        """Drop the frames before a time, except the newest frame, and return their times.

        The files of dropped frames are deleted by the next change or prune, because readers may still use
        them.

        Raises:
            ArchiveError: It cannot be written. The archive is intact.
        """
        self.commit()
        state = self._state
        dropped = min(int(np.searchsorted(self.times, before)), len(self.times) - 1)
        if state is None or dropped <= 0:
            with self._or_archive_error():
                if state is not None:
                    splice.free_spare(self.folder, state)
            return NO_TIMES
        gone = self.times[:dropped]
        with self._or_archive_error():
            self._splice(np.arange(dropped, len(self.times)), [], pruned_before=str(before.astype("M8[s]")))
        return gone

    def discard(self) -> None:
        """Remove everything that is not committed."""
        splice.clean(self.folder, self._state)

    def load(self) -> None:
        """Read the committed state, and remove everything that is not committed.

        Raises:
            ArchiveError: The folder is not an archive.
        """
        self._state = committed.read(self.folder)
        if self._state is None:
            committed.expect_unfinished(self.folder)
        else:
            self.reference = committed.read_reference(self.folder, self._state)
            self._shortest = time_axis.shortest(self.times)
        with self._or_archive_error():
            committed.remove_partial_roots(self.folder)
            self.discard()

    def _splice(self, order: NDArray[np.int64], staged: list[StagedFrame], **attributes: str) -> None:
        """Change the frames, and set attributes of the dataset."""
        state = self._state
        if state is None:
            assert self.reference is not None
            state = committed.create(self.folder, self.reference)
        state = replace(state, attributes={**state.attributes, **attributes})
        self._state = splice.splice(self.folder, state, order, staged)
        self.__dict__.pop("_frames", None)

    def _outcome(self, frame: StagedFrame, replace: bool) -> Outcome:
        """Decide what becomes of a frame."""
        time = frame.time
        if time > self.now + _FUTURE:
            raise FrameRefusedError(
                f"time: expected a time before now, {self.now}, found {time}, dated in the future",
                future=True,
            )
        if self.pruned_before is not None and time < self.pruned_before:
            return "pruned"
        if time in self._pending:
            if self._pending[time].frame_hash == frame.frame_hash:
                return "present"
            self.commit()
        position = self._frames.position(time)
        if position is None:
            others = np.concatenate([self.times, np.array(self._times, "datetime64[s]")])
            self._shortest = time_axis.expect_near(others, time, self._shortest)
            return "added"
        if self._frames.same(position, frame, replace=replace):
            return "present"
        if not replace:
            raise FrameRefusedError(
                f"time: {time} is in the archive already, with other rates", replaceable=True
            )
        return "replaced"

    @contextmanager
    def _or_archive_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ArchiveError(
                f"{self.folder.path}: could not be written: {error.strerror or error}; "
                f"the {len(self.times)} frames committed before are intact"
            ) from error


@contextmanager
def writing(path: Location, *, durable: bool = False, now: np.datetime64 | None = None) -> Iterator[Store]:
    """Open an archive to change it; added frames are committed at the end.

    Args:
        path: Folder or address of the archive.
        durable: Whether a commit survives a power cut.
        now: The present time, UTC, if not the computer's.

    Raises:
        ArchiveError: It is not an archive, or another process is writing to it, or it cannot be written.
    """
    folder = files_of(path, durable=durable)
    try:
        folder.make()
    except FileExistsError:
        raise ArchiveError(f"{path}: expected an archive (a folder), found a file") from None
    except OSError as error:
        raise ArchiveError(f"{path}: could not be created: {error.strerror}") from None
    present = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "s")
    store = Store(folder, present if now is None else now)
    with ExitStack() as held:
        try:
            held.enter_context(folder.lock())
            store.load()
        except OSError as error:
            raise ArchiveError(f"{path}: could not be opened: {error.strerror or error}") from error
        try:
            yield store
            store.commit()
        except BaseException:
            with suppress(OSError, ArchiveError):  # The next process removes what cannot be removed now.
                store.load()  # The failure may have come just after the root was replaced.
            _remove_if_empty(store)
            raise
        with suppress(OSError):
            store.discard()
        _remove_if_empty(store)


def _remove_if_empty(store: Store) -> None:
    if not len(store.times):
        store.folder.remove_if_empty()  # It may contain files of others.
