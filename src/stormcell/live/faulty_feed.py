"""A feed with faults, made from the frames of an archive: what arrives, when, and as which file."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from stormcell.data import schema
from stormcell.live.archiving import moment
from stormcell.published.writing import utc

Fault = Literal["late", "torn", "doubled", "future", "revised", "blind"]
RATES: Mapping[Fault, float] = {
    "late": 0.05,
    "torn": 0.05,
    "doubled": 0.05,
    "future": 0.02,
    "revised": 0.02,
    "blind": 0.02,
}

_LAG = timedelta(seconds=40)  # between a frame's time and its arrival
_REST = timedelta(seconds=10)  # until a torn file is whole
_AGAIN = timedelta(seconds=20)  # until a second file of the same time
_MOST_LATE = 4  # time steps
_AHEAD = timedelta(days=30)  # of the last frame, for a date in the future


@dataclass(frozen=True)
class Arrival:
    """A file, or a part of one, that is written at a time.

    Attributes:
        at: The time.
        name: Name of the file.
        frame: Time of the frame in the archive.
        part: Share of its bytes that are written.
        dated: Time that the frame is given instead; None keeps its own.
        factor: Its rates are multiplied by this; NaN makes a frame that observed nothing.
    """

    at: datetime
    name: str
    frame: datetime
    part: float = 1.0
    dated: datetime | None = None
    factor: float = 1.0


@dataclass(frozen=True)
class FaultyFeed:
    """A feed with faults.

    Attributes:
        rain: Rain rates of an archive in mm/h ``(time, y, x)``.
        arrivals: What arrives, in time order.
        faults: Number of frames by fault.
        blind: Times of the frames that observed nothing.
    """

    rain: xr.DataArray
    arrivals: tuple[Arrival, ...]
    faults: Mapping[str, int]
    blind: frozenset[datetime]

    @classmethod
    def of(cls, rain: xr.DataArray, rates: Mapping[Fault, float], seed: int) -> "FaultyFeed":
        """Return a feed in which each frame has at most one fault.

        Args:
            rain: Rain rates of an archive, with two frames or more.
            rates: Share of frames by fault.
            seed: The same seed gives the same faults.
        """
        times = [utc(time) for time in rain["time"].values]
        step = min(after - before for before, after in pairwise(times))
        rng = np.random.default_rng(seed)
        names = list(rates)
        chances = [rates[name] for name in names]
        drawn = rng.choice(len(names) + 1, len(times), p=[*chances, 1 - sum(chances)])
        arrivals: list[Arrival] = []
        faults: Counter[str] = Counter()
        for k, (time, which) in enumerate(zip(times, drawn, strict=True)):
            fault = names[which] if which < len(names) and k > 0 else None
            faults[fault or "none"] += 1
            late = step * int(rng.integers(1, _MOST_LATE + 1))
            arrivals += _arrivals(time, fault, late, times[-1] + _AHEAD + k * step)
        blind = frozenset(one.frame for one in arrivals if np.isnan(one.factor))
        return cls(rain, tuple(sorted(arrivals, key=lambda one: one.at)), faults, blind)

    def write(self, arrival: Arrival, folder: Path) -> None:
        """Write what arrives into a folder."""
        frame = self.rain.sel(time=[moment(arrival.frame)]).load()
        if arrival.dated is not None:
            frame = frame.assign_coords(time=[moment(arrival.dated).astype("datetime64[ns]")])
        values = frame * np.float32(arrival.factor) if arrival.factor != 1 else frame
        ds = values.assign_attrs(frame.attrs).to_dataset(name=schema.RATE)
        ds.attrs = {name: frame.attrs[name] for name in schema.ORIGIN if name in frame.attrs}
        content = BytesIO()
        ds.drop_encoding().reset_coords("crs", drop=False).to_netcdf(content, engine="h5netcdf")
        whole = content.getvalue()
        (folder / arrival.name).write_bytes(whole[: round(arrival.part * len(whole))])


def _arrivals(time: datetime, fault: Fault | None, late: timedelta, ahead: datetime) -> Iterator[Arrival]:
    name, at = f"radar_{time:%Y%m%dT%H%M%S}", time + _LAG
    if fault == "late":
        yield Arrival(at + late, f"{name}.nc", time)
    elif fault == "torn":
        yield Arrival(at, f"{name}.nc", time, part=0.6)
        yield Arrival(at + _REST, f"{name}.nc", time)
    elif fault == "blind":
        yield Arrival(at, f"{name}.nc", time, factor=np.nan)
    else:
        yield Arrival(at, f"{name}.nc", time)
    if fault == "doubled":
        yield Arrival(at + _AGAIN, f"{name}_again.nc", time)
    elif fault == "revised":
        yield Arrival(at + _AGAIN, f"{name}_revised.nc", time, factor=1.5)
    elif fault == "future":
        yield Arrival(at + _AGAIN, f"{name}_future.nc", time, dated=ahead)
