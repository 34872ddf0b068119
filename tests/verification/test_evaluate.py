import json
from dataclasses import replace

import numpy as np
import pytest

from stormcell.data.splits import Block
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast.baselines import baseline
from stormcell.forecast.contract import forecast_array, require
from stormcell.motion import optical_flow
from stormcell.verification.evaluate import evaluate
from stormcell.verification.tally import tally_forecasts

STEP = np.timedelta64(5, "m")


def test_evaluate_masks_are_where_all_forecasts_and_where_the_observation_is_defined(rain, forecasters):
    evaluation = evaluate(rain, forecasters, issue_times=rain.time.values[4:6], steps=3)
    found = evaluation.to_scores()
    issued = [4, 5]
    for lead in range(3):
        observed = both = 0
        for k in issued:
            observation = ~np.isnan(rain.values[k + 1 + lead])
            persistent = ~np.isnan(rain.values[k])
            drifted = np.zeros_like(observation)
            drifted[:, lead + 1 :] = persistent[:, : -(lead + 1)]
            observed += observation.sum()
            both += (observation & persistent & drifted).sum()
        for name in forecasters:
            assert found[name]["n_pixels"][lead] == both
            assert found[name]["undefined_as_dry"]["n_pixels"][lead] == observed > both


def test_evaluate_of_the_observation_as_forecast_scores_perfectly(rain, clairvoyant):
    found = evaluate(
        rain, {"seer": clairvoyant(rain)}, issue_times=rain.time.values[2:9], steps=3
    ).to_scores()["seer"]
    assert found["csi"]["0.5"] == found["bias"]["10.0"] == found["fss"]["1.0"]["8km"] == [1, 1, 1]
    assert found["mae"] == [0, 0, 0]


def test_evaluate_forecast_of_unobserved_pixels_changes_nothing(rain, forecasters, clairvoyant):
    def scored(elsewhere):
        compared = forecasters | {"seer": clairvoyant(rain, elsewhere)}
        return evaluate(rain, compared, issue_times=rain.time.values[2:6], steps=2)

    assert scored(0.0).strict["seer"] == scored(300.0).strict["seer"]
    assert scored(0.0).to_scores() == scored(300.0).to_scores()


def test_evaluate_undefined_forecast_counts_as_dry_under_the_other_mask(rain, forecasters):
    evaluation = evaluate(rain, forecasters, issue_times=rain.time.values[4:5], steps=2)
    name = "runs/a/model.safetensors"
    frames = rain.isel(time=slice(0, 5))
    forecast = np.nan_to_num(forecasters[name](frames, 2).values, nan=0)
    observation = rain.values[5:7]
    issued, observed = rain.time.values[4], ~np.isnan(observation)
    expected = tally_forecasts(
        {name: forecast}, observation, observed, issue_time=issued, axes=evaluation.axes
    )
    assert evaluation.as_dry[name] == expected[name]
    assert evaluation.strict[name] != expected[name]


def test_evaluate_both_masks_are_equal_if_all_forecasts_are_defined(rain, clairvoyant):
    issued = rain.time.values[2:4]
    evaluation = evaluate(rain, {"seer": clairvoyant(rain)}, issue_times=issued, steps=3)
    assert evaluation.strict == evaluation.as_dry


def test_evaluate_grid_in_degrees_has_the_pixel_size_of_its_latitude(rain, clairvoyant):
    degrees = rain.assign_coords(
        y=60 + 0.01 * np.arange(24)[::-1], x=("x", 25 + 0.02 * np.arange(20), {"units": "degrees_east"})
    )
    issued = rain.time.values[2:3]
    axes = evaluate(degrees, {"seer": clairvoyant(degrees)}, issue_times=issued, steps=1).axes
    # A degree of latitude is 111.2 km; at 60.115° N, one of longitude is 111.2 km · cos 60.115°.
    assert axes.pixel_km == pytest.approx((1.112 + 2.224 * 0.49826) / 2, rel=1e-5)
    assert dict(axes.windows)[16.0] == 15  # with the pixels of the equator, 1.67 km, it would be 9


