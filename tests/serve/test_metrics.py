from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.serve.publications import ISSUE, NAME, WET, place, publish_issue

from stormcell.published.manifest import Scores, Status
from stormcell.published.writing import write_scores, write_status


def metrics(client):
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            found[sample.name, *(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def test_metrics_describe_what_is_published(client):
    found = metrics(client)
    assert found["stormcell_ready",] == 1
    assert found["stormcell_stale",] == 0
    assert found["stormcell_issue_timestamp_seconds",] == ISSUE.timestamp()
    assert found["stormcell_loop_files", "added"] == 3
    assert found["stormcell_loop_stage_seconds", "read"] == 0.2


def test_metrics_have_the_number_of_problems(serve, published):
    publish_issue(published)
    problems = ("the feed cannot be read", "rules were not judged")
    write_status(published, Status(updated=ISSUE, state="waiting", problems=problems))
    assert metrics(serve(published))["stormcell_loop_problems",] == 2


def test_metrics_count_requests_by_route_not_by_address(client):
    client.get("/point", params=place(*WET))
    client.get("/point", params={"lat": 0, "lon": 0})
    client.get("/unknown/1")
    client.get("/unknown/2")
    found = metrics(client)
    assert found["stormcell_requests_total", "/point", "200"] == 1
    assert found["stormcell_requests_total", "/point", "404"] == 1
    assert found["stormcell_requests_total", "other", "404"] == 2
    assert not any("unknown" in str(key) for key in found)


def test_metrics_have_the_scores_of_the_forecasts(serve, published):
    publish_issue(published)
    day = datetime(2026, 11, 28, tzinfo=UTC)
    scores = Scores(
        period="24h",
        start=day,
        end=day + timedelta(hours=24),
        lead_minutes=(5.0, 10.0),
        forecasters={
            "nowcaster-1": {
                "mae": [0.1, None],
                "csi": {"0.1": [0.7, 0.6], "1.0": [0.5, None]},
                "bias": {"1.0": [1.2, 0.9]},
            },
            "extrapolation": {"mae": [0.2, 0.3], "csi": {"1.0": [0.4, 0.3]}},
        },
    )
    write_scores(published, [scores])
    client = serve(published)
    found = {key: value for key, value in metrics(client).items() if key[0].startswith("stormcell_score_")}
    assert found == {
        ("stormcell_score_mae", "nowcaster-1", "5", "24h"): 0.1,
        ("stormcell_score_mae", "extrapolation", "5", "24h"): 0.2,
        ("stormcell_score_mae", "extrapolation", "10", "24h"): 0.3,
        ("stormcell_score_csi", "nowcaster-1", "5", "24h", "0.1"): 0.7,
        ("stormcell_score_csi", "nowcaster-1", "10", "24h", "0.1"): 0.6,
        ("stormcell_score_csi", "nowcaster-1", "5", "24h", "1.0"): 0.5,
        ("stormcell_score_csi", "extrapolation", "5", "24h", "1.0"): 0.4,
        ("stormcell_score_csi", "extrapolation", "10", "24h", "1.0"): 0.3,
        ("stormcell_score_bias", "nowcaster-1", "5", "24h", "1.0"): 1.2,
        ("stormcell_score_bias", "nowcaster-1", "10", "24h", "1.0"): 0.9,
    }
    assert client.get("/scores.json").json()[0]["forecasters"]["nowcaster-1"]["mae"] == [0.1, None]


def test_metrics_before_the_first_forecast(serve, published):
    client = serve(published)
    assert metrics(client)["stormcell_ready",] == 0
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert client.get("/status.json").status_code == 503


@pytest.mark.parametrize(
    ("minutes", "status", "why"),
    [
        (-60, 503, "the newest frame is dated ahead of the clock"),
        (14, 200, ""),
        (16, 503, "no new frame has come for too long"),
    ],
)
def test_server_is_ready_if_the_forecast_is_not_stale(serve, published, minutes, status, why):
    publish_issue(published)
    write_status(published, Status(updated=ISSUE, state="working", stale_after_seconds=900))
    client = serve(published, ISSUE + timedelta(minutes=minutes))
    answer = client.get("/readyz")
    assert answer.status_code == status
    assert NAME in answer.text
    assert why in answer.text
    assert metrics(client)["stormcell_ready",] == (status == 200)
