"""A feed of generated rain without end, and a clock that runs faster than time, for demonstrations."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import xarray as xr

from stormcell.atomic import replacing
from stormcell.data import schema
from stormcell.data.synthetic import generate
from stormcell.live.archiving import moment

STEP = timedelta(minutes=5)
_STEPS = 144  # of an event, after which another begins


class FastClock:
    """A clock that runs faster than time from a moment on.

    Args:
        start: The time that it shows first.
        speed: Its seconds for each second.
        monotonic: Returns seconds.

    Example:
        >>> seconds = iter([0.0, 2.0])
        >>> clock = FastClock(datetime(2026, 11, 28, tzinfo=UTC), 60, lambda: next(seconds))
        >>> clock().minute
        2
    """

    def __init__(
        self, start: datetime, speed: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._start, self._speed, self._monotonic = start, speed, monotonic
        self._began = monotonic()

    def __call__(self) -> datetime:
        """Return the time that it shows."""
        return self._start + timedelta(seconds=self._speed * (self._monotonic() - self._began))


class GeneratedFeed:
    """Generated radar files that are written when their time has come.

    Args:
        folder: The folder of the feed, which exists.
        start: Time of the first frame.
        shape: Rows and columns.
        seed: The same seed gives the same rain.
    """

    def __init__(self, folder: Path, start: datetime, *, shape: tuple[int, int], seed: int) -> None:
        self._folder, self._start, self._shape, self._seed = folder, start, shape, seed
        self._frames = self._generated()
        self._next = start

    def write_until(self, now: datetime) -> int:
        """Write all frames up to a time that are not written yet, and return their number."""
        written = 0
        while self._next <= now:
            path = self._folder / f"radar_{self._next:%Y%m%dT%H%M}.nc"
            with replacing(path) as part:
                next(self._frames).to_netcdf(part, engine="h5netcdf")
            self._next += STEP
            written += 1
        return written

    def _generated(self) -> Iterator[xr.Dataset]:
        start, seed = self._start, self._seed
        while True:
            event = generate(seed=seed, shape=self._shape, steps=_STEPS, start=moment(start))
            event.attrs["source"] = f"stormcell, seed {self._seed}"  # the same for the whole archive
            for k in range(_STEPS):
                yield event[[schema.RATE]].isel(time=[k])
            start, seed = start + _STEPS * STEP, seed + 1


def last_step(now: datetime) -> datetime:
    """Return the last time of a frame before a time.

    Example:
        >>> last_step(datetime(2026, 11, 28, 3, 28, 30, tzinfo=UTC)).minute
        25
    """
    return datetime.fromtimestamp(now.timestamp() // STEP.total_seconds() * STEP.total_seconds(), UTC)
