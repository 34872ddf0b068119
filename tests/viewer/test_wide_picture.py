"""Pictures with more than 2048 pixels on a side: smaller ones are animated, the frame in view is whole."""

from pathlib import Path

import numpy as np
import pyproj
import pytest
from tests.viewer.publications import MIDDLE, PIXEL, STEP, add, fields, recent
from tests.viewer.test_picture import hash_of

from stormcell.data.grid import Grid
from stormcell.published.manifest import Latest, Product, time_name

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

ROWS, COLUMNS = 40, 2100
GRID = Grid.from_centres(
    pyproj.CRS(3857),
    MIDDLE[0] + PIXEL * (np.arange(COLUMNS) - COLUMNS / 2 + 0.5),
    MIDDLE[1] - PIXEL * (np.arange(ROWS) - ROWS / 2 + 0.5),
)
FRAMES = 4  # three observed ones and a forecast


def add_wide(root: Path) -> Latest:
    """Publish a block of rain in the middle of a wide grid."""
    rain = np.zeros((ROWS, COLUMNS), np.float32)
    rain[10:30, 1040:1060] = 20
    issue = recent()
    rate = Product(name="rate", title="Rain", kind="rate", times=())
    return add(
        root,
        issue,
        observed=fields(issue - 2 * STEP, [rain] * 3, GRID),
        products=[(rate, fields(issue + STEP, [rain], GRID))],
        often_observed=np.ones((ROWS, COLUMNS), bool),
    )


def asked_for(page) -> list[str]:
    """Return the addresses of the pictures that the page has asked for."""
    every = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    return [address for address in every if "/frames/" in address]


def expect_width(page, columns: int) -> None:
    expect(page.locator("canvas.rain")).to_have_attribute("width", str(columns))


def test_wide_picture_is_small_in_the_animation_and_whole_in_view(server, open_page):
    latest = add_wide(server.root)
    page = open_page(server, hash_of(*MIDDLE, 5))
    expect(page.locator(".tick.loaded")).to_have_count(FRAMES)
    # A pixel of the smaller picture is smaller than one of the screen.
    assert len(asked_for(page)) == FRAMES
    assert all(address.endswith("-2.png") for address in asked_for(page))
    expect_width(page, COLUMNS // 2)
    page.mouse.move(641, 401)
    assert page.inner_text("#under-pointer") == "up to 20 mm/h"
    page.click(".leaflet-control-zoom-in")
    expect_width(page, COLUMNS)
    folder, now = f"{time_name(latest.issue)}/{latest.run}", time_name(latest.issue)
    assert asked_for(page)[FRAMES:] == [f"{server.url}frames/{folder}/observed/{now}.png"]
    page.mouse.move(640, 400)
    assert page.inner_text("#under-pointer") == "20 mm/h"
    page.keyboard.press("ArrowRight")
    expect_width(page, COLUMNS // 2)
    expect_width(page, COLUMNS)
    following = time_name(latest.issue + STEP)
    assert asked_for(page)[FRAMES + 1 :] == [f"{server.url}frames/{folder}/rate/{following}.png"]
