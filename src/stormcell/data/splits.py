"""Blocks of time to train, validate and test on, and the windows inside them.

The targets of a window lie inside its block. Its inputs may reach into the gap before the block. So no
frame is an input in one block and a target in another.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stormcell.data.time_axis import TimeAxis, Times, in_minutes
from stormcell.errors import ArgumentError

Positions = NDArray[np.int32]  # along the archive's time axis; -1 for no frame


@dataclass(frozen=True)
class Block:
    """A period, both ends included, as ISO 8601 strings in UTC."""

    start: str
    end: str

    @classmethod
    def between(cls, start: np.datetime64, end: np.datetime64) -> "Block":
        """Return the block from one time to another, in seconds."""
        first, last = np.datetime_as_string(np.array([start, end], "datetime64[s]"), unit="s")
        return cls(str(first), str(last))

    def contains(self, times: Times) -> NDArray[np.bool_]:
        """Whether each of ``times`` lies in the block."""
        inside: NDArray[np.bool_] = (times >= np.datetime64(self.start)) & (times <= np.datetime64(self.end))
        return inside

    def overlaps(self, start: np.datetime64, end: np.datetime64) -> bool:
        """Whether the period from ``start`` to ``end`` shares a moment with the block."""
        return bool(np.datetime64(self.start) <= end and start <= np.datetime64(self.end))

    def __str__(self) -> str:
        return f"{self.start[:16]} to {self.end[:16]}"


@dataclass(frozen=True)
class Split:
    """Three blocks in time order, with a gap before the second and the third; or one block of all frames."""

    train: Block
    validation: Block | None = None
    test: Block | None = None

    def blocks(self) -> dict[str, Block]:
        """Return the blocks by name."""
        return {name: block for name, block in vars(self).items() if block is not None}


@dataclass(frozen=True)
class Window:
    """The frames of one forecast, as positions along the archive's time axis.

    Attributes:
        inputs: Positions of the input frames, oldest first; the last is at the issue time.
        targets: Positions of the frames to forecast, at consecutive lead times from the first.
    """

    inputs: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def issue(self) -> int:
        """Position of the issue time."""
        return self.inputs[-1]


@dataclass(frozen=True, eq=False)
class WindowTable:
    """Windows as arrays, because an archive of years has a million of them.

    Attributes:
        inputs: Positions of the input frames ``(windows, inputs)``, oldest first.
        targets: Positions of the targets ``(windows, steps)``; -1 where a window has fewer.

    Example:
        >>> table = WindowTable(np.array([[0, 1]], np.int32), np.array([[2, -1]], np.int32))
        >>> table[0], table.issues.tolist(), table.frames().tolist()
        (Window(inputs=(0, 1), targets=(2,)), [1], [0, 1, 2])
    """

    inputs: Positions
    targets: Positions

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Window:
        targets = self.targets[index]
        return Window(tuple(self.inputs[index].tolist()), tuple(targets[targets >= 0].tolist()))

    def __iter__(self) -> Iterator[Window]:
        return (self[index] for index in range(len(self)))

    @property
    def issues(self) -> Positions:
        """Positions of the issue times, ``(windows,)``."""
        issues: Positions = self.inputs[:, -1]
        return issues

    def frames(self) -> Positions:
        """Return the position of every frame of the windows, each once, ascending."""
        last = max(int(self.inputs.max(initial=-1)), int(self.targets.max(initial=-1)))
        used = np.zeros(last + 2, bool)  # the last element stands for -1, no frame
        used[self.inputs], used[self.targets] = True, True
        return np.flatnonzero(used[:-1]).astype(np.int32)


def split(axis: TimeAxis, *, inputs: int, validation: str = "15%", test: str = "15%") -> Split:
    """Split the times of an archive into three blocks; the newest frames are the test block.

    The gap before a block is ``inputs`` frames long: the frames that its first window needs as inputs.

    Args:
        axis: Times of the archive.
        inputs: Input frames of a window, ≥ 1.
        validation: Length of the validation block, a share of all frames ("15%") or a duration ("60min").
        test: Length of the test block, likewise.

    Raises:
        ArgumentError: No frames remain for training, or a length is malformed.

    Example:
        >>> times = np.arange("2024-06-01T00:00", "2024-06-01T03:20", 5, dtype="datetime64[m]")
        >>> parts = split(TimeAxis(times), inputs=3, validation="6%", test="60min")
        >>> str(parts.test), str(parts.train)
        ('2024-06-01T02:15 to 2024-06-01T03:15', '2024-06-01T00:00 to 2024-06-01T01:30')
    """
    total = len(axis)
    n_test = _frames(test, axis, "test")
    n_validation = _frames(validation, axis, "validation")
    first_test = total - n_test
    end_validation = _end_before(axis, first_test, inputs)
    first_validation = end_validation - n_validation
    n_train = _end_before(axis, first_validation, inputs)
    if n_test < 1 or n_validation < 1 or n_train < inputs + 1:
        raise ArgumentError(
            f"split: expected at least {inputs + 1} frames to train on and 1 each to validate and test, "
            f"found {max(n_train, 0)}, {n_validation} and {n_test} of {total} frames with gaps of {inputs}"
        )

    def block(first: int, count: int) -> Block:
        return Block.between(axis.times[first], axis.times[first + count - 1])

    return Split(block(0, n_train), block(first_validation, n_validation), block(first_test, n_test))


def windows(axis: TimeAxis, block: Block, *, inputs: int, steps: int) -> list[Window]:
    """Return every window whose targets lie in ``block``, as :func:`window_table` does, one by one.

    Example:
        >>> times = np.array(["2024-06-01T00:00", "2024-06-01T00:05", "2024-06-01T00:10",
        ...                   "2024-06-01T00:30", "2024-06-01T00:35"], dtype="datetime64[m]")
        >>> whole_day = Block("2024-06-01T00:00", "2024-06-01T23:00")
        >>> windows(TimeAxis(times), whole_day, inputs=2, steps=3)
        [Window(inputs=(0, 1), targets=(2,))]
    """
    return list(window_table(axis, block, inputs=inputs, steps=steps))


def window_table(axis: TimeAxis, block: Block, *, inputs: int, steps: int, every: int = 1) -> WindowTable:
    """Return every window whose targets lie in ``block``.

    The frames of a window are consecutive. At the end of the block, and before a gap, a window has fewer than
    ``steps`` targets, but at least one.

    With ``every`` above 1, the frames of a window are that number of time steps apart, and those between them
    are dropped. Such windows begin at every frame, so all frames are used, in different windows.

    Args:
        axis: Times of the whole archive.
        block: Block of the targets. Inputs may lie up to ``inputs`` steps before it.
        inputs: Input frames of a window, ≥ 1.
        steps: Frames to forecast, ≥ 1.
        every: Time steps of the archive from one frame of a window to the next, ≥ 1.

    Example:
        >>> times = np.arange("2024-06-01T00:00", "2024-06-01T00:12", 2, dtype="datetime64[m]")
        >>> hour = Block("2024-06-01T00:00", "2024-06-01T01:00")
        >>> table = window_table(TimeAxis(times), hour, inputs=2, steps=3, every=2)
        >>> [(window.inputs, window.targets) for window in table]
        [((0, 2), (4,)), ((1, 3), (5,))]
    """
    times = axis.times
    after = _next_frames(axis, every)
    in_block = block.contains(times)
    columns = [np.arange(len(times), dtype=np.int32)]
    for _ in range(inputs - 1):
        columns.append(after[columns[-1]])
    for _ in range(steps):
        following = after[columns[-1]]
        columns.append(np.where(in_block[following] & (following >= 0), following, np.int32(-1)))
    table = np.stack(columns, axis=1)
    table = table[(table[:, : inputs + 1] >= 0).all(axis=1)]
    return WindowTable(table[:, :inputs], table[:, inputs:])


def steps_between(axis: TimeAxis, minutes: float | None, name: str) -> int:
    """Return the number of an archive's time steps between frames that are ``minutes`` apart.

    Args:
        axis: Times of the archive.
        minutes: Time step to thin the archive to; None for the archive's own.
        name: Name of the archive, for the error.

    Raises:
        ArgumentError: The archive's step does not divide that step.

    Example:
        >>> times = np.arange("2024-06-01T00:00", "2024-06-01T00:12", 2, dtype="datetime64[m]")
        >>> steps_between(TimeAxis(times), 10, "a.zarr")
        5
    """
    if minutes is None:
        return 1
    own, wanted = in_minutes(axis.step), round(60 * minutes)
    count, rest = divmod(wanted, round(60 * own))
    if rest or not count:
        raise ArgumentError(
            f"{name}: expected a time step that divides {minutes:g} min, found {own:g} min; frames are "
            "dropped, but not interpolated in time"
        )
    return count


def _next_frames(axis: TimeAxis, every: int) -> Positions:
    """Return the position of the frame ``every`` steps after each frame; -1 if there is no such frame.

    The last element, which -1 refers to, is -1.
    """
    times, count = axis.times, len(axis)
    after = np.full(count + 1, -1, np.int32)
    if every == 1:
        follows = axis.follows[1:]
        after[: count - 1][follows] = np.flatnonzero(follows) + 1
    else:
        later = times + every * axis.step
        found = np.minimum(np.searchsorted(times, later), count - 1)
        after[:count] = np.where(times[found] == later, found, -1)
    return after


def _end_before(axis: TimeAxis, first: int, inputs: int) -> int:
    """Return the end of the block before the one that begins at ``first``, with a gap between them.

    The gap is ``inputs`` frames and also ``inputs`` time steps long, which differs if the step varies.
    """
    if not 0 < first < len(axis):
        return first - inputs
    earlier = int(np.searchsorted(axis.times, axis.times[first] - inputs * axis.step))
    return min(first - inputs, earlier)


def _frames(length: str, axis: TimeAxis, name: str) -> int:
    """Return the number of frames in a share ("15%") or a duration ("60min")."""
    try:
        if length.endswith("%"):
            return round(float(length[:-1]) / 100 * len(axis))
        # Both ends count: an hour of five-minute frames has thirteen of them.
        return int(pd.Timedelta(length) / pd.Timedelta(axis.step)) + 1
    except ValueError:
        raise ArgumentError(
            f'{name}: expected a share or a duration ("15%", "60min"), found "{length}"'
        ) from None
