"""MovingMNIST++, compared with a loop like HKO-7's generator: step by step, with cropped digits."""

import numpy as np
import pytest
from scipy import ndimage, stats

from stormcell.errors import ArgumentError
from stormcell.experiments.moving_mnist import MovingDigitsPlus, counter_rng
from stormcell.motion.advection import sample

UNLIKELY = 1e-4  # significance level: a test rejects a true hypothesis once in ten thousand times


@pytest.fixture(scope="module")
def digits():
    """Blots, each black outside its own bounding box."""
    draw = np.random.default_rng(8)
    images = np.zeros((30, 28, 28), np.uint8)
    for image in images:
        top, left = draw.integers(2, 8, 2)
        bottom, right = draw.integers(18, 27, 2)
        image[top:bottom, left:right] = draw.integers(1, 256, (bottom - top, right - left))
    return images


def bilinear(image, x, y):
    """Interpolate an image with a black surrounding."""
    column, row = int(np.floor(x)), int(np.floor(y))
    total = 0.0
    for r, c, weight in (
        (row, column, (1 - (y - row)) * (1 - (x - column))),
        (row, column + 1, (1 - (y - row)) * (x - column)),
        (row + 1, column, (y - row) * (1 - (x - column))),
        (row + 1, column + 1, (y - row) * (x - column)),
    ):
        if 0 <= r < image.shape[0] and 0 <= c < image.shape[1]:
            total += weight * float(image[r, c])
    return total


def slow(moving, numbers):
    """Return one sequence from its random numbers: a list of float frames."""
    size, per_digit = moving.size, numbers[:-1].reshape(moving.digits, 7)
    between = lambda bounds, share: bounds[0] + share * (bounds[1] - bounds[0])  # noqa: E731
    dimming = between(moving.dimming, numbers[-1])
    light, frames = 1.0, [np.zeros((size, size)) for _ in range(moving.frames)]
    lights = [1.0]
    for t in range(1, moving.frames):
        light = light / dimming if t // 5 % 2 else light * dimming
        lights.append(light)
    for which, column, row, direction, speed, turn, growth in per_digit:
        image = moving.images[int(which * len(moving.images))]
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = image.shape
        x, y = column * (size - width) + width / 2, row * (size - height) + height / 2
        pace, heading = between(moving.speed, speed), 2 * np.pi * direction
        dx, dy = pace * np.cos(heading), pace * np.sin(heading)
        angle, scale = 0.0, 1.0
        rate, factor = between(moving.turn, turn), between(moving.growth, growth)
        for t in range(moving.frames):
            if t:
                x, y, angle = x + dx, y + dy, angle + rate
                scale = scale * factor if t // 5 % 2 else scale / factor
                if not 10 < x < size - 10:
                    x, dx = min(max(x, 10), size - 10), -dx
                if not 10 < y < size - 10:
                    y, dy = min(max(y, 10), size - 10), -dy
            cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
            for r in range(size):
                for c in range(size):
                    # Undo the rotation, anticlockwise on the screen, because rows count downwards.
                    u = (cos * (c - x) - sin * (r - y)) / scale + width / 2
                    v = (sin * (c - x) + cos * (r - y)) / scale + height / 2
                    frames[t][r, c] = max(frames[t][r, c], lights[t] * bilinear(image, u, v))
    return np.minimum(frames, 255)


def test_batch_equals_a_plain_loop(digits):
    moving = MovingDigitsPlus(digits, digits=2, frames=13, size=40)
    batch = moving.batch(3, 5, 2)
    for k in range(2):
        expected = slow(moving, counter_rng.uniforms(3, 5 + k, 1, 15)[0])
        error = np.abs(batch[k] - expected)
        # OpenCV may round positions to 1/32 pixel: an error of at most 1/64 on both axes. Neighbouring pixels
        # differ by at most 255, the brightness factor is at most 1/0.6, and frames are then rounded.
        assert error.max() <= 2 * 255 / 64 / 0.6 + 0.5
        # The rounding error is uniform: 0.25 on average at lit pixels.
        assert error.mean() < 0.3
        assert expected.max() == 255
        assert expected.mean() > 20


