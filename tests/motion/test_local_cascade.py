"""Local correlations compared with means at full resolution, and with what the frames were made from."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from stormcell.errors import ArgumentError
from stormcell.motion.autoregression import Autoregression
from stormcell.motion.cascade import decompose
from stormcell.motion.local_cascade import GLOBAL_SHARE, local_memory

SHAPE = (160, 240)


def frames_with(memory, seed=0):
    """Three frames of noise without long waves; each remembers a share of the one before, by pixel."""
    rng = np.random.default_rng(seed)
    noise = [gaussian_filter(rng.normal(size=SHAPE), 1.5) * 10 for _ in range(3)]
    frames = [noise[0]]
    for new in noise[1:]:
        frames.append(memory * frames[-1] + np.sqrt(1 - memory**2) * new)
    return np.stack(frames).astype(np.float32)


@pytest.fixture(scope="module")
def halves():
    """On the left, half of the rain is new in every frame; on the right, all of it stays."""
    return frames_with(np.where(np.arange(SHAPE[1]) < SHAPE[1] // 2, 0.5, 0.99)[None])


def test_local_memory_differs_between_the_halves_as_the_frames_do(halves):
    memory = local_memory(decompose(halves), deviation=24)
    short = memory.correlations[0, 3]  # a band with waves of 13 pixels
    assert np.abs(short[:, : short.shape[1] // 4] - 0.5).max() < 0.15
    # The whole grid, with a correlation of 0.7, has a tenth of the weight.
    assert (short[:, -short.shape[1] // 4 :] > 0.91).all()


def test_local_memory_equals_means_at_full_resolution(halves):
    cascade, deviation, level = decompose(halves), 24, 3
    memory = local_memory(cascade, deviation=deviation)
    newest, before = cascade.band(level, -1).astype(float), cascade.band(level, -2).astype(float)
    weight = gaussian_filter(np.ones(SHAPE), deviation, mode="constant", truncate=5)

    def mean(product):
        local = gaussian_filter(product, deviation, mode="constant", truncate=5)
        return (local + GLOBAL_SHARE * product.mean()) / (weight + GLOBAL_SHARE)

    deviations = np.sqrt(mean(newest**2))
    expected = mean(newest * before) / (deviations * np.sqrt(mean(before**2)))
    # The coarse grid has four points in a standard deviation, over which these fields vary by a fifth.
    np.testing.assert_allclose(memory.at_pixels(memory.correlations[0, level]), expected, atol=0.03)
    np.testing.assert_allclose(memory.at_pixels(memory.deviations[level]), deviations, rtol=0.03)


def test_local_memory_of_a_very_wide_mean_is_that_of_the_whole_grid(halves):
    cascade = decompose(halves)
    memory = local_memory(cascade, deviation=1e5)
    assert memory.correlations.shape == (2, 6, 1, 1)
    np.testing.assert_allclose(memory.correlations[..., 0, 0], cascade.correlations, atol=1e-3)
    np.testing.assert_allclose(memory.deviations[:, 0, 0], cascade.deviations[-1], rtol=1e-3)
    for one, other in zip(memory.forecast(3), cascade.forecast(3), strict=True):
        np.testing.assert_allclose(one, other, atol=5e-3 * np.abs(other).max())
    for error, expected in zip(memory.errors(3), cascade.errors(3), strict=True):
        np.testing.assert_allclose(error, expected, rtol=2e-3)


def test_local_memory_leaves_out_pixels_that_were_not_observed(halves):
    """A half that stays is not made forgetful by pixels beside it that are dry in one frame only."""
    frames = halves.copy()
    frames[1, :, : SHAPE[1] // 2] = -3
    observed = np.arange(SHAPE[1])[None] >= np.full(SHAPE[:1], SHAPE[1] // 2)[:, None]
    cascade = decompose(frames)
    # Half a standard deviation from the edge of the right half, a third of the weights is on the left.
    point = np.s_[0, 3, :, 22]
    assert local_memory(cascade, observed, deviation=24).correlations[point].mean() > 0.9
    assert local_memory(cascade, deviation=24).correlations[point].mean() < 0.85


def test_local_memory_forecast_is_that_of_the_bands_with_local_coefficients(halves):
    cascade = decompose(halves)
    memory = local_memory(cascade, deviation=24)
    scale = cascade.scale_of_before
    processes = [Autoregression.from_correlations(*memory.correlations[:, level]) for level in range(6)]
    weights = [list(process.forecast_weights(3)) for process in processes]
    for lead, forecast in enumerate(memory.forecast(3)):
        expected = np.full(SHAPE, cascade.means[-1])
        for level in range(6):
            newest, before = weights[level][lead]
            expected += memory.at_pixels(newest) * cascade.anomaly(level)
            expected += memory.at_pixels(before) * scale[level] * cascade.anomaly(level, -2)
        np.testing.assert_allclose(forecast, expected, atol=1e-4)


def test_local_memory_errors_are_larger_where_less_is_remembered(halves):
    memory = local_memory(decompose(halves), deviation=24)
    first, *_, last = memory.errors(4)
    left, right = np.s_[:, :60], np.s_[:, -60:]
    assert first[left].mean() > 2 * first[right].mean()
    assert (last >= first).all()
    assert last.shape == SHAPE


def test_local_memory_error_is_that_of_the_next_frame():
    """Where half is new in every frame, the error is √(1 − 0.5²) of the standard deviation."""
    rng_seed, memory = 3, 0.5
    frames = frames_with(np.full((1, 1), memory), rng_seed)
    following = frames_with(np.full((1, 1), memory), 99)[0]
    truth = memory * frames[-1] + np.sqrt(1 - memory**2) * following
    local = local_memory(decompose(frames), deviation=40)
    forecast, error = next(local.forecast(1)), next(local.errors(1))
    assert np.std(truth - forecast) == pytest.approx(float(np.sqrt(np.mean(error**2))), rel=0.05)


def test_local_memory_where_nothing_varies_is_that_of_the_whole_grid():
    frames = frames_with(np.full((1, 1), 0.7))
    frames[:, :, :160] = 0
    cascade = decompose(frames)
    memory = local_memory(cascade, deviation=10)
    far = memory.correlations[0, 4, 30:34, 20:24]
    np.testing.assert_allclose(far, cascade.correlations[0, 4], atol=0.05)


def test_local_memory_of_frames_without_rain_forecasts_the_newest():
    frames = np.full((3, *SHAPE), -15, np.float32)
    frames[-1, 60:80, 60:80] = 3
    memory = local_memory(decompose(frames), deviation=30)
    np.testing.assert_allclose(list(memory.forecast(3))[-1], frames[-1], atol=1e-3)


@pytest.mark.parametrize("deviation", [0, -1, np.nan])
def test_local_memory_impossible_deviation_raises(halves, deviation):
    with pytest.raises(ArgumentError, match="deviation: expected more than 0 pixels"):
        local_memory(decompose(halves), deviation=deviation)


def test_local_memory_observed_of_another_shape_raises(halves):
    with pytest.raises(ArgumentError, match=r"observed: expected shape \(160, 240\), found \(3, 3\)"):
        local_memory(decompose(halves), np.ones((3, 3), bool))
