import numpy as np
import pytest

from stormcell.data.splits import Block, Window, split, steps_between, window_table, windows
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


def by_search(given: TimeAxis, block: Block, inputs: int, steps: int, step: np.timedelta64) -> list[Window]:
    """Search windows time by time."""
    at = {time: k for k, time in enumerate(given.times)}
    inside = block.contains(given.times)
    found = []
    for issue in given.times:
        before = [at.get(issue - k * step) for k in range(inputs - 1, -1, -1)]
        if None in before or given.times[before[0]] < np.datetime64(block.start) - inputs * step:
            continue
        after = []
        for k in range(1, steps + 1):
            position = at.get(issue + k * step)
            if position is None or not inside[position]:
                break
            after.append(position)
        if after:
            found.append(Window(tuple(before), tuple(after)))
    return found


@pytest.mark.parametrize("every", [1, 2, 3])
def test_window_table_has_the_windows_that_a_search_by_time_finds(every):
    """With random gaps, and no frames between the time steps."""
    minutes = 5 * np.flatnonzero(np.random.default_rng(0).random(200) < 0.9)
    given = axis(*minutes)
    assert given.step == STEP
    block = Block("2024-06-01T05:00", "2024-06-01T11:00")
    table = window_table(given, block, inputs=3, steps=4, every=every)
    expected = by_search(given, block, 3, 4, every * STEP)
    assert sorted(table, key=lambda window: window.issue) == sorted(expected, key=lambda window: window.issue)
    assert sorted(table.issues) == sorted(window.issue for window in expected)
    assert table.frames().tolist() == sorted({k for w in expected for k in w.inputs + w.targets})


def test_window_table_of_a_block_without_windows_is_empty():
    table = window_table(regular(3), Block("2030-01-01", "2030-01-02"), inputs=2, steps=2)
    assert (len(table), list(table), table.frames().tolist()) == (0, [], [])


@pytest.mark.parametrize("every", [1, 3])
def test_window_table_of_different_blocks_shares_no_frame(every):
    given = regular(300)
    parts = split(given, inputs=4 * every, validation="20%", test="20%")
    used = [
        set(window_table(given, block, inputs=4, steps=6, every=every).frames().tolist())
        for block in (parts.train, parts.validation, parts.test)
    ]
    assert all(used)
    assert not used[0] & used[1]
    assert not used[1] & used[2]


def test_split_of_a_varying_step_has_gaps_of_time_steps():
    """Frames every 5 min, and every minute around the border of the training block."""
    given = axis(*range(0, 500, 5), *range(500, 530), *range(530, 1000, 5))
    parts = split(given, inputs=6, validation="36%", test="10%")
    assert np.datetime64(parts.train.end) < np.datetime64(parts.validation.start) - 6 * STEP


@pytest.mark.parametrize(("minutes", "every"), [(None, 1), (5, 1), (10, 2), (15.0, 3)])
def test_steps_between_counts_time_steps(minutes, every):
    assert steps_between(regular(9), minutes, "a.zarr") == every


@pytest.mark.parametrize("minutes", [4, 7.5, 2.5, 12])
def test_steps_between_of_a_step_that_does_not_divide_names_the_archive(minutes):
    with pytest.raises(ArgumentError) as caught:
        steps_between(regular(9), minutes, "a.zarr")
    assert str(caught.value).startswith(f"a.zarr: expected a time step that divides {minutes:g} min, found 5")
