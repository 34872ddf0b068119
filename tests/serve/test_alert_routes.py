from datetime import timedelta

from tests.serve.publications import ISSUE, publish_issue

from stormcell.published.alerts import Alert, Alerts
from stormcell.published.manifest import Status
from stormcell.published.writing import write_alerts, write_status

POINT = {"type": "Point", "coordinates": [25.0, 60.2]}
RAISED = Alert(
    rule="depot",
    title="Depot",
    severity="severe",
    state="raised",
    is_open=True,
    since=ISSUE,
    value=12.0,
    limit=10.0,
    units="mm/h",
    geometry=POINT,
)


def publish_alerts(folder):
    publish_issue(folder)
    write_status(folder, Status(updated=ISSUE, state="waiting", stale_after_seconds=900))
    write_alerts(folder, Alerts(updated=ISSUE, issue=ISSUE, run="0a1b2c3d", alerts=(RAISED,)))


def test_alerts_are_served_as_json_and_geojson(serve, published):
    publish_alerts(published)
    client = serve(published)
    (alert,) = client.get("/alerts.json").json()["alerts"]
    assert Alert.model_validate(alert) == RAISED
    answer = client.get("/alerts.geojson")
    (feature,) = answer.json()["features"]
    assert answer.headers["content-type"] == "application/geo+json"
    assert (feature["id"], feature["geometry"], feature["properties"]["state"]) == ("depot", POINT, "raised")


def test_alerts_of_a_loop_that_has_ended_are_unknown(serve, published):
    publish_alerts(published)
    (alert,) = serve(published, ISSUE + timedelta(hours=1)).get("/alerts.json").json()["alerts"]
    assert (alert["state"], alert["is_open"]) == ("unknown", True)
    assert "no new frame" in alert["reason"]


def test_alerts_without_rules_are_not_found(client):
    answer = client.get("/alerts.json")
    assert answer.status_code == 404
    assert "expected a loop with rules" in answer.json()["detail"]


def test_alerts_that_did_not_change_are_not_sent_again(serve, published):
    publish_alerts(published)
    client = serve(published)
    etag = client.get("/alerts.json").headers["etag"]
    assert client.get("/alerts.json", headers={"if-none-match": etag}).status_code == 304
