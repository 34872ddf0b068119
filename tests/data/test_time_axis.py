import numpy as np
import pytest

from stormcell.data.time_axis import TimeAxis, even_step, last_run
from stormcell.errors import ArchiveError, ArgumentError, FramesError


def times(*minutes: float) -> np.ndarray:
    seconds = (60 * np.array(minutes)).astype("timedelta64[s]")
    return np.datetime64("2024-06-01T00:00", "ns") + seconds


def test_time_axis_step_is_the_most_common_distance():
    assert TimeAxis(times(0, 5, 10, 60, 65)).step == np.timedelta64(5, "m")


def test_time_axis_step_of_one_time_raises():
    with pytest.raises(ArgumentError, match="requires at least 2 frames, found 1"):
        _ = TimeAxis(times(0)).step


def test_time_axis_missing_follows_the_most_common_step():
    axis = TimeAxis(times(0, 10, 20, 21, 31, 61))  # distances of 10, 10, 1, 10 and 30 minutes
    np.testing.assert_array_equal(axis.missing(), times(41, 51))


def test_time_axis_missing_of_a_wrong_century_raises():
    wrong = np.array(["1900-01-01", "2020-01-01T00:00", "2020-01-01T00:05", "2020-01-01T00:10"], "M8[s]")
    with pytest.raises(ArchiveError, match="found more than"):
        TimeAxis(wrong).missing()


@pytest.mark.parametrize(
    ("minutes", "position", "run"),
    [((0, 5, 10, 20, 25), 2, (0, 3)), ((0, 5, 10, 20, 25), 4, (3, 5)), ((0, 5, 20), 2, (2, 3))],
)
def test_time_axis_run_to_a_time_begins_after_the_last_gap(minutes, position, run):
    axis = TimeAxis(times(*minutes))
    assert axis.run_to(axis.times[position]) == slice(*run)


@pytest.mark.parametrize(
    ("minutes", "length"), [((), 0), ((0,), 1), ((0, 5), 2), ((0, 5, 10, 20, 25), 3), ((0, 10, 15, 20), 3)]
)
def test_time_axis_longest_run_counts_times_without_a_gap(minutes, length):
    assert TimeAxis(times(*minutes)).longest_run == length


@pytest.mark.parametrize(
    ("minutes", "count"),
    [
        ([], 0),
        ([0], 1),
        ([0, 5, 10], 3),
        ([0, 5, 15, 20, 25], 3),
        ([*range(0, 60, 5), 10080], 1),  # a week later
        ([*range(0, 600, 10), *range(600, 635, 5)], 7),  # another step since then
        ([*range(0, 60, 10), 60, 65], 1),
        ([*range(0, 60, 10), 60, 65, 70], 3),  # no missing frame explains a shorter step
        ([*range(0, 60, 5), 65, 75], 1),  # two are missing
        ([*range(0, 60, 5), 65, 75, 85], 4),  # a longer step since then
    ],
)
def test_last_run_counts_the_times_after_the_last_gap(minutes, count):
    assert last_run(np.array(minutes, "timedelta64[m]") + np.datetime64("2024-06-01T00:00")) == count


def test_even_step_even_times_is_their_distance():
    assert even_step(times(0, 5, 10)) == np.timedelta64(5, "m")
    assert even_step(times(0, 0.5, 1)) == np.timedelta64(30, "s")


def test_even_step_gap_raises_and_names_it():
    with pytest.raises(
        FramesError, match="one every 5 min, found a gap between 2024-06-01T00:05 and 2024-06-01T00:20"
    ):
        even_step(times(0, 5, 20))


def test_even_step_decreasing_times_raises_and_names_them():
    with pytest.raises(FramesError, match="found 2024-06-01T00:05 after 2024-06-01T00:10"):
        even_step(times(0, 10, 5))


def test_even_step_one_frame_raises():
    with pytest.raises(FramesError, match="expected at least 2 for a time step, found 1"):
        even_step(times(0))
