import numpy as np
import pytest

from stormcell.errors import ArgumentError
from stormcell.motion import advection
from stormcell.motion.advection import (
    area_displacements,
    displacements,
    extrapolate,
    row_bands,
    sample,
    sample_nearest,
)


def uniform(dx, dy, shape=(24, 30)):
    return np.stack([np.full(shape, dx), np.full(shape, dy)]).astype(np.float32)


def all_displacements(motion, steps, **area):
    return np.stack(list(displacements(motion, steps, **area)))


def rotation(angle, shape):
    """The velocity of a rotation about the centre by an angle per step, and its exact displacements."""
    height, width = shape
    centre = complex((width - 1) / 2, (height - 1) / 2)
    y, x = np.mgrid[:height, :width]
    place = x + 1j * y

    def turned(steps):
        return centre + (place - centre) * np.exp(1j * angle * steps) - place

    velocity = 1j * angle * (place - centre)
    return np.stack([velocity.real, velocity.imag]).astype(np.float32), turned


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (0, 3), (-1, 2), (-3, -2)])
def test_extrapolate_whole_pixels_is_exact(dx, dy):
    frame = np.random.default_rng(0).gamma(1, size=(24, 30)).astype(np.float32)
    forecast = extrapolate(frame, uniform(dx, dy), 4)
    for lead in range(1, 5):
        expected = np.full_like(frame, np.nan)
        for row in range(24):
            for col in range(30):
                from_row, from_col = row - lead * dy, col - lead * dx
                if 0 <= from_row < 24 and 0 <= from_col < 30:
                    expected[row, col] = frame[from_row, from_col]
        np.testing.assert_array_equal(forecast[lead - 1], expected)


def test_extrapolate_zero_motion_changes_nothing():
    frame = np.random.default_rng(0).gamma(1, size=(24, 30)).astype(np.float32)
    frame[3:9, 4:7] = np.nan
    np.testing.assert_array_equal(extrapolate(frame, uniform(0, 0), 2), [frame, frame])


def test_extrapolate_half_pixel_is_mean_of_two():
    frame = np.random.default_rng(1).gamma(1, size=(24, 30)).astype(np.float32)
    forecast = extrapolate(frame, uniform(0.5, 0), 1)[0]
    # Two roundings of float32 on values up to about ten.
    np.testing.assert_allclose(forecast[:, 1:], (frame[:, 1:] + frame[:, :-1]) / 2, rtol=1e-6)
    assert np.isnan(forecast[:, 0]).all()


def test_displacements_rotation_follow_the_circle():
    shape, angle = (81, 101), np.deg2rad(3)
    motion, turned = rotation(angle, shape)
    paths = all_displacements(motion, 12)
    inner = np.s_[20:61, 30:71]  # trajectories from here never leave the grid
    for lead in (1, 6, 12):
        exact = turned(-lead)[inner]
        off = np.hypot(paths[lead - 1, 0][inner] - exact.real, paths[lead - 1, 1][inner] - exact.imag)
        # A step of the midpoint rule is -ia - a²/2 times the radius, where the turn is exp(-ia) - 1: they
        # differ by a³/6 of a radius of at most 29, and bilinear reading of a linear field adds rounding only.
        assert off.max() < lead * 29 * angle**3 / 6 + 1e-3


def test_displacements_rotation_bound_excludes_straight_lines():
    """The bound of the test above is tight enough to exclude a single Euler step."""
    shape, angle = (81, 101), np.deg2rad(3)
    motion, turned = rotation(angle, shape)
    y, x = 25, 50
    exact = turned(-12)[y, x]
    straight = -12 * motion[:, y, x]
    assert np.hypot(straight[0] - exact.real, straight[1] - exact.imag) > 12 * 29 * angle**3 / 6 + 1e-3


def test_displacements_forth_and_back_return_to_start():
    shape = (81, 101)
    motion, _ = rotation(np.deg2rad(2), shape)
    back, forth = all_displacements(motion, 6)[-1], all_displacements(-motion, 6)[-1]
    inner = np.s_[20:61, 30:71]
    returned = np.stack([sample(component, back) for component in forth])
    # Both directions err by 6 steps of a³/6 of the radius, as above.
    assert np.abs(back + returned)[:, *inner].max() < 2 * 6 * 29 * np.deg2rad(2) ** 3 / 6 + 1e-3


