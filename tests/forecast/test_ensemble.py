"""Ensembles from distributions: what they are at a pixel, over areas and hours, and by wavelength."""

import numpy as np
import pytest
from scipy import fft, special, stats
from tests.forecast.generated_process import LEADS, MEMORY, THRESHOLDS, Process

from stormcell.data.synthetic import generate
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast.contract import Analysis
from stormcell.forecast.ensemble import draw_members, ensemble_array, ensemble_of, normal_tail, ranks
from stormcell.forecast.rain_distribution import RainDistribution
from stormcell.forecast.rain_spectrum import RainSpectrum, rain_spectrum
from stormcell.forecast.wave_memory import WaveMemory
from stormcell.motion.band_power import wave_frequencies
from stormcell.motion.sprog import moving_cascade

SPECTRUM = RainSpectrum(np.geomspace(0.005, 0.7, 40), (1 + (50 * np.geomspace(0.005, 0.7, 40)) ** 2) ** -1.5)


def draw(distributions, size=64, **options):
    still = np.zeros((2, size, size), np.float32)
    options = {"members": 3, "steps": len(distributions), "seed": 1} | options
    return np.stack(list(draw_members(distributions, still, SPECTRUM, MEMORY, **options)), axis=1)


def uniform(probabilities, size=64) -> RainDistribution:
    exceedance = np.array(probabilities, np.float32).reshape(-1, 1, 1)
    return RainDistribution(THRESHOLDS, np.tile(exceedance, (1, size, size)))


FALLING = uniform(0.7 * np.array(THRESHOLDS) ** -0.6 * 0.1**0.6)


def test_members_at_a_pixel_have_the_distribution():
    members = 800
    rates = draw([uniform(FALLING.exceedance[:, 0, 0], size=8)] * 2, size=8, members=members)
    for lead in range(2):
        for y, x in ((0, 0), (4, 5)):
            found = (rates[:, lead, y, x, None] >= np.array(THRESHOLDS)).mean(axis=0)
            expected = FALLING.exceedance[:, y, x]
            # Members are independent: 4 standard deviations of a share.
            assert (np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / members)).all()


def test_members_equal_the_quantiles_at_their_noise():
    rates = draw([FALLING], members=2)
    # The rate is the one that is exceeded with the probability of a higher noise, so it is where the same
    # noise exceeds Φ⁻¹(1 − p): wet areas of a drier distribution are inside those of a wetter one.
    drier = draw([uniform(FALLING.exceedance[:, 0, 0] / 3)], members=2)
    assert ((drier > 0) <= (rates > 0)).all()
    assert (drier <= rates).all()


def test_members_same_seed_any_number_are_the_same_members():
    newest = generate(seed=3, shape=(64, 64), steps=1).rainfall_rate.values[0]
    for options in ({}, {"newest": newest}):
        two, five = (draw([FALLING] * 3, members=members, **options) for members in (2, 5))
        np.testing.assert_array_equal(two, five[:2])
    assert (draw([FALLING] * 3, seed=2) != draw([FALLING] * 3, seed=1)).any()


def test_members_placed_are_the_quantiles_of_every_pixel():
    members = 7
    rates = draw([FALLING] * 2, members=members, placed=True)
    quantiles = FALLING.quantile((np.arange(members) + 0.5) / members)
    np.testing.assert_allclose(np.sort(rates[:, 1], axis=0), quantiles, rtol=1e-5)
    drawn = draw([FALLING] * 2, members=members)
    order = (rates[:, None] > rates[None]) & (drawn[:, None] > 0)
    assert (drawn[:, None] >= drawn[None])[order].all()  # in the order of the same noise


def test_members_placed_leave_out_the_highest_rates():
    drawn, placed = (draw([FALLING], members=10, placed=placed) for placed in (False, True))
    assert placed.max() < FALLING.quantile([0.951]).max() < drawn.max()
    assert placed.mean() < 0.9 * FALLING.mean().mean()


def test_members_undefined_pixels_are_undefined():
    exceedance = FALLING.exceedance.copy()
    exceedance[:, 10:20, 5] = np.nan
    rain = RainDistribution(THRESHOLDS, exceedance)
    for placed in (False, True):
        assert (np.isnan(draw([rain], placed=placed)) == np.isnan(exceedance[0])).all()


