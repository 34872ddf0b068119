"""The factors that bring the texture of members to that of the newest frame."""

import numpy as np
import pytest
from scipy import fft, ndimage

from stormcell.data.synthetic import generate
from stormcell.forecast.ensemble import draw_members
from stormcell.forecast.member_texture import LARGEST_FACTOR, LARGEST_SIDE, MemberTexture
from stormcell.forecast.rain_distribution import RainDistribution
from stormcell.forecast.rain_spectrum import RainSpectrum
from stormcell.forecast.wave_memory import WaveMemory
from stormcell.motion.band_power import wave_frequencies


@pytest.fixture(scope="module")
def rain():
    return np.nan_to_num(generate(seed=2, shape=(128, 144), steps=1).rainfall_rate.values[0])


def smoothed(rates, width=1.0):
    return ndimage.gaussian_filter(rates, width).astype(np.float32)


def octave_powers(rates):
    """Return the mean power of the decibels in the octaves from 2 to 32 pixels, by a plain transform."""
    decibels = 10 * np.log10(np.maximum(rates, 0.1) / 0.1)
    power, length = np.abs(fft.rfft2(decibels)) ** 2, 1 / np.maximum(wave_frequencies(rates.shape), 1e-9)
    return np.array([power[(length >= k) & (length < 2 * k)].mean() for k in (2, 4, 8, 16)])


def test_texture_of_the_newest_frame_changes_nothing(rain):
    texture = MemberTexture(rain)
    assert texture.compare(rain)
    np.testing.assert_array_equal(texture.powers, 1)
    # Octaves from 2 to 32 pixels, a quarter of the shorter side: their middles.
    np.testing.assert_allclose(1 / texture.frequencies, 2 * np.sqrt(2) * np.array([8, 4, 2, 1]))


def test_texture_of_a_smoother_member_raises_the_power_of_what_it_lacks(rain):
    texture = MemberTexture(rain)
    assert texture.compare(smoothed(rain, 0.4))
    expected = (octave_powers(rain) / octave_powers(smoothed(rain, 0.4)))[::-1]
    expected /= np.exp(np.log(expected).mean())
    assert expected[-1] > 1.1
    # The sums of float32 transforms; mirrored columns count twice in one of the two, which shifts an octave's
    # mean by its first and last column: 1 of 32 waves in the longest octave, whose power differs by less.
    np.testing.assert_allclose(texture.powers, expected, rtol=0.02)
    before = texture.powers
    assert texture.compare(smoothed(rain, 0.4))
    np.testing.assert_allclose(texture.powers, before**2, rtol=1e-6)


def test_texture_power_of_all_octaves_together_is_free(rain):
    texture = MemberTexture(rain)
    stronger = 0.1 * (np.maximum(rain, np.float32(0.1)) / np.float32(0.1)) ** 2  # twice the decibels
    assert texture.compare(stronger.astype(np.float32))
    np.testing.assert_allclose(texture.powers, 1, rtol=1e-4)


def test_texture_factors_are_limited(rain):
    texture = MemberTexture(rain)
    for _ in range(5):
        texture.compare(smoothed(rain))
    assert texture.powers.max() == pytest.approx(LARGEST_FACTOR)
    assert texture.powers.min() >= 1 / LARGEST_FACTOR - 1e-12


def test_texture_without_rain_or_with_few_pixels_is_not_compared(rain):
    dry = np.zeros_like(rain)
    small = rain[60:75, 60:75]
    for newest, member in ((rain, dry), (dry, rain), (np.full_like(rain, np.nan), rain), (small, small)):
        texture = MemberTexture(newest)
        assert not texture.compare(member)
        assert (texture.powers == 1).all()


def test_texture_pixels_that_were_not_observed_do_not_count(rain):
    known = rain.copy()
    known[:, :40] = np.nan
    texture, member = MemberTexture(known), rain.copy()
    assert texture.compare(member)
    np.testing.assert_array_equal(texture.powers, 1)


def test_texture_of_a_large_frame_is_that_of_its_rain(rain):
    height, width = rain.shape
    large = np.zeros((LARGEST_SIDE + 300, LARGEST_SIDE + 400), np.float32)
    large[-height:, -width:] = rain
    member = np.zeros_like(large)
    member[-height:, -width:] = smoothed(rain, 0.5)
    texture, part = MemberTexture(large), MemberTexture(large[300:, 400:])
    assert texture.compare(member)
    assert part.compare(member[300:, 400:])
    np.testing.assert_array_equal(texture.powers, part.powers)
    assert texture.powers[-1] > 1.1


@pytest.mark.parametrize("placed", [False, True])
def test_members_have_the_texture_of_the_newest_frame(placed):
    shape, thresholds = (128, 144), np.geomspace(0.1, 20, 12)
    exceedance = np.tile((0.4 * (thresholds / 0.1) ** -0.4).reshape(-1, 1, 1), (1, *shape))
    distribution = RainDistribution(thresholds.tolist(), exceedance.astype(np.float32))
    memory = WaveMemory(np.array([10.0]), np.array([0.6]), np.array([0.0]))
    frequencies = np.geomspace(0.005, 0.7, 40)
    smooth, rough = (
        RainSpectrum(frequencies, (1 + (50 * frequencies) ** 2) ** -slope) for slope in (1.5, 1.0)
    )

    def draw(spectrum, seed, **options):
        leads = draw_members(
            [distribution] * 8,
            np.zeros((2, *shape), np.float32),
            spectrum,
            memory,
            steps=8,
            seed=seed,
            **options,
        )
        return list(leads)

    newest = draw(smooth, 1, members=1)[0][0]

    def ratios(newest_or_none):
        leads = draw(rough, 2, members=20, newest=newest_or_none, placed=placed)
        others = [octave_powers(member) for lead in leads[-4:] for member in lead[1:4]]
        ratio = np.mean(others, axis=0) / octave_powers(newest)
        return ratio / np.exp(np.log(ratio).mean())

    assert ratios(None).max() > 1.5
    assert np.abs(ratios(newest) - 1).max() < 0.2