def test_displacements_and_sample_area_equals_part_of_whole():
    rng = np.random.default_rng(2)
    motion = rng.normal(size=(2, 40, 50)).astype(np.float32)
    frame = rng.gamma(1, size=(40, 50)).astype(np.float32)
    rows, cols = slice(7, 23), slice(11, 48)
    whole = all_displacements(motion, 3)
    cropped = all_displacements(motion, 3, rows=rows, cols=cols)
    np.testing.assert_array_equal(cropped, whole[:, :, rows, cols])
    np.testing.assert_array_equal(
        sample(frame, cropped[-1], rows=rows, cols=cols), sample(frame, whole[-1])[rows, cols]
    )


def test_extrapolate_in_bands_equals_whole(monkeypatch):
    rng = np.random.default_rng(3)
    motion = 3 * rng.normal(size=(2, 40, 50)).astype(np.float32)
    frame = rng.gamma(1, size=(40, 50)).astype(np.float32)
    frame[5:9, 7:20] = np.nan
    whole = extrapolate(frame, motion, 4)
    monkeypatch.setattr(advection, "BAND_PIXELS", 170)
    assert row_bands(40, 50)[-1] == slice(39, 40)
    np.testing.assert_array_equal(extrapolate(frame, motion, 4), whole)


def interpolate_one_by_one(frame, x, y):
    """Bilinear interpolation by its definition, in float64; NaN outside the grid and next to NaN."""
    read = np.full(x.shape, np.nan)
    for at in np.ndindex(x.shape):
        left, top = int(np.floor(x[at])), int(np.floor(y[at]))
        value = 0.0
        for row, col in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            weight = (1 - abs(x[at] - col)) * (1 - abs(y[at] - row))
            if weight > 0:
                inside = 0 <= row < frame.shape[0] and 0 <= col < frame.shape[1]
                value += weight * frame[row, col] if inside else np.nan
        read[at] = value
    return read


@pytest.mark.parametrize(
    ("rows", "cols", "towards"),
    [
        (slice(0, 9), slice(0, 9), (-4, -4)),
        (slice(31, 40), slice(41, 50), (4, 4)),
        (slice(15, 25), slice(20, 30), (0, 0)),
        (slice(0, 40), slice(0, 50), (0, 0)),
        (slice(0, 5), slice(20, 30), (0, -60)),
        (slice(30, 40), slice(20, 30), (80, 0)),
    ],
)
def test_sample_places_inside_and_beyond_edges_equals_definition(rows, cols, towards):
    rng = np.random.default_rng(4)
    frame = rng.gamma(1, size=(40, 50)).astype(np.float32)
    frame[rng.random(frame.shape) < 0.02] = np.nan
    y, x = np.mgrid[rows, cols]
    # OpenCV rounds places to 1/32 of a pixel, which these are already.
    displacement = rng.integers(-256, 257, (2, *y.shape)) / 32 + np.array(towards)[:, None, None]
    expected = interpolate_one_by_one(frame, x + displacement[0], y + displacement[1])
    found = sample(frame, displacement.astype(np.float32), rows=rows, cols=cols)
    # A sum of four products in float32, divided by one of weights.
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_sample_large_frame_reads_only_nearby_pixels(monkeypatch):
    read, sizes = advection._bilinear, []
    monkeypatch.setattr(advection, "_bilinear", lambda f, *more: sizes.append(f.shape) or read(f, *more))
    rows, cols = slice(50, 60), slice(300, 320)
    sample(np.ones((400, 500), np.float32), uniform(3, -2, (10, 20)), rows=rows, cols=cols)
    # From the first place to the last, with a margin of a pixel on each side and one for rounding up.
    assert sizes
    assert all(10 <= height <= 13 and 20 <= width <= 23 for height, width in sizes)


def test_extrapolate_beside_unobserved_is_nan_and_no_further():
    frame = np.ones((9, 9), np.float32)
    frame[4, 4] = np.nan
    by_half = extrapolate(frame, uniform(0.5, 0, (9, 9)), 1)[0]
    expected = np.zeros((9, 9), bool)
    expected[4, 4:6] = True
    expected[:, 0] = True
    np.testing.assert_array_equal(np.isnan(by_half), expected)


