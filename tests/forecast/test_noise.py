"""Noise for ensembles: its law, its correlations in space and time, its motion, its reproducibility."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import fft, stats

from stormcell.errors import ArgumentError
from stormcell.forecast.noise import (
    LONGEST_PERIOD,
    ErrorNoise,
    carried_places,
    carry,
    noise_period,
)
from stormcell.forecast.wave_memory import WaveMemory
from stormcell.motion.advection import extrapolate
from stormcell.motion.band_power import wave_frequencies
from stormcell.motion.sprog import moving_cascade

RAIN_MEMORY = WaveMemory(
    np.array([50.0, 20, 8, 3]), np.array([1.7, 1.4, 1.0, 0.4]), np.array([-0.73, -0.48, -0.2, -0.05])
)


def rain_power(period):
    return ((1 + (60 * wave_frequencies(period)) ** 2) ** -1.5).astype(np.float32)


def noise(period=(24, 31), members=3, steps=4, seed=5, memory=RAIN_MEMORY) -> ErrorNoise:
    return ErrorNoise(rain_power(period), period, memory, members=members, steps=steps, seed=seed)


@pytest.mark.parametrize("period", [(9, 8), (8, 9)])
def test_noise_every_pixel_and_lead_time_is_standard_normal(period):
    members = 3000
    source = noise(period, members=members, steps=3)
    for _ in range(3):
        fields = np.stack([source.advance(member) for member in range(members)])
        for y, x in ((0, 0), (3, 5), (7, 7)):
            assert stats.kstest(fields[:, y, x], "norm").pvalue > 1e-3  # independent members
        # The mean square of n independent normal variates has the standard deviation √(2/n): 4 of them.
        assert (np.abs((fields**2).mean(axis=0) - 1) < 5 * np.sqrt(2 / members)).all()


def test_noise_covariance_between_pixels_is_that_of_the_errors_power():
    members, period = 3000, (8, 9)
    source = noise(period, members=members, steps=2)
    phi1, phi2 = RAIN_MEMORY.at(wave_frequencies(period))
    lag1 = phi1 / (1 - phi2)
    drive = 1 - phi1 * lag1 - phi2 * (phi1 * lag1 + phi2)
    for gain in (1, 1 + phi1**2):  # w_1, and w_2 + φ₁ w_1
        fields = np.stack([source.advance(member) for member in range(members)])
        expected = fft.irfft2(rain_power(period) * drive * gain, s=period)
        expected /= expected[0, 0]
        found = (fields[:, :1, :1] * fields).mean(axis=0)
        assert np.abs(found - expected).max() < 5 * np.sqrt(2 / members)


def test_noise_weighted_waves_have_that_power_and_the_field_its_variance():
    members, period = 3000, (8, 9)
    source = noise(period, members=members, steps=2)
    source.weigh(np.array([0.1, 0.5]), np.array([0.2, 0.9]))  # replaced by the next
    source.weigh(np.array([0.1, 0.5]), np.array([1.0, 30]))
    frequency = wave_frequencies(period)
    weights = np.exp(np.interp(np.log(np.maximum(frequency, 1e-9)), np.log([0.1, 0.5]), np.log([1, 30])))
    phi1, phi2 = RAIN_MEMORY.at(frequency)
    lag1 = phi1 / (1 - phi2)
    drive = 1 - phi1 * lag1 - phi2 * (phi1 * lag1 + phi2)
    for gain in (1, 1 + phi1**2):  # the autoregression is of the waves without weights
        fields = np.stack([source.advance(member) for member in range(members)])
        expected = fft.irfft2(rain_power(period) * drive * gain * weights, s=period)
        expected /= expected[0, 0]
        found = (fields[:, :1, :1] * fields).mean(axis=0)
        assert np.abs(found - expected).max() < 5 * np.sqrt(2 / members)


def test_noise_weights_of_one_are_no_weights():
    plain, weighted = noise(), noise()
    weighted.weigh(np.array([0.1]), np.array([1.0]))
    np.testing.assert_array_equal(weighted.advance(0), plain.advance(0))


def test_noise_successive_lead_times_are_correlated_by_the_process():
    members = 4000
    memory = WaveMemory(np.array([10.0]), np.array([0.8]), np.array([0.1]))
    source = noise((6, 6), members=members, steps=3, memory=memory)
    leads = [np.stack([source.advance(member)[2, 3] for member in range(members)]) for _ in range(3)]
    # e_1 = w_1, e_2 = w_2 + .8 w_1, e_3 = w_3 + .8 w_2 + (.64 + .1) w_1
    weights = np.array([[1, 0, 0], [0.8, 1, 0], [0.74, 0.8, 1]])
    expected = weights @ weights.T
    expected /= np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(np.corrcoef(leads), expected, atol=5 / np.sqrt(members))


def test_noise_later_lead_times_have_longer_waves():
    source = noise((128, 128), members=1, steps=12)
    frequency = wave_frequencies((128, 128))
    power = [np.abs(fft.rfft2(source.advance(0))) ** 2 for _ in range(12)]
    mean = [np.average(frequency, weights=one) for one in power]
    assert mean[0] > 1.3 * mean[3] > 1.5 * mean[11]


def test_noise_member_does_not_depend_on_the_number_of_members_or_on_threads():
    few, many, other = noise(members=2), noise(members=20), noise(members=2, seed=6)
    alone = [[few.advance(member) for member in range(2)] for _ in range(4)]
    for lead in range(4):
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(many.advance, range(20)))
        np.testing.assert_array_equal(together[:2], alone[lead])
        assert np.abs(other.advance(0) - alone[lead][0]).max() > 0.1
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_noise_one_lead_time_too_many_is_refused():
    source = noise(steps=1)
    source.advance(0)
    with pytest.raises(ArgumentError, match="up to 1 lead"):
        source.advance(0)


def test_places_whole_pixels_of_motion_are_those_of_extrapolation():
    rng = np.random.default_rng(3)
    field = rng.normal(size=(20, 30)).astype(np.float32)
    motion = np.stack([np.full((20, 30), 2.0), np.full((20, 30), -1.0)]).astype(np.float32)
    moved = extrapolate(field, motion, 3)
    for lead, places in enumerate(carried_places(motion, 3, (20, 30))):
        found = carry(field, places)
        inside = ~np.isnan(moved[lead])
        np.testing.assert_array_equal(found[inside], moved[lead][inside])
        np.testing.assert_array_equal(found, np.roll(field, (-(lead + 1), 2 * (lead + 1)), axis=(0, 1)))


def test_carry_turning_motion_takes_values_and_does_not_average_them():
    y, x = np.mgrid[:60, :50].astype(np.float32)
    motion = np.stack([(y - 30) * 0.13, (25 - x) * 0.13])
    field = np.random.default_rng(1).normal(size=(128, 120)).astype(np.float32)
    for places in carried_places(motion, 4, (128, 120)):
        assert np.isin(carry(field, places), field).all()


@pytest.mark.parametrize("speed", [0.0, 4.3])
def test_period_exceeds_grid_and_inflow(speed):
    motion = np.full((2, 50, 70), speed, np.float32)
    rows, cols = noise_period((50, 70), motion, 12)
    assert rows >= 50 + 12 * speed + 60
    assert cols >= 70 + 12 * speed + 60
    large = np.broadcast_to(np.float32(3), (2, 5000, 3000))
    assert max(noise_period((5000, 3000), large, 12)) <= LONGEST_PERIOD


def test_memory_between_wavelengths_is_stationary():
    frequency = np.geomspace(0.001, 0.7, 50)
    phi1, phi2 = RAIN_MEMORY.at(frequency)
    assert (np.diff(phi1) <= 0).all()
    assert (np.abs(phi1) < 1 - phi2).all()
    assert phi1[0] == 1.7
    assert phi1[-1] == 0.4


@pytest.mark.parametrize("rate", [0.0, 3.0, np.nan])
def test_memory_of_frames_without_any_variation_still_gives_normal_noise(rate):
    frames = np.full((3, 40, 50), rate, np.float32)
    memory = WaveMemory.of_cascade(moving_cascade(frames, np.zeros((2, 40, 50), np.float32)))
    source = noise((24, 24), members=500, memory=memory)
    fields = np.stack([source.advance(member) for member in range(500)])
    assert stats.kstest(fields[:, 3, 4], "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wavelengths": np.array([3.0, 10.0])}, "descend"),
        ({"phi1": np.array([1.2, 0.5])}, "stationary"),
        ({"phi1": np.array([0.5])}, "three arrays"),
    ],
)
def test_memory_invalid_values_are_refused(change, message):
    values = {"wavelengths": [10.0, 3.0], "phi1": [0.9, 0.5], "phi2": [0.0, 0.0]} | change
    with pytest.raises(ArgumentError, match=message):
        WaveMemory(**{name: np.array(value) for name, value in values.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"power": np.ones((8, 4), np.float32)}, "power: expected"),
        ({"power": np.zeros((8, 5), np.float32)}, "not all 0"),
        ({"members": 0}, "1 or more"),
        ({"steps": 0}, "1 or more"),
        ({"seed": -1}, "a seed of 0 or more"),
    ],
)
def test_noise_invalid_arguments_are_refused(change, message):
    power = np.ones((8, 5), np.float32)
    arguments = {"power": power, "period": (8, 8), "memory": RAIN_MEMORY, "members": 1, "steps": 1, "seed": 0}
    with pytest.raises(ArgumentError, match=message):
        ErrorNoise(**(arguments | change))
