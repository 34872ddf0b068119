"""Rain that is known at the issue time."""

import numpy as np

from stormcell.forecast.known_rain import known_rain
from stormcell.motion.coordinates import rain_to_moving

MOTION = np.stack([np.full((32, 48), 5.0), np.zeros((32, 48))]).astype(np.float32)


def rates() -> np.ndarray:
    return np.random.default_rng(5).gamma(0.5, 4, (4, 32, 48)).astype(np.float32)


def test_frames_are_replaced_by_those_before_where_the_newest_have_a_gap():
    frames = rates()
    frames[-1, 8:20, 20:40] = np.nan
    frames[-2, 8:14, 20 - 5 : 40 - 5] = np.nan  # the upper half of the same rain
    moved = rain_to_moving(frames, MOTION)
    expected = moved.copy()
    expected[1:, 14:20, 20:40] = moved[:-1, 14:20, 20:40]
    expected[2:, 8:14, 20:40] = moved[:-2, 8:14, 20:40]
    expected[0, 8:20, 20:40], expected[1, 8:14, 20:40] = np.nan, np.nan
    np.testing.assert_array_equal(known_rain(frames, MOTION), expected)
    assert np.isfinite(expected[-1]).all()


def test_a_gap_of_an_older_frame_only_changes_nothing():
    frames = rates()
    frames[-2, 8:14, 15:35] = np.nan
    np.testing.assert_array_equal(known_rain(frames, MOTION), rain_to_moving(frames, MOTION))


def test_gaps_of_all_frames_stay():
    frames = rates()
    frames[:, :, 20:30] = np.nan
    known, moved = known_rain(frames, MOTION), rain_to_moving(frames, MOTION)
    np.testing.assert_array_equal(known, moved)
    assert np.isfinite(moved[-2, :, 20:25]).all()  # rain that has moved into the gap


def test_what_has_moved_in_from_outside_stays_unknown():
    frames = rates()
    frames[-1, :, :20] = np.nan
    known = np.isfinite(known_rain(frames, MOTION)[-1])
    assert not known[:, :5].any()
    assert known[:, 5:].all()


def test_a_part_of_the_grid_is_that_of_the_whole():
    frames = rates()
    frames[-1, 8:20, 20:40] = np.nan
    part = known_rain(frames, MOTION, slice(4, 28), slice(16, 48))
    np.testing.assert_array_equal(part, known_rain(frames, MOTION)[:, 4:28, 16:48])
