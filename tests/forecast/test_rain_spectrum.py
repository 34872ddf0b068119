"""The spectrum behind rain: found again from rain that was made from fields of a known spectrum."""

import numpy as np
import pytest
from scipy import fft, special

from stormcell.data.synthetic import generate
from stormcell.errors import ArgumentError
from stormcell.forecast.rain_spectrum import rain_spectrum
from stormcell.motion.band_power import wave_frequencies

SIZE = 512
FREQUENCY = wave_frequencies((SIZE, SIZE))


def rain_of(power, wet, seed):
    rng = np.random.default_rng(seed)
    field = fft.irfft2(np.sqrt(power) * fft.rfft2(rng.standard_normal((SIZE, SIZE))))
    excess = field / field.std() - special.ndtri(1 - wet)
    return np.where(excess > 0, 0.1 * 10 ** (1.8 * excess), 0).astype(np.float32)


def by_wavelength(power):
    """Return the power averaged over rings of wavelengths 4 to 64 pixels, relative to their mean in dB."""
    ring = np.digitize(FREQUENCY, 1 / np.geomspace(64, 4, 9))
    rings = np.array([power[ring == number].mean() for number in range(1, 9)])
    return rings / np.exp(np.log(rings).mean())


@pytest.mark.parametrize("wet", [0.15, 0.4])
@pytest.mark.parametrize("missing", [False, True])
def test_spectrum_generated_rain_has_that_of_its_field(wet, missing):
    power = (1 + (12 * 2 * np.pi * FREQUENCY) ** 2) ** -1.5
    found = []
    for seed in range(4):
        rates = rain_of(power, wet, seed)
        if missing:
            rates[:, 300:] = np.nan
        found.append(by_wavelength(rain_spectrum(rates).power((SIZE, SIZE))))
    # Rings of long waves have few: 60 in four scenes, so 13 % by chance, and some leakage from the window.
    np.testing.assert_allclose(np.mean(found, axis=0) / by_wavelength(power), 1, atol=0.25)


def test_spectrum_clipped_rain_is_steeper_than_its_own():
    power = (1 + (12 * 2 * np.pi * FREQUENCY) ** 2) ** -1.5
    rates = rain_of(power, 0.1, 1)
    decibels = np.log10(np.maximum(rates, 0.1))
    own = by_wavelength(np.abs(fft.rfft2(decibels - decibels.mean())) ** 2)
    found = by_wavelength(rain_spectrum(rates).power((SIZE, SIZE)))
    assert own[-1] / own[0] > 2 * found[-1] / found[0]


@pytest.mark.parametrize("rates", [np.zeros((40, 50)), np.full((40, 50), np.nan), np.full((70, 80), 3.0)])
def test_spectrum_dry_unobserved_or_wholly_wet_frame_has_the_typical_one(rates):
    typical = rain_spectrum(rates.astype(np.float32), pixel_km=0.5)
    assert (np.diff(typical.powers) < 0).all()
    coarse = rain_spectrum(rates.astype(np.float32), pixel_km=1.0)
    # The same wavelength in kilometres has the same power.
    half = np.interp(0.05, typical.frequencies, typical.powers)
    assert np.interp(0.1, coarse.frequencies, coarse.powers) == pytest.approx(half, rel=0.01)


def test_spectrum_radar_frame_is_positive_and_falls():
    spectrum = rain_spectrum(generate(seed=4, shape=(300, 200), steps=1).rainfall_rate.values[0])
    assert (spectrum.powers > 0).all()
    assert (np.diff(spectrum.powers) <= 0).all()
    assert np.isfinite(spectrum.power((324, 250))).all()


def test_spectrum_wrong_shape_is_refused():
    with pytest.raises(ArgumentError, match="expected"):
        rain_spectrum(np.zeros(5, np.float32))