def test_evaluate_uses_the_given_pixel_size(rain, clairvoyant):
    issued = rain.time.values[2:3]
    found = evaluate(rain, {"seer": clairvoyant(rain)}, issue_times=issued, steps=1, pixel_km=2.0)
    assert found.axes.pixel_km == 2.0


def test_evaluate_too_few_frames_for_a_forecaster_raises(rain, forecasters):
    def demanding(frames, steps):
        return forecast_array(require(frames, 4).values[-1:].repeat(steps, axis=0), frames)

    compared = forecasters | {"demanding": demanding}
    with pytest.raises(FramesError, match=r"expected at least 4 .* found 3"):
        evaluate(rain, compared, issue_times=rain.time.values[[2, 5]], steps=1)


@pytest.mark.parametrize("seed", range(3))
def test_evaluation_sum_of_parts_equals_the_whole_to_the_bit(rain, forecasters, seed):
    times = rain.time.values[2:10]
    whole = evaluate(rain, forecasters, issue_times=times, steps=3)
    parts = np.array_split(np.random.default_rng(seed).permutation(times), 3)
    shards = [evaluate(rain, forecasters, issue_times=part, steps=3) for part in parts]
    joined = shards[2] + shards[0] + shards[1]
    assert joined.strict == whole.strict
    assert joined.as_dry == whole.as_dry
    assert json.dumps(joined.to_scores()) == json.dumps(whole.to_scores())


def test_evaluate_lead_time_without_observation_is_not_counted(rain, forecasters):
    gappy = rain.isel(time=[0, 1, 2, 3, 5, 6, 7])  # the fifth frame is missing
    found = evaluate(gappy, forecasters, issue_times=gappy.time.values[[2, 3]], steps=4).to_scores()
    assert found["persistence"]["n_forecasts"] == [1, 1, 2, 2]


def test_evaluate_observation_outside_the_period_is_not_counted(rain, forecasters):
    times = rain.time.values
    period = Block(str(times[5].astype("M8[s]")), str(times[6].astype("M8[s]")))
    found = evaluate(rain, forecasters, issue_times=times[[4, 5]], steps=3, valid=period).to_scores()
    assert found["persistence"]["n_forecasts"] == [2, 1, 0]
    assert found["persistence"]["mae"][2] is None


def test_evaluate_gives_forecasters_the_gap_free_frames_up_to_the_issue_time(rain):
    given = {}

    def spy(frames, steps):
        given[frames.time.values[-1]] = frames.time.values
        return forecast_array(frames.values[-1:].repeat(steps, axis=0), frames)

    gappy = rain.isel(time=[0, 1, 2, 4, 5, 6, 7])
    evaluate(gappy, {"spy": spy}, issue_times=gappy.time.values[[2, 5]], steps=1)
    first, second = given.values()
    np.testing.assert_array_equal(first, rain.time.values[:3])
    np.testing.assert_array_equal(second, rain.time.values[4:7])


def test_evaluate_ensemble_is_defined_where_all_its_members_are(rain):
    def ensemble(frames, steps):
        members = frames.values[-1][None, None].repeat(steps, axis=1).repeat(2, axis=0)
        members[1, :, 10] = np.nan
        members[1] += 1
        return forecast_array(members, frames)

    evaluation = evaluate(rain, {"two": ensemble}, issue_times=rain.time.values[3:4], steps=1)
    observation, newest = rain.values[4], rain.values[3].copy()
    newest[10] = np.nan
    inside = ~np.isnan(observation) & ~np.isnan(newest)
    found = evaluation.to_scores()["two"]
    assert found["n_pixels"] == [inside.sum()]
    error = np.abs(newest + 0.5 - observation)[inside]
    # The mean of the members is rounded to float32.
    assert found["mae"][0] == pytest.approx(error.mean(), rel=1e-6)
    # CRPS of two members one unit apart: E|X − o| − E|X − X′| / 2, and E|X − X′| is 1/2.
    spread = (np.abs(newest - observation) + np.abs(newest + 1 - observation))[inside] / 2
    assert found["crps"][0] == pytest.approx(spread.mean() - 0.25, rel=1e-6)


