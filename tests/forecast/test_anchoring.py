"""Fields by cuts, and cuts whose areas are anchored to an expected area."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from stormcell.errors import ArgumentError
from stormcell.forecast.anchoring import anchored_cuts, areas_of, lasting_areas
from stormcell.forecast.rain_distribution import RainDistribution

THRESHOLDS = [0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3.5, 5, 8, 12, 20, 30]


def scene(seed=0, size=80) -> RainDistribution:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(size, size)), 5)
    excess = 2 * field[None] / field.std() - np.log(np.array(THRESHOLDS))[:, None, None] - 1
    noise = 0.02 * rng.normal(size=excess.shape).cumsum(axis=0)  # probabilities with an own order each
    exceedance = np.minimum.accumulate(1 / (1 + np.exp(-excess - noise)), axis=0)
    return RainDistribution(THRESHOLDS, exceedance.astype(np.float32))


def areas(field):
    return np.array([(field >= np.float32(threshold)).sum() for threshold in THRESHOLDS])


def test_field_one_cut_reaches_the_thresholds_that_the_quantile_reaches():
    rain, thresholds = scene(), np.float32(THRESHOLDS)
    for cut in (0.5, 0.2):
        found, expected = rain.rates_at_cuts([cut] * 14), rain.quantile([1 - cut])[0]
        reached = (np.searchsorted(thresholds, field, side="right") for field in (found, expected))
        np.testing.assert_array_equal(*reached)


def test_field_by_brute_force_is_the_largest_rate_with_its_cut():
    rain, cuts = scene(size=20), np.geomspace(0.45, 0.15, 14)
    found = rain.rates_at_cuts(cuts)
    rates = np.geomspace(0.1, 200, 3000)
    cut = np.exp(np.interp(np.log(rates), np.log(THRESHOLDS), np.log(cuts)))
    logs = np.log(rain.exceedance.astype(np.float64))
    slope = np.maximum((logs[-2] - logs[-1]) / np.log(THRESHOLDS[-1] / THRESHOLDS[-2]), 2)
    ends = np.concatenate([logs, logs[-1:] - slope * np.log(200 / THRESHOLDS[-1])])
    chances = np.apply_along_axis(lambda y: np.interp(np.log(rates), np.log([*THRESHOLDS, 200]), y), 0, ends)
    reaches = chances >= np.log(cut)[:, None, None]
    expected = np.where(reaches.any(axis=0), rates[::-1][reaches[::-1].argmax(axis=0)], 0)
    assert ((found == 0) == (expected == 0)).mean() > 0.995  # a pixel at 0.1 exactly may be either
    wet = (found > 0) & (expected > 0)
    np.testing.assert_allclose(found[wet], expected[wet], rtol=np.log(2000) / 2999 * 1.01)


@given(st.integers(0, 50), st.lists(st.floats(0.0625, 1), min_size=14, max_size=14))
@settings(max_examples=50)
def test_field_any_cuts_reaches_a_threshold_where_it_or_a_higher_one_reaches_its_cut(seed, cuts):
    rain = scene(seed, size=12)
    field = rain.rates_at_cuts(cuts)
    reached = rain.exceedance >= np.array(cuts, np.float32)[:, None, None]
    for number, threshold in enumerate(THRESHOLDS):
        expected = reached[number:].any(axis=0)
        np.testing.assert_array_equal(field >= np.float32(threshold), expected)


def test_field_undefined_pixels_are_undefined():
    exceedance = scene().exceedance.copy()
    exceedance[:, 3, 4:7] = np.nan
    field = RainDistribution(THRESHOLDS, exceedance).rates_at_cuts([0.3] * 14)
    assert (np.isnan(field) == np.isnan(exceedance[0])).all()


@pytest.mark.parametrize("cuts", [[0.5] * 13, [0.5] * 13 + [0.0], [0.5] * 13 + [1.5], [np.nan] * 14])
def test_field_invalid_cuts_are_refused(cuts):
    with pytest.raises(ArgumentError, match="cuts: expected 14"):
        scene(size=5).rates_at_cuts(cuts)


def expected_areas(rain: RainDistribution) -> np.ndarray:
    return rain.exceedance.sum(axis=(1, 2), dtype=np.float64)


def test_areas_of_counts_as_a_comparison_with_each_threshold_does():
    thresholds = [0.1, 0.5, 5.0, 1000.0]
    rates = np.random.default_rng(0).gamma(0.3, 3, (40, 30)).astype(np.float32)
    rates[:3], rates[3, :4] = np.nan, np.float32(0.1)
    expected = [np.count_nonzero(rates >= np.float32(threshold)) for threshold in thresholds]
    assert expected[-1] == 0 < expected[-2]
    assert areas_of(rates, thresholds).tolist() == expected
    assert areas_of(np.zeros((2, 2), np.float32), thresholds).tolist() == [0, 0, 0, 0]


def test_lasting_areas_heavy_rain_becomes_rarer_and_light_rain_does_not():
    now = [400.0, 300.0, 200.0, 100.0]
    later = lasting_areas(now, [0.1, 1.0, 5.0, 25.0], 45)
    # By a tenth of the logarithm at 5 mm/h, and by twice as much at its square.
    np.testing.assert_allclose(later, [400, 300, 200 * np.exp(-0.1), 100 * np.exp(-0.2)])
    np.testing.assert_array_equal(lasting_areas(now, [0.1, 1.0, 5.0, 25.0], 0), now)


@pytest.mark.parametrize("cut", [0.05, 0.4, 0.95])
@pytest.mark.parametrize("bounds", [(0.9, 1.2), (0.99, 1.01), (1, 1)])
def test_anchored_cuts_areas_are_within_the_bounds(cut, bounds):
    rain = scene(3)
    expected = np.floor(expected_areas(rain))
    field = rain.rates_at_cuts(anchored_cuts(rain, [cut] * 14, expected, bounds))
    found = areas(field)
    assert (found >= np.floor(bounds[0] * expected)).all()
    assert (found <= np.ceil(bounds[1] * expected)).all()
    free = areas(rain.rates_at_cuts([cut] * 14))
    assert cut == 0.4 or ((free < 0.9 * expected) | (free > 1.2 * expected)).any()


def test_anchored_cuts_area_within_the_bounds_keeps_the_cuts():
    rain, cuts = scene(4), np.linspace(0.5, 0.3, 14).astype(np.float32)
    found = areas(rain.rates_at_cuts(cuts))
    np.testing.assert_array_equal(anchored_cuts(rain, cuts, found), cuts)
    np.testing.assert_array_equal(anchored_cuts(rain, cuts, np.full(14, np.nan)), cuts)


def test_anchored_cuts_one_threshold_out_of_bounds_changes_that_alone():
    rain, cuts = scene(5), np.full(14, 0.4, np.float32)
    expected = areas(rain.rates_at_cuts(cuts)).astype(float)
    expected[5] *= 0.8
    expected[6:] *= 0.85
    changed = anchored_cuts(rain, cuts, expected, (0.9, 1.2)) != cuts
    assert changed.tolist() == [number == 5 for number in range(14)]


def test_anchored_cuts_no_rain_expected_gives_no_rain():
    rain = scene(6)
    assert areas(rain.rates_at_cuts(anchored_cuts(rain, [0.5] * 14, [0] * 14))).sum() == 0


def test_anchored_cuts_more_rain_than_likely_stops_at_small_probabilities():
    rain = scene(7)
    cuts = anchored_cuts(rain, [0.5] * 14, [6400] * 14)
    assert cuts.min() >= 1e-3
    found = areas(rain.rates_at_cuts(cuts))
    likely = (rain.exceedance >= 1e-3).sum(axis=(1, 2))
    assert likely.min() < 0.9 * 6400 < likely.max()
    np.testing.assert_array_equal(found, np.minimum(likely, 0.9 * 6400))


def test_anchored_cuts_equal_probabilities_do_not_exceed_the_upper_bound():
    exceedance = np.full((14, 10, 10), 0.3, np.float32)
    exceedance[:, :2] = 0.6
    rain = RainDistribution(THRESHOLDS, exceedance)
    found = areas(rain.rates_at_cuts(anchored_cuts(rain, [0.7] * 14, [50] * 14)))
    assert (found == 20).all()


@pytest.mark.parametrize(
    ("cuts", "expected", "bounds", "message"),
    [
        ([0.5] * 3, [1] * 14, (0.9, 1.2), "14 each"),
        ([0.0] * 14, [1] * 14, (0.9, 1.2), "above 0"),
        ([0.5] * 14, [-1] * 14, (0.9, 1.2), "above 0"),
        ([0.5] * 14, [1] * 14, (1.1, 1.2), "bounds"),
    ],
)
def test_anchored_cuts_invalid_arguments_are_refused(cuts, expected, bounds, message):
    with pytest.raises(ArgumentError, match=message):
        anchored_cuts(scene(size=5), cuts, expected, bounds)
