"""Scores compared with plain loops, the ``scores`` package and pysteps, and perfect and undefined scores."""

import itertools
import operator

import numpy as np
import pytest
import xarray as xr
from scores.categorical import ThresholdEventOperator
from scores.continuous import mae, rmse

from stormcell.errors import ArgumentError
from stormcell.verification import scores
from stormcell.verification.axes import Axes
from stormcell.verification.tally import Tally, tally_forecasts

THRESHOLDS = (0.1, 1.0, 5.0)
AXES = Axes((5.0, 10.0), THRESHOLDS, ((2.0, 3),), (2.0, 4.0, 8.0), 1.0)
ISSUED = np.datetime64("2024-06-01T00:00")


def fields(seed=0, members=()):
    generator = np.random.default_rng(seed)
    observation = generator.gamma(0.3, 6.0, (2, 13, 11)).astype(np.float32)
    forecast = generator.gamma(0.3, 6.0, (*members, 2, 13, 11)).astype(np.float32)
    # Rates equal to a threshold are events; without any, ≥ and > would give the same.
    observation.flat[::7] = np.float32(1.0)
    forecast.flat[::5] = np.float32(5.0)
    return forecast, observation, generator.random(observation.shape) < 0.7


def tally_of(forecast, observation, mask, axes=AXES):
    return tally_forecasts({"it": forecast}, observation, mask, issue_time=ISSUED, axes=axes)["it"]


def test_tally_forecasts_equals_plain_loops():
    forecast, observation, mask = fields()
    tally = tally_of(forecast, observation, mask)
    for lead in range(2):
        for k, threshold in enumerate(THRESHOLDS):
            count = {"hits": 0, "misses": 0, "false_alarms": 0, "correct_negatives": 0}
            absolute = squared = 0.0
            for f, o, inside in zip(
                forecast[lead].flat, observation[lead].flat, mask[lead].flat, strict=True
            ):
                if inside:
                    f, o = float(f), float(o)
                    event, predicted = o >= np.float32(threshold), f >= np.float32(threshold)
                    name = ("correct_negatives", "false_alarms", "misses", "hits")[2 * event + predicted]
                    count[name] += 1
                    absolute, squared = absolute + abs(f - o), squared + (f - o) ** 2
            for name, expected in count.items():
                assert tally.rows[name][0, lead, k] == expected > 0
            events = scores.SCORES["n_events"].compute(tally)
            assert events[lead, k] == count["hits"] + count["misses"]
        assert tally.rows["pixels"][0, lead] == mask[lead].sum()
        # Some hundred float64 additions in another order.
        assert tally.rows["absolute_error"][0, lead] == pytest.approx(absolute, rel=1e-12)
        assert tally.rows["squared_error"][0, lead] == pytest.approx(squared, rel=1e-12)


def test_scores_equal_those_of_the_scores_package():
    forecast, observation, mask = fields(1)
    tally = tally_of(forecast, observation, mask)
    forecast, observation = (
        xr.DataArray(np.where(mask, field, np.nan).astype(np.float64), dims=("lead", "y", "x"))
        for field in (forecast, observation)
    )
    for k, threshold in enumerate(THRESHOLDS):
        events = ThresholdEventOperator(
            default_event_threshold=np.float32(threshold), default_op_fn=operator.ge
        )
        table = events.make_contingency_manager(forecast, observation).transform(preserve_dims="lead")
        for ours, theirs in (
            (scores.csi, table.critical_success_index()),
            (scores.pod, table.probability_of_detection()),
            (scores.far, table.false_alarm_ratio()),
            (scores.bias, table.frequency_bias()),
        ):
            np.testing.assert_array_equal(ours(tally)[:, k], theirs.values)
    np.testing.assert_allclose(
        scores.mae(tally), mae(forecast, observation, preserve_dims="lead"), rtol=1e-12
    )
    np.testing.assert_allclose(
        scores.rmse(tally), rmse(forecast, observation, preserve_dims="lead"), rtol=1e-12
    )