def test_evaluation_scores_have_the_promised_form(rain, forecasters):
    found = json.loads(
        json.dumps(evaluate(rain, forecasters, issue_times=rain.time.values[2:4], steps=2).to_scores())
    )
    assert list(found) == list(forecasters)
    thresholds = ["0.1", "0.5", "1.0", "2.0", "5.0", "10.0"]
    for score in found.values():
        for scored in (score, score["undefined_as_dry"]):
            assert scored["lead_minutes"] == [5, 10]
            for name in ("csi", "pod", "far", "bias", "n_events"):
                assert list(scored[name]) == thresholds
                assert all(len(values) == 2 for values in scored[name].values())
            for name in ("mae", "rmse", "crps", "n_pixels", "n_forecasts"):
                assert len(scored[name]) == 2
            assert list(scored["fss"]) == thresholds
            for scales in scored["fss"].values():
                assert list(scales) == ["2km", "8km", "16km", "32km"]
                assert all(len(values) == 2 for values in scales.values())
            for name in ("n_pixels", "n_forecasts"):
                assert all(isinstance(count, int) for count in scored[name])
        assert score["about"]["n_issue_times"] == 2
        assert score["about"]["fss_window_pixels"] == {"2km": 3, "8km": 9, "16km": 17, "32km": 33}


def test_evaluate_reports_progress_after_every_issue_time(rain, forecasters):
    calls = []
    evaluate(rain, forecasters, issue_times=rain.time.values[2:5], steps=1, progress=calls.append)
    assert calls == [1, 2, 3]


def _another_grid(frames, steps):
    return forecast_array(frames.values[-1:].repeat(steps, axis=0), frames).isel(x=slice(1, None))


def _another_time(frames, steps):
    forecast = forecast_array(frames.values[-1:].repeat(steps, axis=0), frames)
    return forecast.assign_coords(time=forecast.time + STEP)


def _other_axes(frames, steps):
    return forecast_array(frames.values[-1:].repeat(steps, axis=0), frames).transpose("y", "x", "time")


def _no_coordinates(frames, steps):
    return frames.values[-1:].repeat(steps, axis=0)


@pytest.mark.parametrize(
    ("forecaster", "message"),
    [
        (_another_grid, r"odd: expected a forecast on a grid of \(24, 20\), found \(24, 19\)"),
        (_another_time, "odd: expected a forecast for 2 times from 2024-06-01T00:20"),
        (_other_axes, r"odd: expected a forecast \(time, y, x\), found \(y, x, time\)"),
        (_no_coordinates, "odd: expected a forecast as a DataArray, found ndarray"),
    ],
)
def test_evaluate_forecast_of_another_form_raises(rain, forecaster, message):
    with pytest.raises(ArgumentError, match=message):
        evaluate(rain, {"odd": forecaster}, issue_times=rain.time.values[3:4], steps=2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"forecasters": {}}, "forecasters: expected at least one"),
        ({"steps": 0}, "steps: expected 1 or more, found 0"),
        ({"steps": 1.5}, "steps: expected a whole number, found 1.5"),
        ({"members": "2"}, "members: expected a whole number, found '2'"),
        ({"issue_times": []}, "issue times: expected at least one"),
        ({"issue_times": ["2024-06-01T00:07"]}, "issue time 2024-06-01T00:07"),
        ({"issue_times": ["2024-06-01T00:10", "2024-06-01T00:10"]}, "every issue time once"),
        ({"thresholds": [0.0]}, "thresholds: expected numbers above 0"),
    ],
)
def test_evaluate_invalid_arguments_raise(rain, forecasters, changed, message):
    arguments = {"forecasters": forecasters, "issue_times": rain.time.values[3:4], "steps": 2} | changed
    with pytest.raises(ArgumentError, match=message):
        evaluate(rain, arguments.pop("forecasters"), **arguments)


