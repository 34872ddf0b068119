"""The spectral power of bands, compared with a plain loop."""

import numpy as np
import pytest

from stormcell.motion.band_power import band_power


@pytest.mark.parametrize("shape", [(12, 10), (9, 11), (12, 11), (9, 10)])
def test_band_power_equals_that_of_the_full_spectrum(shape):
    generator = np.random.default_rng(6)
    rate = generator.gamma(0.4, 3.0, shape).astype(np.float32)
    mask = generator.random(shape) < 0.9
    level = np.where(mask & (rate > 0.1), 10 * np.log10(np.maximum(rate, 0.1) / 0.1), 0)
    power = np.abs(np.fft.fft2(level)) ** 2 / level.size
    edges, expected = (2.0, 4.0, 8.0), np.zeros(2)
    for k, vertical in enumerate(np.fft.fftfreq(shape[0])):
        for m, horizontal in enumerate(np.fft.fftfreq(shape[1])):
            frequency = np.hypot(vertical, horizontal)
            for band in range(2):
                if frequency and edges[band] <= 1 / frequency < edges[band + 1]:
                    expected[band] += power[k, m]
    # A float32 transform of a hundred values has a relative error of a few epsilons of 1.2e-7.
    np.testing.assert_allclose(band_power(rate, mask, edges), expected, rtol=1e-5)


def test_band_power_of_short_waves_decreases_by_smoothing():
    generator = np.random.default_rng(7)
    rate = generator.gamma(0.4, 3.0, (64, 64)).astype(np.float32)
    smooth = (rate + np.roll(rate, 1, 0) + np.roll(rate, 1, 1) + np.roll(rate, (1, 1), (0, 1))) / 4
    everywhere = np.ones(rate.shape, bool)
    short, long = band_power(smooth, everywhere, (2.0, 4.0, 64.0)) / band_power(
        rate, everywhere, (2.0, 4.0, 64.0)
    )
    assert short < 0.5 * long
