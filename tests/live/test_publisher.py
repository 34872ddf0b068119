from datetime import timedelta

import pytest
from tests.live.conftest import START, STEP, Rig, issue

from stormcell.errors import OutputError
from stormcell.live.making import Forecast
from stormcell.published.manifest import time_name

pytestmark = pytest.mark.usefixtures("small_files")


def test_publisher_backfill_publishes_the_newest_first_and_then_the_others(tmp_path):
    rig = Rig(tmp_path, backfill=True)
    rig.arrive(*range(5))
    assert rig.newest.issue == START + 4 * STEP
    rig.turns(6)
    assert [name[:14] for name in rig.folders] == [issue(k) for k in range(1, 5)]
    assert rig.newest.issue == START + 4 * STEP


def test_publisher_backfill_goes_back_as_far_as_publications_are_kept(tmp_path):
    rig = Rig(tmp_path, backfill=True, keep_forecasts=timedelta(days=3))
    days = [START + day * timedelta(days=1) + k * STEP for day in (0, 2, 4) for k in range(2)]
    for k, time in enumerate(days):
        rig.put(k, dated=time)
    rig.now = days[-1] + timedelta(seconds=40)
    rig.turns(6)
    assert [name[:14] for name in rig.folders] == [time_name(time) for time in days[2:]]


def test_publisher_backfill_makes_the_forecast_of_an_issue_that_has_only_a_preliminary_one(tmp_path):
    rig = Rig(tmp_path, backfill=True, model="sprog")

    def fail(job):
        if isinstance(job, Forecast) and not job.preliminary:
            raise OutputError("killed before the forecast was there")

    rig.before = fail
    rig.arrive(0, 1, 2)
    assert rig.newest.preliminary
    rig.before = lambda _: None
    rig.arrive(3)
    rig.now += timedelta(seconds=60)
    rig.turns(4)
    final = [one for one in map(rig.manifest, rig.folders) if not one.preliminary]
    assert [one.issue for one in final] == [START + k * STEP for k in (1, 2, 3)]


def test_publisher_backfill_does_not_make_again_what_was_dropped_for_want_of_space(tmp_path):
    rig = Rig(tmp_path, backfill=True, least_free=1000)
    rig.arrive(*range(6))
    rig.turns(6)
    rig.free = lambda _: 500 if len(rig.folders) > 3 else 2000
    rig.turns(1)
    kept = rig.folders
    rig.turns(4)
    assert rig.folders == kept
