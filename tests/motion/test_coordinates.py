import numpy as np
import pytest

from stormcell.motion import advection
from stormcell.motion.advection import displacements, sample
from stormcell.motion.coordinates import carriers, inputs_to_moving

HEIGHT, WIDTH = 24, 30


def storm(shift_y: int, shift_x: int) -> np.ndarray:
    """A rough patch of rain, moved by whole pixels."""
    frame = np.zeros((HEIGHT, WIDTH), np.float32)
    rng = np.random.default_rng(0)
    frame[8 + shift_y : 14 + shift_y, 10 + shift_x : 17 + shift_x] = rng.uniform(1, 9, (6, 7))
    return frame


def uniform(dy: float, dx: float) -> np.ndarray:
    return np.stack([np.full((HEIGHT, WIDTH), dx), np.full((HEIGHT, WIDTH), dy)]).astype(np.float32)


def test_inputs_to_moving_puts_past_rain_at_its_present_place():
    past = np.stack([storm(-2, -4), storm(-1, -2), storm(0, 0)])
    moving = inputs_to_moving(past, uniform(1, 2))
    for frame in moving:
        inside = np.isfinite(frame)
        np.testing.assert_array_equal(frame[inside], storm(0, 0)[inside])
    assert np.isnan(moving[0][:, :4]).all()  # two steps ago, this was outside the grid
    assert np.isfinite(moving[0][2:, 4:]).all()


def test_inputs_to_moving_area_equals_part_of_whole():
    rng = np.random.default_rng(1)
    frames = rng.uniform(0, 9, (3, HEIGHT, WIDTH)).astype(np.float32)
    motion = rng.uniform(-2, 2, (2, HEIGHT, WIDTH)).astype(np.float32)
    rows, cols = slice(5, 15), slice(8, 28)
    whole = inputs_to_moving(frames, motion)
    np.testing.assert_array_equal(inputs_to_moving(frames, motion, rows, cols), whole[:, rows, cols])


def to_fixed(moving, motion):
    """Move a field for each lead time."""
    return np.concatenate(
        [c.sample(f[None]) for c, f in zip(carriers(motion, len(moving)), moving, strict=True)]
    )


def test_carriers_put_rain_at_its_future_place():
    moving = np.stack([storm(0, 0), storm(0, 0)])
    fixed = to_fixed(moving, uniform(1, 2))
    expected = np.stack([storm(1, 2), storm(2, 4)])
    np.testing.assert_array_equal(fixed[:, 2:, 4:], expected[:, 2:, 4:])  # the rest flowed in from outside


def noise(seed=2):
    rng = np.random.default_rng(seed)
    return rng.gamma(0.5, 4, (3, HEIGHT, WIDTH)).astype(np.float32), rng.normal(
        size=(2, HEIGHT, WIDTH)
    ).astype(np.float32)


def test_carriers_interior_equals_sampled_frame():
    moving, motion = noise()
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    for carry, frame, path in zip(carriers(motion, 3), moving, displacements(motion, 3), strict=True):
        place_x, place_y = x + path[0], y + path[1]
        inside = (place_x >= 0) & (place_x <= WIDTH - 1) & (place_y >= 0) & (place_y <= HEIGHT - 1)
        assert 0 < inside.sum() < inside.size
        exact = np.stack([place_x - x, place_y - y])  # the displacement, rounded as the place is
        np.testing.assert_array_equal(carry.sample(frame[None])[0][inside], sample(frame, exact)[inside])
        np.testing.assert_array_equal(carry.outside, ~inside)
        far = np.hypot(
            np.maximum(0, np.maximum(-place_x, place_x - (WIDTH - 1))),
            np.maximum(0, np.maximum(-place_y, place_y - (HEIGHT - 1))),
        )
        np.testing.assert_allclose(carry.beyond, far[~inside], rtol=1e-6)


def test_carriers_in_bands_equal_whole(monkeypatch):
    moving, motion = noise()
    whole = to_fixed(moving, motion)
    monkeypatch.setattr(advection, "BAND_PIXELS", 3 * WIDTH)
    np.testing.assert_array_equal(to_fixed(moving, motion), whole)


def test_carriers_move_any_number_of_fields():
    moving, motion = noise()
    for carry in carriers(motion, 3):
        together = carry.sample(moving)
        for field, moved in zip(moving, together, strict=True):
            np.testing.assert_array_equal(carry.sample(field[None])[0], moved)
        assert carry.outside.any()


def test_carriers_move_a_frame_by_whole_pixels():
    for lead, carry in enumerate(carriers(uniform(1.2, 1.9), 3), start=1):
        moved = carry.nearest(storm(0, 0))
        np.testing.assert_array_equal(moved, storm(round(1.2 * lead), round(1.9 * lead)))
    # From outside comes the nearest pixel of the edge.
    bright = np.zeros((HEIGHT, WIDTH), np.float32)
    bright[5, 0] = 7.0
    assert next(carriers(uniform(0, 3), 1)).nearest(bright)[5].tolist() == [7.0] * 4 + [0.0] * (WIDTH - 4)


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1)])
def test_carriers_move_fields_of_a_single_row_or_column(shape):
    motion = np.full((2, *shape), 3.0, np.float32)
    (carry,) = carriers(motion, 1)
    np.testing.assert_allclose(carry.sample(np.full((2, *shape), 5.0, np.float32)), 5.0, rtol=1e-6)


def test_carriers_know_where_rain_flows_in():
    for lead, carry in enumerate(carriers(uniform(1, 2), 3), start=1):
        inside = np.zeros((HEIGHT, WIDTH), bool)
        inside[lead:, 2 * lead :] = True
        np.testing.assert_array_equal(carry.outside, ~inside)
