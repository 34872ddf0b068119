"""``python -m benchmarks.map_soak [MINUTES] [--docs]``: the map in a browser for hours.

Its memory must not grow. The animation plays at its highest speed, a new issue comes every few seconds, and
now and then the layer changes and a place is opened. After each issue, the browser collects its garbage, and
the heap of the page, its DOM nodes and its event listeners are counted. The exit status is 1 if one of them
is more than a tenth higher in the last quarter than in the second one. With ``--docs``, the means of both are
written into docs/map.md.

It needs playwright and the browser chromium.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from playwright.sync_api import sync_playwright

from benchmarks.layers import machine
from benchmarks.pages import fill
from benchmarks.serving.showers import Showers
from stormcell.serve.server import running

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGE = machine.ROOT / "docs" / "map.md"
MARKERS = "soak"

GROWTH = 1.1
EVERY = 5.0  # seconds between issues
LAYERS = ("rate", "above-1.0")
NAMES = ("heap MB", "nodes", "listeners")


def main() -> int:
    """Watch the map, print what is counted, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.map_soak", description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=60)
    parser.add_argument("--docs", action="store_true", help="write the means into docs/map.md")
    options = parser.parse_args()
    if options.docs:
        fill(PAGE, MARKERS, None)
    found = []
    print(f"minutes  {'  '.join(NAMES)}")
    with TemporaryDirectory() as name:
        for counted in _watch(Showers(Path(name), datetime.now(UTC), side=256), options.minutes):
            found.append(counted)
            print(f"{counted[0]:7.1f}  {counted[1]:7.1f}  {counted[2]:5.0f}  {counted[3]:9.0f}", flush=True)
    means = [_means([counted[k] for counted in found]) for k in range(1, 1 + len(NAMES))]
    grown = [name for name, (before, after) in zip(NAMES, means, strict=True) if after > GROWTH * before]
    print(f"grown: {', '.join(grown) or 'nothing'}")
    if options.docs:
        rows = [f"| {name} | {two[0]:.1f} | {two[1]:.1f} |" for name, two in zip(NAMES, means, strict=True)]
        table = ["| mean of | second quarter | last quarter |", "|---|---|---|", *rows]
        where = f"{found[-1][0]:.0f} minutes, {len(found)} issues; {machine.where('benchmarks.map_soak')}"
        fill(PAGE, MARKERS, f"{where}\n\n" + "\n".join(table))
    return 1 if grown else 0


def _watch(showers: Showers, minutes: float) -> Iterator[tuple[float, float, float, float]]:
    """Yield after each issue the minutes since the start, MB of heap, DOM nodes and event listeners."""
    showers.publish(0)
    chromium = shutil.which("chromium")
    with (
        running(showers.root, "127.0.0.1", 0, clock=lambda: datetime.now(UTC)) as address,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{address}?speed=12")
        page.wait_for_selector("canvas.rain[data-frame]")
        page.keyboard.press(" ")
        start = time.monotonic()
        number = 0
        while time.monotonic() - start < 60 * minutes:
            number += 1
            _read(page, number)
            manifest = showers.publish(number)
            page.wait_for_selector(f"canvas.rain[data-frame*='/{manifest.run}/']")
            page.wait_for_timeout(1000 * EVERY)
            yield ((time.monotonic() - start) / 60, *_counted(page))


def _read(page: "Page", number: int) -> None:
    """Do what a reader does: look at another layer, and at a place."""
    page.select_option("#layer", LAYERS[number % len(LAYERS)])
    if number % 2:
        page.mouse.click(640, 400)
    else:
        page.keyboard.press("Escape")


def _counted(page: "Page") -> tuple[float, float, float]:
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")
    counters = session.send("Memory.getDOMCounters")
    session.detach()
    used = heap["usedSize"] + heap.get("backingStorageSize", 0)  # arrays' bytes are beside the heap
    return used / 1e6, counters["nodes"], counters["jsEventListeners"]


def _means(values: Sequence[float]) -> tuple[float, float]:
    """Return the means of the second quarter and of the last."""
    quarter = max(1, len(values) // 4)
    return float(np.mean(values[quarter : 2 * quarter] or values[:1])), float(np.mean(values[-quarter:]))


if __name__ == "__main__":
    sys.exit(main())
