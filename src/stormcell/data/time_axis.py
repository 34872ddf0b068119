"""The times of frames: their step, the gaps between them and the runs without a gap."""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArchiveError, ArgumentError, FrameRefusedError, FramesError

Times = NDArray[np.datetime64]

# Ten years of one-minute steps. A larger gap is a wrong date.
MOST_MISSING = 2**22

_RECENT = 13  # times that tell the present step


@dataclass(frozen=True, eq=False)
class TimeAxis:
    """Strictly increasing times.

    The step of an axis is the most common distance between neighbouring times. A gap is any other distance.

    Attributes:
        times: ``(T,)``, ``datetime64``, strictly increasing.

    Example:
        >>> axis = TimeAxis(np.array(["2016-09-28T00:00", "2016-09-28T00:05", "2016-09-28T00:15"], "M8[m]"))
        >>> axis.step, axis.missing()
        (np.timedelta64(5,'m'), array(['2016-09-28T00:10'], dtype='datetime64[m]'))
        >>> axis.run_to(axis.times[1]), axis.longest_run
        (slice(0, 2, None), 2)
    """

    times: Times

    def __len__(self) -> int:
        return len(self.times)

    @cached_property
    def step(self) -> np.timedelta64:
        """The time step.

        Raises:
            ArgumentError: There are fewer than two times.
        """
        if len(self) < 2:
            raise ArgumentError(f"a time step requires at least 2 frames, found {len(self)}")
        steps, counts = np.unique(np.diff(self.times), return_counts=True)
        step: np.timedelta64 = steps[counts.argmax()]
        return step

    @property
    def follows(self) -> NDArray[np.bool_]:
        """Whether each time is one step after the time before, ``(T,)``; the first is not."""
        return np.concatenate([np.zeros(min(len(self), 1), bool), np.diff(self.times) == self.step])

    def missing(self) -> Times:
        """Return the missing steps inside all gaps, counted from the time before each gap.

        Raises:
            ArchiveError: There are more of them than any radar archive has.
        """
        if len(self) < 3:
            return self.times[:0]
        gaps = np.diff(self.times)
        before = np.flatnonzero(gaps > self.step)
        if (gaps[before] / self.step).sum() - len(before) > MOST_MISSING:
            raise ArchiveError(
                f"time: expected a frame every {in_minutes(self.step):g} min, "
                f"found more than {MOST_MISSING} missing"
            )
        counts = -(-gaps[before] // self.step) - 1
        # The k-th missing time of a gap is k steps after the time before the gap.
        ends = np.cumsum(counts)
        k = np.arange(counts.sum()) - np.repeat(ends - counts, counts) + 1
        return np.repeat(self.times[before], counts) + k * self.step

    @property
    def regular_from(self) -> np.datetime64 | None:
        """The first time after which all distances are whole numbers of steps; None if all distances are."""
        if len(self) < 3:
            return None
        odd = np.flatnonzero(np.diff(self.times) % self.step != np.timedelta64(0))
        return None if odd.size == 0 else cast(np.datetime64, self.times[odd[-1] + 1])

    def run_to(self, time: np.datetime64) -> slice:
        """Return the positions of the longest run without a gap that ends at one of the times."""
        last = int(np.searchsorted(self.times, time))
        gaps = np.flatnonzero(~self.follows[: last + 1])
        return slice(int(gaps[-1]), last + 1)

    @property
    def longest_run(self) -> int:
        """Number of times in the longest run without a gap."""
        if len(self) < 2:
            return len(self)
        starts = np.flatnonzero(~self.follows)
        return int(np.diff([*starts, len(self)]).max())


def shortest(times: Times) -> np.timedelta64:
    """Return the shortest distance between increasing times; of fewer than two, a very long one."""
    distances = np.diff(times)
    return cast(np.timedelta64, distances.min()) if len(distances) else np.timedelta64(2**62, "s")


def expect_near(others: Times, time: np.datetime64, shortest: np.timedelta64) -> np.timedelta64:
    """Refuse a time that is so far from others that it must be wrong.

    Args:
        others: Times in any order.
        time: Another time.
        shortest: The shortest distance between two of the others.

    Returns:
        The shortest distance between two of all times.

    Raises:
        FrameRefusedError: Together they have more missing steps than any radar archive has.
    """
    if len(others) == 0:
        return shortest
    shortest = min(shortest, np.abs(others - time).min())
    if (max(others.max(), time) - min(others.min(), time)) / shortest <= MOST_MISSING:
        return shortest  # Even if this were the time step, not too many frames would be missing.
    try:
        TimeAxis(np.sort(np.append(others, time))).missing()
    except ArchiveError as error:
        later = others[others > time]
        where = f"before {later.min()}" if len(later) else f"after the archive's last, {others.max()}"
        raise FrameRefusedError(f"{error}, with {time} {where}") from None
    return shortest


def even_step(times: Times) -> np.timedelta64:
    """Return the time step of frames that must be evenly spaced.

    Raises:
        FramesError: There are fewer than two frames, or they are not in order, or there is a gap.

    Example:
        >>> even_step(np.array(["2024-06-01T00:00", "2024-06-01T00:05"], "datetime64[m]"))
        np.timedelta64(5,'m')
    """
    if len(times) < 2:
        raise FramesError(f"frames: expected at least 2 for a time step, found {len(times)}")
    distances = np.diff(times)
    step: np.timedelta64 = distances.min()
    if step <= np.timedelta64(0):
        late = int(distances.argmin())
        raise FramesError(
            "frames: expected times in increasing order, "
            f"found {minute(times[late + 1])} after {minute(times[late])}"
        )
    gaps = np.flatnonzero(distances != step)
    if gaps.size:
        raise FramesError(
            f"frames: expected one every {in_minutes(step):g} min, "
            f"found a gap between {minute(times[gaps[0]])} and {minute(times[gaps[0] + 1])}"
        )
    return step


def recent_step(times: Times) -> np.timedelta64:
    """Return the time step of the newest times, because an archive may change its step.

    It is the most common distance of the last hour or so. The step has changed if the last two distances are
    the same and shorter, which no missing frame explains, or the last three are the same and longer.

    Args:
        times: Strictly increasing times ``(T,)``, at least two.

    Example:
        >>> times = np.array([0, 10, 20, 30, 40, 50, 55, 60], "datetime64[m]")
        >>> recent_step(times[:-1]), recent_step(times)
        (np.timedelta64(10,'m'), np.timedelta64(5,'m'))
    """
    step, distances = TimeAxis(times[-_RECENT:]).step, np.diff(times[-4:])
    newest: np.timedelta64 = distances[-1]
    alike = 2 if newest < step else 3
    changed = len(distances) >= alike and (distances[-alike:] == newest).all()
    return newest if changed else step


def last_run(times: Times) -> int:
    """Return how many of the last times follow each other without a gap, by :func:`recent_step`.

    Args:
        times: Strictly increasing times ``(T,)``.

    Example:
        >>> last_run(np.array(["2024-06-01T00:00", "2024-06-01T00:10", "2024-06-01T00:15"], "datetime64[m]"))
        2
    """
    if len(times) < 2:
        return len(times)
    gaps = np.flatnonzero(np.diff(times) != recent_step(times))
    return len(times) - 1 - int(gaps[-1]) if gaps.size else len(times)


def in_minutes(step: np.timedelta64) -> float:
    """Return a time step in minutes."""
    return float(step / np.timedelta64(1, "m"))


def minute(time: np.datetime64) -> str:
    """Return a time to the minute, or to the second if it has seconds.

    Example:
        >>> minute(np.datetime64("2016-09-28T14:45:00")), minute(np.datetime64("2016-09-28T14:45:30"))
        ('2016-09-28T14:45', '2016-09-28T14:45:30')
    """
    return str(np.datetime_as_string(time, unit="s")).removesuffix(":00")
