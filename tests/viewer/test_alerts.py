"""Alerts on the map: their places, the list of rules, and news of them."""

import re
from datetime import timedelta

import pytest
from tests.viewer.publications import STEP, add, recent
from tests.viewer.test_page import broken_rules
from tests.viewer.test_picture import CENTRE, hash_of

from stormcell.maps.mercator import to_lon_lat
from stormcell.published.alerts import Alert, Alerts
from stormcell.published.writing import write_alerts

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

LON, LAT = (float(value) for value in to_lon_lat(*CENTRE))
SPOT = {"type": "Point", "coordinates": [LON, LAT]}
SQUARE = {
    "type": "Polygon",
    "coordinates": [
        [[LON + x, LAT + y] for x, y in ((0.4, 0), (0.6, 0), (0.6, 0.2), (0.4, 0.2), (0.4, 0))],
    ],
}


def alert(rule, state, geometry=SPOT, **more):
    return Alert(
        rule=rule,
        title=f"The {rule}",
        severity="severe",
        state=state,
        is_open=more.pop("is_open", state == "raised"),
        limit=10.0,
        units="mm/h",
        geometry=geometry,
        **more,
    )


def write(root, *alerts):
    write_alerts(root, Alerts(updated=recent(), alerts=alerts))


def test_alerts_are_drawn_listed_and_named_in_a_banner(server, open_page):
    issue = add(server.root, recent()).issue
    raised = alert("depot", "raised", value=12.0, expected=issue + STEP, peak=issue + 2 * STEP)
    unknown = alert("leine", "unknown", SQUARE, reason="the forecast ends")
    write(server.root, raised, unknown, alert("park", "idle"))
    page = open_page(server, f"?clock=utc{hash_of(*CENTRE, 8)}")
    shapes = page.locator("path.alert")
    expect(shapes).to_have_count(2)
    spot = page.locator("path.alert.raised").bounding_box()
    assert abs(spot["x"] + spot["width"] / 2 - 640) <= 1
    assert abs(spot["y"] + spot["height"] / 2 - 400) <= 1
    expect(page.locator("#banners .alert")).to_have_text("Alert: The depot.")
    page.click("#alerts-open")
    expect(page.locator("#alerts li")).to_have_text(
        [
            f"The depotRaised: 10 mm/h or more from {issue + STEP:%H:%M}, up to 12 mm/h at "
            f"{issue + 2 * STEP:%H:%M}.",
            "The leineUnknown: the forecast ends.",
            "The parkIdle: below 10 mm/h.",
        ]
    )
    assert not broken_rules(page)
    page.locator("#alerts li button").nth(1).click()
    assert page.is_hidden("#alerts")
    expect(page).not_to_have_url(re.compile("/8/now"))  # it has moved closer to the place


@pytest.mark.parametrize("events", ["stream", "blocked"])
def test_alert_appears_and_goes_without_a_new_issue(server, open_page, events):
    add(server.root, recent())
    page = open_page(server, wait=False)
    if events == "blocked":
        page.route("**/events", lambda route: route.abort())
        page.clock.install()
        page.reload()
    page.wait_for_selector("canvas.rain[data-frame]")
    assert page.is_hidden("#alerts-open")
    for state, count in (("raised", 1), ("idle", 0)):
        write(server.root, alert("depot", state))
        if events == "blocked":
            page.wait_for_timeout(1000)  # until the server has read it
            page.clock.fast_forward(timedelta(seconds=20).total_seconds() * 1000)
        expect(page.locator("path.alert")).to_have_count(count)
    assert page.is_visible("#alerts-open")
