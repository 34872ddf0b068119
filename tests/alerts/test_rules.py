import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.alerts.worlds import SQUARE

from stormcell.alerts.alert_places import geometry
from stormcell.alerts.rules import Quiet, read_rules
from stormcell.errors import InputError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "alerts.md"
RULE = "rules:\n- {name: depot, place: {lat: 52, lon: 10}, threshold: 10"


def read(tmp_path, text):
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    return read_rules(path)


def test_rules_with_few_settings_have_defaults(tmp_path):
    (rule,) = read(tmp_path, RULE + "}").rules
    assert (rule.quantity, rule.statistic, rule.within_minutes, rule.for_issues) == ("rate", "maximum", 60, 2)
    assert (rule.limit, rule.units, rule.clear.below, rule.clear.minutes) == (10, "mm/h", 0.8, 30)


def test_rules_place_of_a_geojson_file_is_its_polygon(tmp_path):
    feature = {"type": "Feature", "id": "Leine", "properties": {}, "geometry": SQUARE}
    (tmp_path / "areas.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    place = "{file: areas.geojson, area: Leine}"
    (rule,) = read(tmp_path, f"rules:\n- {{name: a, place: {place}, threshold: 1}}").rules
    assert geometry(rule.place) == SQUARE


def test_rules_of_the_documentation_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("RAIN_SECRET", "whsec_c3Rvcm0=")
    feature = {"type": "Feature", "id": "Leine", "properties": {}, "geometry": SQUARE}
    (tmp_path / "catchments.geojson").write_text(json.dumps(feature))
    rules = read(tmp_path, re.search(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1])
    assert [(rule.name, rule.limit, rule.units) for rule in rules.rules] == [
        ("depot", 10, "mm/h"),
        ("leine", 0.3, "1"),
    ]
    assert len(rules.webhooks) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RULE + ", treshold: 3}", "treshold: Extra inputs are not permitted, found 3"),
        (
            RULE + ", for_issues: 0}",
            "rules.0.for_issues: Input should be greater than or equal to 1, found 0",
        ),
        (RULE + ", quantity: amount}", "expected window_minutes for an amount"),
        (RULE + ", statistic: share}", "expected share for the statistic share"),
        (RULE + ", quiet: {start: '22:00', end: '06:00', time_zone: Nowhere}}", "expected a time zone"),
        (RULE + "}\n- {name: depot, place: {lat: 1, lon: 1}, threshold: 1}", "expected rules with different"),
        (RULE + "}\nwebhooks: [{url: 'http://example.org/'}]", "expected an address that begins with https"),
        (RULE + "}\nwebhooks: [{url: 'https://a@example.org/'}]", "expected an address that begins with"),
        (
            RULE + "}\nwebhooks: [{url: 'https://example.org/', secret_env: NO_SUCH_NAME}]",
            "expected the environment variable NO_SUCH_NAME",
        ),
        ("rules: []", "at least 1"),
        ("a: [", "expected a rules file"),
        ("rules:\n- {name: a, place: {file: none.json, area: x}, threshold: 1}", "none.json"),
        (
            "rules:\n- {name: a, threshold: 1, place: {type: Polygon, coordinates: [[[1, 2]]]}}",
            "expected rings of at least 3",
        ),
    ],
)
def test_rules_with_an_error_name_the_file_and_the_error_on_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=r"rules\.yaml") as found:
        read(tmp_path, text)
    assert message in str(found.value)
    assert str(found.value).count(", found ") <= 1
    assert "\n" not in str(found.value)


def test_rules_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml: expected a rules file"):
        read_rules(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("hour", "quiet"), [(20, False), (21, True), (23, True), (2, True), (4, True), (5, False)]
)
def test_quiet_across_midnight_is_in_local_time(hour, quiet):
    hours = Quiet(start="22:00", end="06:00", time_zone="Europe/Berlin")  # one hour ahead of UTC in winter
    assert hours.includes(datetime(2026, 11, 28, hour, 30, tzinfo=UTC)) is quiet


@pytest.mark.parametrize(
    ("time", "quiet"),
    [
        # In the night to 29 March 2026, clocks go from 2:00 to 3:00: 6:00 is at 4:00 UTC instead of 5:00.
        ("2026-03-28T04:59", True),
        ("2026-03-28T05:00", False),
        ("2026-03-28T20:59", False),
        ("2026-03-28T21:00", True),
        ("2026-03-29T00:59", True),
        ("2026-03-29T01:00", True),
        ("2026-03-29T03:59", True),
        ("2026-03-29T04:00", False),
        ("2026-03-29T19:59", False),
        ("2026-03-29T20:00", True),
    ],
)
def test_quiet_hours_across_the_change_to_summer_time_stay_in_local_time(time, quiet):
    hours = Quiet(start="22:00", end="06:00", time_zone="Europe/Berlin")
    assert hours.includes(datetime.fromisoformat(time).replace(tzinfo=UTC)) is quiet


def test_quiet_within_a_day_includes_its_start_and_not_its_end():
    hours = Quiet(start="12:00", end="13:00")
    times = [datetime(2026, 11, 28, *at, tzinfo=UTC) for at in ((11, 59), (12, 0), (12, 59), (13, 0))]
    assert [hours.includes(time) for time in times] == [False, True, True, False]
