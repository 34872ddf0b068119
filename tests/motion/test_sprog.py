"""S-PROG compared with pysteps's on generated and real rain; frames that are dry or not observed."""

import contextlib
import io
import warnings

import numpy as np
import pytest

from stormcell.data import synthetic
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import open_radar
from stormcell.errors import ArgumentError
from stormcell.motion import sprog
from stormcell.motion.advection import extrapolate
from stormcell.motion.decibels import from_decibels, to_decibels
from stormcell.motion.optical_flow import estimate

STILL = np.zeros((2, 48, 60), np.float32)


def observed_rain(seed):
    """Three frames whose pixels are all observed: the part north of the radar."""
    rain = synthetic.generate(seed=seed, steps=3, shape=(128, 128)).rainfall_rate.values[:, 16:64, 34:94]
    assert np.isfinite(rain).all()
    assert (rain > 1).any()
    return rain.copy()


def ours(frames, motion, steps):
    return np.stack(list(sprog.forecast(frames, motion, steps)))


def theirs(frames, motion, steps):
    method = pytest.importorskip(
        "pysteps.nowcasts.sprog", reason="pysteps is not installed", exc_type=ImportError
    )
    decibels = np.where(frames >= 0.1, 10 * np.log10(np.maximum(frames, 0.1)), -15.0)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forecast = method.forecast(decibels, motion, steps, precip_thr=-10.0, n_cascade_levels=6)
    return np.where(forecast < -10, 0, 10 ** (forecast / 10))


def expect_equal_skill(one, other, truths):
    """Correlation at every lead time, and CSI at 0.5 and 1 mm/h, counted where both are defined."""
    mask = np.isfinite(one) & np.isfinite(other) & np.isfinite(truths)
    assert mask.mean() > 0.3
    for lead, observed in enumerate(mask):
        assert np.corrcoef(one[lead][observed], other[lead][observed])[0, 1] > 0.99
    for threshold in (0.5, 1):
        scores = [csi(forecast, truths, mask, threshold) for forecast in (one, other)]
        assert scores[0] == pytest.approx(scores[1], rel=0.005), threshold


def csi(forecast, truths, mask, threshold):
    said, was = (forecast >= threshold) & mask, (truths >= threshold) & mask
    return np.mean((said & was).sum(axis=(1, 2)) / (said | was).sum(axis=(1, 2)))


@pytest.mark.parametrize("seed", [4, 5])
def test_sprog_generated_rain_has_the_skill_of_pysteps(seed):
    rain = synthetic.generate(seed=seed, steps=11, shape=(200, 240)).rainfall_rate.values
    frames, truths = rain[2:5], rain[5:]
    motion = estimate(frames)
    expect_equal_skill(ours(frames, motion, 6), theirs(frames, motion, 6), truths)


def test_sprog_fully_observed_rain_equals_that_of_pysteps_at_almost_all_pixels():
    rain = observed_rain(seed=6)
    one, other = ours(rain, STILL, 6), theirs(rain, STILL, 6)
    # Rounding exchanges pixels that are next to each other in rank, whose rates are almost equal.
    assert (np.abs(one - other) > 0.02 * other + 0.01).mean() < 1e-3
    assert (one != 0).mean() == pytest.approx((other != 0).mean(), abs=1e-3)


@pytest.mark.parametrize("event", ["fmi_pgm_20160928", "fmi_pgm_20170509"])
def test_sprog_real_rain_has_the_skill_of_pysteps(radar_data, event):
    files = sorted((radar_data / event).glob("*.pgm.gz"))
    if len(files) < 40:
        pytest.skip(f"{event} is not complete")
    options = ReadOptions(zr=(223.0, 1.53))
    area = np.s_[500:900, 200:600]
    rain = np.concatenate(
        [open_radar(file, options).read(options, slice(None)).rainfall_rate.values for file in files[10:17]]
    )[(slice(None), *area)]
    frames, truths = rain[:3], rain[3:]
    motion = estimate(frames)
    expect_equal_skill(ours(frames, motion, 4), theirs(frames, motion, 4), truths)


def test_sprog_is_defined_where_extrapolation_is():
    rain = synthetic.generate(seed=7, steps=3, shape=(100, 90)).rainfall_rate.values
    rain[-1, 30:40, 20:25] = np.nan
    motion = estimate(rain)
    forecast = ours(rain, motion, 5)
    np.testing.assert_array_equal(np.isnan(forecast), np.isnan(extrapolate(rain[-1], motion, 5)))
    assert forecast.dtype == np.float32


def test_sprog_still_rain_keeps_wet_area_and_rates():
    rain = observed_rain(seed=8)
    rain[:, :, ::6] = np.nan  # rain that is smoothed into it must not be missing elsewhere
    for forecast in sprog.forecast(rain, STILL, 3):
        # Decibels in float32 and the millionth that is added to rates.
        np.testing.assert_allclose(np.sort(forecast.ravel()), np.sort(rain[-1].ravel()), rtol=3e-6)


def test_sprog_rain_that_does_not_change_stays():
    rain = observed_rain(seed=8)[-1:]
    forecast = ours(np.repeat(rain, 3, axis=0), STILL, 4)[-1]
    np.testing.assert_allclose(forecast, rain[0], atol=0.02 * rain.max())


def test_sprog_dry_frame_stays_dry_and_unobserved_frame_undefined():
    dry = np.zeros((3, 48, 60), np.float32)
    assert (ours(dry, STILL, 2) == 0).all()
    wet_before = dry.copy()
    wet_before[:2, 10:20, 10:20] = 4
    assert (ours(wet_before, STILL, 2) == 0).all()
    assert np.isnan(ours(np.full_like(dry, np.nan), STILL, 2)).all()


def test_sprog_rain_only_in_the_newest_frame_is_extrapolated():
    frames = np.zeros((3, 48, 60), np.float32)
    frames[-1, 10:20, 10:20] = np.arange(1, 11)
    east = np.stack([np.full((48, 60), 1.5), np.zeros((48, 60))]).astype(np.float32)
    moved = extrapolate(to_decibels(frames[-1]), east, 3)  # between pixels, decibels are interpolated
    np.testing.assert_allclose(ours(frames, east, 3), from_decibels(moved), atol=1e-4)


def test_sprog_older_frame_that_was_not_observed_is_not_dry_rain():
    """Without the frame before the newest, the memory comes from the frame before that one."""
    rain = observed_rain(seed=8)
    rain[1] = np.nan
    cascade = sprog.moving_cascade(rain, STILL)
    assert np.isnan(cascade.correlations[0]).all()
    assert (cascade.correlations[1] > 0).any()
    forecast = ours(rain, STILL, 2)
    assert np.corrcoef(forecast[0].ravel(), rain[-1].ravel())[0, 1] > 0.8


@pytest.mark.parametrize("shape", [(1, 48, 60), (48, 60)])
def test_sprog_wrong_frames_raise(shape):
    with pytest.raises(ArgumentError, match=r"frames: expected shape \(3, y, x\), found"):
        next(sprog.forecast(np.zeros(shape, np.float32), STILL, 1))


def test_sprog_motion_of_another_shape_raises():
    with pytest.raises(ArgumentError, match="motion"):
        next(sprog.forecast(np.zeros((3, 48, 61), np.float32), STILL, 1))
