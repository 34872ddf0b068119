from dataclasses import replace

import numpy as np
import pytest

from stormcell.data.time_axis import TimeAxis
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast.baselines import baseline
from stormcell.verification.plan import make_plan

START = np.datetime64("2024-06-01T00:00", "ns")
AXIS = TimeAxis(START + np.arange(24) * np.timedelta64(5, "m"))
BASELINE = baseline("persistence")  # needs two frames


def at(minutes):
    return START + np.timedelta64(minutes, "m")


def trained(first, last, steps=3):
    """A baseline with the test block of a model, given in minutes."""
    test = tuple(str(at(minute).astype("datetime64[s]")) for minute in (first, last))
    return replace(BASELINE, blocks=({"test": test},), default_steps=steps)


def minutes(plan):
    return ((plan.issue_times - START) / np.timedelta64(1, "m")).astype(int).tolist()


def test_plan_of_a_model_is_its_test_block():
    plan = make_plan(AXIS, {"model": trained(60, 75), "baseline": BASELINE})
    assert str(plan.period) == "2024-06-01T01:00 to 2024-06-01T01:15"
    assert minutes(plan) == [55, 60, 65, 70]
    assert plan.steps == 3
    assert plan.notes == ()


def test_plan_of_a_model_of_several_archives_takes_the_test_block_in_this_one():
    """The other archive's block is of another year, or, in the second case, begins in this archive's time."""
    (mine,), (other,), (both,) = (trained(*ends).blocks for ends in ((60, 75), (10**6, 10**6 + 60), (70, 90)))
    model = replace(trained(0, 0), blocks=(other, mine))
    assert str(make_plan(AXIS, {"model": model}).period) == "2024-06-01T01:00 to 2024-06-01T01:15"
    model = replace(model, blocks=(other, mine, both))
    assert str(make_plan(AXIS, {"model": model}).period) == "2024-06-01T01:10 to 2024-06-01T01:15"


def test_plan_of_several_models_is_what_their_test_blocks_have_in_common():
    plan = make_plan(AXIS, {"a": trained(30, 75), "b": trained(60, 90, steps=5)})
    assert str(plan.period) == "2024-06-01T01:00 to 2024-06-01T01:15"
    assert plan.steps == 5
    with pytest.raises(ArgumentError, match="no time in common"):
        make_plan(AXIS, {"a": trained(0, 30), "b": trained(60, 90)})


def test_plan_without_a_model_is_the_whole_archive():
    plan = make_plan(AXIS, {"baseline": BASELINE})
    assert minutes(plan) == list(range(5, 115, 5))
    assert plan.steps == 12


def test_plan_of_a_model_whose_test_block_is_not_in_the_archive_is_the_whole_archive_with_a_note():
    models = {"model": trained(10_000, 20_000)}
    plan = make_plan(AXIS, models)
    assert minutes(plan) == list(range(5, 115, 5))
    (note,) = plan.notes
    assert "2024-06-07T22:40 to 2024-06-14T21:20, is not in the archive" in note
    assert make_plan(AXIS, models, start=at(60)).notes == plan.notes
    assert make_plan(AXIS, models, start=at(60), end=at(90)).notes == ()


def test_plan_with_start_and_end_is_that_period():
    plan = make_plan(AXIS, {"model": trained(60, 75)}, start=at(20), end=at(30))
    assert minutes(plan) == [15, 20, 25]


def test_plan_thinned_has_multiples_of_the_minutes():
    assert minutes(make_plan(AXIS, {"baseline": BASELINE}, every=30)) == [30, 60, 90]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ArgumentError, "--every: expected 1 minute or more, found 0"),
        (
            {"start": at(60), "end": at(50)},
            ArgumentError,
            "expected a start before the end, found .*1:00 and .*0:50$",
        ),
        ({"start": at(9999)}, ArgumentError, "found .* and .*, the last time that can be scored$"),
        ({"start": at(500), "end": at(600)}, FramesError, "found none in the archive, 2024-06-01T00:00 to"),
    ],
)
def test_plan_of_an_impossible_period_raises(options, error, message):
    with pytest.raises(error, match=message):
        make_plan(AXIS, {"baseline": BASELINE}, **options)
