import numpy as np
import pytest

from stormcell.data import synthetic
from stormcell.errors import ArgumentError
from stormcell.motion import optical_flow
from stormcell.motion.optical_flow import estimate


def storms(dx, dy, shape=(100, 140), count=3, seed=0):
    """Rain of many sizes that only moves, computed analytically, so that fractions of a pixel are exact."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    places = rng.uniform(-0.2, 1.2, size=(40, 2)) * shape
    widths, peaks = rng.uniform(2, 8, size=40), rng.gamma(2, 4, size=40)
    frames = np.zeros((count, *shape))
    for t in range(count):
        for (row, col), width, peak in zip(places, widths, peaks, strict=True):
            square = (y - row - t * dy) ** 2 + (x - col - t * dx) ** 2
            frames[t] += peak * np.exp(-square / (2 * width**2))
    return np.where(frames < 0.1, 0, frames).astype(np.float32)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (-1.5, 2.5), (7, 6), (0.3, 0.2)])
def test_estimate_uniform_motion_is_found(dx, dy):
    motion = estimate(storms(dx, dy))
    # 8-bit brightness and corners a few pixels wide: 0.1 pixels, and 2 % of the motion, which moves part of
    # the rain out of the window. Edges are not tested, because rain leaves there.
    inner = motion[:, 20:-20, 20:-20]
    tolerance = 0.1 + 0.02 * np.hypot(dx, dy)
    assert np.abs(inner[0] - dx).mean() < tolerance
    assert np.abs(inner[1] - dy).mean() < tolerance


def test_estimate_generated_radar_is_found():
    for seed in range(3):
        event = synthetic.generate(seed=seed, steps=6)
        true = np.stack([event.motion_x.values, event.motion_y.values])
        error = estimate(event.rainfall_rate.values) - true
        raining = event.rainfall_rate.values[-1] > 0.5
        # The rain also grows and decays: half a pixel per step, for motion of up to three pixels.
        assert np.hypot(*error)[raining].mean() < 0.5


def test_estimate_rotation_is_found():
    y, x = np.mgrid[:121, :121]
    place = x - 60 + 1j * (y - 60)
    rng = np.random.default_rng(4)
    centres = rng.uniform(-50, 50, size=(50, 2)) @ [1, 1j]
    angle = np.deg2rad(2)
    frames = np.zeros((3, 121, 121))
    for t in range(3):
        for centre in centres:
            frames[t] += 8 * np.exp(-(np.abs(place - centre * np.exp(1j * angle * t)) ** 2) / 30)
    motion = estimate(frames.astype(np.float32))
    # A step moves the right side down and the left side up by 40 · 2° = 1.4 pixels.
    assert motion[1, 60, 100] == pytest.approx(40 * angle, abs=0.4)
    assert motion[1, 60, 20] == pytest.approx(-40 * angle, abs=0.4)
    assert motion[0, 100, 60] == pytest.approx(-40 * angle, abs=0.4)


def test_estimate_uses_only_the_last_frames():
    moving = storms(3, 1, count=5)
    moving[:2] = moving[:2, ::-1, ::-1]
    np.testing.assert_array_equal(estimate(moving), estimate(moving[-3:]))
    assert not np.array_equal(estimate(moving, count=5), estimate(moving))


def test_estimate_edge_of_unobserved_area_does_not_slow_motion(monkeypatch):
    frames = storms(3, -1) + 2
    frames[:, :, 70:] = np.nan
    frames[:, :20, :30] = np.nan
    near = np.s_[:, 40:80, 40:69]

    def error():
        return np.hypot(*(estimate(frames)[near] - np.array([3, -1])[:, None, None])).mean()

    # The accuracy of any other place: 0.1 pixels and 2 % of the motion.
    assert error() < 0.2
    monkeypatch.setattr(optical_flow, "BUFFER", 0)
    assert error() > 1


def test_estimate_what_one_frame_did_not_observe_has_no_part_in_it():
    """A large area of rain that a missing radar hides would look as if it had jumped away."""
    frames = storms(3, -1, count=2)
    frames[1, 20:70, 30:90] = np.nan
    other = frames.copy()
    other[0, 20:70, 30:90] = 40.0
    np.testing.assert_array_equal(estimate(frames, count=2), estimate(other, count=2))


def test_estimate_stationary_clutter_is_ignored(monkeypatch):
    frames = storms(4, 0, shape=(160, 200))
    frames[:, 76:84, 96:104] = 30
    at_the_clutter = np.s_[0, 75:85, 95:105]
    assert np.abs(estimate(frames)[at_the_clutter] - 4).mean() < 0.2
    monkeypatch.setattr(optical_flow, "OUTLIER", np.inf)
    assert np.abs(estimate(frames)[at_the_clutter] - 4).mean() > 1


@pytest.mark.parametrize("shape", [(1, 1), (2, 40), (5, 5), (48, 37), (12, 200)])
@pytest.mark.parametrize("kind", ["dry", "unobserved", "drizzle", "one pixel", "flat", "noise"])
def test_estimate_any_grid_and_rain_is_finite(shape, kind):
    frames = np.zeros((3, *shape), np.float32)
    if kind == "unobserved":
        frames[:] = np.nan
    elif kind == "drizzle":
        frames[:] = 0.05
    elif kind == "one pixel":
        frames[:, shape[0] // 2, shape[1] // 2] = 20
    elif kind == "flat":
        frames[:] = 5
    elif kind == "noise":
        frames[:] = np.random.default_rng(5).gamma(0.3, 5, size=frames.shape)
    motion = estimate(frames)
    assert motion.shape == (2, *shape)
    assert motion.dtype == np.float32
    assert np.isfinite(motion).all()
    if kind in ("dry", "unobserved", "drizzle", "one pixel"):
        assert not motion.any()


def test_estimate_single_storm_moves_the_whole_field():
    frames = np.zeros((3, 64, 80), np.float32)
    y, x = np.mgrid[:64, :80]
    for t in range(3):
        frames[t] = 20 * np.exp(-((x - 30 - 2 * t) ** 2 + (y - 30 - t) ** 2) / 40)
    motion = estimate(frames)
    np.testing.assert_allclose(motion[0], 2, atol=0.1)
    np.testing.assert_allclose(motion[1], 1, atol=0.1)


def test_estimate_same_frames_gives_same_motion_and_keeps_frames():
    frames = storms(2, 1)
    before = frames.copy()
    np.testing.assert_array_equal(estimate(frames), estimate(frames))
    np.testing.assert_array_equal(frames, before)


def test_estimate_fewer_than_two_frames_raises():
    with pytest.raises(ArgumentError, match="2 or more frames"):
        estimate(np.zeros((1, 20, 20), np.float32))
    with pytest.raises(ArgumentError, match="count=1"):
        estimate(np.zeros((3, 20, 20), np.float32), count=1)


@pytest.mark.parametrize("count", [0, 1, 40, 1500])
@pytest.mark.parametrize(
    "part",
    [(slice(0, 60), slice(0, 64)), (slice(131, 180), slice(77, 250)), (slice(290, 300), slice(380, 400))],
)
def test_motion_field_of_a_part_is_the_part_of_the_whole(count, part):
    rng = np.random.default_rng(count)
    vectors = np.concatenate([rng.uniform(0, (400, 300), (count, 2)), rng.normal(3, 1, (count, 2))], axis=1)
    whole = optical_flow.motion_field(vectors, 300, 400)
    found = optical_flow.motion_field(vectors, 300, 400, rows=part[0], cols=part[1])
    # Nodes are the same but for the order of sums. Places between them are rounded to 1/32 of their distance,
    # and neighbouring nodes, four pixels apart, differ by less than 1 pixel per step.
    np.testing.assert_allclose(found, whole[:, part[0], part[1]], rtol=0, atol=2 / 32)
    assert np.mean(np.abs(found - whole[:, part[0], part[1]]) > 1e-5) < 0.02


def test_motion_field_is_the_mean_that_its_docstring_describes():
    """At a node, from wide to narrow weights, computed here one vector at a time."""
    rng = np.random.default_rng(2)
    vectors = np.concatenate([rng.uniform(0, 100, (300, 2)), rng.normal(0, 2, (300, 2))], axis=1)
    found = optical_flow.motion_field(vectors, 101, 101)
    expected = np.median(vectors[:, 2:], axis=0)
    for scale in optical_flow.SCALES:
        weights = [np.exp(-((50 - x) ** 2 + (50 - y) ** 2) / (2 * scale**2)) for x, y, _, _ in vectors]
        total = sum(weight * vector[2:] for weight, vector in zip(weights, vectors, strict=True))
        expected = (total + 0.5 * expected) / (sum(weights) + 0.5)
    # Nodes are 4 pixels apart (101 pixels have 26), so that pixel 50 lies between two of them.
    np.testing.assert_allclose(found[:, 50, 50], expected, atol=0.05)
