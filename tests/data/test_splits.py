import numpy as np
import pytest

from stormcell.data.splits import Block, Window, split, usual_step, windows
from stormcell.errors import ArgumentError

MINUTES = np.timedelta64(5, "m")


def times(*minutes: int) -> np.ndarray:
    return np.datetime64("2024-06-01T00:00", "ns") + np.array(minutes) * np.timedelta64(1, "m")


def regular(count: int) -> np.ndarray:
    return times(*range(0, 5 * count, 5))


def test_windows_never_straddle_a_hole():
    given = times(0, 5, 10, 20, 25, 30, 35)
    everything = Block("2024-06-01T00:00", "2024-06-02T00:00")
    for window in windows(given, everything, inputs=2, steps=2, step=MINUTES):
        members = given[list(window.inputs + window.truths)]
        assert (np.diff(members) == MINUTES).all()
    found = windows(given, everything, inputs=2, steps=2, step=MINUTES)
    assert found == [Window((0, 1), (2,)), Window((3, 4), (5, 6)), Window((4, 5), (6,))]


def test_blocks_share_no_frame():
    given = regular(200)
    inputs, steps = 4, 6
    parts = split(given, inputs=inputs, validation="10%", test="20%")
    used = {}
    for name in ("train", "validation", "test"):
        found = windows(given, getattr(parts, name), inputs=inputs, steps=steps, step=MINUTES)
        used[name] = {k for w in found for k in w.inputs + w.truths}
        truths = {k for w in found for k in w.truths}
        assert getattr(parts, name).contains(given[sorted(truths)]).all()
    assert not used["train"] & used["validation"]
    assert not used["train"] & used["test"]
    assert not used["validation"] & used["test"]


def test_every_truth_of_the_test_block_is_forecast_at_lead_one():
    given = regular(40)
    parts = split(given, inputs=3, validation="30min", test="60min")
    found = windows(given, parts.test, inputs=3, steps=12, step=MINUTES)
    assert [w.truths[0] for w in found] == list(range(27, 40))
    assert len(found[0].truths) == 12


def test_a_block_ends_windows_early_rather_than_looking_beyond_it():
    given = regular(10)
    block = Block("2024-06-01T00:00", "2024-06-01T00:20")
    assert windows(given, block, inputs=2, steps=5, step=MINUTES)[-1] == Window((2, 3), (4,))


def test_the_time_step_is_the_most_common_one():
    assert usual_step(times(0, 5, 10, 60, 65)) == MINUTES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test": "sixty"}, 'test: expected a share or a duration ("15%", "60min"), found "sixty"'),
        ({"test": "100%"}, "expected at least 4 frames to train on"),
        ({"test": "0%"}, "1 each to validate and test"),
    ],
)
def test_impossible_splits_say_what_was_found(arguments, message):
    with pytest.raises(ArgumentError) as caught:
        split(regular(40), inputs=3, **arguments)
    assert message in str(caught.value)


def test_one_frame_has_no_time_step():
    with pytest.raises(ArgumentError, match="at least 2 frames, found 1"):
        usual_step(regular(1))
