import numpy as np
import pytest

from stormcell.forecast.cuts import best_cuts
from stormcell.forecast.rain_distribution import RainDistribution


def expected_index(probability: np.ndarray, cut: float) -> float:
    """The expected hits of pixels that reach a cut, over expected hits, misses and false alarms."""
    forecast = [p for p in probability.ravel() if p >= cut]
    hits = sum(forecast)
    misses = sum(probability.ravel()) - hits
    false_alarms = sum(1 - p for p in forecast)
    return hits / (hits + misses + false_alarms)


def distribution(*probabilities: np.ndarray) -> RainDistribution:
    rates = 0.1 * 10.0 ** np.arange(len(probabilities))
    return RainDistribution(rates.tolist(), np.stack(probabilities).astype(np.float32))


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("rarity", [1, 4])
def test_best_cuts_have_the_highest_expected_index_of_all_cuts(sharpness, rarity):
    """Every probability that occurs is tried as a cut."""
    rng = np.random.default_rng(0)
    common = rng.beta(sharpness, sharpness * rarity, (12, 13))
    rare = common * rng.random((12, 13))
    rain = distribution(common, rare)
    for cut, probability in zip(best_cuts(rain), rain.exceedance, strict=True):
        best = max(expected_index(probability, one) for one in probability.ravel())
        # Cuts are classes of 1/256: up to a pixel or two of 156 are on the other side.
        assert best - 0.005 < expected_index(probability, cut) <= best + 1e-6


def test_best_cuts_of_probabilities_on_class_borders_are_exact():
    rng = np.random.default_rng(1)
    probability = rng.integers(1, 256, (9, 10)) / 256
    cut = best_cuts(distribution(probability, probability * 0))[0]
    indices = {one: expected_index(probability, one) for one in np.unique(probability)}
    assert indices[float(cut)] == pytest.approx(max(indices.values()), rel=1e-6)


def test_best_cuts_are_nearly_the_index_over_one_plus_itself():
    """The known result for scores of this form; probabilities are continuous here."""
    probability = np.random.default_rng(0).beta(1, 3, (120, 130))
    rain = distribution(probability, probability**3)
    for cut, field in zip(best_cuts(rain), rain.exceedance, strict=True):
        best = expected_index(field, cut)
        assert cut == pytest.approx(best / (1 + best), abs=0.02)
        assert cut < 0.5


def test_best_cuts_of_certain_rain_give_its_area():
    certain = np.zeros((8, 9))
    certain[2:5, 3:7] = 1
    rain = distribution(certain, certain * 0)
    cuts = best_cuts(rain)
    assert 0 < cuts[0] <= 1
    assert ((rain.exceedance[0] >= cuts[0]) == (certain == 1)).all()


def test_best_cuts_of_hardly_any_rain_are_a_half():
    """With less than one expected pixel, no cut is better than another."""
    rain = distribution(np.full((9, 10), 0.01), np.zeros((9, 10)))
    assert best_cuts(rain).tolist() == [0.5, 0.5]


def test_best_cuts_ignore_pixels_that_are_not_observed():
    probability = np.random.default_rng(0).beta(1, 3, (20, 30)).astype(np.float32)
    wide = np.full((40, 30), np.nan, np.float32)
    wide[:20] = probability
    np.testing.assert_array_equal(
        best_cuts(distribution(wide, wide / 2)), best_cuts(distribution(probability, probability / 2))
    )


def test_best_cuts_of_a_large_field_are_those_of_a_part_of_its_pixels():
    """Every second row and column of 300 × 400 pixels: a cut changes by a few classes at most."""
    probability = np.random.default_rng(0).beta(1, 3, (300, 400)).astype(np.float32)
    whole = best_cuts(distribution(probability, probability / 2))
    part = best_cuts(
        distribution(probability[:256, :256], probability[:256, :256] / 2)
    )  # 2^16: not a large one
    np.testing.assert_allclose(whole, part, atol=4 / 256)