def test_scores_equal_those_of_pysteps_if_everything_is_observed():
    pytest.importorskip("pysteps", reason="pysteps is not installed")
    from pysteps.verification.detcatscores import det_cat_fct

    forecast, observation, _ = fields(2)
    tally = tally_of(forecast, observation, np.ones(observation.shape, bool))
    for lead in range(2):
        for k, threshold in enumerate(THRESHOLDS):
            # pysteps counts events above the threshold: the next smaller float32 gives the same events.
            below = np.nextafter(np.float32(threshold), np.float32(0))
            theirs = det_cat_fct(
                forecast[lead], observation[lead], below, scores=["CSI", "POD", "FAR", "BIAS"]
            )
            for name, ours in (
                ("CSI", scores.csi),
                ("POD", scores.pod),
                ("FAR", scores.far),
                ("BIAS", scores.bias),
            ):
                assert ours(tally)[lead, k] == pytest.approx(theirs[name], rel=1e-12)


def test_scores_of_a_perfect_forecast_are_perfect():
    _, observation, mask = fields(3)
    tally = tally_of(observation.copy(), observation, mask)
    for score, perfect in ((scores.csi, 1), (scores.pod, 1), (scores.far, 0), (scores.bias, 1)):
        np.testing.assert_array_equal(score(tally), perfect)
    for score, perfect in (
        (scores.mae, 0),
        (scores.rmse, 0),
        (scores.crps, 0),
        (scores.fss, 1),
        (scores.power_ratio, 1),
    ):
        np.testing.assert_array_equal(score(tally), perfect)


def test_scores_of_a_forecast_without_hits_are_worst():
    observation = np.zeros((2, 13, 11), np.float32)
    observation[:, 2] = 9
    forecast = np.roll(observation, 6, axis=1)
    tally = tally_of(forecast, observation, np.ones(observation.shape, bool))
    for score, expected in (
        (scores.csi, 0),
        (scores.pod, 0),
        (scores.far, 1),
        (scores.bias, 1),
        (scores.fss, 0),
    ):
        np.testing.assert_array_equal(score(tally), expected)


def test_scores_of_correct_negatives_alone_are_undefined():
    dry = np.zeros((2, 13, 11), np.float32)
    found = scores.to_dict(tally_of(dry, dry, np.ones(dry.shape, bool)))
    for name in ("csi", "pod", "far", "bias"):
        assert found[name] == {"0.1": [None, None], "1.0": [None, None], "5.0": [None, None]}
    assert found["fss"]["1.0"] == {"2km": [None, None]}
    assert found["power_ratio"] == {"2-4km": [None, None], "4-8km": [None, None]}
    assert found["mae"] == found["rmse"] == found["crps"] == [0, 0]
    assert found["n_pixels"] == [143, 143]


def test_bias_without_observed_event_is_undefined():
    dry = np.zeros((2, 13, 11), np.float32)
    tally = tally_of(dry + 2, dry, np.ones(dry.shape, bool))
    assert np.isnan(scores.bias(tally)[:, :2]).all()
    found = scores.to_dict(tally)
    assert found["bias"]["1.0"] == [None, None]
    assert found["far"]["1.0"] == [1, 1]


def test_scores_of_a_lead_time_without_pixels_are_undefined():
    forecast, observation, mask = fields(4)
    mask[1] = False
    found = scores.to_dict(tally_of(forecast, observation, mask))
    assert found["n_forecasts"] == [1, 0]
    assert found["n_pixels"][1] == 0
    assert found["mae"][1] is None
    assert found["csi"]["0.1"][1] is None
    assert found["csi"]["0.1"][0] > 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -5, 1e6])
def test_tally_forecasts_pixels_outside_the_mask_change_nothing(value):
    forecast, observation, mask = fields(5)
    expected = tally_of(forecast, observation, mask)
    forecast[~mask], observation[~mask] = value, value
    assert tally_of(forecast, observation, mask) == expected


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_tally_forecasts_nan_inside_the_mask_raises(which, value):
    both = fields(6)
    mask = both[2]
    both[which][1][tuple(np.argwhere(mask[1])[-1])] = value  # one pixel is enough
    name = ("it", "observation")[which]
    message = rf"{name}, issued 2024-06-01T00:00 for \+10 min: expected a number at every pixel inside"
    with pytest.raises(ArgumentError, match=message):
        tally_of(*both)