def test_turns_defaults_are_in_range_and_uniform(digits):
    moving = MovingDigitsPlus(digits)
    turns = moving.turns(0, 0, 300)
    assert turns.which.shape == (300, 3)
    assert turns.affine.shape == (300, 21, 3, 2, 3)
    assert turns.light.shape == (300, 20)
    scale = np.sqrt(np.linalg.det(turns.affine[..., :2]))
    # Four frames of shrinking or growing by at most 1.1, and one frame in the other direction.
    assert scale.max() <= 1.1**4 * (1 + 1e-12)
    assert scale.min() >= 1.1**-4 * (1 - 1e-12)
    np.testing.assert_allclose(scale[:, 0], 1, rtol=1e-12)
    np.testing.assert_allclose(scale[:, 4] * scale[:, 9] ** 4, 1, rtol=1e-12)
    np.testing.assert_allclose(turns.light[:, 4] * turns.light[:, 9] ** 4, 1, rtol=1e-12)
    dimming = turns.light[:, 1]
    assert stats.kstest(dimming, stats.uniform(0.6, 0.4).cdf).pvalue > UNLIKELY
    growth = 1 / scale[:, 1].ravel()
    assert stats.kstest(growth, stats.uniform(1 / 1.1, 1.1 - 1 / 1.1).cdf).pvalue > UNLIKELY
    turned = np.degrees(np.arctan2(turns.affine[:, 1, :, 0, 1], turns.affine[:, 1, :, 0, 0])).ravel()
    assert stats.kstest(turned, stats.uniform(-30, 60).cdf).pvalue > UNLIKELY


def test_batch_sequences_do_not_depend_on_the_batch_size(digits):
    moving = MovingDigitsPlus(digits, frames=6)
    frames, flow = moving.with_motion(2, 10, 5)
    np.testing.assert_array_equal(moving.batch(2, 10, 5), frames)
    later, later_flow = moving.with_motion(2, 13, 2)
    np.testing.assert_array_equal(later, frames[3:])
    np.testing.assert_array_equal(later_flow, flow[3:])
    assert moving.batch(2, 10, 0).shape == (0, 6, 64, 64)
    assert not np.array_equal(MovingDigitsPlus(digits, frames=6, stream=1).batch(2, 10, 5), frames)


