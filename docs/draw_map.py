"""Draw docs/images/map.png: the map over the Netherlands on a rainy morning, with the forecast of a place.

``python -m docs.draw_map RADAR`` takes a folder of KNMI's radar files of 26 August 2010, up to 07:35 UTC. It
publishes a forecast of the newest, serves it with a clock that stands two minutes later, and takes a picture
in Chromium.
"""

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright
from tests.viewer.serving import Server

PICTURE = Path(__file__).resolve().parent / "images" / "map.png"
ISSUE = datetime(2010, 8, 26, 7, 35, tzinfo=UTC)
VIEW, PLACE = "#51.83/6.06/7/now/rate", (425, 338)  # latitude, longitude, zoom; pixels from the top left


def publish(radar: Path, folder: Path) -> Path:
    """Publish a forecast of the newest file of a folder."""
    published = folder / "published"
    options = ["--archive", str(folder / "rain.zarr"), "--out", str(published), "--once"]
    subprocess.run([sys.executable, "-m", "stormcell", "live", str(radar), *options], check=True)
    return published


def photograph(published: Path) -> None:
    """Take the picture of a published folder."""
    server = Server(published)
    server.clock = lambda: ISSUE + timedelta(minutes=2)
    with server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 740}, timezone_id="Europe/Amsterdam")
        page.goto(f"{server.url}{VIEW}")
        page.wait_for_selector("canvas.rain[data-frame]")
        page.wait_for_load_state("networkidle")  # names of places come after the rain
        page.mouse.click(*PLACE)
        page.mouse.move(100, 50)  # away from the map, which shows the value under the pointer
        page.wait_for_load_state("networkidle")
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        photograph(publish(Path(sys.argv[1]), Path(folder)))
