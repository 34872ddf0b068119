from datetime import UTC, datetime, timedelta

import numpy as np
import xarray as xr

from stormcell.live import generated_feed
from stormcell.live.generated_feed import STEP, FastClock, GeneratedFeed

START = datetime(2026, 11, 28, 12, tzinfo=UTC)


def times(folder):
    found = []
    for path in sorted(folder.iterdir()):
        with xr.open_dataset(path, engine="h5netcdf") as ds:
            found += list(ds["time"].values.astype("datetime64[s]"))
    return found


def test_feed_writes_each_frame_when_its_time_has_come(tmp_path):
    feed = GeneratedFeed(tmp_path, START, shape=(16, 16), seed=1)
    assert feed.write_until(START - timedelta(seconds=1)) == 0
    assert feed.write_until(START + STEP) == 2
    assert feed.write_until(START + STEP) == 0
    assert feed.write_until(START + 2 * STEP) == 1
    assert [path.name for path in sorted(tmp_path.iterdir())][-1] == "radar_20261128T1210.nc"


def test_feed_continues_with_another_event_without_a_gap(tmp_path, monkeypatch):
    monkeypatch.setattr(generated_feed, "_STEPS", 2)
    GeneratedFeed(tmp_path, START, shape=(16, 16), seed=1).write_until(START + 4 * STEP)
    assert set(np.diff(times(tmp_path))) == {np.timedelta64(300, "s")}
    assert len(times(tmp_path)) == 5


def test_clock_runs_faster_than_time():
    seconds = iter([5.0, 5.0, 6.5])
    clock = FastClock(START, 60, lambda: next(seconds))
    assert (clock(), clock()) == (START, START + timedelta(seconds=90))
