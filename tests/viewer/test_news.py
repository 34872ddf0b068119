"""New issues, banners and lost connections."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
from tests.viewer.publications import GRID, STEP, add, rain, recent
from tests.viewer.serving import Server

from stormcell.published.manifest import Degraded, Status
from stormcell.published.writing import write_status

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

SOON = 2_000  # milliseconds in which the map has a new issue
HALF = (slice(0, GRID.rows), slice(0, GRID.columns // 2))


def shown(page) -> str:
    return page.get_attribute("#time", "datetime")


def published(server: Server, folder: str) -> bool:
    return httpx.get(f"{server.url}latest.json").headers["Stormcell-Issue"] == folder


@pytest.mark.parametrize("events", ["stream", "blocked"])
def test_map_has_a_new_issue_soon(server, open_page, events):
    add(server.root, recent() - STEP)
    page = open_page(server, wait=False)
    if events == "blocked":
        page.route("**/events", lambda route: route.abort())
        page.reload()
    page.wait_for_selector("canvas.rain[data-frame]")
    before = shown(page)
    latest = add(server.root, recent())
    while not published(server, latest.folder):
        page.wait_for_timeout(20)
    expect(page.locator("#time")).not_to_have_attribute("datetime", before, timeout=SOON)
    assert datetime.fromisoformat(shown(page)) == latest.issue
    assert page.inner_text("#kind") == "Observed, now"


def test_map_keeps_the_time_that_the_reader_looks_at(server, open_page):
    add(server.root, recent() - STEP)
    page = open_page(server)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    before = shown(page)
    latest = add(server.root, recent())
    page.wait_for_selector(f"canvas.rain[data-frame*='/{latest.run}/']")
    assert shown(page) == before
    assert page.inner_text("#kind") == "Forecast, in 5 min"


def degraded(root: Path) -> None:
    reason = Degraded(used="extrapolation", instead_of="nowcaster-1", reason="A frame is missing")
    add(root, recent(), degraded=reason)


def only_observed(root: Path) -> None:
    reason = Degraded(used="observation", instead_of="nowcaster-1", reason="It ran out of memory.")
    add(root, recent(), degraded=reason, products=[])


def blind(root: Path) -> None:
    add(root, recent(), rain(20, HALF))


def all_blind(root: Path) -> None:
    add(root, recent(), np.full((GRID.rows, GRID.columns), np.nan, np.float32))


def stale(root: Path) -> None:
    add(root, recent() - timedelta(hours=1))
    write_status(root, Status(updated=datetime.now(UTC), state="waiting", stale_after_seconds=900))


def stale_for_days(root: Path) -> None:
    add(root, datetime(2026, 11, 3, 4, 15, tzinfo=UTC))


def ahead(root: Path) -> None:
    add(root, recent() + timedelta(minutes=65))  # 60 to 65 minutes ahead of the clock


def preliminary(root: Path) -> None:
    add(root, recent(), preliminary=True)


def nothing(root: Path) -> None:
    del root


BANNERS = {
    "degraded": (degraded, ["Forecast by extrapolation, instead of nowcaster-1: A frame is missing."]),
    "only observed": (
        only_observed,
        ["Observation only, without a forecast, instead of nowcaster-1: It ran out of memory."],
    ),
    "blind": (blind, ["The newest frame lacks 50 % of the area that the radar sees."]),
    "all blind": (
        all_blind,
        ["The radar observed nothing in the newest frame. No rain on the map does not mean dry."],
    ),
    "stale": (stale, ["The newest radar frame is 6"]),
    "stale for days": (stale_for_days, [" 3 Nov, 04:15."]),
    "ahead": (ahead, ["The newest radar frame is dated 6"]),
    "preliminary": (preliminary, ["First forecast of this frame; a better one is on its way."]),
    "nothing": (nothing, ["Nothing is published yet. The map fills when the first radar frame comes."]),
    "well": (lambda root: add(root, recent()), []),
}


@pytest.mark.parametrize("case", BANNERS)
def test_banner_says_what_is_wrong(case, server, open_page):
    prepare, expected = BANNERS[case]
    prepare(server.root)
    page = open_page(server, wait=case != "nothing")
    if case != "nothing":
        expect(page.locator(".tick:not(.loaded)")).to_have_count(0)
    banners = page.locator("#banners .banner")
    expect(banners).to_have_count(len(expected))
    for index, text in enumerate(expected):
        expect(banners.nth(index)).to_contain_text(text)


def test_banner_judges_the_age_of_a_frame_by_the_clock_of_the_server(server, open_page):
    """As in the demonstration, whose clock is fast."""
    issue = recent() + timedelta(hours=1)
    add(server.root, issue)
    server.stop()
    server.clock = lambda: issue + timedelta(minutes=2)
    server.start()
    page = open_page(server)
    expect(page.locator(".tick:not(.loaded)")).to_have_count(0)
    expect(page.locator("#banners .banner")).to_have_count(0)


def test_banner_says_that_the_connection_is_lost_until_it_is_back(server, open_page):
    add(server.root, recent())
    page = open_page(server)
    page.locator(".tick.loaded").nth(6).wait_for()
    lost = page.locator("#banners .banner", has_text="Connection lost")
    server.stop()
    expect(lost).to_be_visible()
    # What came before can still be played.
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#kind") == "Forecast, in 5 min"
    server.start()
    expect(lost).to_have_count(0)
    latest = add(server.root, recent(), model="nowcaster-2")
    page.wait_for_selector(f"canvas.rain[data-frame*='/{latest.run}/']")


@pytest.mark.parametrize(
    ("address", "count"),
    [("#55/3/8/now/rate", 0), ("#52.5/3/9/now/rate", 1)],
    ids=["in view", "elsewhere"],
)
def test_banner_says_that_the_radar_does_not_see_what_is_in_view(server, open_page, address, count):
    add(server.root, recent())
    page = open_page(server, address)
    page.locator(".tick.loaded").nth(6).wait_for()
    beyond = page.locator("#banners .banner", has_text="The radar does not see this part of the map.")
    expect(beyond).to_have_count(count)


def test_first_issue_fills_an_empty_map(server, open_page):
    page = open_page(server, wait=False)
    expect(page.locator("#banners .banner")).to_have_count(1)
    add(server.root, recent())
    page.wait_for_selector("canvas.rain[data-frame]")
    expect(page.locator("#banners .banner")).to_have_count(0)
