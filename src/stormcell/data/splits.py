"""Blocks of time to train, validate and test on, and the windows inside them.

A block is a stretch of *truth*: every time a window forecasts lies in its block. What the window
looks back on may reach into the gap before the block, so that no frame is an input to one block and a truth
of another.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class Block:
    """A stretch of time, both ends included, as ISO 8601 strings in UTC."""

    start: str
    end: str

    def contains(self, times: Times) -> NDArray[np.bool_]:
        """Which of ``times`` lie in the block."""
        inside: NDArray[np.bool_] = (times >= np.datetime64(self.start)) & (times <= np.datetime64(self.end))
        return inside

    def overlaps(self, start: np.datetime64, end: np.datetime64) -> bool:
        """Whether the stretch from ``start`` to ``end`` shares a moment with the block."""
        return bool(np.datetime64(self.start) <= end and start <= np.datetime64(self.end))

    def __str__(self) -> str:
        return f"{self.start[:16]} to {self.end[:16]}"


@dataclass(frozen=True)
class Split:
    """Training, then validation, then test, in time order, a gap before each but the first."""

    train: Block
    validation: Block
    test: Block


@dataclass(frozen=True)
class Window:
    """One forecast to be made: positions along the archive's time axis.

    Attributes:
        inputs: Positions of the input frames, oldest first; the last is the issue time.
        truths: Positions of the frames to forecast, consecutive steps from lead one on.
    """

    inputs: tuple[int, ...]
    truths: tuple[int, ...]

    @property
    def issue(self) -> int:
        """Position of the issue time."""
        return self.inputs[-1]


def usual_step(times: Times) -> np.timedelta64:
    """The most common distance between neighbouring times.

    Raises:
        ArgumentError: There are fewer than two times.
    """
    if len(times) < 2:
        raise ArgumentError(f"a time step needs at least 2 frames, found {len(times)}")
    steps, counts = np.unique(np.diff(times), return_counts=True)
    step: np.timedelta64 = steps[counts.argmax()]
    return step


def _frames(amount: str, total: int, step: np.timedelta64, name: str) -> int:
    """A share ("15%") or a duration ("60min") as a number of frames."""
    try:
        if amount.endswith("%"):
            return round(float(amount[:-1]) / 100 * total)
        # Both ends count: an hour of five-minute frames is thirteen of them.
        return int(pd.Timedelta(amount) / pd.Timedelta(step)) + 1
    except ValueError:
        raise ArgumentError(
            f'{name}: expected a share or a duration ("15%", "60min"), found "{amount}"'
        ) from None


def split(times: Times, *, inputs: int, validation: str = "15%", test: str = "15%") -> Split:
    """Cut an archive's times into three blocks; the newest frames are the test.

    The gap before a block is ``inputs`` frames long: what a window of the block looks back on.

    Args:
        times: Strictly increasing times ``(T,)``.
        inputs: Input frames of a window, ≥ 1.
        validation: Length of the validation block, a share of all frames or a duration.
        test: Length of the test block, likewise.

    Raises:
        ArgumentError: Nothing is left to train on, or an amount cannot be read.

    Example:
        >>> times = np.arange("2024-06-01T00:00", "2024-06-01T03:20", 5, dtype="datetime64[m]")
        >>> parts = split(times, inputs=3, validation="6%", test="60min")
        >>> str(parts.test), str(parts.train)
        ('2024-06-01T02:15 to 2024-06-01T03:15', '2024-06-01T00:00 to 2024-06-01T01:30')
    """
    total, step = len(times), usual_step(times)
    n_test = _frames(test, total, step, "test")
    n_validation = _frames(validation, total, step, "validation")
    first_test = total - n_test
    first_validation = first_test - inputs - n_validation
    n_train = first_validation - inputs
    if n_test < 1 or n_validation < 1 or n_train < inputs + 1:
        raise ArgumentError(
            f"split: expected at least {inputs + 1} frames to train on and 1 each to validate and test, "
            f"found {max(n_train, 0)}, {n_validation} and {n_test} of {total} frames with gaps of {inputs}"
        )

    def block(first: int, count: int) -> Block:
        start, end = np.datetime_as_string(times[[first, first + count - 1]], unit="s")
        return Block(str(start), str(end))

    return Split(block(0, n_train), block(first_validation, n_validation), block(first_test, n_test))


def windows(times: Times, block: Block, *, inputs: int, steps: int, step: np.timedelta64) -> list[Window]:
    """Every window whose truths lie in ``block``.

    A window has no holes: its frames follow one another by ``step``. Towards the end of the block, or
    before a hole, a window may see fewer than ``steps`` truths, but never none.

    Args:
        times: Strictly increasing times ``(T,)`` of the whole archive.
        block: Where the truths must lie. Inputs may lie at most ``inputs`` steps before it.
        inputs: Input frames of a window, ≥ 1.
        steps: Frames to forecast, ≥ 1.
        step: Time step.

    Example:
        >>> times = np.array(["2024-06-01T00:00", "2024-06-01T00:05", "2024-06-01T00:10",
        ...                   "2024-06-01T00:30", "2024-06-01T00:35"], dtype="datetime64[m]")
        >>> every = Block("2024-06-01T00:00", "2024-06-01T23:00")
        >>> windows(times, every, inputs=2, steps=3, step=np.timedelta64(5, "m"))
        [Window(inputs=(0, 1), truths=(2,))]
    """
    in_block = block.contains(times)
    usable = times >= np.datetime64(block.start) - inputs * step
    follows = np.zeros(len(times), bool)
    follows[1:] = np.diff(times) == step
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
