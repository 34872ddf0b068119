import csv
import io
import json
from datetime import timedelta

import numpy as np
import pytest
from tests.serve.publications import (
    AHEAD,
    ISSUE,
    NEVER_SEEN,
    STEP,
    UNSEEN_NOW,
    WET,
    WET_RATE,
    observed_rain,
    publish_issue,
    show,
    square,
)

HALF_A_STEP = 0.015  # between two levels of the rate, 2.9 % apart


def area(client, document, **asked):
    answer = client.post("/area", json=document, params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["features"]


def series(feature, minutes):
    found = next(one for one in feature["properties"]["amounts"] if one["minutes"] == minutes)
    return {one["end"][11:16]: one for one in found["timeseries"]}


def test_area_of_one_cell_has_its_rain(client):
    (found,) = area(client, square(*WET))
    # The cell's corners in degrees are not exactly those of the grid: neighbours are touched.
    one = found["properties"]["timeseries"][2]
    assert (one["time"], one["observed"]) == ("2026-11-28T03:25:00Z", True)
    assert one["mean"] == pytest.approx(WET_RATE, rel=HALF_A_STEP)
    assert found["properties"]["grid_share"] == pytest.approx(1, abs=1e-3)
    ahead = found["properties"]["timeseries"][3]
    assert ahead["probabilities"]["0.1"]["mean"] == pytest.approx(WET_RATE / 20, abs=0.005)
    assert len(found["properties"]["timeseries"]) == 3 + AHEAD


def test_area_mean_and_maximum_are_those_of_its_cells(client):
    (found,) = area(client, square(12, 12, size=2.5))
    values = observed_rain(ISSUE)[-1, 10:15, 10:15]
    last = found["properties"]["timeseries"][2]
    assert last["mean"] == pytest.approx(np.where(values < 0.1, 0, values).mean(), rel=HALF_A_STEP)
    assert last["observed_share"] == 1


def test_area_amounts_join_observation_and_forecast(client):
    (found,) = area(client, square(*WET))
    quarter = series(found, 15)
    # Two observed frames and the first of the forecast; then one observed frame and 12 and 6 mm/h.
    assert quarter["03:30"]["amount"] == pytest.approx(3 * WET_RATE / 12, rel=HALF_A_STEP)
    assert quarter["03:30"]["observed_minutes"] == 10
    assert quarter["03:35"]["amount"] == pytest.approx((2 * WET_RATE + 6) / 12, rel=HALF_A_STEP)
    hour = series(found, 60)
    assert hour["03:25"]["amount"] is None  # only 15 minutes were observed
    assert hour["04:25"]["amount"] == pytest.approx((WET_RATE + 6 + 3) / 12, rel=HALF_A_STEP)
    assert all(one["amount"] is None for one in series(found, 180).values())


def test_area_amount_above_is_the_share_of_the_members(client):
    (found,) = area(client, square(*WET), amount_above=2.5)
    quarter = series(found, 15)
    assert quarter["03:30"]["members"] == [
        pytest.approx(3.0, rel=HALF_A_STEP),
        pytest.approx(2.0, rel=HALF_A_STEP),
    ]
    assert quarter["03:30"]["probability"] == 0.5


def test_area_observed_amounts_go_back_to_earlier_publications(serve, published):
    first = publish_issue(published)
    second = publish_issue(published, ISSUE + STEP, "00000002", frames=1)
    show(published, first, second)
    (found,) = area(serve(published, ISSUE + 2 * STEP), square(*WET))
    quarter = series(found, 15)
    assert quarter["03:30"]["observed_minutes"] == 15
    assert quarter["03:30"]["amount"] == pytest.approx(3 * WET_RATE / 12, rel=HALF_A_STEP)


def test_area_not_observed_is_null(client):
    (found,) = area(client, square(*NEVER_SEEN, size=0.4))
    one = found["properties"]["timeseries"][0]
    assert (one["mean"], one["maximum"], one["observed_share"]) == (None, None, 0)
    (now,) = area(client, square(*UNSEEN_NOW, size=0.4))
    assert [one["mean"] is None for one in now["properties"]["timeseries"][:3]] == [False, False, True]


def test_area_partly_outside_says_how_much(client):
    (found,) = area(client, square(12, 0, size=1))
    # From one cell left of the centre of the first column: half a cell of two is outside.
    assert found["properties"]["grid_share"] == pytest.approx(0.75, abs=0.01)


def test_area_features_keep_their_names_and_properties(client):
    features = [
        {"type": "Feature", "properties": {"name": "Vantaa", "size": 3}, "geometry": square(5, 5)},
        {"type": "Feature", "id": "kerava", "properties": None, "geometry": square(8, 8)},
    ]
    found = area(client, {"type": "FeatureCollection", "features": features})
    assert [one["id"] for one in found] == ["Vantaa", "kerava"]
    assert found[0]["properties"]["size"] == 3


def test_area_as_csv_has_the_same_numbers(client):
    (found,) = area(client, square(*WET))
    answer = client.post("/area", json=square(*WET), params={"f": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 3 + AHEAD
    assert [row["kind"] for row in rows[1:4]] == ["observed", "observed", "forecast"]
    ahead = found["properties"]["timeseries"][3]
    assert float(rows[3]["mean_mm_per_h"]) == ahead["mean"]
    assert float(rows[3]["amount_15min_mm"]) == series(found, 15)["03:30"]["amount"]
    assert float(rows[3]["probability_above_0.1_maximum"]) == ahead["probabilities"]["0.1"]["maximum"]
    assert rows[2]["amount_60min_mm"] == ""


def test_area_stale_says_so(serve, published_once):
    (found,) = area(serve(published_once, ISSUE + timedelta(hours=1)), square(*WET))
    assert found["properties"]["meta"]["stale"] is True


RING = [[24, 60], [24.1, 60], [24.1, 60.1], [24, 60]]


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        ({}, 400, "area 1: expected a Polygon or MultiPolygon"),
        ([], 400, "area 1: expected a Polygon or MultiPolygon"),
        ({"type": "FeatureCollection", "features": []}, 400, "at least one feature"),
        ({"type": "Point", "coordinates": [24, 60]}, 400, "found Point"),
        ({"type": "Polygon", "coordinates": []}, 400, "rings of at least 3"),
        ({"type": "Polygon", "coordinates": [[["x", 60]]]}, 400, "rings of at least 3"),
        ({"type": "Polygon", "coordinates": [RING[:2]]}, 400, "rings of at least 3"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}, 404, "place: expected one inside"),
        ({"type": "Polygon", "coordinates": [[[-90, 20], [90, 20], [24, 80]]]}, 400, "vertices within 10°"),
        ({"type": "Polygon", "coordinates": [RING * 6000]}, 413, "at most 20000 vertices"),
        ({"type": "FeatureCollection", "features": [{}] * 101}, 413, "at most 100 areas"),
    ],
)
def test_area_that_cannot_be_answered_says_why(client, document, status, words):
    answer = client.post("/area", json=document)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(("content", "status"), [(b"{", 400), (b"[" * 100_000, 400), (b" " * 2**22, 413)])
def test_area_that_is_not_json_or_too_long_is_refused(client, content, status):
    assert client.post("/area", content=content).status_code == status


def test_areas_of_the_site_are_served_by_name(serve, published_once, tmp_path):
    features = [{"type": "Feature", "properties": {"name": "Vantaa"}, "geometry": square(*WET)}]
    file = tmp_path / "areas.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    client = serve(published_once, areas=file)
    assert [one["id"] for one in client.get("/areas.json").json()["features"]] == ["Vantaa"]
    answer = client.get("/areas/Vantaa")
    assert answer.json()["features"] == area(client, features[0])
    known = {"If-None-Match": answer.headers["etag"]}
    assert client.get("/areas/Vantaa", headers=known).status_code == 304
    assert client.get("/areas/Vantaa?f=csv", headers=known).status_code == 200
    assert "expected Vantaa" in client.get("/areas/Espoo").json()["detail"]