def test_evaluation_sum_of_different_forecasters_raises(rain, forecasters):
    seer = {"seer": forecasters["seer"]}
    both = [evaluate(rain, f, issue_times=rain.time.values[3:4], steps=1) for f in (seer, forecasters)]
    with pytest.raises(ArgumentError, match="expected forecasters"):
        both[0] + both[1]


def test_evaluation_sum_of_adjacent_periods_equals_both_to_the_bit(rain, forecasters):
    """Forecasts that reach from the first period into the second count as in one evaluation of both."""
    times = rain.time.values

    def evaluated(first, last):
        issued = times[first - 1 : last]
        period = Block.between(times[first], times[last])
        return evaluate(rain, forecasters, issue_times=issued, steps=3, valid=period)

    whole, joined = evaluated(4, 10), evaluated(7, 10) + evaluated(4, 6)
    assert joined.periods == whole.periods
    assert json.dumps(joined.to_scores()) == json.dumps(whole.to_scores())
    assert joined.to_scores()["persistence"]["n_forecasts"] == [7, 6, 5]
    assert evaluated(4, 6).to_scores()["persistence"]["n_forecasts"] == [3, 2, 1]


def test_evaluation_sum_of_separate_periods_counts_nothing_between_them(rain, forecasters):
    times = rain.time.values
    parts = [
        evaluate(
            rain, forecasters, issue_times=[times[k - 1]], steps=3, valid=Block.between(times[k], times[k])
        )
        for k in (4, 8)
    ]
    assert (parts[0] + parts[1]).to_scores()["persistence"]["n_forecasts"] == [2, 0, 0]


def test_evaluate_runs_described_forecasters_from_one_analysis(rain, monkeypatch):
    estimates = []
    estimate = optical_flow.estimate
    monkeypatch.setattr(optical_flow, "estimate", lambda *a, **k: estimates.append(1) or estimate(*a, **k))
    dry = rain.fillna(0)
    compared = {name: baseline("extrapolation") for name in ("first", "second")}
    evaluation = evaluate(dry, compared, issue_times=dry.time.values[4:7], steps=2)
    assert len(estimates) == 3
    assert evaluation.strict["first"] == evaluation.strict["second"]


def test_evaluation_overlaps_are_blocks_with_scored_times(rain):
    times = rain.time.values

    blocks = {
        "train": (str(times[0]), str(times[4])),
        "validation": (str(times[6]), str(times[6])),
    }
    method = baseline("persistence")
    trained = replace(method, blocks=(blocks,))

    def notes(*issue_times):
        return evaluate(
            rain, {"it": trained, "other": method}, issue_times=times[list(issue_times)], steps=1
        ).overlaps()

    assert notes(8) == {}
    assert list(notes(3)) == ["it"]
    assert notes(3)["it"].endswith("train block 2024-06-01T00:00 to 2024-06-01T00:20.")
    assert "validation block" in notes(5)["it"]
    assert "train" not in notes(5)["it"].replace("The training", "")
    later = replace(method, blocks=({"train": (str(times[11] + STEP), str(times[11] + 2 * STEP))},))
    assert evaluate(rain, {"it": later}, issue_times=times[10:], steps=1).overlaps() == {}
    evaluation = evaluate(rain, {"it": trained}, issue_times=times[[3, 5]], steps=1)
    assert evaluation.to_scores()["it"]["about"]["overlap_with_training"] == evaluation.overlaps()["it"]


def test_evaluation_overlaps_are_those_of_every_archive_of_a_training(rain):
    times = rain.time.values
    elsewhere = {"train": ("2001-01-01T00:00:00", "2001-02-01T00:00:00")}
    here = {"validation": (str(times[6]), str(times[6]))}
    trained = replace(baseline("persistence"), blocks=(elsewhere, here))
    evaluation = evaluate(rain, {"it": trained}, issue_times=times[5:6], steps=1)
    assert evaluation.overlaps()["it"].endswith(": validation block 2024-06-01T00:30 to 2024-06-01T00:30.")