def test_members_dry_everywhere_are_dry():
    assert (draw([uniform(np.zeros(14))], placed=True) == 0).all()


def test_members_grid_larger_than_the_noise_are_made():
    wide = RainDistribution([0.1, 1.0], np.full((2, 3, 2300), 0.5, np.float32))
    still = np.zeros((2, 3, 2300), np.float32)
    rates = next(draw_members([wide], still, SPECTRUM, MEMORY, members=1, steps=1, seed=0))
    assert 0.3 < (rates > 0).mean() < 0.7


def test_members_too_few_or_wrong_distributions_are_refused():
    with pytest.raises(ArgumentError, match="lead 2, found none"):
        draw([FALLING], steps=2)
    with pytest.raises(ArgumentError, match="lead 1, found one of"):
        draw([FALLING], size=32)
    with pytest.raises(ArgumentError, match="into: expected"):
        draw([FALLING], into=np.zeros((3, 1, 64, 64)))


def test_ensemble_array_names_seed_and_method():
    frames = generate(seed=1, shape=(64, 64), steps=3).rainfall_rate
    for placed in (False, True):
        found = ensemble_array(np.zeros((3, 2, 64, 64), np.float32), frames, seed=9, placed=placed)
        assert found.dims == ("realization", "time", "y", "x")
        assert found.sizes["time"] == 2
        assert found.attrs["ensemble_seed"] == 9
        assert ("depends on the number" in found.attrs["ensemble_method"]) == placed


def test_ensemble_of_analysis_is_that_of_its_frames_motion():
    frames = generate(seed=3, shape=(64, 72), steps=4).rainfall_rate
    exceedance = np.tile(FALLING.exceedance[:, :1, :1], (1, 64, 72))
    exceedance[:, :, :4] = np.nan
    rain = RainDistribution(THRESHOLDS, exceedance)
    analysis = Analysis(frames)
    found = ensemble_of([rain] * 3, analysis, steps=3, members=2, seed=4)
    assert found.dims == ("realization", "time", "y", "x")
    assert (np.isnan(found.values) == np.isnan(exceedance[0])).all()
    assert (found.time.values == frames.time.values[-1] + np.arange(1, 4) * np.timedelta64(5, "m")).all()
    expected = draw_members(
        [rain] * 3,
        analysis.motion(),
        rain_spectrum(frames.values[-1]),
        WaveMemory.of_cascade(moving_cascade(frames.values[-3:], analysis.motion())),
        members=2,
        steps=3,
        seed=4,
        newest=frames.values[-1],
    )
    np.testing.assert_array_equal(found.values, np.stack(list(expected), axis=1))
    with pytest.raises(ArgumentError, match="members: expected 1 or more, found 0"):
        ensemble_of([rain], analysis, steps=1, members=0, seed=0)
    with pytest.raises(FramesError, match="at least 3"):
        ensemble_of([rain], Analysis(frames[:2]), steps=1, members=1, seed=0)


@pytest.mark.parametrize("count", [2, 7, 60])
def test_ranks_are_those_of_sorting(count):
    values = np.random.default_rng(2).integers(0, 9, (count, 5, 6)).astype(np.float32)  # with ties
    expected = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0)
    np.testing.assert_array_equal(ranks(values), expected)


def test_normal_tail_is_that_of_scipy():
    values = np.linspace(-9, 9, 100001).astype(np.float32)
    np.testing.assert_allclose(
        normal_tail(values), special.ndtr(-values.astype(np.float64)), rtol=0, atol=3e-7
    )


# Against a known process


