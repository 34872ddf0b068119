from datetime import timedelta

import numpy as np
import pytest
from tests.serve.publications import (
    AHEAD,
    COLUMNS,
    DRY,
    FAR_AWAY,
    ISSUE,
    NEVER_SEEN,
    ROWS,
    STEP,
    UNSEEN_NOW,
    WET,
    WET_RATE,
    field,
    observed_rain,
    place,
    publish_issue,
    show,
    times,
)

from stormcell.published.manifest import Degraded, Product, Status
from stormcell.published.writing import write_status

HALF_A_STEP = 0.015  # between two levels of the rate, 2.9 % apart


def point(client, cell, **asked):
    answer = client.get("/point", params={**place(*cell), **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()["properties"]


def test_point_rain_has_observation_and_series(client):
    found = point(client, WET)
    assert found["meta"]["radar_coverage"] == "ok"
    assert found["meta"]["units"]["precipitation_rate"] == "mm/h"
    assert found["observed"] == {
        "time": "2026-11-28T03:25:00Z",
        "rate": pytest.approx(WET_RATE, rel=HALF_A_STEP),
    }
    assert found["raining_now"] is True
    assert len(found["observations"]) == 3
    assert len(found["timeseries"]) == 1 + AHEAD
    first = found["timeseries"][1]
    assert first["time"] == "2026-11-28T03:30:00Z"
    details = first["data"]["instant"]["details"]
    assert details["precipitation_rate"] == pytest.approx(WET_RATE, rel=HALF_A_STEP)
    assert details["extrapolation"] == pytest.approx(WET_RATE / 2, rel=HALF_A_STEP)
    assert details["quantiles"]["0.9"] == pytest.approx(WET_RATE * 1.5, rel=HALF_A_STEP)
    assert details["probabilities"]["0.1"] == pytest.approx(WET_RATE / 20, abs=0.003)
    assert details["members"] == [pytest.approx(WET_RATE, rel=HALF_A_STEP), 0]


def test_point_rain_has_events_with_their_ends(client):
    first, second = point(client, WET)["events"]
    assert (first["start_known"], first["end_known"]) == (False, True)
    assert first["end"] == "2026-11-28T03:40:00Z"
    assert first["peak_rate"] == pytest.approx(WET_RATE, rel=HALF_A_STEP)
    # Three observed frames and one of the forecast at the peak, and one of half of it.
    assert first["amount"] == pytest.approx(4.5 * WET_RATE / 12, rel=HALF_A_STEP)
    assert first["probability"] == pytest.approx(WET_RATE / 20, abs=0.003)
    assert (second["start"], second["end"]) == ("2026-11-28T03:55:00Z", "2026-11-28T04:00:00Z")


def test_point_gap_joins_events(client):
    assert len(point(client, WET, gap=20)["events"]) == 1
    assert len(point(client, WET, gap=15)["events"]) == 2


@pytest.mark.parametrize(("dry_steps", "events"), [(1, 1), (2, 2)])
def test_point_events_end_after_ten_dry_minutes(serve, published, dry_steps, events):
    rates = np.zeros((AHEAD, ROWS, COLUMNS))
    rates[[4, 5 + dry_steps]] = 3
    product = Product(name="rate", title="Rain rate", kind="rate", times=())
    publish_issue(published, products=[(product, field(rates, times(ISSUE + STEP, AHEAD)))])
    assert len(point(serve(published), DRY)["events"]) == events


def test_point_threshold_changes_what_is_rain(client):
    (only,) = point(client, WET, threshold=5)["events"]
    assert only["end"] == "2026-11-28T03:40:00Z"
    # No probability of 5 mm/h is published: it is the share of the two members.
    assert only["probability"] == 0.5
    assert point(client, WET, threshold=50)["raining_now"] is False


def test_point_next_hour_is_the_sum_of_its_steps(client):
    first = point(client, WET)["timeseries"][0]["data"]
    expected = (WET_RATE + 6 + 3) / 12
    assert first["next_1_hours"]["details"]["precipitation_amount"] == pytest.approx(expected, rel=0.02)


def test_point_dry_place_has_no_events_and_knows_it(client):
    found = point(client, DRY)
    assert (found["raining_now"], found["events"], found["events_known"]) == (False, [], True)


def test_point_never_observed_has_no_coverage(client):
    found = point(client, NEVER_SEEN)
    assert found["meta"]["radar_coverage"] == "no coverage"
    assert found["meta"]["last_observed"] is None
    assert found["observed"]["rate"] is None
    assert (found["raining_now"], found["events"], found["events_known"]) == (None, [], False)


def test_point_not_observed_now_is_temporarily_unavailable(client):
    found = point(client, UNSEEN_NOW)
    assert found["meta"]["radar_coverage"] == "temporarily unavailable"
    assert found["meta"]["last_observed"] == "2026-11-28T03:20:00Z"
    assert found["raining_now"] is None
    assert found["events_known"] is False


def test_point_outside_is_404_with_the_bounds(client):
    answer = client.get("/point", params=FAR_AWAY)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    west, south, east, north = answer.json()["bbox"]
    assert west < place(*WET)["lon"] < east
    assert south < place(*WET)["lat"] < north


@pytest.mark.parametrize(
    "asked", [{"lat": "x", "lon": 1}, {"lat": 91, "lon": 1}, {"lon": 1}, {"lat": "nan", "lon": 1}]
)
def test_point_bad_place_is_400(client, asked):
    answer = client.get("/point", params=asked)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("lat: ")


def test_point_stale_says_so_and_knows_no_events(serve, published_once):
    client = serve(published_once, ISSUE + timedelta(minutes=16))
    answer = client.get("/point", params=place(*WET))
    found = answer.json()["properties"]
    assert answer.headers["stormcell-stale"] == "true"
    assert found["stale"] is True
    assert found["meta"]["radar_coverage"] == "temporarily unavailable"
    assert (found["raining_now"], found["events"], found["events_known"]) == (None, [], False)
    # A client that has the fresh answer must not keep it.
    fresh = serve(published_once).get("/point", params=place(*WET))
    assert fresh.headers["etag"] != answer.headers["etag"]


def test_point_age_from_which_it_is_stale_is_that_of_the_loop(serve, published):
    publish_issue(published)
    write_status(published, Status(updated=ISSUE, state="waiting", stale_after_seconds=3600))
    client = serve(published, ISSUE + timedelta(minutes=59))
    assert point(client, WET)["stale"] is False
    assert point(serve(published, ISSUE + timedelta(minutes=61)), WET)["stale"] is True


def test_point_degraded_says_why(serve, published):
    reason = Degraded(used="extrapolation", instead_of="nowcaster-1", reason="two frames are missing")
    publish_issue(published, degraded=reason)
    answer = serve(published).get("/point", params=place(*WET))
    assert answer.json()["properties"]["meta"]["degraded"]["reason"] == "two frames are missing"


def test_point_only_observed_knows_no_events(serve, published):
    publish_issue(published, products=[])
    found = point(serve(published), DRY)
    assert len(found["timeseries"]) == 1
    assert (found["raining_now"], found["events"], found["events_known"]) == (False, [], False)


def test_point_observed_frames_come_from_earlier_publications(serve, published):
    first = publish_issue(published, frames=2)
    second = publish_issue(published, ISSUE + STEP, "00000002", frames=1)
    show(published, first, second)
    found = point(serve(published, ISSUE + 2 * STEP), (9, 9))["observations"]
    expected = [*observed_rain(ISSUE, 2)[:, 9, 9], observed_rain(ISSUE + STEP, 1)[0, 9, 9]]
    assert [one["time"][11:16] for one in found] == ["03:20", "03:25", "03:30"]
    rates = [one["precipitation_rate"] for one in found]
    assert rates == pytest.approx([0 if rate < 0.1 else rate for rate in expected], rel=HALF_A_STEP)


def test_point_search_radius_finds_the_highest_rate(client):
    values = observed_rain(ISSUE)[-1]
    y, x = np.mgrid[: values.shape[0], : values.shape[1]]
    near = np.hypot(2.0 * (y - 12), 2.0 * (x - 14)) <= 7
    found = point(client, (12, 14), search_radius=7)["observed"]["rate"]
    assert found == pytest.approx(values[near].max(), rel=HALF_A_STEP)
    # At the corner, not observed places count for nothing.
    assert point(client, NEVER_SEEN, search_radius=9)["observed"]["rate"] > 0


def test_point_same_cell_is_not_sent_again(client):
    first = client.get("/point", params=place(*WET))
    again = client.get("/point", params=place(*WET), headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get("/point", params=place(*DRY), headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


def test_point_before_the_first_forecast_is_503(serve, published):
    answer = serve(published).get("/point", params=place(*WET))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
