"""The cascade compared with pysteps, and with plain sums over pixels."""

import numpy as np
import pytest

from stormcell.errors import ArgumentError
from stormcell.motion.autoregression import Autoregression
from stormcell.motion.cascade import decompose


def related_frames(shape=(96, 81), seed=0, memory=0.9, slope=1.2):
    """Three frames of smooth noise, each partly equal to the one before."""
    rng = np.random.default_rng(seed)
    steep = np.hypot(*np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1]), indexing="ij"))
    steep[0, 0] = 1
    noise = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) * steep**-slope, s=shape) for _ in range(3)]
    frames = [noise[0]]
    for new in noise[1:]:
        frames.append(memory * frames[-1] + np.sqrt(1 - memory**2) * new)
    return (np.stack(frames) - 5).astype(np.float32)


@pytest.fixture(scope="module")
def frames():
    return related_frames()


@pytest.fixture(scope="module")
def cascade(frames):
    return decompose(frames)


def bands(cascade, frame=-1):
    return np.stack([cascade.band(level, frame) for level in range(cascade.levels)])


@pytest.mark.parametrize("frame", [-1, -2, -3])
def test_cascade_bands_add_up_to_the_frame(cascade, frames, frame):
    np.testing.assert_allclose(bands(cascade, frame).sum(axis=0), frames[frame], atol=2e-5)


@pytest.mark.parametrize("shape", [(96, 81), (64, 64)])
def test_cascade_bands_deviations_and_correlations_equal_those_of_pysteps(shape):
    pytest.importorskip("pysteps", reason="pysteps is not installed")
    from pysteps.cascade.bandpass_filters import filter_gaussian
    from pysteps.cascade.decomposition import decomposition_fft
    from pysteps.timeseries.correlation import temporal_autocorrelation

    frames = related_frames(shape)
    cascade = decompose(frames)
    filters = filter_gaussian(shape, 6)
    theirs = [decomposition_fft(frame.astype(float), filters, compute_stats=True) for frame in frames]
    largest = max(np.abs(one["cascade_levels"]).max() for one in theirs)
    for frame, one in zip((-3, -2, -1), theirs, strict=True):
        # Weights err by up to 5e-6.
        np.testing.assert_allclose(bands(cascade, frame), one["cascade_levels"], atol=1e-5 * largest)
        np.testing.assert_allclose(cascade.deviations[frame], one["stds"], rtol=2e-5)
    for level in range(6):
        series = np.stack([one["cascade_levels"][level] for one in theirs])
        expected = temporal_autocorrelation(series)
        np.testing.assert_allclose(cascade.correlations[:, level], expected, atol=2e-5)


def test_cascade_statistics_equal_sums_over_pixels(cascade, frames):
    oldest, before, newest = (bands(cascade, frame) for frame in (-3, -2, -1))
    np.testing.assert_allclose(cascade.means, frames.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(cascade.deviations[-1], newest.std(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(cascade.deviations[-3], oldest.std(axis=(1, 2)), rtol=1e-4)
    for row, lagged in enumerate((before, oldest)):
        expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(newest, lagged, strict=True)]
        np.testing.assert_allclose(cascade.correlations[row], expected, atol=1e-4)
    covariances = np.cov(newest.reshape(6, -1), bias=True)
    np.testing.assert_allclose(cascade.covariances, covariances, atol=1e-4 * covariances.max())


def test_cascade_forecast_equals_bands_that_are_forecast_in_space(cascade):
    """The autoregression of normalised bands, as pysteps and the literature write it."""
    before, newest = bands(cascade, -2).astype(float), bands(cascade, -1).astype(float)
    mean, deviation = newest.mean(axis=(1, 2), keepdims=True), newest.std(axis=(1, 2), keepdims=True)
    older = (before - before.mean(axis=(1, 2), keepdims=True)) / before.std(axis=(1, 2), keepdims=True)
    new = (newest - mean) / deviation
    process = Autoregression.from_correlations(*cascade.correlations)
    by_band = zip(*(cascade.forecast_band(level, 4) for level in range(6)), strict=True)
    for forecast, forecast_bands in zip(cascade.forecast(4), by_band, strict=True):
        older, new = new, process.phi1[:, None, None] * new + process.phi2[:, None, None] * older
        expected = new * deviation + mean
        np.testing.assert_allclose(np.stack(forecast_bands), expected, atol=2e-4)
        np.testing.assert_allclose(forecast, expected.sum(axis=0), atol=3e-4)


def test_cascade_errors_grow_to_the_deviations(cascade, frames):
    errors = cascade.band_errors(500)
    assert errors.shape == (500, 6)
    assert (np.diff(errors, axis=0) >= 0).all()
    np.testing.assert_allclose(errors[-1], cascade.deviations[-1], rtol=1e-3)
    np.testing.assert_allclose(cascade.errors(500)[-1], frames[-1].std(), rtol=1e-3)


def test_cascade_errors_are_those_of_forecasts_of_such_a_process():
    """Frames whose waves all have the same memory: the next frame differs by the error that is expected."""
    errors, expected = [], []
    for seed in range(20):
        frames = related_frames(seed=seed, slope=0.3)
        new = 0.9 * (frames[-1] + 5) + np.sqrt(1 - 0.81) * (related_frames(seed=seed + 99, slope=0.3)[0] + 5)
        cascade = decompose(frames)
        errors.append(np.var(new - 5 - next(cascade.forecast(1))))
        expected.append(cascade.errors(1)[0] ** 2)
    # The correlations of the longest waves come from a few numbers.
    assert np.mean(errors) == pytest.approx(np.mean(expected), rel=0.03)


def test_cascade_frames_without_rain_have_no_correlation():
    frames = np.full((3, 40, 30), -15, np.float32)
    frames[-1, 10:20, 10:20] = 3
    cascade = decompose(frames)
    assert np.isnan(cascade.correlations).all()
    # So the newest frame stays as it is.
    np.testing.assert_allclose(list(cascade.forecast(3))[-1], frames[-1], atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 8, 8), (4, 8, 8), (8, 8)])
def test_decompose_wrong_shape_raises(shape):
    with pytest.raises(ArgumentError, match=r"frames: expected shape \(3, y, x\), found"):
        decompose(np.zeros(shape, np.float32))


def test_decompose_values_that_are_not_finite_raise():
    frames = np.zeros((3, 8, 8), np.float32)
    frames[1, 2, 3] = np.nan
    with pytest.raises(ArgumentError, match="frames: expected finite numbers, found NaN or infinity"):
        decompose(frames)