def test_tally_forecasts_nan_in_one_member_raises():
    members, observation, mask = fields(6, members=(3,))
    members[(2, 0, *np.argwhere(mask[0])[0])] = np.nan
    with pytest.raises(ArgumentError, match=r"it, issued .* for \+5 min: expected a number"):
        tally_of(members, observation, mask)


def test_tally_forecasts_together_equals_each_alone():
    members, observation, mask = fields(10, members=(3,))
    forecasts = {"first": members[0], "second": members[1], "all": members}
    found = tally_forecasts(forecasts, observation, mask, issue_time=ISSUED, axes=AXES)
    assert list(found) == list(forecasts)
    for name, forecast in forecasts.items():
        assert found[name] == tally_of(forecast, observation, mask)
    assert found["first"] != found["second"]


def test_mean_over_leads_ignores_undefined_values():
    assert scores.mean_over_leads([0.25, None, 0.5]) == (0.375, 1)
    assert scores.mean_over_leads([0.25, 0.5]) == (0.375, 0)
    assert scores.mean_over_leads([None]) == (None, 1)


def test_scores_of_an_ensemble_use_its_mean_and_crps_all_members():
    members, observation, mask = fields(7, members=(4,))
    tally = tally_of(members, observation, mask)
    mean = members.astype(np.float64).mean(axis=0).astype(np.float32)
    alone = tally_of(mean, observation, mask)
    np.testing.assert_array_equal(scores.csi(tally), scores.csi(alone))
    np.testing.assert_array_equal(scores.mae(tally), scores.mae(alone))
    for lead in range(2):
        expected = [
            crps_by_integration(members[:, lead, y, x], observation[lead, y, x])
            for y, x in zip(*np.nonzero(mask[lead]), strict=True)
        ]
        assert scores.crps(tally)[lead] == pytest.approx(np.mean(expected), rel=1e-9)


def crps_by_integration(members, observation):
    """Return ∫(share of members ≤ r − [observation ≤ r])² dr."""
    values = np.sort(np.append(members, observation).astype(np.float64))
    total = 0.0
    for low, high in itertools.pairwise(values):  # between them, the integrand is constant
        total += (high - low) * (np.mean(members <= low) - (observation <= low)) ** 2
    return total


def test_crps_of_one_member_is_the_absolute_error():
    forecast, observation, mask = fields(8)
    np.testing.assert_array_equal(
        scores.crps(tally_of(forecast, observation, mask)), scores.mae(tally_of(forecast, observation, mask))
    )
    np.testing.assert_array_equal(
        scores.crps(tally_of(forecast[None], observation, mask)),
        scores.mae(tally_of(forecast, observation, mask)),
    )


def test_scores_are_ratios_of_sums():
    axes = Axes((5.0,), (1.0,), (), (), 1.0)

    def of(hits, misses, hour):
        observation = np.array([2.0] * (hits + misses), np.float32)[None, None]
        forecast = np.array([2.0] * hits + [0.0] * misses, np.float32)[None, None]
        issued = ISSUED + np.timedelta64(hour, "h")
        return tally_forecasts({"it": forecast}, observation, observation > 0, issue_time=issued, axes=axes)[
            "it"
        ]

    assert scores.csi(of(1, 0, 0) + of(0, 3, 1)).tolist() == [[1 / 4]]


def test_tally_forecasts_other_shapes_raise():
    forecast, observation, mask = fields(9)
    with pytest.raises(
        ArgumentError,
        match=r"expected shape \(2, 13, 11\) of forecast, observation and mask, found \(1, 13, 11\)",
    ):
        tally_of(forecast[:1], observation, mask)


def test_scores_of_an_empty_tally_are_undefined():
    assert scores.to_dict(Tally.zero(AXES))["csi"]["1.0"] == [None, None]


def test_score_rank_is_greater_for_a_better_value():
    bias, csi, mae = (scores.SCORES[key].rank for key in ("bias", "csi", "mae"))
    assert bias(1.0) > bias(1.9) > bias(0.5) == bias(2.0) > bias(3.0) > bias(0.0)
    assert csi(0.6) > csi(0.5)
    assert mae(0.5) > mae(0.6)