def amounts(rates, minutes, square):
    """Return sums in mm over the last ``minutes`` and means over squares ``(…, y, x)``, of 5-minute rates."""
    sums = rates[..., -minutes // 5 :, :, :].mean(axis=-3) * minutes / 60
    size = sums.shape[-1] // square * square
    parts = sums[..., :size, :size]
    return parts.reshape(*parts.shape[:-2], size // square, square, -1, square).mean(axis=(-3, -1))


def fair_crps(members, truth):
    """Return the mean over pixels of the score that an ensemble of any size has on average."""
    count = len(members)
    error = np.abs(members - truth).mean()
    spread = np.abs(members[:, None] - members[None]).sum(axis=(0, 1)).mean() / (count * (count - 1))
    return error - spread / 2


@pytest.fixture(scope="module")
def scored():
    """Scores by ensemble and amount, and power spectra by ensemble, of four scenes.

    Spectrum and memory of the noise are measured on the last frames.
    """
    rng = np.random.default_rng(11)
    process, members = Process(180), 20
    kinds = [(15, 10), (15, 30), (60, 10), (60, 30)]
    scores = {name: np.zeros(len(kinds)) for name in ("ours", "true", "independent")}
    spectra = {name: np.zeros((3, 8)) for name in scores}
    for seed in range(4):
        scene = process.scene(rng)
        distributions = process.distributions(scene)
        spectrum = rain_spectrum(scene.frames[-1])
        memory = WaveMemory.of_cascade(moving_cascade(scene.frames, process.motion))
        leads = draw_members(
            distributions,
            process.motion,
            spectrum,
            memory,
            members=members,
            steps=LEADS,
            seed=seed,
            newest=scene.frames[-1],
        )
        chances = rng.random((LEADS, members, process.size, process.size), dtype=np.float32)
        found = {
            "ours": np.stack(list(leads), axis=1),
            "true": process.true_members(rng, scene, members),
            "independent": np.stack(
                [rain.rates_exceeded(one) for rain, one in zip(distributions, chances, strict=True)], axis=1
            ),
        }
        for name, rates in found.items():
            for number, kind in enumerate(kinds):
                scores[name][number] += fair_crps(amounts(rates, *kind), amounts(scene.truth, *kind))
            spectra[name] += [ring_powers(rates[:, lead]) for lead in (2, 5, 11)]
    return scores, spectra


def ring_powers(rates):
    """Return the power of the rates in dB, averaged over members and rings of wavelengths 4 to 64 pixels."""
    waves = fft.rfft2(np.log10(np.maximum(rates, 0.1)))
    ring = np.digitize(wave_frequencies(rates.shape[-2:]), 1 / np.geomspace(64, 4, 9))
    power = (np.abs(waves) ** 2).mean(axis=0)
    return np.array([power[ring == number].mean() for number in range(1, 9)])


def test_ensemble_amounts_over_areas_and_hours_beat_independent_pixels(scored):
    scores, _ = scored
    assert (scores["ours"] < 0.85 * scores["independent"]).all(), scores


def test_ensemble_amounts_over_areas_and_hours_are_almost_those_of_the_true_ensemble(scored):
    scores, _ = scored
    # Spectrum and memory are measured on one scene; with the true ones, the scores differ by 2 %.
    np.testing.assert_allclose(scores["ours"] / scores["true"], 1, atol=0.08)


def test_ensemble_power_spectrum_is_that_of_the_truth(scored):
    _, spectra = scored
    ratio = spectra["ours"] / spectra["true"]
    assert np.abs(ratio - 1).max() < 0.2, ratio
    # The long waves of independent pixels are lost, and short ones are added.
    independent = spectra["independent"][-1] / spectra["true"][-1]
    assert independent[0] < 0.2
    assert independent[-1] > 1.5


def test_ensemble_rank_of_the_truth_is_any_with_the_same_frequency():
    rng = np.random.default_rng(5)
    process, members, counts = Process(64), 9, np.zeros(10)
    for seed in range(40):
        scene = process.scene(rng)
        leads = list(
            draw_members(
                process.distributions(scene),
                process.motion,
                SPECTRUM,
                MEMORY,
                members=members,
                steps=12,
                seed=seed,
            )
        )
        for y, x in ((3, 3), (35, 3), (3, 35), (35, 35)):  # 32 pixels apart: almost independent
            values, truth = leads[-1][:, y, x], scene.truth[-1, y, x]
            lowest, ties = (values < truth).sum(), (values == truth).sum()
            counts[rng.integers(lowest, lowest + ties + 1)] += 1
    # Pearson's statistic of 160 ranks in 10 classes.
    assert stats.chisquare(counts).pvalue > 1e-3, counts
