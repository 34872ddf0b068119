import numpy as np
import pytest
from tests.alerts.worlds import ISSUE, RUN, SPOT, SQUARE, STEP, issue, rule

from stormcell.alerts.measuring import MeasureRules

NAN = float("nan")


def measured(root, **settings):
    return MeasureRules(root, (rule(**settings),))().values[0]


def square(*values):
    """A frame with the given rates in the four pixels of the square."""
    rates = np.zeros((8, 8))
    rates[2:4, 3:5] = np.reshape(values, (2, 2))
    return rates


def test_measure_a_point_returns_its_highest_rate_and_when(tmp_path):
    issue(tmp_path, [square(2, 90, 90, 90)], [0, square(20, 90, 90, 90), square(12, 90, 90, 90), 0])
    made = MeasureRules(tmp_path, (rule(),))()
    (found,) = made.values
    assert (made.issue, made.run, found.known) == (ISSUE, RUN, True)
    assert found.value == pytest.approx(20, rel=0.015)  # half a step of the levels
    assert (found.expected, found.peak) == (ISSUE + 2 * STEP, ISSUE + 2 * STEP)


def test_measure_looks_no_further_than_the_rule(tmp_path):
    issue(tmp_path, ahead=[0, 0, 0, 50])
    assert measured(tmp_path).value == 0
    assert measured(tmp_path, within_minutes=20).value == pytest.approx(50, rel=0.015)


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({"statistic": "maximum"}, 40),
        ({"statistic": "mean"}, 20),
        ({"statistic": "p95"}, 40),
        ({"statistic": "share", "share": 0.5}, 0.75),
    ],
)
def test_measure_statistics_of_a_polygon_are_those_worked_by_hand(tmp_path, settings, value):
    issue(tmp_path, ahead=[0, square(0, 20, 20, 40), 0])
    # Pixels farther north are a little smaller.
    found = measured(tmp_path, place=SQUARE, **settings).value
    assert found == pytest.approx(value, rel=0.02)


def test_measure_a_circle_has_the_pixels_within_its_radius(tmp_path):
    issue(tmp_path, ahead=[0, square(30, 0, 0, 0), 0])
    north = {"lat": 51.88, "lon": 10.3}  # in the next pixel, 3.3 km beyond the border of the wet one
    assert measured(tmp_path, place={**north, "radius_km": 3}).value == 0
    assert measured(tmp_path, place={**north, "radius_km": 5}).value == pytest.approx(30, rel=0.015)


def test_measure_an_amount_joins_observation_and_forecast(tmp_path):
    issue(tmp_path, [0, 12, 12], [12, 24, 0])
    found = measured(tmp_path, quantity="amount", window_minutes=15, threshold=3)
    # 12, 12, 12 → 3 mm; 12, 12, 24 → 4 mm; 12, 24, 0 → 3 mm.
    assert found.value == pytest.approx(4, rel=0.015)
    assert (found.known, found.peak) == (True, ISSUE + 2 * STEP)


def test_measure_an_amount_with_a_missing_frame_is_a_lower_bound(tmp_path):
    issue(tmp_path, [12], [12, 12, 0])
    found = measured(tmp_path, quantity="amount", window_minutes=15, threshold=3, within_minutes=10)
    assert found.value == pytest.approx(3, rel=0.015)
    assert not found.known
    assert "12:00" in found.reason


@pytest.mark.parametrize(("blind", "known"), [(2, True), (3, False)])
def test_measure_is_known_if_half_of_the_place_is_observed(tmp_path, blind, known):
    rates = [30.0, 30.0, 30.0, 30.0]
    rates[:blind] = [NAN] * blind
    issue(tmp_path, ahead=[0, square(*rates), 0])
    found = measured(tmp_path, place=SQUARE)
    assert (found.known, found.value) == (known, pytest.approx(30, rel=0.015))


def test_measure_a_forecast_that_is_too_short_is_not_known(tmp_path):
    issue(tmp_path, [2], [])
    found = measured(tmp_path)
    assert found.value == pytest.approx(2, rel=0.015)
    assert found.reason == "the forecast ends after 0 minutes, and the rule looks 15 ahead"


def test_measure_a_probability_is_the_share_of_members(tmp_path):
    issue(tmp_path, members=[[0, 20, 0], [20, 0, 0], [0, 0, 0], [0, 0, 5]])
    found = measured(tmp_path, probability=0.5)
    assert (found.value, found.expected) == (0.5, ISSUE + 2 * STEP)
    amount = {"quantity": "amount", "window_minutes": 5, "threshold": 0.4}
    assert measured(tmp_path, probability=0.5, **amount).value == 0.75


def test_measure_a_published_probability_is_the_highest_of_the_place(tmp_path):
    issue(tmp_path, chances={10.0: [0.1, 0.6, 0.3]})
    found = measured(tmp_path, probability=0.5)
    assert found.value == pytest.approx(0.6, abs=0.002)
    assert (found.expected, found.known) == (ISSUE + 2 * STEP, True)


def test_measure_a_probability_of_rain_that_is_observed_is_one(tmp_path):
    issue(tmp_path, [11], chances={10.0: [0, 0, 0]})
    assert measured(tmp_path, probability=0.5).value == 1


@pytest.mark.parametrize("settings", [{}, {"statistic": "mean"}])
def test_measure_a_probability_that_is_not_published_is_not_known(tmp_path, settings):
    issue(tmp_path, chances={5.0: [0, 0, 0]})
    found = measured(tmp_path, probability=0.5, **settings)
    assert (found.value, found.known) == (None, False)
    assert "members" in found.reason


def test_measure_a_place_outside_of_the_grid_does_not_stop_the_others(tmp_path):
    issue(tmp_path, [20])
    away = rule(name="away", place={"lat": 0, "lon": 0})
    first, second = MeasureRules(tmp_path, (away, rule()))().values
    assert (first.value, first.known) == (None, False)
    assert "inside of the radar's grid" in first.reason
    assert second.value == pytest.approx(20, rel=0.015)


def test_measure_a_point_is_the_same_as_a_polygon_in_its_pixel(tmp_path):
    rng = np.random.default_rng(1)
    issue(tmp_path, [rng.gamma(1, 9, (8, 8))], list(rng.gamma(1, 9, (3, 8, 8))))
    assert measured(tmp_path).value == measured(tmp_path, place={**SPOT, "radius_km": 0.5}).value
