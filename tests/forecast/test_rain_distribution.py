"""The predictive distribution: its formula by numerical integration, its inverses, its limits.

The oracle interpolates the odds to halfway, and ln S over ln r by ``numpy.interp``, in double precision, one
pixel at a time.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from stormcell.errors import ArgumentError
from stormcell.forecast.pareto_pieces import STEEPEST, TAIL_SLOPE
from stormcell.forecast.rain_distribution import LARGEST, RainDistribution

THRESHOLDS = [0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3.5, 5, 8, 12, 20, 30]
LOGS = np.log(THRESHOLDS)

# Fields are float32. Logarithms of probabilities are at most 16 per piece, 2**-24 · 16 ≈ 1e-6 of them is
# rounded away, and up to three such errors meet in a rate.
RELATIVE = 1e-5


def one(probabilities, slope=TAIL_SLOPE) -> RainDistribution:
    exceedance = np.array(probabilities, np.float32).reshape(-1, 1, 1)
    return RainDistribution(THRESHOLDS, exceedance, tail_slope=slope)


def halfway(lower, upper):
    """Return the probability halfway between two thresholds."""
    least = max(upper, lower * np.exp(-STEEPEST))
    odds = (probability / max(1 - probability, 1e-4) for probability in (lower, least))
    middle = np.sqrt(np.prod(list(odds)))
    return min(max(middle / (1 + middle), least), lower)


def survival(probabilities, rate, smallest=TAIL_SLOPE):
    """Return P(R ≥ rate), by definition."""
    p = np.array(probabilities, np.float32).astype(np.float64)
    if rate <= THRESHOLDS[0]:
        return p[0]
    if rate > LARGEST:
        return 0.0
    k = int(np.searchsorted(THRESHOLDS, rate, side="right")) - 1
    if p[k] == 0:
        return 0.0
    last = k == len(p) - 1
    ends, chances = LOGS[k - last : k - last + 2], p[k - last : k - last + 2]
    centre, middle = ends.mean(), halfway(*chances)
    if last or np.log(rate) >= centre:
        ends, chances = [centre, ends[1]], [middle, chances[1]]
    else:
        ends, chances = [ends[0], centre], [chances[0], middle]
    fall = min(np.log(chances[0] / chances[1]), STEEPEST) if chances[1] else STEEPEST
    if last:
        slope = max(fall / (ends[1] - ends[0]), smallest)
        return p[-1] * (rate / THRESHOLDS[-1]) ** -slope
    return np.exp(np.interp(np.log(rate), ends, [np.log(chances[0]), np.log(chances[0]) - fall]))


def integral(function, upto=LARGEST, since=0.0):
    """Integrate over rates, piece by piece."""
    corners = sorted([*THRESHOLDS, *np.exp((LOGS[1:] + LOGS[:-1]) / 2), LARGEST])
    ends = [since, *(corner for corner in corners if since < corner < upto), upto]
    # Inside of a piece: the ends themselves may be jumps.
    return sum(
        integrate.quad(function, a * (1 + 1e-12), b * (1 - 1e-12), epsabs=1e-10, epsrel=1e-9)[0]
        for a, b in pairwise(ends)
    )


@st.composite
def exceedances(draw):
    """Probabilities that fall, some of them equal, 1 or 0."""
    kind = st.one_of(
        st.just(1.0), st.just(0.0), st.floats(0, 1, width=32), st.floats(2**-20, 2**-7, width=32)
    )
    ratios = draw(st.lists(kind | st.floats(0.25, 1, width=32), min_size=14, max_size=14))
    return np.minimum.accumulate(np.cumprod(np.array(ratios, np.float32)))


rates = st.floats(2**-7, 250, width=32)
slopes = st.sampled_from([0.7, TAIL_SLOPE, 3.5])


@given(exceedances(), rates, slopes)
@settings(max_examples=150)
def test_probability_any_rate_is_the_formula(exceedance, rate, slope):
    expected = survival(exceedance, rate, slope)
    assert one(exceedance, slope).probability([rate]).item() == pytest.approx(
        expected, rel=RELATIVE, abs=1e-12
    )


def test_probability_at_thresholds_is_what_was_given():
    exceedance = np.linspace(0.9, 0.0, 14).astype(np.float32)
    assert one(exceedance).probability(THRESHOLDS).ravel().tolist() == exceedance.tolist()


@given(exceedances(), rates, rates)
def test_probability_higher_rate_is_not_more_probable(exceedance, one_rate, other_rate):
    low, high = one(exceedance).probability(sorted([one_rate, other_rate])).ravel()
    assert low >= high * (1 - RELATIVE)


@given(exceedances(), st.floats(2**-20, 1, exclude_max=True, width=32), slopes)
@settings(max_examples=150)
def test_rates_exceeded_any_chance_is_the_smallest_rate_that_is_not_more_probable(exceedance, chance, slope):
    rate = one(exceedance, slope).rates_exceeded(np.full((1, 1), chance, np.float32)).item()
    if chance >= exceedance[0]:
        assert rate == 0
        return
    # Rates and probabilities are inverse to each other where S is continuous. At a jump or on a plateau,
    # S just below and just above the rate enclose the chance. Between them is the rounding of the rate.
    assert THRESHOLDS[0] * (1 - RELATIVE) <= rate <= LARGEST * (1 + RELATIVE)
    below, above = (survival(exceedance, rate * factor, slope) for factor in (1 - RELATIVE, 1 + RELATIVE))
    slack = 1 + 1e-4  # of the chance, for rounding of ln S below 1e-5
    assert below * slack >= chance >= above / slack


@given(exceedances(), st.floats(0.125, 200, width=32))
@settings(max_examples=150)
def test_rates_exceeded_inverts_probability_where_it_falls(exceedance, rate):
    step = survival(exceedance, rate * 0.999), survival(exceedance, rate), survival(exceedance, rate * 1.001)
    if not step[0] > step[1] * 1.0001 > step[2] * 1.0002 > 1e-30:
        return  # a plateau, a jump, or almost 0
    chance = one(exceedance).probability([rate])[0]
    # An error of 1e-6 in ln S is 1e-6 / a in ln r, and here a > 0.1.
    assert one(exceedance).rates_exceeded(chance).item() == pytest.approx(rate, rel=3 * RELATIVE)


def test_rates_exceeded_reaches_a_threshold_exactly_where_it_is_more_probable_than_the_chance():
    rng = np.random.default_rng(7)
    # Sixteenths are exact, and many chances equal a probability.
    exceedance = -np.sort(-rng.integers(0, 17, (14, 40, 50)), axis=0).astype(np.float32) / 16
    chances = rng.integers(0, 17, (3, 40, 50)).astype(np.float32) / 16
    found = RainDistribution(THRESHOLDS, exceedance).rates_exceeded(chances)
    for threshold, probability in zip(THRESHOLDS, exceedance, strict=True):
        np.testing.assert_array_equal(found >= np.float32(threshold), chances < probability)


@given(exceedances(), slopes)
@settings(max_examples=30)
def test_mean_is_the_integral_of_the_probability(exceedance, slope):
    expected = integral(lambda r: survival(exceedance, r, slope))
    assert one(exceedance, slope).mean().item() == pytest.approx(expected, rel=RELATIVE, abs=1e-7)


@given(exceedances(), st.one_of(st.just(0.0), rates), slopes)
@settings(max_examples=30)
def test_crps_any_observation_is_the_integral_by_definition(exceedance, observation, slope):
    def exceeds(rate):
        return survival(exceedance, rate, slope)

    below = integral(lambda r: (1 - exceeds(r)) ** 2, upto=observation) if observation else 0.0
    above = integral(lambda r: exceeds(r) ** 2, since=observation) if observation < LARGEST else 0.0
    score = one(exceedance, slope).crps(np.full((1, 1), observation, np.float32)).item()
    # ∫ S² and 2 ∫ S are subtracted from each other: up to 200 mm/h, each rounded.
    rounded = 3e-6 * max(observation, integral(lambda r: exceeds(r) ** 2))
    # Below float32's smallest normal number, of which an integral has up to 200, numbers lose their digits.
    rounded += LARGEST * float(np.finfo(np.float32).tiny)
    assert score == pytest.approx(below + above, rel=RELATIVE, abs=rounded)


def test_crps_many_draws_is_that_of_the_ensemble_of_quantiles():
    exceedance = 0.6 * np.exp(-np.array(THRESHOLDS) / 3)
    levels = (np.arange(4000) + 0.5) / 4000
    rain = one(exceedance)
    members = rain.quantile(levels).ravel().astype(np.float64)
    for observation in (0.0, 0.4, 3.0, 25.0):
        spread = np.abs(members[:, None] - members).mean()
        expected = np.abs(members - observation).mean() - spread / 2
        score = rain.crps(np.full((1, 1), observation, np.float32)).item()
        # The quantiles are a midpoint rule: the last of 4000 stands for a tail of 1/4000 · 30 mm/h.
        assert score == pytest.approx(expected, abs=2e-3)


def test_quantile_levels_have_the_order_and_limits_of_the_distribution():
    exceedance = 0.5 * np.array(THRESHOLDS) ** -0.8 * THRESHOLDS[0] ** 0.8
    dry, low, high = one(exceedance).quantile([0.3, 0.6, 0.999999]).ravel()
    assert dry == 0
    assert 0.1 < low < high <= LARGEST
    # Halfway from .1 to .2 mm/h, the odds are the root of 1 and those of .287.
    middle = 1 / (1 + 1 / np.sqrt(exceedance[1] / (1 - exceedance[1])))
    assert low == pytest.approx(0.1 * 2 ** (np.log(0.5 / 0.4) / np.log(0.5 / middle) / 2), rel=RELATIVE)


def test_quantile_rate_that_is_nearly_certain_between_thresholds_is_in_their_middle():
    exceedance = np.where(np.array(THRESHOLDS) <= 1, 0.999, 0.001)
    assert one(exceedance).quantile([0.5]).item() == pytest.approx(np.sqrt(1 * 1.5), rel=RELATIVE)


def test_quantile_at_fields_of_levels_equals_pixel_by_pixel():
    rng = np.random.default_rng(1)
    ratios = rng.uniform(0.3, 1, (14, 90, 700)).astype(np.float32)  # more than one block of rows
    exceedance = np.cumprod(ratios, axis=0)
    exceedance[:, 5, 6] = np.nan
    rain = RainDistribution(THRESHOLDS, exceedance)
    levels = rng.uniform(0, 1, (3, 90, 700)).astype(np.float32)
    levels[1, 80, 9] = np.nan
    found = rain.quantile_at(levels)
    assert np.isnan(found[:, 5, 6]).all()
    assert np.isnan(found).sum() == 4
    for y, x in rng.integers(0, [90, 700], (200, 2)):
        pixel = RainDistribution(THRESHOLDS, exceedance[:, y : y + 1, x : x + 1])
        assert pixel.quantile_at(levels[:, y : y + 1, x : x + 1]).ravel().tolist() == pytest.approx(
            found[:, y, x].tolist(), nan_ok=True
        )
    np.testing.assert_array_equal(rain.part(slice(40, 60)).quantile_at(levels[:, 40:60]), found[:, 40:60])


def test_distribution_of_half_precision_is_computed_in_single_precision():
    rng = np.random.default_rng(4)
    half = np.sort(rng.random((14, 9, 7)), axis=0)[::-1].astype(np.float16)
    half[:, 2, 3] = np.nan
    rain = RainDistribution(THRESHOLDS, half)
    same = RainDistribution(THRESHOLDS, half.astype(np.float32))
    cuts, observation = np.linspace(0.5, 0.1, 14), rng.gamma(0.5, 4, (9, 7)).astype(np.float32)
    for compute in (
        lambda rain: rain.mean(),
        lambda rain: rain.crps(observation),
        lambda rain: rain.probability([0.1, 0.7, 50]),
        lambda rain: rain.quantile([0.1, 0.9]),
        lambda rain: rain.rates_at_cuts(cuts.tolist()),
    ):
        assert compute(rain).dtype == np.float32
        np.testing.assert_array_equal(compute(rain), compute(same))


def test_distribution_undefined_pixels_are_undefined_in_everything():
    exceedance = np.full((14, 2, 2), 0.2, np.float32)
    exceedance[:, 0, 1] = np.nan
    rain = RainDistribution(THRESHOLDS, exceedance)
    observation = np.array([[0, 0], [np.nan, 1]], np.float32)
    undefined = [[False, True], [False, False]]
    for field in (rain.mean(), *rain.probability([0.05, 0.1, 0.6, 50, 300]), *rain.quantile([0.1, 0.9])):
        assert np.isnan(field).tolist() == undefined
    assert np.isnan(rain.crps(observation)).tolist() == [[False, True], [True, False]]


def test_distribution_certainly_dry_and_never_exceeded_have_their_limits():
    dry = one(np.zeros(14))
    assert dry.mean().item() == 0
    assert dry.rates_exceeded(np.zeros((1, 1), np.float32)).item() == 0
    assert dry.crps(np.full((1, 1), 7, np.float32)).item() == 7
    wet = one(np.ones(14))
    assert wet.rates_exceeded(np.zeros((1, 1), np.float32)).item() == pytest.approx(LARGEST)
    assert wet.probability([LARGEST * 1.001]).item() == 0


@pytest.mark.parametrize(
    ("thresholds", "exceedance", "message"),
    [
        ([1, 0.5], np.zeros((2, 1, 1)), "ascending"),
        ([0, 0.5], np.zeros((2, 1, 1)), "ascending"),
        ([0.1, 0.5], np.zeros((3, 1, 1)), "expected float32"),
        ([0.1, 0.5], np.array([0.2, 0.3]).reshape(2, 1, 1), "do not increase"),
        ([0.1, 0.5], np.array([0.2, np.nan]).reshape(2, 1, 1), "NaN at all"),
        ([0.1, 0.5], np.array([np.nan, 0.2]).reshape(2, 1, 1), "NaN at all"),
        ([0.1, 0.5], np.array([1.2, 0.3]).reshape(2, 1, 1), "0 to 1"),
        ([0.1, 0.5], np.array([0.2, -0.3]).reshape(2, 1, 1), "0 to 1"),
        ([0.1, 500], np.zeros((2, 1, 1)), "largest"),
    ],
)
def test_distribution_invalid_arguments_are_refused(thresholds, exceedance, message):
    with pytest.raises(ArgumentError, match=message):
        RainDistribution(thresholds, exceedance.astype(np.float32))


@pytest.mark.parametrize("slope", [0.0, -1.0, np.nan, np.inf])
def test_distribution_slope_that_is_none_is_refused(slope):
    with pytest.raises(ArgumentError, match=f"tail_slope: expected a number above 0, found {slope}"):
        one(np.full(14, 0.5), slope)


def test_distribution_of_double_precision_is_refused():
    with pytest.raises(ArgumentError, match=r"expected float32 or float16 \(2, y, x\), found float64"):
        RainDistribution([0.1, 0.5], np.zeros((2, 1, 1)))


def test_distribution_wrong_grid_level_or_rate_is_refused():
    rain = one(np.full(14, 0.5))
    for call in (
        lambda: rain.crps(np.zeros((2, 1), np.float32)),
        lambda: rain.quantile_at(np.zeros((1, 2), np.float32)),
        lambda: rain.quantile([1.0]),
        lambda: rain.probability([0.0]),
    ):
        with pytest.raises(ArgumentError, match="expected"):
            call()
