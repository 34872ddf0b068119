from datetime import timedelta

import pytest

from stormcell.errors import WorkerError
from stormcell.live.freshness import freshness
from stormcell.live.making import Forecast


def test_freshness_of_an_empty_folder_is_nothing(tmp_path):
    assert freshness(tmp_path, None).state == "nothing"


@pytest.mark.parametrize(("minutes", "state"), [(1, "fresh"), (14, "fresh"), (16, "stale"), (600, "stale")])
def test_freshness_is_stale_after_three_steps(rig, minutes, state):
    rig.arrive(0, 1, 2)
    assert freshness(rig.out, rig.newest.issue + timedelta(minutes=minutes)).state == state


@pytest.mark.parametrize(
    ("minutes", "state", "said"),
    [
        (-8000, "stale", "6 days old"),
        (-119, "stale", "119 min old"),
        (2, "fresh", "0 min old"),
        (3, "stale", "3 min ahead of the clock"),
        (600, "stale", "10 h ahead of the clock"),
    ],
)
def test_freshness_says_how_old_the_issue_is_or_how_far_ahead(rig, minutes, state, said):
    rig.arrive(0, 1, 2)
    found = freshness(rig.out, rig.newest.issue - timedelta(minutes=minutes))
    assert found.state == state
    assert found.sentences[0].endswith(f", {said}")


def test_freshness_limit_can_be_given(rig):
    rig.arrive(0, 1, 2)
    now = rig.newest.issue + timedelta(minutes=5)
    assert freshness(rig.out, now, timedelta(minutes=4)).state == "stale"


def test_freshness_degraded_forecast_says_why(rig):
    def fail(job):
        if isinstance(job, Forecast) and job.by == "extrapolation":
            raise WorkerError("crashed")

    rig.before = fail
    rig.arrive(0, 1, 2)
    found = freshness(rig.out, rig.now)
    assert found.state == "degraded"
    assert "degraded: persistence instead of extrapolation: crashed" in found.sentences


def test_freshness_names_a_loop_that_is_silent(rig):
    rig.arrive(0, 1, 2)
    found = freshness(rig.out, rig.now + timedelta(hours=1), timedelta(minutes=30))
    assert any(line.startswith("the loop has not written its status for") for line in found.sentences)
