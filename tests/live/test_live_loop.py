"""Faults of feeds, models, disks and clocks, and what the loop makes of them."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from tests.live.conftest import START, STEP, Rig, issue

from stormcell.data import archive
from stormcell.errors import OutputError
from stormcell.live.archiving import AddFiles
from stormcell.live.freshness import freshness
from stormcell.live.making import Forecast, Wanted
from stormcell.maps.levels import MISSING
from stormcell.published.manifest import MANIFEST, time_name
from stormcell.published.reading import Shelf

pytestmark = pytest.mark.usefixtures("small_files")


def test_live_loop_frame_by_frame_publishes_each_issue_once(rig):
    for k in range(6):
        rig.arrive(k)
    assert [name[:14] for name in rig.folders] == [issue(k) for k in range(1, 6)]
    assert rig.newest.degraded is None
    rig.turns(5)
    assert len(rig.folders) == 5
    assert rig.loop.publisher.publications == 5


def test_live_loop_latest_names_observed_frames_and_when_the_next_is_expected(rig):
    for k in range(5):
        rig.arrive(k)
    latest = Shelf(rig.out).latest()
    assert [one.time for one in latest.observed] == [START + k * STEP for k in range(5)]
    # The first two frames are in the first publication, and each later one is in that of its own time.
    assert [one.issue for one in latest.observed] == [START + max(k, 1) * STEP for k in range(5)]
    lag = latest.expected - latest.issue - STEP
    assert timedelta(seconds=40) <= lag <= timedelta(seconds=43)
    assert [time_name(when) for when, _ in latest.earlier] == [issue(k) for k in (3, 2, 1)]


def test_live_loop_file_grown_byte_by_byte_is_read_once_and_whole(rig):
    rig.arrive(0, 1)
    reads = []
    rig.before = lambda job: reads.extend(job.files if isinstance(job, AddFiles) else ())
    rig.now += 2 * STEP
    whole = rig.put(2).read_bytes()
    path = rig.put(2)
    for part in range(1, 6):
        path.write_bytes(whole[: part * len(whole) // 5])
        os.utime(path, ns=(path.stat().st_ctime_ns, path.stat().st_ctime_ns + 10**9))
        rig.turns(1)
    assert reads == []
    rig.turns(1)
    assert reads == [path]
    assert rig.times == [0, 1, 2]


def test_live_loop_file_truncated_for_ever_is_named_once_and_tried_again_when_it_changes(rig):
    rig.arrive(0, 1)
    rig.now += 2 * STEP
    rig.put(2, cut=0.5)
    for _ in range(100):
        rig.turns(1)
    assert rig.counts == {"added": 2, "partial": 1, "corrupt": 1}
    assert len([line for line in rig.lines if line.startswith("refused")]) == 1
    rig.put(2)
    os.utime(rig.feed / "radar_002.pgm", (0, 1))
    rig.turns()
    assert rig.times == [0, 1, 2]


def test_live_loop_same_frame_twice_makes_no_new_forecast(rig):
    rig.arrive(0, 1, 2)
    rig.put(2, "again.pgm")
    rig.turns(3)
    assert rig.counts == {"added": 3, "present": 1}
    assert rig.loop.publisher.publications == 1


def test_live_loop_revised_frame_is_counted_and_does_not_change_the_archive(rig):
    rig.arrive(0, 1, 2)
    before = archive.open(rig.settings.archive).rainfall_rate[2].values
    rig.put(2, "revised.pgm", factor=1.5)
    rig.turns(100)
    assert rig.counts == {"added": 3, "revised": 1}
    np.testing.assert_array_equal(archive.open(rig.settings.archive).rainfall_rate[2].values, before)
    assert rig.loop.publisher.publications == 1


def test_live_loop_permuted_files_are_all_in_the_archive(rig):
    order = [2, 0, 3, 1, 6, 5, 4]
    for k in order:
        rig.arrive(k)
    assert rig.times == sorted(order)
    assert rig.counts == {"added": 3, "late": 4}
    issues = [name[:14] for name in rig.folders]
    assert issues == sorted(issues)


@settings(max_examples=6, derandomize=True)
@given(strategies.permutations(range(5)))
def test_live_loop_any_order_of_arrival_gives_the_same_archive_and_newest_publication(
    tmp_path_factory, order
):
    rig = Rig(tmp_path_factory.mktemp("permuted"))
    for k in order:
        rig.arrive(k)
    ordered = Rig(tmp_path_factory.mktemp("ordered"))
    ordered.arrive(*range(5))
    found, expected = (archive.open(one.settings.archive) for one in (rig, ordered))
    np.testing.assert_array_equal(found["time"].values, expected["time"].values)
    np.testing.assert_array_equal(found["frame_hash"].values, expected["frame_hash"].values)
    assert rig.newest.folder == ordered.newest.folder


def test_live_loop_late_frame_that_fills_a_gap_replaces_the_forecast_that_missed_it(rig):
    rig.arrive(0, 1, 2)
    rig.arrive(4)
    missed = rig.newest
    assert missed.degraded.used == "persistence"
    rig.arrive(3)
    assert rig.newest.issue == missed.issue
    assert rig.newest.run != missed.run
    assert rig.newest.degraded is None
    assert START + 3 * STEP in [one.time for one in Shelf(rig.out).latest().observed]


def test_live_loop_frame_of_the_future_is_held_back_until_its_time(rig):
    rig.arrive(0, 1, 2)
    rig.put(5)
    rig.put(3, "tomorrow.pgm", dated=START + timedelta(days=1))
    rig.turns(3)
    assert rig.counts == {"added": 3, "future": 2}
    rig.arrive(3)
    assert rig.times == [0, 1, 2, 3]
    rig.now = START + 5 * STEP + timedelta(seconds=90)
    rig.turns(3)
    assert rig.times == [0, 1, 2, 3, 5]
    assert rig.newest.issue == START + 5 * STEP


def test_live_loop_frame_of_an_hour_ago_does_not_change_the_newest_issue(rig):
    rig.arrive(12, 13, 14)
    first = rig.newest
    rig.arrive(0)
    assert rig.counts == {"added": 3, "late": 1}
    assert rig.newest.issue == first.issue


def test_live_loop_goes_through_a_leap_day(rig):
    start = datetime(2024, 2, 28, 23, 50, tzinfo=UTC)
    for k, time in enumerate(start + k * STEP for k in range(5)):
        rig.put(k, dated=time)
        rig.now = time + timedelta(seconds=40)
        rig.turns()
    assert [name[:14] for name in rig.folders] == [
        *("20240228T2355Z", "20240229T0000Z", "20240229T0005Z", "20240229T0010Z")
    ]
    assert rig.newest.degraded is None
    assert Shelf(rig.out).status().missing_frames_1h == 0


def test_live_loop_waits_a_while_for_a_missing_frame_before_the_newest(tmp_path):
    rig = Rig(tmp_path, grace=timedelta(seconds=20))
    rig.arrive(0, 1, 2)
    rig.arrive(4)
    assert rig.loop.holds
    assert rig.newest.issue == START + 2 * STEP
    rig.put(3)
    rig.turns()
    assert rig.newest.issue == START + 4 * STEP
    assert [name[:14] for name in rig.folders] == [issue(2), issue(4)]
    rig.arrive(6)
    rig.turns(17)
    assert rig.newest.issue == START + 4 * STEP
    rig.turns()
    assert rig.newest.issue == START + 6 * STEP
    rig.arrive(7)  # it does not wait for a frame that has been given up
    assert rig.newest.issue == START + 7 * STEP


def test_live_loop_waits_at_most_a_tenth_of_a_step(tmp_path):
    rig = Rig(tmp_path, grace=timedelta(hours=1))
    rig.arrive(0, 1, 2)
    rig.arrive(4)
    rig.turns(28)
    assert rig.newest.issue == START + 2 * STEP
    rig.turns()
    assert rig.newest.issue == START + 4 * STEP


@pytest.mark.parametrize("gap", [1, 3, 100])
def test_live_loop_after_a_gap_says_why_it_is_degraded_and_recovers(rig, gap):
    rig.arrive(0, 1, 2)
    last = 2 + gap
    for k in (1, 2, 3):
        rig.put(2 + k, dated=START + (last + k) * STEP)
        rig.now = START + (last + k) * STEP + timedelta(seconds=40)
        rig.turns()
        degraded = rig.newest.degraded
        assert rig.newest.issue == START + (last + k) * STEP
        if k < 3:
            assert (degraded.used, degraded.instead_of) == ("persistence", "extrapolation")
            assert degraded.reason.endswith(f"without a gap up to the issue time, found {k}")
        else:
            assert degraded is None
    status = Shelf(rig.out).status()
    assert status.missing_frames_1h == min(gap, 9)


def test_live_loop_blind_frame_is_published_without_a_forecast(rig):
    rig.arrive(0, 1, 2)
    rig.arrive(3, factor=np.nan)
    manifest = rig.newest
    assert manifest.degraded.used == "observation"
    assert "expected an observed pixel in the newest frame" in manifest.degraded.reason
    assert [product.name for product in manifest.products] == ["observed"]
    assert manifest.observed_share == 0
    assert (Shelf(rig.out).cells(manifest) == MISSING).all()
    assert freshness(rig.out, rig.now).state == "degraded"


def test_live_loop_dry_frames_are_forecast_dry(rig):
    rig.arrive(0, 1, 2, factor=0.0)
    assert rig.newest.degraded is None
    cells = Shelf(rig.out).cells(rig.newest)
    assert set(np.unique(cells)) <= {0, MISSING}
    assert (cells[..., -1] == 0).any()


def test_live_loop_frame_on_another_grid_is_refused(rig):
    rig.arrive(0, 1)
    rig.arrive(2, columns=20)
    rig.turns(100)
    assert rig.counts["corrupt"] == 1
    assert rig.times == [0, 1]


def test_live_loop_burst_is_archived_whole_and_forecast_once(rig):
    files = 300
    for k in range(files):
        rig.put(k % 40, f"burst_{k:03d}.pgm", dated=START + k * STEP)
    rig.now = START + files * STEP
    rig.turns()
    assert rig.times == list(range(files))
    assert [name[:14] for name in rig.folders] == [issue(files - 1)]


def test_live_loop_restart_without_news_publishes_nothing(rig):
    rig.arrive(0, 1, 2)
    rig.restart()
    rig.turns(3)
    assert rig.loop.publisher.publications == 0
    assert rig.counts == {"present": 3}


@pytest.mark.parametrize("lost", ["latest.json", "folder", "both"])
def test_live_loop_restart_continues_what_was_begun(rig, lost):
    rig.damaged = True
    rig.arrive(0, 1, 2)
    folder = rig.newest.folder
    if lost != "folder":
        (rig.out / "latest.json").unlink()
    else:  # killed before the folder of a later issue had its name
        (rig.out / f".{folder}.1.part").mkdir()
    if lost == "both":
        shutil.rmtree(rig.out / folder)
    rig.restart()
    rig.turns(3)
    assert rig.newest.folder == folder
    assert rig.folders == [folder]


def test_live_loop_other_products_are_another_run(rig):
    rig.arrive(0, 1, 2)
    first = rig.newest.run
    rig.restart(wanted=Wanted(steps=4))
    rig.turns(3)
    assert rig.newest.run != first


def test_live_loop_clock_that_goes_back_is_a_problem_and_unpublishes_nothing(rig):
    rig.arrive(10, 11, 12)
    folder = rig.newest.folder
    rig.now -= timedelta(hours=1)
    rig.put(13)
    rig.turns(3)
    assert rig.newest.folder == folder
    assert "the clock went back by 35" in Shelf(rig.out).status().problems[0]
    assert rig.counts == {"added": 3, "future": 1}
    rig.now = START + 13 * STEP + timedelta(seconds=60)
    rig.turns(3)
    assert rig.newest.issue == START + 13 * STEP
    assert Shelf(rig.out).status().problems == ()


def test_live_loop_after_the_clock_went_back_nothing_waits_for_the_old_time(rig):
    failing, looked_at = True, []

    def look(job):
        if isinstance(job, AddFiles):
            looked_at.extend(path.name for path in job.files)
        if failing and isinstance(job, Forecast):
            raise OutputError("disk full")

    rig.before = look
    rig.put(30)  # of the future, so that it waits
    rig.arrive(10, 11, 12)
    failing = False
    looked_at.clear()
    rig.now -= timedelta(minutes=30)
    rig.turns(1)
    assert looked_at == ["radar_030.pgm"]
    assert rig.newest.issue == START + 12 * STEP


def test_live_loop_old_pictures_are_dropped_and_newer_publications_stay(tmp_path):
    rig = Rig(tmp_path, keep_pictures=timedelta(minutes=12), keep_forecasts=timedelta(minutes=22))
    for k in range(8):
        rig.arrive(k)
    found = {name[:14]: sorted(path.name for path in (rig.out / name).iterdir()) for name in rig.folders}
    assert issue(2) not in found or "frames" in found[issue(2)]  # still named by latest.json
    assert "frames" in found[issue(7)]


def test_live_loop_status_is_json_with_counts_and_stages(rig):
    rig.arrive(0, 1, 2)
    status = json.loads((rig.out / "status.json").read_text())
    assert status["files"] == {"added": 3, "late": 0, "present": 0}
    assert status["newest_frame"] == "2024-06-01T00:10:00Z"
    assert status["stages"].keys() == {"append", "forecast", "publish"}
    assert min(status["stages"].values()) > 0
    assert status["stale_after_seconds"] == 900
    manifest = json.loads((rig.out / rig.newest.folder / MANIFEST).read_text())
    assert manifest["model"] == "extrapolation"
    assert manifest["attributes"]["license"] == "CC0-1.0"
