"""The page around the map: places, addresses, a phone, other pages, and readers who use other means."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.viewer.publications import BLOCK, STEP, add, rain, recent
from tests.viewer.test_picture import CENTRE, EDGES, hash_of

from stormcell.published.manifest import Scores, time_name
from stormcell.published.writing import write_scores

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
PHONE = {"viewport": {"width": 360, "height": 720}, "has_touch": True, "is_mobile": True}
LEADS = (5, 10, 15, 20)


@pytest.fixture(scope="module", autouse=True)
def _scores(rainy):
    csi = {"0.1": [0.7, 0.6, 0.55, 0.5], "1.0": [0.6, 0.5, None, 0.3]}
    forecaster = {"csi": csi, "n_forecasts": [9, 9, 9, 9]}
    now = datetime.now(UTC)
    both = {"nowcaster-1": forecaster, "extrapolation": forecaster}
    write_scores(rainy.root, [Scores(period="24h", start=now, end=now, lead_minutes=LEADS, forecasters=both)])


def test_place_panel_has_the_name_that_is_loaded_after_it_was_opened(open_page, rainy):
    held, released = [], []

    def hold(request):
        # The names may be asked for after the first were released.
        request.continue_() if released else held.append(request)

    page = open_page(rainy, hash_of(50.03, 0.0, 9), route=("**/basemap/*_*", hold))
    page.mouse.click(1033, 464)
    title = page.locator("#place h2")
    expect(title).to_have_text("This place")
    released.append(True)
    for request in held:
        request.continue_()
    expect(title).to_have_text("Near Dieppe")


def test_place_panel_has_words_and_a_chart(open_page, rainy):
    page = open_page(rainy, hash_of(*CENTRE, 9))
    page.mouse.click(640, 400)
    words = page.locator("#place .words")
    expect(words).to_contain_text("20 mm/h.")
    # Rain in the frames before, until the last of the forecast, which is dry.
    expect(words).to_contain_text("Rain since before")
    expect(words).to_contain_text("The chance that it goes on is")
    expect(words).to_contain_text("at most 20 mm/h")
    chart = page.locator("#place svg[role=img]")
    assert "up to 20 mm/h" in chart.get_attribute("aria-label")
    for part in ("band", "extrapolation", "rate", "seen"):
        assert chart.locator(f".{part}").get_attribute("d").count("L") >= 2, part
    assert chart.locator(".chance").count() == 3  # at the last time, the probability is 0
    page.keyboard.press("Escape")
    assert page.is_hidden("#place")


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (CENTRE[0], EDGES["north"] + 50_000, "The radar does not see this place."),
        (EDGES["east"] + 60_000, CENTRE[1], "No rain until"),
        (EDGES["east"] + 150_000, CENTRE[1], "Outside the radar's area."),
    ],
    ids=["no coverage", "dry", "outside"],
)
def test_place_panel_says_why_there_is_no_rain(open_page, rainy, x, y, expected):
    page = open_page(rainy, hash_of(x, y, 9))
    page.mouse.click(640, 400)
    expect(page.locator("#place .words")).to_contain_text(expected)
    assert page.locator("#place svg[role=img]").count() == 0


def test_place_panel_says_that_a_place_is_not_observed_now(server, open_page):
    add(server.root, recent(), rain(0, BLOCK))
    page = open_page(server, hash_of(*CENTRE, 9))
    page.mouse.click(640, 400)
    expect(page.locator("#place .words")).to_contain_text(
        "The newest radar frame did not observe this place."
    )


def test_address_holds_place_time_and_layer(open_page, rainy):
    time = recent() + 2 * STEP
    page = open_page(rainy, f"#55.1/3.2/8/{time_name(time)}/above-1.0")
    page.wait_for_selector(f"canvas.rain[data-frame*='/above-1.0/{time_name(time)}']")
    page.keyboard.press("ArrowLeft")
    page.select_option("#layer", "p90")
    page.wait_for_selector(f"canvas.rain[data-frame*='/p90/{time_name(time - STEP)}']")
    assert page.url.endswith(f"#55.100/3.200/8/{time_name(time - STEP)}/p90")
    page.keyboard.press("n")
    assert page.url.endswith("#55.100/3.200/8/now/p90")


def test_embedded_map_leaves_out_settings_and_links_to_the_whole(open_page, rainy):
    page = open_page(rainy, f"?embed=1{hash_of(*CENTRE, 8)}", viewport={"width": 480, "height": 360})
    assert page.is_hidden("#settings-open")
    assert page.is_hidden("#layer")
    assert page.is_visible("#play")
    assert page.get_attribute("#whole", "href").startswith("./#55")
    assert page.locator("#whole").is_visible()


def test_phone_has_no_sideways_scrolling_and_large_buttons(open_page, rainy):
    page = open_page(rainy, hash_of(*CENTRE, 8), **PHONE)
    page.touchscreen.tap(180, 360)
    expect(page.locator("#place .words")).to_contain_text("Rain")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 36
        assert 0 <= box["x"] <= 360 - box["width"]
        assert 0 <= box["y"] <= 720 - box["height"]


def test_skill_panel_compares_with_extrapolation(open_page, rainy):
    page = open_page(rainy)
    page.click("#skill-open")
    rows = page.locator("#skill tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("nowcaster-1")
    expect(rows.first.locator("td")).to_have_text(["0.60"])
    page.select_option("select[name=threshold]", "1.0")
    expect(rows.first.locator("td")).to_have_text(["0.50"])
    # A lead time without a score is a hole in the line.
    assert page.get_attribute("#skill path.forecaster-0", "d").count("M") == 2


def test_settings_change_the_picture_and_are_kept(open_page, rainy):
    page = open_page(rainy, hash_of(*CENTRE, 9))
    page.click("#settings-open")
    page.select_option("select[name=clock]", "utc")
    expect(page.locator("#zone")).to_have_text("UTC")
    context = "document.querySelector('canvas.rain').getContext('2d')"
    colour = f"[...{context}.getImageData(60, 48, 1, 1).data].join()"
    before = page.evaluate(colour)
    page.select_option("select[name=palette]", "vivid")
    while page.evaluate(colour) == before:
        page.wait_for_timeout(20)
    page.locator("input[name=opacity]").fill("50")
    assert page.evaluate("getComputedStyle(document.querySelector('canvas.rain')).opacity") == "0.5"
    page.reload()
    page.wait_for_selector("canvas.rain[data-frame]")
    assert page.evaluate("getComputedStyle(document.querySelector('canvas.rain')).opacity") == "0.5"
    assert page.inner_text("#zone") == "UTC"


def broken_rules(page) -> list[str]:
    """Return what the accessibility checker axe finds: the rules of WCAG 2.2 AA, and good practice."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text("utf-8"))
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    violations = page.evaluate("(tags) => axe.run({ runOnly: tags })", rules)["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in violations for node in rule["nodes"]]


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_breaks_no_rule_of_accessibility(scheme, options, open_page, rainy):
    page = open_page(rainy, hash_of(*CENTRE, 8), color_scheme=scheme, **options)
    page.locator(".tick.loaded").nth(6).wait_for()
    assert not broken_rules(page)
    size = page.viewport_size
    page.mouse.click(size["width"] / 2, size["height"] / 2)
    page.locator("#place svg[role=img]").wait_for()
    assert not broken_rules(page)
    page.click("#settings-open")
    assert not broken_rules(page)
    page.keyboard.press("Escape")
    page.click("#skill-open")
    assert not broken_rules(page)


def test_page_with_reduced_motion_moves_nothing_but_the_rain(open_page, rainy):
    page = open_page(rainy, hash_of(*CENTRE, 8), reduced_motion="reduce")
    assert page.locator(".leaflet-zoom-anim, .leaflet-fade-anim").count() == 0
    durations = "[...document.querySelectorAll('*')].map((one) => getComputedStyle(one).transitionDuration)"
    assert set(page.evaluate(durations)) == {"0s"}


def test_keyboard_reaches_the_controls_in_reading_order(open_page, rainy):
    page = open_page(rainy)
    order = []
    for _ in range(8):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert order[:7] == ["skill-open", "settings-open", "layer", "back", "play", "forward", "slider"]
    assert order[7] == "map"
    # From there, the arrow keys move the map, not the time.
    view, time = page.url, page.get_attribute("#time", "datetime")
    page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(view)
    assert page.get_attribute("#time", "datetime") == time
