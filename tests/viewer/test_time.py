"""The timeline: play, step, keys, and always exactly one frame to see."""

from datetime import datetime

from tests.viewer.publications import STEP, STEPS

# Looks at every frame of the screen: which picture is in view, and whether the block of rain is painted.
RECORD = """
window.seen = [];
const look = () => {
  const canvases = [...document.querySelectorAll("canvas.rain")];
  if (canvases.length) {
    const context = canvases[0].getContext("2d");
    const { width, height } = canvases[0];
    const alpha = context.getImageData(Math.floor(width / 2), Math.floor(0.48 * height), 1, 1).data[3];
    seen.push([canvases.length, getComputedStyle(canvases[0]).opacity, alpha, canvases[0].dataset.frame]);
  }
  requestAnimationFrame(look);
};
look();
"""


def shown(page) -> datetime:
    """Return the time of the frame in view."""
    return datetime.fromisoformat(page.get_attribute("#time", "datetime"))


def wait_for_all(page) -> None:
    page.locator(".tick.loaded").nth(6).wait_for()


def test_timeline_begins_at_now_with_observed_and_forecast_frames(open_page, rainy):
    page = open_page(rainy)
    wait_for_all(page)
    assert page.inner_text("#kind") == "Observed, now"
    assert page.locator(".tick.observed").count() == 3
    assert page.locator(".tick.forecast").count() == STEPS
    assert page.locator("#ticks .now").count() == 1


def test_keys_step_and_return_to_now(open_page, rainy):
    page = open_page(rainy)
    now = shown(page)
    for key, steps in [("ArrowRight", 1), (".", 2), ("ArrowLeft", 1), (",", 0), (",", -1), ("n", 0)]:
        page.keyboard.press(key)
        assert shown(page) == now + steps * STEP, key
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    assert shown(page) == now + STEPS * STEP
    assert page.inner_text("#kind") == "Forecast, in 20 min"


def test_buttons_and_slider_move_the_frame(open_page, rainy):
    page = open_page(rainy)
    now = shown(page)
    page.click("#forward")
    page.click("#forward")
    page.click("#back")
    assert shown(page) == now + STEP
    page.focus("#slider")
    page.keyboard.press("Home")
    assert shown(page) == now - 2 * STEP
    assert page.get_attribute("#slider", "aria-valuetext").endswith("observed, 10 min ago")


def test_key_compares_with_extrapolation_and_keeps_the_time(open_page, rainy):
    page = open_page(rainy)
    page.keyboard.press("ArrowRight")
    time = shown(page)
    for layer in ("extrapolation", "rate"):
        page.keyboard.press("e")
        page.wait_for_selector(f"canvas.rain[data-frame*='/{layer}/']")
        assert page.input_value("#layer") == layer
        assert shown(page) == time


def test_animation_shows_exactly_one_frame_at_all_times(open_page, rainy):
    # At 12 frames a second. All frames are wet in the middle, except the last of the forecast.
    page = open_page(rainy, "?speed=12&opacity=100#55/3/8/now/extrapolation")
    wait_for_all(page)
    page.evaluate(RECORD)
    page.keyboard.press(" ")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    while page.evaluate("new Set(seen.map((one) => one[3])).size") < 7:
        page.wait_for_timeout(50)
    page.keyboard.press(" ")
    assert page.get_attribute("#play", "aria-label") == "Play"
    seen = page.evaluate("seen")
    assert {count for count, *_ in seen} == {1}
    assert {(opacity, alpha) for _, opacity, alpha, _ in seen} == {("1", 255)}
    # Each frame once, in the order of time.
    order = [frame for index, (*_, frame) in enumerate(seen) if index == 0 or frame != seen[index - 1][3]]
    times = [frame.rsplit("/", 1)[1] for frame in order]
    start = times.index(min(times))
    assert times[start : start + 7] == sorted(times)[: len(times[start : start + 7])]


def test_pause_stops_the_animation(open_page, rainy):
    page = open_page(rainy, "?speed=12")
    wait_for_all(page)
    page.click("#play")
    page.locator("#kind", has_text="Forecast").wait_for()
    page.click("#play")
    stopped = shown(page)
    page.wait_for_timeout(300)  # three frames, if it still ran
    assert shown(page) == stopped


def test_every_layer_can_be_chosen(open_page, rainy):
    page = open_page(rainy)
    page.keyboard.press("ArrowRight")
    for layer in ("extrapolation", "above-1.0", "p10", "p90", "member-1", "rate"):
        page.select_option("#layer", layer)
        page.wait_for_selector(f"canvas.rain[data-frame*='/{layer}/']")
        names = {"rate": "Forecast rain, mm/h", "above-1.0": "Chance of 1 mm/h or more"}
        assert page.inner_text("figcaption") == names.get(layer, f"{layer}, mm/h")
