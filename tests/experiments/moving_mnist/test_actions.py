"""Action clips: every frame has the same distribution for all actions; drawing equals a plain loop."""

import numpy as np
import pytest
from scipy import stats

from stormcell.errors import ArgumentError
from stormcell.experiments.moving_mnist import ACTIONS, MovingActions

UNLIKELY = 1e-4  # significance level: a test rejects a true hypothesis once in ten thousand times


@pytest.fixture(scope="module")
def digits():
    """Asymmetric blots, so that rotated and mirrored images differ."""
    draw = np.random.default_rng(2)
    images = np.zeros((25, 28, 28), np.uint8)
    for image in images:
        image[6:10, 6:22] = draw.integers(100, 256)
        image[6:22, 6:10] = draw.integers(50, 150)
        image[18:20, 15:20] = draw.integers(150, 256)
    return images


def test_states_action_changes_one_property_at_a_constant_pace(digits):
    clips = MovingActions(digits)
    _, labels, states = clips.states(1, 0, 4000)
    assert clips.classes == ACTIONS
    assert stats.chisquare(np.bincount(labels, minlength=8)).pvalue > UNLIKELY
    step = (np.diff(states, axis=1) + 0.5) % 1 - 0.5
    for action in range(8):
        moved = step[labels == action]
        sign = 1 if action % 2 == 0 else -1
        pace = sign * moved[:, :, action // 2]
        np.testing.assert_allclose(pace, np.broadcast_to(pace[:, :1], pace.shape), rtol=0, atol=1e-12)
        assert stats.kstest(pace[:, 0], stats.uniform(0.03, 0.03).cdf).pvalue > UNLIKELY
        assert not np.delete(moved, action // 2, axis=2).any()


@pytest.mark.parametrize("frame", [0, 4, 9])
@pytest.mark.parametrize("action", range(8))
def test_states_of_every_action_and_frame_are_uniform(digits, action, frame):
    """Each of the four properties is uniform, and the properties are independent in pairs."""
    _, labels, states = MovingActions(digits).states(3, 0, 8000)
    here = states[labels == action, frame]
    for axis in range(4):
        assert stats.kstest(here[:, axis], "uniform").pvalue > UNLIKELY
    for a in range(4):
        for b in range(a):
            table = np.histogram2d(here[:, a], here[:, b], bins=4, range=[(0, 1), (0, 1)])[0]
            assert stats.chi2_contingency(table).pvalue > UNLIKELY


def test_batch_action_is_visible_in_two_frames_not_in_one(digits):
    """One frame is classified by the nearest neighbour; two frames are compared by shifting the first."""
    clips = MovingActions(digits, frames=2, pace=(3 / 32, 3 / 32))
    frames, labels = clips.batch(5, 0, 6000)
    single = frames[:, 0].reshape(6000, -1).astype(np.float32)
    right = (nearest(single[:3000], labels[:3000], single[3000:]) == labels[3000:]).mean()
    chance, error = 1 / 8, np.sqrt(1 / 8 * 7 / 8 / 3000)
    assert abs(right - chance) < 4 * error
    # The four straight actions shift the periodic frame by three whole pixels.
    first, second = frames[labels < 4].astype(np.int64).swapaxes(0, 1)
    shifts = [(3, 2), (-3, 2), (3, 1), (-3, 1)]
    error = [np.abs(np.roll(first, shift, axis) - second).sum((1, 2)) for shift, axis in shifts]
    assert (np.argmin(error, axis=0) == labels[labels < 4]).all()


def nearest(known, labels, asked):
    """Return the label of the nearest known image, by squared distance without the common term."""
    distance = (known**2).sum(1) - 2 * asked @ known.T
    return labels[distance.argmin(1)]


def test_states_reversed_clip_is_the_opposite_action(digits):
    """The distributions of start and pace are the same, so frames without order do not show the sign."""
    _, labels, states = MovingActions(digits).states(4, 0, 8000)
    for action in range(0, 8, 2):
        backwards, other = states[labels == action][:, ::-1], states[labels == action + 1]
        axis = action // 2
        for frame in (0, 9):
            assert stats.ks_2samp(backwards[:, frame, axis], other[:, frame, axis]).pvalue > UNLIKELY
        step = [(s[:, 1, axis] - s[:, 0, axis] + 0.5) % 1 - 0.5 for s in (backwards, other)]
        assert stats.ks_2samp(*step).pvalue > UNLIKELY


def slow(image, state, clips):
    """Draw one frame pixel by pixel: the brightest of the digit's nine nearest periodic images."""
    x, y, turned, grown = state
    size, angle = clips.size, 2 * np.pi * turned
    scale = clips.scale[0] ** (1 - grown) * clips.scale[1] ** grown
    out = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            for over in (-1, 0, 1):
                for down in (-1, 0, 1):
                    right, below = column - size * (x + over), row - size * (y + down)
                    # Undo the rotation, clockwise on the screen: the right side has moved to the bottom.
                    u = (np.cos(angle) * right + np.sin(angle) * below) / scale + 13.5
                    v = (-np.sin(angle) * right + np.cos(angle) * below) / scale + 13.5
                    out[row, column] = max(out[row, column], bilinear(image, u, v))
    return out


def bilinear(image, x, y):
    columns, rows = np.arange(28), np.arange(28)
    across = np.maximum(0, 1 - np.abs(columns - x))
    down = np.maximum(0, 1 - np.abs(rows - y))
    return down @ image.astype(float) @ across


def test_batch_equals_a_plain_loop(digits):
    clips = MovingActions(digits, frames=2, size=30)
    frames, labels = clips.batch(8, 40, 8)
    which, expected_labels, states = clips.states(8, 40, 8)
    np.testing.assert_array_equal(labels, expected_labels)
    for k in range(8):
        # OpenCV may round positions to 1/32 pixel: an error of at most 1/64 on both axes.
        error = np.abs(frames[k, 1] - slow(digits[which[k]], states[k, 1], clips))
        assert error.max() <= 2 * 255 / 64 + 0.5


def test_batch_clips_do_not_depend_on_the_batch_size(digits):
    clips = MovingActions(digits)
    frames, labels = clips.batch(6, 20, 9)
    for first, size in ((20, 4), (24, 5), (29, 0)):
        found, found_labels = clips.batch(6, first, size)
        np.testing.assert_array_equal(found, frames[first - 20 : first - 20 + size])
        np.testing.assert_array_equal(found_labels, labels[first - 20 : first - 20 + size])
    assert not np.array_equal(MovingActions(digits, stream=1).batch(6, 20, 9)[0], frames)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": 0}, "1 or more frames"),
        ({"size": 27}, "28 or more pixels wide"),
        ({"scale": (0.5, 1.5)}, "scales 0 < smallest"),
        ({"scale": (1.0, 0.5)}, "scales 0 < smallest"),
        ({"pace": (0.1, 0.5)}, "paces 0 < lowest"),
        ({"pace": (0.0, 0.1)}, "paces 0 < lowest"),
    ],
)
def test_moving_actions_invalid_arguments_raise(digits, wrong, message):
    with pytest.raises(ArgumentError, match=message):
        MovingActions(digits, **wrong)
