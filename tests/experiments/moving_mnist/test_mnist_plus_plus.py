"""HKO-7's variants, against a loop that goes as its generator does: step by step, with digits cut out."""

import numpy as np
import pytest
from scipy import ndimage, stats

from stormcell.errors import ArgumentError
from stormcell.experiments.moving_mnist import MovingDigitsPlus, counter_rng
from stormcell.motion.advection import sample

UNLIKELY = 1e-4  # a true hypothesis is rejected by one test in ten thousand


@pytest.fixture(scope="module")
def digits():
    """Blots, each black beyond a box of its own."""
    draw = np.random.default_rng(8)
    images = np.zeros((30, 28, 28), np.uint8)
    for image in images:
        top, left = draw.integers(2, 8, 2)
        bottom, right = draw.integers(18, 27, 2)
        image[top:bottom, left:right] = draw.integers(1, 256, (bottom - top, right - left))
    return images


def bilinear(image, x, y):
    """The image between its pixels, and black around them."""
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
    """One sequence from its random numbers: a list of float frames."""
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
        pace, way = between(moving.speed, speed), 2 * np.pi * direction
        dx, dy = pace * np.cos(way), pace * np.sin(way)
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
                    # Back by the turn, which is anticlockwise as seen, with rows that count downwards.
                    u = (cos * (c - x) - sin * (r - y)) / scale + width / 2
                    v = (sin * (c - x) + cos * (r - y)) / scale + height / 2
                    frames[t][r, c] = max(frames[t][r, c], lights[t] * bilinear(image, u, v))
    return np.minimum(frames, 255)


def test_it_is_the_loop(digits):
    moving = MovingDigitsPlus(digits, digits=2, frames=13, size=40)
    batch = moving.batch(3, 5, 2)
    for k in range(2):
        expected = slow(moving, counter_rng.uniforms(3, 5 + k, 1, 15)[0])
        error = np.abs(batch[k] - expected)
        # OpenCV may round where it reads to 1/32 pixel: off by at most 1/64 on both axes. The brightest pixel
        # is 255 brighter than its neighbour, and lit by at most 1/0.6; then frames are rounded.
        assert error.max() <= 2 * 255 / 64 / 0.6 + 0.5
        # Rounding spreads evenly over 1, which is .25 on average where pixels are lit.
        assert error.mean() < 0.3
        assert expected.max() == 255
        assert expected.mean() > 20


def test_a_whole_sequence_of_the_defaults_keeps_to_the_paths(digits):
    moving = MovingDigitsPlus(digits)
    turns = moving.turns(0, 0, 300)
    assert turns.which.shape == (300, 3)
    assert turns.affine.shape == (300, 21, 3, 2, 3)
    assert turns.light.shape == (300, 20)
    scale = np.sqrt(np.linalg.det(turns.affine[..., :2]))
    # Four frames of shrinking or growing by at most 1.1, and one beyond the other way.
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


def test_sequences_are_the_same_however_they_are_cut(digits):
    moving = MovingDigitsPlus(digits, frames=6)
    frames, flow = moving.with_motion(2, 10, 5)
    np.testing.assert_array_equal(moving.batch(2, 10, 5), frames)
    later, later_flow = moving.with_motion(2, 13, 2)
    np.testing.assert_array_equal(later, frames[3:])
    np.testing.assert_array_equal(later_flow, flow[3:])
    assert moving.batch(2, 10, 0).shape == (0, 6, 64, 64)
    assert not np.array_equal(MovingDigitsPlus(digits, frames=6, stream=1).batch(2, 10, 5), frames)