class TestMotion:
    def test_motion_of_a_straight_path_is_the_velocity(self, digits):
        moving = MovingDigitsPlus(digits, digits=1, turn=(0, 0), growth=(1, 1), speed=(2.0, 2.0))
        _, flow = moving.with_motion(1, 0, 20)
        middle = moving.turns(1, 0, 20).affine[:, :, 0, :, 2]  # the motion of this offset is the digit's
        for k in range(20):
            for t in range(20):
                lit = np.abs(flow[k, t]).sum(0) > 0
                assert lit.any()
                # A difference of float64 numbers near 64, rounded to float32.
                here = flow[k, t][:, lit]
                moved = (middle[k, t + 1] - middle[k, t])[:, None]
                np.testing.assert_allclose(here, np.broadcast_to(moved, here.shape), rtol=0, atol=1e-6)

    def test_motion_of_a_rotation_in_place_is_the_rotation(self):
        image = np.zeros((1, 28, 28), np.uint8)
        image[0, 8:20, 8:20] = 200
        moving = MovingDigitsPlus(image, digits=1, turn=(12, 12), growth=(1, 1), dimming=(1, 1), speed=(0, 0))
        centres = counter_rng.uniforms(6, 0, 20, 8)[:, 1:3] * 52 + 6
        # A digit nearer to the edge would be moved away from it.
        k = int(np.flatnonzero(((centres > 10) & (centres < 54)).all(1))[0])
        x, y = centres[k]
        frames, flow = moving.with_motion(6, k, 1)
        rows, columns = np.nonzero(frames[0, 3])
        turn = np.radians(12)
        # Anticlockwise on the screen: the right side moves up, to smaller rows.
        ahead_x = x + np.cos(turn) * (columns - x) + np.sin(turn) * (rows - y)
        ahead_y = y - np.sin(turn) * (columns - x) + np.cos(turn) * (rows - y)
        found = flow[0, 3][:, rows, columns]
        np.testing.assert_allclose(found, [ahead_x - columns, ahead_y - rows], rtol=0, atol=1e-5)

    def test_motion_warps_the_next_frame_to_this_one(self):
        y, x = np.mgrid[:28, :28]
        blob = 250 * np.exp(-(((x - 11) / 5) ** 2) - ((y - 14) / 3) ** 2)
        smooth = np.where(blob > 2, blob, 0).astype(np.uint8)[None]
        moving = MovingDigitsPlus(smooth, digits=1, dimming=(1, 1))
        frames, flow = moving.with_motion(9, 0, 4)
        here, still = [], []
        for k in range(4):
            for t in range(19):
                following = frames[k, t + 1].astype(np.float32)
                warped = sample(following, flow[k, t])
                lit = (frames[k, t] > 0) & np.isfinite(warped)  # NaN: the path leaves the frame
                here.append(np.abs(warped - frames[k, t])[lit].mean())
                still.append(np.abs(following - frames[k, t])[lit].mean())
        # Interpolating twice smooths the frame, but a wrong motion causes a much larger error.
        assert np.mean(here) < 4
        assert np.mean(still) > 5 * np.mean(here)

    def test_motion_is_the_brightest_digit_s_and_zero_elsewhere(self, digits):
        moving = MovingDigitsPlus(
            digits, digits=3, turn=(0, 0), growth=(1, 1), speed=(1.0, 3.0), dimming=(1, 1)
        )
        frames, flow = moving.with_motion(4, 0, 6)
        # The edge of a digit may be rounded to black.
        dark = ndimage.maximum_filter(frames, (1, 1, 3, 3)) == 0
        assert not flow.swapaxes(1, 2)[np.broadcast_to(dark[:, None], (6, 2, 20, 64, 64))].any()
        affine = moving.turns(4, 0, 6).affine
        steps = affine[:, 1:, :, :, 2] - affine[:, :-1, :, :, 2]
        for k in range(6):
            rows, columns = np.nonzero(frames[k, 2])
            distance = np.abs(flow[k, 2][:, rows, columns].T[:, None] - steps[k, 2][None]).sum(-1)
            assert (distance.min(1) < 1e-5).all()
            # The digit of a pixel is the brightest of the three at that pixel.
            which = moving.turns(4, k, 1).which[0]
            for row, column, digit in zip(rows, columns, distance.argmin(1), strict=True):
                places = [np.array([column, row]) - affine[k, 2, d, :, 2] for d in range(3)]
                values = [bilinear(digits[w], *place) for w, place in zip(which, places, strict=True)]
                # As above: 1/64 pixel on both axes, for each of the two values compared.
                assert values[digit] >= max(values) - 4 * 255 / 64


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"digits": 0}, "1 or more digits and frames"),
        ({"size": 20}, "wider than 28 pixels"),
        ({"speed": (-1.0, 1.0)}, "speed from lowest to highest"),
        ({"turn": (30.0, -30.0)}, "turn from lowest to highest"),
        ({"growth": (0.0, 1.0)}, "growth from lowest to highest"),
        ({"dimming": (0.5, float("inf"))}, "dimming from lowest to highest"),
    ],
)
def test_moving_digits_plus_invalid_arguments_raise(digits, wrong, message):
    with pytest.raises(ArgumentError, match=message):
        MovingDigitsPlus(digits, **wrong)
