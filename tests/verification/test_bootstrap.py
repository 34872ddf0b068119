"""Intervals: compared with plain resampling of tallies, and with the known spread of a mean."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.verification.fakes import Blurred

from stormcell.errors import ArgumentError
from stormcell.verification import scores
from stormcell.verification.axes import Axes
from stormcell.verification.bootstrap import Resampling, interval, mean_over_leads
from stormcell.verification.evaluate import evaluate
from stormcell.verification.intervals import with_intervals
from stormcell.verification.tally import Tally, tally_forecasts

AXES = Axes((5.0, 10.0), (0.5, 2.0), ((2.0, 3),), (2.0, 4.0), 1.0, areas=((4.0, 4),), durations=(1,))
START = np.datetime64("2024-06-01T00:00", "ns")
MINUTE = np.timedelta64(1, "m")


def tallies(count, *, every=30, members=5, factor=1.0):
    """Tallies of an ensemble at some issue times."""
    found = []
    for k in range(count):
        generator = np.random.default_rng(k)
        values = generator.gamma(0.7, 2.0, (members + 1, 2, 12, 11)).astype(np.float32)
        issued = START + every * k * MINUTE
        mask = generator.random(values.shape[1:]) < 0.8
        forecast = {"it": values[1:] * np.float32(factor)}
        found.append(tally_forecasts(forecast, values[0], mask, issue_time=issued, axes=AXES)["it"])
    return found


def test_resampling_scores_equal_those_of_tallies_that_are_added_again_and_again():
    parts = tallies(12)
    whole = Tally.sum(parts)
    resampling = Resampling.of(whole.issue_times, AXES, samples=3, seed=1)
    assert resampling.starts.tolist() == [0, 2, 4, 6, 8, 10]  # blocks of an hour
    keys = tuple(key for key, score in scores.SCORES.items() if score.best is not None)
    found = resampling.scores(whole, keys)
    for sample, counts in enumerate(resampling.counts):
        assert counts.sum() == 6
        drawn = [
            parts[2 * block + k] for block, count in enumerate(counts) for _ in range(count) for k in (0, 1)
        ]
        # The same issue time cannot be added twice, so the copies are at other times.
        copies = [
            replace(one, issue_times=one.issue_times + k * 1000 * MINUTE) for k, one in enumerate(drawn)
        ]
        again = Tally.sum(copies)
        for key in keys:
            expected = scores.SCORES[key].compute(again)
            # Sums in another order, of terms that cancel in the worst case to a thousandth.
            np.testing.assert_allclose(found[key][sample], expected, rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize(
    ("unit", "starts"), [("issue", list(range(9))), ("block", [0, 3, 5, 8]), ("event", [0, 5])]
)
def test_resampling_units_are_issue_times_blocks_and_events(unit, starts):
    minutes = [0, 20, 40, 60, 80, 240, 260, 280, 300]  # two events
    times = START + np.array(minutes) * MINUTE
    assert Resampling.of(times, AXES, unit=unit).starts.tolist() == starts


def test_resampling_blocks_are_as_long_as_the_longest_lead_time():
    times = START + np.arange(0, 360, 30) * MINUTE
    axes = replace(AXES, lead_minutes=(60.0, 120.0))
    assert Resampling.of(times, axes).starts.tolist() == [0, 4, 8]


def test_resampling_of_another_unit_raises():
    with pytest.raises(ArgumentError, match='expected one of issue, block, event, found "day"'):
        Resampling.of(START + np.arange(3) * MINUTE, AXES, unit="day")


def test_interval_equals_quantiles_and_is_undefined_where_many_samples_are():
    samples = np.random.default_rng(0).normal(size=(400, 2, 3))
    samples[:10, 0, 0] = np.nan  # 2.5 %
    samples[:30, 1, 1] = np.nan  # 7.5 %
    low, high = interval(samples)
    expected = np.nanquantile(samples, [0.025, 0.975], axis=0)
    expected[:, 1, 1] = np.nan
    np.testing.assert_allclose([low, high], expected, rtol=1e-12)


def test_interval_of_a_mean_has_the_width_that_theory_gives():
    """The CRPS at 400 independent issue times is a mean of independent numbers."""
    whole = Tally.sum(tallies(400, every=120))
    rows = whole.rows["crps"][:, 0] / whole.rows["pixels"][:, 0]
    resampling = Resampling.of(whole.issue_times, AXES)
    assert len(resampling.starts) == 400
    low, high = interval(resampling.scores(whole, ("crps",))["crps"])
    expected = 2 * 1.96 * rows.std() / 20
    # A width from 1000 samples has an error of about 5 %; different numbers of pixels add less than 10 %.
    assert high[0] - low[0] == pytest.approx(expected, rel=0.2)
    assert low[0] < scores.crps(whole)[0] < high[0]


def test_interval_of_dependent_issue_times_is_wider_from_blocks():
    """Six neighbouring issue times have the same forecast and observation."""
    parts = tallies(60, every=10)
    same = [replace(parts[k - k % 6], issue_times=parts[k].issue_times) for k in range(60)]
    whole = Tally.sum(same)
    widths = []
    for unit in ("issue", "block"):
        low, high = interval(Resampling.of(whole.issue_times, AXES, unit=unit).scores(whole, ("mae",))["mae"])
        widths.append((high - low).mean())
    # A mean of 10 independent numbers, and what looks like 60: √6, from 10 blocks within 30 %.
    assert widths[1] / widths[0] == pytest.approx(6**0.5, rel=0.3)


def test_mean_over_leads_is_of_the_lead_times_where_a_score_is_defined():
    values = np.array([[[1.0, np.nan], [3.0, 4.0]]])
    where = np.array([[True, False], [True, True]])
    np.testing.assert_array_equal(mean_over_leads(values, where), [[2.0, 4.0]])


def test_with_intervals_compares_with_a_reference_by_the_same_samples():
    good, bad = (Tally.sum(tallies(24, factor=factor)) for factor in (1.0, 2.0))
    resampling = Resampling.of(good.issue_times, AXES)
    found = with_intervals({"good": good, "bad": bad}, resampling, "bad")
    assert "against_reference" not in found["bad"]
    against = found["good"]["against_reference"]
    assert against["reference"] == "bad"
    crps = [scores.crps(tally) for tally in (good, bad)]
    skill = against["skill"]["crps"]
    np.testing.assert_allclose(skill["value"], 1 - crps[0] / crps[1], rtol=1e-5)  # six digits
    assert skill["mean"] == pytest.approx(1 - crps[0].mean() / crps[1].mean(), rel=1e-5)
    assert all(a < b < c for a, b, c in zip(skill["low"], skill["value"], skill["high"], strict=True))
    assert skill["mean_low"] > 0  # better beyond doubt
    assert skill["mean_high"] - skill["mean_low"] <= max(np.subtract(skill["high"], skill["low"])) + 1e-6
    np.testing.assert_allclose(against["ratio"]["crps"]["value"], crps[0] / crps[1], rtol=1e-5)
    np.testing.assert_allclose(
        against["difference"]["csi"]["2.0"]["value"], (scores.csi(good) - scores.csi(bad))[:, 1], rtol=1e-5
    )
    assert "csi" not in against["skill"]
    assert "skill" in against
    # With the same samples for both, the interval of the ratio is narrower than from independent ones.
    separate = [
        interval(Resampling.of(good.issue_times, AXES, seed=k).scores(t, ("crps",))["crps"])
        for k, t in ((1, good), (2, bad))
    ]
    width = sum((high - low) / value for (low, high), value in zip(separate, crps, strict=True))
    assert (np.subtract(against["ratio"]["crps"]["high"], against["ratio"]["crps"]["low"]) < width).all()


def test_with_intervals_mean_is_over_lead_times_at_which_both_scores_are_defined():
    good, bad = (Tally.sum(tallies(12, factor=factor)) for factor in (1.0, 2.0))
    only_first = np.tile([True, False], (12, 1))
    resampling = Resampling.of(good.issue_times, AXES)
    compared = {"good": good, "bad": bad.where(only_first)}
    leaf = with_intervals(compared, resampling, "bad")["good"]["against_reference"]["ratio"]["crps"]
    assert leaf["value"][1] is leaf["low"][1] is None
    assert leaf["mean"] == leaf["value"][0]
    assert leaf["mean_low"] == leaf["low"][0]


def test_with_intervals_of_a_forecaster_and_itself_is_no_difference():
    one = Tally.sum(tallies(12))
    resampling = Resampling.of(one.issue_times, AXES)
    against = with_intervals({"a": one, "b": one}, resampling, "b")["a"]["against_reference"]
    for leaf in (against["difference"]["mae"], against["skill"]["brier"]["0.5"]):
        assert leaf["value"] == leaf["low"] == leaf["high"] == [0, 0]
        assert leaf["mean"] == leaf["mean_low"] == leaf["mean_high"] == 0


def test_evaluation_scores_have_intervals_that_are_reproducible(rain, forecasters):
    compared = forecasters | {"ensemble": Blurred()}
    later = rain.assign_coords(time=START + np.arange(12) * 30 * MINUTE)
    evaluation = evaluate(
        later,
        {k: v for k, v in compared.items() if k != "seer"},
        issue_times=later.time.values[2:10],
        steps=1,
        members=3,
    )
    found = evaluation.to_scores(reference="persistence", resampled="issue")
    json.dumps(found, allow_nan=False)
    assert found == evaluation.to_scores(reference="persistence", resampled="issue")
    scored = found["ensemble"]
    assert scored["about"]["intervals"] == {
        "level": 0.95, "drawn": "issue", "block_minutes": 60, "n_drawn": 8, "samples": 1000, "seed": 0,
    }  # fmt: skip
    leaf = scored["intervals"]["csi"]["0.5"]
    assert leaf["low"][0] <= scored["csi"]["0.5"][0] <= leaf["high"][0]
    assert scored["intervals"]["brier"]["1.0"]["low"][0] < scored["brier"]["1.0"][0]
    assert set(scored["against_reference"]) == {"reference", "difference", "ratio", "skill"}


def test_evaluation_scores_of_few_blocks_have_no_intervals(rain, forecasters):
    evaluation = evaluate(rain, forecasters, issue_times=rain.time.values[2:9], steps=2)
    found = evaluation.to_scores(reference="persistence")["seer"]
    assert found["intervals"] is None
    leaf = found["against_reference"]["difference"]["mae"]
    assert leaf["low"] == leaf["high"] == [None, None]
    assert leaf["value"][0] < 0


def test_evaluation_scores_with_an_unknown_reference_raise(rain, forecasters):
    evaluation = evaluate(rain, forecasters, issue_times=rain.time.values[2:4], steps=2)
    with pytest.raises(ArgumentError, match=r"reference: expected one of seer, .*, found nobody"):
        evaluation.to_scores(reference="nobody")
