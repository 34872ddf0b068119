"""Ensembles and distributions, compared with plain loops and the ``scores`` package, and of known quality."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load, save
from scipy.stats import chi2
from scores.probability import (
    brier_score,
    brier_score_for_ensemble,
    crps_for_ensemble,
    rank_histogram,
    roc_auc,
    roc_curve_data,
)
from tests.verification.fakes import Blurred, OfMembers

from stormcell.data.splits import Block
from stormcell.errors import ArgumentError, InputError
from stormcell.motion.band_power import band_power
from stormcell.verification import scores
from stormcell.verification.axes import CLASSES, Axes
from stormcell.verification.ensemble_sums import ensemble_sums
from stormcell.verification.evaluate import evaluate
from stormcell.verification.plan import Plan
from stormcell.verification.probability_table import probability_table
from stormcell.verification.products import Products
from stormcell.verification.resumable import evaluate_resumably
from stormcell.verification.saved_evaluation import from_bytes, to_bytes
from stormcell.verification.tally import tally_forecasts

THRESHOLDS = (0.1, 1.0, 5.0)
AXES = Axes((5.0, 10.0), THRESHOLDS, ((2.0, 3),), (), 1.0, areas=((4.0, 4),), durations=(1, 2))
ISSUED = np.datetime64("2024-06-01T00:00")


def fields(seed, members=20, shape=(2, 13, 11), dry=0.6):
    """Members and an observation of one distribution, a share of them dry, and a mask."""
    generator = np.random.default_rng(seed)
    values = generator.gamma(0.7, 4.0, (members + 1, *shape)).astype(np.float32)
    values[generator.random(values.shape) < dry] = 0
    return values[1:], values[0], generator.random(shape) < 0.7


def tally_of(forecast, observation, mask, axes=AXES):
    return tally_forecasts({"it": forecast}, observation, mask, issue_time=ISSUED, axes=axes)["it"]


def computed(name, tally):
    return scores.SCORES[name].compute(tally)


def array(values, *dims):
    return xr.DataArray(np.asarray(values, np.float64), dims=dims)


@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_ensemble_sums_equal_plain_loops_and_the_scores_package(count):
    members, observed, mask = (field.reshape(*field.shape[:-3], -1) for field in fields(count, count))
    ties = np.random.default_rng(0).random(observed.shape, np.float32)
    sums = ensemble_sums(members, observed, mask, ties)
    both = array(members[:, mask], "member", "pixel"), array(observed[mask], "pixel")
    # Sums of some thousand float64 terms of the same size in another order.
    assert sums.crps == pytest.approx(crps_for_ensemble(*both, "member", method="ecdf").item() * mask.sum())
    if count > 1:
        fair = crps_for_ensemble(*both, "member", method="fair").item()
        assert sums.crps_fair == pytest.approx(fair * mask.sum(), rel=1e-10)
    variance = squared = 0.0
    ranks = np.zeros(count + 1, int)
    for pixel in np.flatnonzero(mask):
        these, truth = members[:, pixel].astype(float), float(observed[pixel])
        variance += these.var(ddof=1) if count > 1 else 0
        squared += (these.mean() - truth) ** 2
        if truth > 0 or these.max() > 0:
            possible = np.flatnonzero(np.arange(count + 1) >= (these < truth).sum())[
                : (these == truth).sum() + 1
            ]
            ranks[possible[int(float(ties[pixel]) * len(possible))]] += 1
    assert sums.variance == pytest.approx(variance, rel=1e-10)
    assert sums.squared_error == pytest.approx(squared, rel=1e-10)
    assert sums.ranks.tolist() == ranks.tolist()


def test_ensemble_sums_ranks_without_ties_equal_those_of_the_scores_package():
    members, observed, mask = (field.reshape(*field.shape[:-3], -1) for field in fields(1, 9, dry=0))
    ranks = ensemble_sums(members, observed, mask, np.zeros(observed.shape)).ranks
    theirs = rank_histogram(
        array(members[:, mask], "member", "pixel"), array(observed[mask], "pixel"), "member"
    )
    np.testing.assert_allclose(ranks / mask.sum(), theirs.values, atol=1e-15)


def test_ensemble_sums_of_more_pixels_than_are_sorted_together_add_up(monkeypatch):
    members, observed, mask = (field.reshape(*field.shape[:-3], -1) for field in fields(2, 5))
    ties = np.random.default_rng(0).random(observed.shape)
    whole = ensemble_sums(members, observed, mask, ties)
    monkeypatch.setattr("stormcell.verification.ensemble_sums._CHUNK", 7)
    parts = ensemble_sums(members, observed, mask, ties)
    assert parts.ranks.tolist() == whole.ranks.tolist()
    assert parts[:4] == pytest.approx(whole[:4], rel=1e-12)


def test_classes_have_one_for_each_share_of_up_to_20_members_and_several_below_one_percent():
    for members in (1, 2, 4, 5, 10, 20):
        shares = np.arange(members + 1, dtype=np.float32) / np.float32(members)
        pixels = probability_table(shares, np.zeros(members + 1, bool), CLASSES).pixels
        assert pixels.max() == 1
    small = probability_table(np.float32([0, 0.002, 0.005, 0.02]), np.zeros(4, bool), CLASSES).pixels
    assert small[:4].tolist() == [1, 1, 1, 1]


def test_probability_table_equals_plain_loops():
    generator = np.random.default_rng(0)
    probability = (generator.random(3000) ** 4).astype(np.float32)
    probability[:4] = 0, 1, 0.025, 0.999
    events = generator.random(3000) < probability
    found = probability_table(probability, events, CLASSES)
    edges = np.float32(CLASSES)
    for k in range(len(CLASSES)):
        high = edges[k + 1] if k + 1 < len(edges) else 2
        inside = (probability >= edges[k]) & (probability < high)
        assert (found.pixels[k], found.events[k]) == (inside.sum(), events[inside].sum())
        assert found.probability[k] == pytest.approx(
            probability[inside].sum(dtype=float), rel=1e-12, abs=1e-12
        )
    expected = np.square(probability.astype(float) - events).sum()
    assert found.brier == pytest.approx(expected, rel=1e-12)


def test_brier_scores_and_roc_equal_those_of_the_scores_package():
    members, observation, mask = fields(3)
    tally = tally_of(members, observation, mask)
    for lead in range(2):
        inside = mask[lead]
        theirs = brier_score_for_ensemble(
            array(members[:, lead][:, inside], "member", "pixel"),
            array(observation[lead][inside], "pixel"),
            "member",
            [float(np.float32(threshold)) for threshold in THRESHOLDS],
            fair_correction=False,
        )
        np.testing.assert_allclose(computed("brier", tally)[lead], theirs.values, rtol=1e-6)  # float32 shares
        for k, threshold in enumerate(THRESHOLDS):
            share = array((members[:, lead] >= threshold).mean(axis=0)[inside], "pixel")
            event = array(observation[lead][inside] >= threshold, "pixel")
            assert computed("brier", tally)[lead, k] == pytest.approx(
                brier_score(share, event).item(), rel=1e-6
            )
            area = computed("roc_area", tally)[lead, k]
            assert area == pytest.approx(roc_auc(share, event).item(), rel=1e-12)
            curve = roc_curve_data(share, event, [0, 0.5, 0.99])
            for position, value in ((0, 0), (13, 1), (24, 2)):
                assert CLASSES[position] in (0, 0.475, 0.99)
                for ours, theirs in (("roc_pod", "POD"), ("roc_pofd", "POFD")):
                    expected = curve[theirs].values[value]
                    assert computed(ours, tally)[lead, k, position] == pytest.approx(expected, rel=1e-12)


def test_brier_decomposition_adds_up_and_equals_plain_loops():
    members, observation, mask = fields(4)
    tally = tally_of(members, observation, mask)
    reliability, resolution, uncertainty = (
        computed(f"brier_{term}", tally) for term in ("reliability", "resolution", "uncertainty")
    )
    # Shares of members are rounded to float32, and so are the mean probabilities of classes.
    np.testing.assert_allclose(reliability - resolution + uncertainty, computed("brier", tally), rtol=1e-5)
    share = (members[:, 0] >= 1.0).mean(axis=0)[mask[0]]
    event = observation[0][mask[0]] >= 1.0
    rate, expected = event.mean(), np.zeros(2)
    for value in np.unique(share):
        frequency, weight = event[share == value].mean(), (share == value).mean()
        expected += weight * (value - frequency) ** 2, weight * (frequency - rate) ** 2
    assert reliability[0, 1] == pytest.approx(expected[0], rel=1e-5)
    assert resolution[0, 1] == pytest.approx(expected[1], rel=1e-5)
    assert uncertainty[0, 1] == pytest.approx(rate * (1 - rate), rel=1e-12)


def test_probabilities_of_a_single_forecast_are_zero_and_one():
    members, observation, mask = fields(5)
    tally = tally_of(members[0], observation, mask)
    wrong = tally.total("misses") + tally.total("false_alarms")
    np.testing.assert_array_equal(tally.total("brier"), wrong)
    np.testing.assert_array_equal(computed("roc_pod", tally)[..., 1], scores.pod(tally))
    np.testing.assert_array_equal(computed("ensemble_fss", tally), scores.fss(tally))
    for name in ("crps_fair", "crps_distribution", "spread", "ensemble_rmse", "amount_crps_fair"):
        assert np.isnan(computed(name, tally)).all()
    found = scores.to_dict(tally)
    assert (found["crps_of"], found["probability_of"], found["rank_histogram"]) == (
        "forecast",
        "forecast",
        {},
    )


def test_distribution_of_members_scores_like_the_members():
    members, observation, mask = fields(6)
    mean = members.mean(axis=0, dtype=np.float64).astype(np.float32)
    of_members = Products(mean, members)
    of_distribution = Products(mean, None, iter([OfMembers(members[:, lead]) for lead in range(2)]))
    alone, other = (tally_of(one, observation, mask) for one in (of_members, of_distribution))
    assert scores.to_dict(alone)["crps_of"] == "members"
    assert scores.to_dict(other)["crps_of"] == scores.to_dict(other)["probability_of"] == "distribution"
    for name in ("brier", "brier_reliability", "brier_resolution", "roc_area", "ensemble_fss", "csi", "mae"):
        np.testing.assert_array_equal(computed(name, other), computed(name, alone))
    # The CRPS of the distribution is float32 at each pixel.
    np.testing.assert_allclose(computed("crps", other), computed("crps", alone), rtol=1e-6)
    np.testing.assert_array_equal(computed("crps_fair", other), computed("crps", other))
    assert (computed("crps_fair", alone) < computed("crps", alone)).all()


def test_ensemble_fss_is_of_mean_probabilities_in_windows():
    members, observation, mask = fields(7, shape=(2, 8, 9))
    tally = tally_of(members, observation, mask)
    share = (members[:, 1] >= 1.0).mean(axis=0)
    event = observation[1] >= 1.0
    numerator = denominator = 0.0
    for y, x in zip(*np.nonzero(mask[1]), strict=True):
        window = (slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2))
        inside = mask[1][window]
        forecast, observed = share[window][inside].mean(), event[window][inside].mean()
        numerator += (forecast - observed) ** 2
        denominator += forecast**2 + observed**2
    # Means of windows are float32.
    assert computed("ensemble_fss", tally)[1, 1, 0] == pytest.approx(1 - numerator / denominator, rel=1e-5)


def test_amounts_equal_plain_loops():
    members, observation, mask = fields(8, members=6)
    tally = tally_of(members, observation, mask)
    for lead, duration, position in ((0, 1, 0), (1, 1, 0), (1, 2, 1)):
        total, fair, count = 0.0, 0.0, 0
        leads = range(lead + 1 - duration, lead + 1)
        for y in range(0, 12, 4):
            for x in range(0, 8, 4):
                square = (slice(y, y + 4), slice(x, x + 4))
                if any(mask[k][square].mean() < 0.5 for k in leads):
                    continue
                sums = np.zeros(7)
                for k in leads:
                    inside = mask[k][square]
                    values = [field[k][square][inside].mean(dtype=float) for field in (observation, *members)]
                    sums += np.array(values) * 5 / 60
                both = array(sums[1:], "member"), array(sums[0])
                total += crps_for_ensemble(*both, "member", method="ecdf").item()
                fair += crps_for_ensemble(*both, "member", method="fair").item()
                count += 1
        assert tally.total("amounts")[lead, 0, position] == count > 0
        # Mean rates over squares are float32.
        assert computed("amount_crps", tally)[lead, 0, position] == pytest.approx(total / count, rel=1e-5)
        assert computed("amount_crps_fair", tally)[lead, 0, position] == pytest.approx(fair / count, rel=1e-4)
    assert tally.total("amounts")[0, 0, 1] == 0  # two steps do not end at the first lead time
    assert list(scores.to_dict(tally)["amount_crps"]["4km"]) == ["5min", "10min"]


def test_amounts_that_include_a_lead_time_without_pixels_are_not_counted():
    members, observation, mask = fields(8, members=6)
    mask[0] = False
    assert tally_of(members, observation, mask).total("amounts")[1, 0].tolist() == [6, 0]


def test_amounts_of_a_single_forecast_have_its_mean_absolute_error():
    members, observation, _ = fields(9)
    everywhere = np.ones(observation.shape, bool)
    tally = tally_of(members[0], observation, everywhere)
    means = [field[0][:12, :8].reshape(3, 4, 2, 4).mean(axis=(1, 3)) for field in (members[0], observation)]
    expected = np.abs(means[0] - means[1]).mean() * 5 / 60
    assert computed("amount_crps", tally)[0, 0, 0] == pytest.approx(expected, rel=1e-5)


def test_perfect_ensemble_scores_perfectly():
    _, observation, mask = fields(10)
    tally = tally_of(np.stack([observation] * 10), observation, mask)
    for name in ("crps", "crps_fair", "brier", "brier_reliability", "spread", "ensemble_rmse", "amount_crps"):
        # Means over squares are float32. One amount is NaN, because it would begin before the issue time.
        np.testing.assert_allclose(np.nan_to_num(computed(name, tally)), 0, atol=1e-6)
    for name in ("roc_area", "ensemble_fss"):
        np.testing.assert_array_equal(computed(name, tally), 1)
    uncertainty = computed("brier_uncertainty", tally)
    np.testing.assert_allclose(computed("brier_resolution", tally), uncertainty, rtol=1e-15)
    # The observation equals all members, so that its rank is random.
    assert (tally.total("ranks") > 0).all()


def ranks_and_chi_square(tally):
    ranks = tally.total("ranks").sum(axis=0)
    expected = ranks.sum() / len(ranks)
    return ranks, float((np.square(ranks - expected) / expected).sum())


def test_calibrated_ensemble_has_a_flat_rank_histogram_and_reliable_probabilities():
    """The observation is drawn like the members, from a distribution that differs from pixel to pixel."""
    generator = np.random.default_rng(11)
    shape = (2, 200, 200)
    scale = generator.gamma(1.0, 3.0, shape)
    dry = generator.random((21, *shape)) < generator.random(shape)
    values = np.where(dry, 0, generator.gamma(0.7, scale, (21, *shape))).astype(np.float32)
    tally = tally_of(values[1:], values[0], np.ones(shape, bool))
    ranks, found = ranks_and_chi_square(tally)
    assert ranks.sum() > 50_000
    assert found < chi2.ppf(1 - 1e-6, len(ranks) - 1)
    # A share of 20 members differs from the probability. So the frequency of the observed event in each class
    # is compared with that of a member in its place: two binomial counts with the same expectation.
    swapped = np.concatenate([values[:1], values[2:]])
    other = tally_of(swapped, values[1], np.ones(shape, bool))
    first, second = (one.total("class_events").sum(axis=0) for one in (tally, other))
    pixels = np.maximum(*(one.total("class_pixels").sum(axis=0) for one in (tally, other)))
    assert (np.abs(first - second) <= 5 * np.sqrt(2 * pixels * 0.25) + 1).all()
    # The shares of 400 members are nearly the probabilities. So the diagonal is within five standard
    # deviations of a binomial frequency, and one of the share, 0.5/√400.
    small = (1, 120, 120)
    many = np.where(
        generator.random((401, *small)) < generator.random(small),
        0,
        generator.gamma(0.7, generator.gamma(1.0, 3.0, small), (401, *small)),
    ).astype(np.float32)
    axes = replace(AXES, lead_minutes=(5.0,), durations=(1,))
    tally = tally_of(many[1:], many[0], np.ones(small, bool), axes)
    pixels = tally.total("class_pixels")[0]
    difference = computed("reliability_probability", tally)[0] - computed("reliability_frequency", tally)[0]
    filled = pixels >= 30
    assert filled.sum() > 40
    tolerance = 5 * np.sqrt(0.25 / pixels[filled]) + 0.5 / np.sqrt(400)
    assert (np.abs(difference[filled]) < tolerance).all()
    assert computed("spread_error", tally)[0] == pytest.approx(1, abs=0.1)


def test_spread_of_few_calibrated_members_is_the_error_of_their_mean():
    """Without the factor (M + 1) / M, the spread of three members would be 13 % too small."""
    values = np.random.default_rng(16).gamma(4.0, 1.0, (4, 2, 150, 150)).astype(np.float32)
    tally = tally_of(values[1:], values[0], np.ones(values.shape[1:], bool))
    # Of 22 500 variances and squared errors, each with a standard deviation of less than twice its mean, the
    # root of a mean has a standard deviation of less than 0.7 %.
    assert computed("spread_error", tally) == pytest.approx(1, abs=0.03)
    variance = values[1:].var(axis=0, ddof=1, dtype=np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(computed("spread", tally), np.sqrt(4 / 3 * variance), rtol=1e-10)


def test_overconfident_ensemble_is_seen_as_such():
    """The members are too near their mean, which is wrong by as much as calibrated members would differ."""
    generator = np.random.default_rng(12)
    shape = (2, 100, 100)
    center = generator.gamma(2.0, 2.0, shape)
    observation = (center * np.exp(generator.normal(0, 0.5, shape))).astype(np.float32)

    def members(spread):
        return (center * np.exp(generator.normal(0, spread, (20, *shape)))).astype(np.float32)

    everywhere = np.ones(shape, bool)
    narrow, right = (tally_of(members(spread), observation, everywhere) for spread in (0.1, 0.5))
    ranks, found = ranks_and_chi_square(narrow)
    assert found > 100 * chi2.ppf(1 - 1e-6, 20)
    assert min(ranks[0], ranks[-1]) > 4 * ranks[1:-1].max()
    assert ranks_and_chi_square(right)[1] < chi2.ppf(1 - 1e-6, 20)
    assert (computed("spread_error", narrow) < 0.3).all()
    assert computed("spread_error", right) == pytest.approx(1, abs=0.1)
    assert (
        computed("brier_reliability", narrow)[:, 2] > 5 * computed("brier_reliability", right)[:, 2]
    ).all()
    assert (computed("crps", narrow) > computed("crps", right)).all()
    reliable = (
        computed("reliability_frequency", narrow)[0, 2] - computed("reliability_probability", narrow)[0, 2]
    )
    filled = narrow.total("class_pixels")[0, 2] > 100
    low = np.array(CLASSES)[filled] < 0.3
    assert (reliable[filled][low] > 0).all()  # events that are called unlikely happen too often


def test_members_power_ratio_is_of_the_members_and_not_of_their_smooth_mean():
    generator = np.random.default_rng(15)
    values = generator.gamma(0.7, 4.0, (7, 2, 32, 32)).astype(np.float32)
    axes = replace(AXES, bands=(2.0, 4.0, 8.0))
    tally = tally_of(values[1:], values[0], np.ones((2, 32, 32), bool), axes)
    powers = [band_power(member[1], np.ones((32, 32), bool), axes.bands) for member in values]
    expected = np.mean(powers[1:5], axis=0) / powers[0]
    np.testing.assert_allclose(computed("members_power_ratio", tally)[1], expected, rtol=1e-12)
    assert (computed("members_power_ratio", tally) > 0.8).all()
    assert (scores.power_ratio(tally) < 0.6).all()
    assert np.isnan(
        computed("members_power_ratio", tally_of(values[1], values[0], values[0] >= 0, axes))
    ).all()


@pytest.fixture
def compared(forecasters):
    return forecasters | {"both": Blurred(), "members": Blurred(distribution=False)}


def test_evaluate_asks_for_members_and_scores_distributions(rain, compared):
    evaluation = evaluate(rain, compared, issue_times=rain.time.values[3:5], steps=3, members=8, seed=5)
    assert compared["both"].asked == [(8, 5)] * 2
    found = evaluation.to_scores()
    assert [found[name]["crps_of"] for name in ("both", "members", "persistence")] == [
        "members",
        "members",
        "forecast",
    ]
    assert [found[name]["probability_of"] for name in ("both", "members")] == ["distribution", "members"]
    assert (found["both"]["about"]["members"], found["both"]["about"]["seed"]) == (8, 5)
    assert (found["persistence"]["about"]["members"], found["persistence"]["about"]["seed"]) == (0, None)
    assert found["both"]["mae"] == found["persistence"]["mae"]  # its single forecast is the same
    assert found["both"]["csi"] == found["persistence"]["csi"]
    assert found["both"]["crps"] == found["members"]["crps"] != found["both"]["crps_distribution"]
    assert found["both"]["brier"] != found["members"]["brier"]
    assert list(found["both"]["rank_histogram"]) == [str(rank) for rank in range(1, 10)]
    assert found["both"]["n_pixels"] == found["persistence"]["n_pixels"]
    json.dumps(found, allow_nan=False)


def test_evaluate_without_members_asks_for_no_ensemble(rain, compared):
    evaluation = evaluate(rain, compared, issue_times=rain.time.values[3:4], steps=2)
    assert compared["both"].asked == []
    found = evaluation.to_scores()
    assert (found["both"]["crps_of"], found["members"]["crps_of"]) == ("distribution", "forecast")
    assert found["members"]["crps"] == found["members"]["mae"]


def test_evaluate_ensemble_and_distribution_are_scored_where_both_are_defined(rain, compared):
    evaluation = evaluate(rain, compared, issue_times=rain.time.values[3:4], steps=1, members=4)
    defined = np.ones(rain.shape[1:], bool)
    defined[:, 0] = False  # of the members and the distribution
    inside = ~np.isnan(rain.values[4]) & ~np.isnan(rain.values[3]) & defined
    inside[:, 1:] &= ~np.isnan(rain.values[3][:, :-1])  # of the forecaster whose rain moves
    found = evaluation.to_scores()["both"]
    assert found["n_pixels"] == [inside.sum()]
    dry = found["undefined_as_dry"]
    assert dry["n_pixels"] == [(~np.isnan(rain.values[4])).sum()]
    members = np.nan_to_num(Blurred()._members(rain.isel(time=slice(0, 4)), 1, 4, 0)[:, 0])
    observed = ~np.isnan(rain.values[4])
    expected = crps_for_ensemble(
        array(members[:, observed], "member", "pixel"), array(rain.values[4][observed], "pixel"), "member"
    )
    assert dry["crps"][0] == pytest.approx(expected.item(), rel=1e-9)
    distribution = Blurred()._members(rain.isel(time=slice(0, 4)), 1, 40, 99)[:, 0]
    filled = OfMembers(np.nan_to_num(distribution)).crps(np.nan_to_num(rain.values[4]))
    assert dry["crps_distribution"][0] == pytest.approx(filled[observed].mean(), rel=1e-5)


def test_evaluate_pixel_without_a_member_is_not_scored(rain):
    """The single forecast is defined there; the members are not, in the first column."""
    alone = {"members": Blurred(distribution=False)}
    found = evaluate(rain, alone, issue_times=rain.time.values[3:4], steps=1, members=4).to_scores()
    inside = ~np.isnan(rain.values[4]) & ~np.isnan(rain.values[3])
    assert found["members"]["n_pixels"] == [inside[:, 1:].sum()] != [inside.sum()]


@pytest.mark.parametrize("seed", range(2))
def test_evaluation_of_ensembles_in_parts_equals_the_whole_to_the_bit(rain, compared, seed):
    times = rain.time.values[2:10]
    options = {"steps": 3, "members": 5, "seed": 1}
    whole = evaluate(rain, compared, issue_times=times, **options)
    parts = np.array_split(np.random.default_rng(seed).permutation(times), 3)
    shards = [evaluate(rain, compared, issue_times=part, **options) for part in parts]
    joined = shards[2] + shards[0] + shards[1]
    assert to_bytes(joined) == to_bytes(whole)
    assert json.dumps(joined.to_scores()) == json.dumps(whole.to_scores())


def test_evaluate_resumably_of_ensembles_equals_the_whole_and_other_members_start_over(
    rain, compared, tmp_path
):
    times = rain.time.values
    plan = Plan(Block.between(times[3], times[9]), times[2:9], steps=2, members=5)
    lines = []

    def run(plan, compared, interrupted_at=None):
        def progress(done):
            if done == interrupted_at:
                raise KeyboardInterrupt

        return evaluate_resumably(
            tmp_path, rain, compared, plan, progress=progress, log=lines.append, seconds=0.0
        )

    with pytest.raises(KeyboardInterrupt):
        run(plan, compared, interrupted_at=6)
    resumed = run(plan, compared)
    assert lines == ["resuming after 4 issue times"]
    whole = evaluate(rain, compared, issue_times=times[2:9], steps=2, valid=plan.period, members=5)
    assert to_bytes(resumed) == to_bytes(whole)
    for other in (replace(plan, members=6), replace(plan, seed=1)):
        with pytest.raises(KeyboardInterrupt):
            run(plan, compared, interrupted_at=6)
        run(other, compared)
        assert lines[-1].endswith("of another evaluation, discarded")


@pytest.mark.parametrize("value", [np.nan, np.inf, -5, 1e6])
def test_tally_of_an_ensemble_pixels_outside_the_mask_change_nothing(value):
    members, observation, mask = fields(13)

    def products():
        distributions = iter([OfMembers(members[:, lead]) for lead in range(2)])
        return Products(members.mean(axis=0), members, distributions)

    expected = tally_of(products(), observation, mask)
    members[:, ~mask], observation[~mask] = value, value
    assert tally_of(products(), observation, mask) == expected


def test_tally_ranks_of_equal_values_differ_between_times_and_not_between_masks():
    members, observation, mask = fields(14, dry=0.9)
    tally = tally_of(members, observation, mask)
    later = tally_forecasts(
        {"it": members}, observation, mask, issue_time=ISSUED + np.timedelta64(1, "h"), axes=AXES
    )["it"]
    assert later.total("ranks").sum() == tally.total("ranks").sum()
    assert (later.total("ranks") != tally.total("ranks")).any()
    # Of pixels that two masks share, the ranks are the same: those of the parts add up.
    half = mask.copy()
    half[:, :6] = False
    parts = [tally_of(members, observation, part).total("ranks") for part in (half, mask & ~half)]
    np.testing.assert_array_equal(parts[0] + parts[1], tally.total("ranks"))


class Wrong(Blurred):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def ensemble_from(self, analysis, steps, members, seed):
        return super().ensemble_from(analysis, steps, members + (self.kind == "members"), seed)

    def distributions_from(self, analysis, steps):
        for distribution in super().distributions_from(analysis, steps - (self.kind == "leads")):
            if self.kind == "probability":
                object.__setattr__(distribution, "probability", lambda t: np.full((len(t), 24, 20), 1.5))
            yield distribution


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("members", "odd: expected 4 members, found 5"),
        ("leads", "expected one for each of 2 lead times, found 1"),
        ("probability", r"odd, issued .* for \+5 min: expected probabilities between 0 and 1, found 1.5"),
    ],
)
def test_evaluate_products_of_another_form_raise(rain, kind, message):
    with pytest.raises(ArgumentError, match=message):
        evaluate(rain, {"odd": Wrong(kind)}, issue_times=rain.time.values[3:4], steps=2, members=4)


def test_evaluate_no_members_raises(rain, compared):
    with pytest.raises(ArgumentError, match="members: expected 1 or more, found 0"):
        evaluate(rain, compared, issue_times=rain.time.values[3:4], steps=2, members=0)


def test_evaluation_sum_of_different_members_or_seeds_raises(rain, compared):
    def of(k, **options):
        return evaluate(rain, compared, issue_times=rain.time.values[k : k + 1], steps=2, **options)

    with pytest.raises(ArgumentError, match="tallies: members differ: 4 and 5"):
        of(3, members=4) + of(4, members=5)
    with pytest.raises(ArgumentError, match=r"expected forecasters .*both .*seed 0.*; found .*seed 1"):
        of(3, members=4) + of(4, members=4, seed=1)


def test_saved_evaluation_of_an_older_version_raises(written):
    content = to_bytes(written[1])
    arrays, header = load(content), json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    old = {name: array for name, array in arrays.items() if not name.endswith(("/brier", "/ranks"))}
    message = "old: expected the tallies of a report, found them without ranks, brier; a report of an older"
    with pytest.raises(InputError, match=message):
        from_bytes(save(old, header["__metadata__"]), "old")
