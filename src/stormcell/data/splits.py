"""Blocks of time to train, validate and test on, and the windows inside them.

The targets of a window lie inside its block. Its inputs may reach into the gap before the block. So no
frame is an input in one block and a target in another.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stormcell.data.time_axis import TimeAxis, Times
from stormcell.errors import ArgumentError


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
    """Three blocks in time order, with a gap before the second and the third."""

    train: Block
    validation: Block
    test: Block


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
    first_validation = first_test - inputs - n_validation
    n_train = first_validation - inputs
    if n_test < 1 or n_validation < 1 or n_train < inputs + 1:
        raise ArgumentError(
            f"split: expected at least {inputs + 1} frames to train on and 1 each to validate and test, "
            f"found {max(n_train, 0)}, {n_validation} and {n_test} of {total} frames with gaps of {inputs}"
        )

    def block(first: int, count: int) -> Block:
        return Block.between(axis.times[first], axis.times[first + count - 1])

    return Split(block(0, n_train), block(first_validation, n_validation), block(first_test, n_test))


def windows(axis: TimeAxis, block: Block, *, inputs: int, steps: int) -> list[Window]:
    """Return every window whose targets lie in ``block``.

    The frames of a window are consecutive. At the end of the block, and before a gap, a window has fewer than
    ``steps`` targets, but at least one.

    Args:
        axis: Times of the whole archive.
        block: Block of the targets. Inputs may lie up to ``inputs`` steps before it.
        inputs: Input frames of a window, ≥ 1.
        steps: Frames to forecast, ≥ 1.

    Example:
        >>> times = np.array(["2024-06-01T00:00", "2024-06-01T00:05", "2024-06-01T00:10",
        ...                   "2024-06-01T00:30", "2024-06-01T00:35"], dtype="datetime64[m]")
        >>> whole_day = Block("2024-06-01T00:00", "2024-06-01T23:00")
        >>> windows(TimeAxis(times), whole_day, inputs=2, steps=3)
        [Window(inputs=(0, 1), targets=(2,))]
    """
    times, follows = axis.times, axis.follows
    in_block = block.contains(times)
    usable = times >= np.datetime64(block.start) - inputs * axis.step
    found = []
    for issue in range(inputs - 1, len(times) - 1):
        first = issue - inputs + 1
        if not (usable[first] and follows[first + 1 : issue + 1].all()):
            continue
        end = issue + 1
        while end < len(times) and end <= issue + steps and follows[end] and in_block[end]:
            end += 1
        if end > issue + 1:
            found.append(Window(tuple(range(first, issue + 1)), tuple(range(issue + 1, end))))
    return found


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
