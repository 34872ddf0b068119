"""Statistics of forecasts by the hour of their valid times, kept in small files that survive a kill."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from stormcell.atomic import make_folder, write_file
from stormcell.errors import StormcellError
from stormcell.verification.axes import Axes
from stormcell.verification.statistics import STATISTICS
from stormcell.verification.tally import Tally

_KEY = "stormcell_scored_hour"
_NAME = "%Y%m%dT%H.safetensors"


@dataclass(frozen=True)
class ScoredHour:
    """The statistics of an hour.

    Attributes:
        hour: Its beginning.
        times: Valid times that are counted.
        tallies: By forecaster, the statistics of these times in one row.
    """

    hour: datetime
    times: frozenset[datetime]
    tallies: Mapping[str, Tally]

    def with_time(self, time: datetime, found: Mapping[str, Tally]) -> "ScoredHour":
        """Return the hour with one more valid time.

        Args:
            time: The valid time.
            found: By forecaster, its statistics in one row. Statistics with other axes take the place of
                those that the forecaster had.
        """
        tallies = dict(self.tallies)
        for name, tally in found.items():
            known = tallies.get(name)
            same = known is not None and known.axes == tally.axes
            rows = {
                key: row + known.rows[key] if known is not None and same else row
                for key, row in tally.rows.items()
            }
            tallies[name] = Tally(tally.axes, _row_time(self.hour), rows)
        return ScoredHour(self.hour, self.times | {time}, tallies)


def hour_of(time: datetime) -> datetime:
    """Return the beginning of the hour of a time."""
    return time.replace(minute=0, second=0, microsecond=0)


def save_hour(folder: Path, hour: ScoredHour) -> None:
    """Write an hour, or replace it.

    Raises:
        OutputError: It cannot be written; the old file is intact.
    """
    make_folder(folder)
    arrays = {
        f"{k}/{name}": np.ascontiguousarray(row)
        for k, tally in enumerate(hour.tallies.values())
        for name, row in tally.rows.items()
        if row.any()
    }
    header = {
        "times": sorted(int(time.timestamp()) for time in hour.times),
        "axes": {name: asdict(tally.axes) for name, tally in hour.tallies.items()},
    }
    write_file(folder / hour.hour.strftime(_NAME), save(arrays, {_KEY: json.dumps(header)}))


def load_hours(folder: Path, since: datetime) -> dict[datetime, ScoredHour]:
    """Return the hours since a time, and delete the files of earlier ones; a damaged file is left out."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
        try:
            hour = datetime.strptime(path.name, _NAME).replace(tzinfo=UTC)
        except ValueError:
            continue
        if hour < hour_of(since):
            path.unlink(missing_ok=True)
        elif (read := _read(path, hour)) is not None:
            found[hour] = read
    return found


def total(hours: Iterable[ScoredHour], name: str, axes: Axes) -> Tally:
    """Return the sum of the hours in which a forecaster has statistics with these axes."""
    tallies = [hour.tallies[name] for hour in hours if name in hour.tallies]
    return Tally.sum([Tally.zero(axes), *(tally for tally in tallies if tally.axes == axes)])


def _row_time(hour: datetime) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return np.array([hour.replace(tzinfo=None)], "datetime64[ns]")


def _read(path: Path, hour: datetime) -> ScoredHour | None:
    try:
        content = path.read_bytes()
        arrays = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        header = json.loads(header["__metadata__"][_KEY])
        tallies = {}
        for k, (name, values) in enumerate(header["axes"].items()):
            rows = {key: arrays[f"{k}/{key}"] for key in STATISTICS if f"{k}/{key}" in arrays}
            tallies[str(name)] = Tally(Axes.from_json(values), _row_time(hour), rows)
        times = frozenset(datetime.fromtimestamp(int(one), UTC) for one in header["times"])
    except (OSError, SafetensorError, StormcellError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return ScoredHour(hour, times, tallies)


def last(period: timedelta, newest: datetime) -> datetime:
    """Return the first hour that counts in a period up to a time: the last one may be unfinished."""
    return hour_of(newest) - period + timedelta(hours=1)
