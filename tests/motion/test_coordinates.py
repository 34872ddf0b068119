import numpy as np

from stormcell.motion.coordinates import forecast_to_fixed, inputs_to_moving, truths_to_moving

HEIGHT, WIDTH = 24, 30


def storm(shift_y: int, shift_x: int) -> np.ndarray:
    """A rough patch of rain, moved by whole pixels."""
    frame = np.zeros((HEIGHT, WIDTH), np.float32)
    rng = np.random.default_rng(0)
    frame[8 + shift_y : 14 + shift_y, 10 + shift_x : 17 + shift_x] = rng.uniform(1, 9, (6, 7))
    return frame


def uniform(dy: float, dx: float) -> np.ndarray:
    return np.stack([np.full((HEIGHT, WIDTH), dx), np.full((HEIGHT, WIDTH), dy)]).astype(np.float32)


def test_past_frames_are_carried_to_where_their_rain_is_now():
    past = np.stack([storm(-2, -4), storm(-1, -2), storm(0, 0)])
    moving = inputs_to_moving(past, uniform(1, 2))
    for frame in moving:
        inside = np.isfinite(frame)
        np.testing.assert_array_equal(frame[inside], storm(0, 0)[inside])
    assert np.isnan(moving[0][:, :4]).all()  # two steps ago this was beyond the edge
    assert np.isfinite(moving[0][2:, 4:]).all()


def test_future_frames_are_carried_back_to_where_their_rain_was():
    future = np.stack([storm(1, 2), storm(2, 4)])
    moving = truths_to_moving(future, uniform(1, 2))
    for frame in moving:
        inside = np.isfinite(frame)
        np.testing.assert_array_equal(frame[inside], storm(0, 0)[inside])
    assert np.isnan(moving[1][:, -4:]).all()


def test_a_crop_is_cut_from_the_whole():
    rng = np.random.default_rng(1)
    frames = rng.uniform(0, 9, (3, HEIGHT, WIDTH)).astype(np.float32)
    motion = rng.uniform(-2, 2, (2, HEIGHT, WIDTH)).astype(np.float32)
    rows, cols = slice(5, 15), slice(8, 28)
    for carry in (inputs_to_moving, truths_to_moving):
        np.testing.assert_array_equal(carry(frames, motion, rows, cols), carry(frames, motion)[:, rows, cols])


def test_a_forecast_travels_to_where_it_will_be():
    moving = np.stack([storm(0, 0), storm(0, 0)])
    fixed = forecast_to_fixed(moving, uniform(1, 2))
    np.testing.assert_array_equal(fixed, np.stack([storm(1, 2), storm(2, 4)]))


def test_what_flows_in_is_like_the_rain_at_the_edge():
    moving = np.zeros((1, HEIGHT, WIDTH), np.float32)
    moving[0, :, 0] = 7.0
    fixed = forecast_to_fixed(moving, uniform(0, 3))
    assert np.isfinite(fixed).all()
    assert (fixed[0, :, :4] == 7.0).all()
    assert (fixed[0, :, 4:] == 0).all()
