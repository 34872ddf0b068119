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


def to_fixed(moving, motion, **options):
    """Move a field for each lead time."""
    return np.stack([c(f) for c, f in zip(carriers(motion, len(moving), **options), moving, strict=True)])


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


@pytest.mark.parametrize("inflow", ["mean", "nan"])
def test_carriers_interior_equals_sampled_frame(inflow):
    moving, motion = noise()
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    fixed = to_fixed(moving, motion, inflow=inflow)
    for frame, path, found in zip(moving, displacements(motion, 3), fixed, strict=True):
        place_x, place_y = x + path[0], y + path[1]
        inside = (place_x >= 0) & (place_x <= WIDTH - 1) & (place_y >= 0) & (place_y <= HEIGHT - 1)
        assert 0 < inside.sum() < inside.size
        exact = np.stack([place_x - x, place_y - y])  # the displacement, rounded as the place is
        np.testing.assert_array_equal(found[inside], sample(frame, exact)[inside])
        assert np.isnan(found[~inside]).all() == (inflow == "nan")
        assert np.isfinite(found[~inside]).all() == (inflow == "mean")


def test_carriers_in_bands_equal_whole(monkeypatch):
    moving, motion = noise()
    whole = to_fixed(moving, motion)
    monkeypatch.setattr(advection, "BAND_PIXELS", 3 * WIDTH)
    np.testing.assert_array_equal(to_fixed(moving, motion), whole)


@pytest.mark.parametrize(("dy", "dx"), [(2, 0), (-2, 0), (0, 2), (0, -2)])
def test_carriers_bright_edge_pixel_makes_no_streak(dy, dx):
    """At d pixels from the edge its weight is that of a Gaussian over half a plane, 1 / (π d²)."""
    edge = {(2, 0): (0, 30), (-2, 0): (-1, 30), (0, 2): (30, 0), (0, -2): (30, -1)}[dy, dx]
    moving = np.zeros((4, 60, 60), np.float32)
    moving[:, *edge] = 100.0
    last = to_fixed(moving, np.float32([dx, dy])[:, None, None] * np.ones((60, 60), np.float32))[-1]
    towards = last[:, edge[1]][:: np.sign(dy) or 1] if dy else last[edge[0]][:: np.sign(dx) or 1]
    assert towards[8] == 100  # the bright pixel, four steps later
    # At a distance d that is a scale, the pixel's weight is that of the Gaussian's centre. A sum over the
    # pixels of half a Gaussian exceeds the integral by half a pixel, 0.4 / d of it; 1 % is cut off its tails.
    for d in (2, 4, 8):
        assert towards[8 - d] / 100 == pytest.approx(1 / (np.pi * d**2 * (1 + 0.4 / d)), rel=0.01)
    assert (np.diff(towards[:8]) > 0).all()


def test_carriers_far_inflow_is_mean_of_edge_region():
    rng = np.random.default_rng(3)
    moving = rng.uniform(2, 4, (1, 200, 200)).astype(np.float32)
    motion = np.stack([np.full((200, 200), 60), np.full((200, 200), 60)]).astype(np.float32)
    fixed = to_fixed(moving, motion)[0]
    # A mean of more than 1000 pixels, each uniform in 2 … 4 with standard deviation 0.58: 0.02 within one
    # standard deviation, five of which are allowed.
    np.testing.assert_allclose(fixed[:20, :20], 3, atol=0.1)
    # Two edges agree at the corner: there is no jump where the nearest edge changes.
    assert np.abs(np.diff(fixed[:20, :60])).max() < 0.1


def test_carriers_dry_stays_dry():
    assert not to_fixed(np.zeros((2, HEIGHT, WIDTH), np.float32), uniform(3, -2)).any()


@pytest.mark.parametrize("inflow", ["mean", "nan"])
def test_carriers_move_any_number_of_fields(inflow):
    moving, motion = noise()
    for carry in carriers(motion, 3, inflow):
        together = carry(moving)
        for field, moved in zip(moving, together, strict=True):
            # Means of the edge region may be summed in another order.
            np.testing.assert_allclose(carry(field), moved, rtol=1e-5)
        assert carry.outside.any()
        # Linear in the field, within float32; so probabilities stay monotone.
        np.testing.assert_allclose(carry(2 * moving), 2 * together, rtol=1e-5, atol=1e-5)


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
    np.testing.assert_allclose(carry(np.full((2, *shape), 5.0, np.float32)), 5.0, rtol=1e-6)


def test_carriers_know_where_rain_flows_in():
    for lead, carry in enumerate(carriers(uniform(1, 2), 3), start=1):
        inside = np.zeros((HEIGHT, WIDTH), bool)
        inside[lead:, 2 * lead :] = True
        np.testing.assert_array_equal(carry.outside, ~inside)