class TestMotion:
    def test_straight_it_is_the_velocity(self, digits):
        moving = MovingDigitsPlus(digits, digits=1, turn=(0, 0), growth=(1, 1), speed=(2.0, 2.0))
        _, flow = moving.with_motion(1, 0, 20)
        middle = moving.turns(1, 0, 20).affine[:, :, 0, :, 2]  # moves as the digit does
        for k in range(20):
            for t in range(20):
                lit = np.abs(flow[k, t]).sum(0) > 0
                assert lit.any()
                # float32 of a difference of float64s near 64.
                here = flow[k, t][:, lit]
                moved = (middle[k, t + 1] - middle[k, t])[:, None]
                np.testing.assert_allclose(here, np.broadcast_to(moved, here.shape), rtol=0, atol=1e-6)

    def test_turning_in_place_it_is_the_turn(self):
        image = np.zeros((1, 28, 28), np.uint8)
        image[0, 8:20, 8:20] = 200
        moving = MovingDigitsPlus(image, digits=1, turn=(12, 12), growth=(1, 1), dimming=(1, 1), speed=(0, 0))
        centres = counter_rng.uniforms(6, 0, 20, 8)[:, 1:3] * 52 + 6
        # Nearer to the edge it would be moved away from there.
        k = int(np.flatnonzero(((centres > 10) & (centres < 54)).all(1))[0])
        x, y = centres[k]
        frames, flow = moving.with_motion(6, k, 1)
        rows, columns = np.nonzero(frames[0, 3])
        turn = np.radians(12)
        # Anticlockwise as seen: what is to the right goes up, to smaller rows.
        ahead_x = x + np.cos(turn) * (columns - x) + np.sin(turn) * (rows - y)
        ahead_y = y - np.sin(turn) * (columns - x) + np.cos(turn) * (rows - y)
        found = flow[0, 3][:, rows, columns]
        np.testing.assert_allclose(found, [ahead_x - columns, ahead_y - rows], rtol=0, atol=1e-5)

    def test_the_next_frame_read_along_it_is_this_one(self):
        y, x = np.mgrid[:28, :28]
        blob = 250 * np.exp(-(((x - 11) / 5) ** 2) - ((y - 14) / 3) ** 2)
        smooth = np.where(blob > 2, blob, 0).astype(np.uint8)[None]
        moving = MovingDigitsPlus(smooth, digits=1, dimming=(1, 1))
        frames, flow = moving.with_motion(9, 0, 4)
        here, still = [], []
        for k in range(4):
            for t in range(19):
                following = frames[k, t + 1].astype(np.float32)
                led = sample(following, flow[k, t])
                lit = (frames[k, t] > 0) & np.isfinite(led)  # and is not led out of the frame
                here.append(np.abs(led - frames[k, t])[lit].mean())
                still.append(np.abs(following - frames[k, t])[lit].mean())
        # Interpolating twice smooths, but a wrong motion is worse by far.
        assert np.mean(here) < 4
        assert np.mean(still) > 5 * np.mean(here)

    def test_the_brighter_digit_s_is_given_and_zero_where_none_is(self, digits):
        moving = MovingDigitsPlus(
            digits, digits=3, turn=(0, 0), growth=(1, 1), speed=(1.0, 3.0), dimming=(1, 1)
        )
        frames, flow = moving.with_motion(4, 0, 6)
        # A digit's rim may be rounded to black.
        dark = ndimage.maximum_filter(frames, (1, 1, 3, 3)) == 0
        assert not flow.swapaxes(1, 2)[np.broadcast_to(dark[:, None], (6, 2, 20, 64, 64))].any()
        affine = moving.turns(4, 0, 6).affine
        steps = affine[:, 1:, :, :, 2] - affine[:, :-1, :, :, 2]
        for k in range(6):
            rows, columns = np.nonzero(frames[k, 2])
            distance = np.abs(flow[k, 2][:, rows, columns].T[:, None] - steps[k, 2][None]).sum(-1)
            assert (distance.min(1) < 1e-5).all()
            # Each pixel's digit has, of the three, the brightest pixel there.
            which = moving.turns(4, k, 1).which[0]
            for row, column, digit in zip(rows, columns, distance.argmin(1), strict=True):
                places = [np.array([column, row]) - affine[k, 2, d, :, 2] for d in range(3)]
                seen = [bilinear(digits[w], *place) for w, place in zip(which, places, strict=True)]
                # As above: 1/64 pixel on both axes, for each of the two that are compared.
                assert seen[digit] >= max(seen) - 4 * 255 / 64


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"digits": 0}, "1 digit and frame or more"),
        ({"size": 20}, "wider than 28 pixels"),
        ({"speed": (-1.0, 1.0)}, "a speed from least to most"),
        ({"turn": (30.0, -30.0)}, "a turn from least to most"),
        ({"growth": (0.0, 1.0)}, "a growth from least to most"),
        ({"dimming": (0.5, float("inf"))}, "a dimming from least to most"),
    ],
)
def test_impossible_arguments_are_refused(digits, wrong, message):
    with pytest.raises(ArgumentError, match=message):
        MovingDigitsPlus(digits, **wrong)