def test_extrapolate_negligible_weight_of_unobserved_is_ignored():
    frame = np.ones((9, 9), np.float32)
    frame[4, 4] = np.nan
    by_a_rounding = extrapolate(frame, uniform(1 + 1e-6, 0, (9, 9)), 1)[0]
    expected = np.zeros((9, 9), bool)
    expected[4, 5] = True
    expected[:, 0] = True
    np.testing.assert_array_equal(np.isnan(by_a_rounding), expected)
    np.testing.assert_array_equal(by_a_rounding[~expected], 1)


def test_extrapolate_conserves_rain_and_sign():
    frame = np.zeros((60, 70), np.float32)
    frame[25:35, 30:40] = np.random.default_rng(3).gamma(1, size=(10, 10))
    forecast = extrapolate(frame, uniform(1.3, -0.7, (60, 70)), 5)
    assert np.nanmin(forecast) == 0
    # A shift by a fraction spreads each pixel over four with weights that sum to one.
    np.testing.assert_allclose(np.nansum(forecast, axis=(1, 2)), frame.sum(), rtol=1e-5)


def test_extrapolate_dry_stays_dry():
    forecast = extrapolate(np.zeros((24, 30), np.float32), uniform(2.5, 1.5), 3)
    assert np.nanmax(forecast) == 0


def test_area_displacements_in_bands_equal_whole(monkeypatch):
    motion = np.random.default_rng(0).normal(0, 2, (2, 40, 30)).astype(np.float32)
    whole = all_displacements(motion, 4)
    monkeypatch.setattr(advection, "BAND_PIXELS", 100)
    in_bands = np.stack([path.copy() for path in area_displacements(motion, 4)])
    np.testing.assert_array_equal(in_bands, whole)


@pytest.mark.parametrize("steps", [0, 1])
def test_displacements_and_extrapolate_give_number_of_steps(steps):
    assert [path.shape for path in displacements(uniform(1, 0), steps)] == steps * [(2, 24, 30)]
    assert extrapolate(np.zeros((24, 30), np.float32), uniform(1, 0), steps).shape == (steps, 24, 30)


def test_advection_mismatched_arguments_raise():
    frame = np.zeros((24, 30), np.float32)
    with pytest.raises(ArgumentError, match=r"motion: expected shape \(2, 24, 30\), found \(2, 30, 24\)"):
        extrapolate(frame, uniform(1, 0, (30, 24)), 1)
    with pytest.raises(ArgumentError, match="displacement: expected shape"):
        sample(frame, uniform(1, 0)[:, :5])
    with pytest.raises(ArgumentError, match=r"expected shape \(2, y, x\)"):
        next(displacements(frame, 1))
    with pytest.raises(ArgumentError, match="finite"):
        next(displacements(uniform(np.nan, 0), 1))
    with pytest.raises(ArgumentError, match="displacement: expected finite numbers"):
        sample(frame, uniform(0, np.inf))


def test_sample_nearest_reads_the_nearest_pixel_of_each_place():
    """By hand: the place is rounded, a half to the even number, and outside the grid there is nothing."""
    rng = np.random.default_rng(0)
    frame = rng.gamma(1, size=(24, 30)).astype(np.float32)
    frame[3:5, 6:9] = np.nan
    shift = rng.uniform(-4, 4, (2, 24, 30)).astype(np.float32)
    shift[:, ::3] = np.round(2 * shift[:, ::3]) / 2
    found = sample_nearest(frame, shift)
    for row, col in np.ndindex(24, 30):
        from_col, from_row = round(float(col + shift[0, row, col])), round(float(row + shift[1, row, col]))
        inside = 0 <= from_row < 24 and 0 <= from_col < 30
        expected = frame[from_row, from_col] if inside else np.nan
        np.testing.assert_array_equal(found[row, col], expected)


def test_sample_nearest_of_an_area_equals_part_of_whole():
    rng = np.random.default_rng(1)
    frame, shift = rng.gamma(1, size=(24, 30)).astype(np.float32), rng.uniform(-4, 4, (2, 24, 30))
    rows, cols = slice(5, 15), slice(8, 28)
    part = sample_nearest(frame, shift[:, rows, cols].astype(np.float32), rows=rows, cols=cols)
    np.testing.assert_array_equal(part, sample_nearest(frame, shift.astype(np.float32))[rows, cols])


def test_sample_nearest_of_another_shape_is_refused():
    with pytest.raises(ArgumentError, match=r"displacement: expected shape \(2, 24, 30\)"):
        sample_nearest(np.zeros((24, 30), np.float32), np.zeros((2, 24, 29), np.float32))
