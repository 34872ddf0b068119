import numpy as np
import pytest

from stormcell.data.splits import Block, Window, split, windows
from stormcell.data.time_axis import TimeAxis
from stormcell.errors import ArgumentError

STEP = np.timedelta64(5, "m")


def axis(*minutes: int) -> TimeAxis:
    return TimeAxis(np.datetime64("2024-06-01T00:00", "ns") + np.array(minutes) * np.timedelta64(1, "m"))


def regular(count: int) -> TimeAxis:
    return axis(*range(0, 5 * count, 5))


def test_windows_with_a_gap_in_the_archive_have_none():
    given = axis(0, 5, 10, 20, 25, 30, 35)
    everything = Block("2024-06-01T00:00", "2024-06-02T00:00")
    found = windows(given, everything, inputs=2, steps=2)
    for window in found:
        assert (np.diff(given.times[list(window.inputs + window.targets)]) == STEP).all()
    assert found == [Window((0, 1), (2,)), Window((3, 4), (5, 6)), Window((4, 5), (6,))]


def test_windows_of_different_blocks_share_no_frame():
    given = regular(200)
    inputs, steps = 4, 6
    parts = split(given, inputs=inputs, validation="10%", test="20%")
    used = {}
    for name in ("train", "validation", "test"):
        found = windows(given, getattr(parts, name), inputs=inputs, steps=steps)
        used[name] = {k for w in found for k in w.inputs + w.targets}
        targets = {k for w in found for k in w.targets}
        assert getattr(parts, name).contains(given.times[sorted(targets)]).all()
    assert not used["train"] & used["validation"]
    assert not used["train"] & used["test"]
    assert not used["validation"] & used["test"]


def test_windows_of_the_test_block_forecast_every_frame_at_the_first_lead_time():
    given = regular(40)
    parts = split(given, inputs=3, validation="30min", test="60min")
    found = windows(given, parts.test, inputs=3, steps=12)
    assert [w.targets[0] for w in found] == list(range(27, 40))
    assert len(found[0].targets) == 12


def test_windows_at_the_end_of_a_block_have_fewer_targets():
    block = Block("2024-06-01T00:00", "2024-06-01T00:20")
    assert windows(regular(10), block, inputs=2, steps=5)[-1] == Window((2, 3), (4,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test": "sixty"}, 'test: expected a share or a duration ("15%", "60min"), found "sixty"'),
        ({"test": "100%"}, "expected at least 4 frames to train on"),
        ({"test": "0%"}, "1 each to validate and test"),
    ],
)
def test_split_impossible_lengths_raise_and_name_what_was_found(arguments, message):
    with pytest.raises(ArgumentError) as caught:
        split(regular(40), inputs=3, **arguments)
    assert message in str(caught.value)
