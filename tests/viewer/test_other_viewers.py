"""A page that was written for RainViewer works with this server's name in place of RainViewer's."""

import io
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image
from tests.viewer.publications import STEPS
from tests.viewer.test_picture import CENTRE

from stormcell.maps.levels import RATE
from stormcell.maps.mercator import to_lon_lat
from stormcell.maps.palettes import palette

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

# Only what RainViewer's page on its interface says: the list, the frames' paths, and the parts of a tile's
# address. The host of the list is the one thing that a user changes.
PAGE = """
<!doctype html>
<link rel="icon" href="data:," />
<link rel="stylesheet" href="{host}viewer/vendor/leaflet/leaflet.css" />
<style>#map {{ width: 512px; height: 512px }}</style>
<div id="map"></div>
<script src="{host}viewer/vendor/leaflet/leaflet.js"></script>
<script>
  const options = {{ fadeAnimation: false, zoomControl: false, attributionControl: false }};
  const map = L.map("map", options).setView([{lat}, {lon}], 8);
  const request = new XMLHttpRequest();
  request.open("GET", "{host}public/weather-maps.json");
  request.onload = () => {{
    const api = JSON.parse(request.response);
    const frames = [...api.radar.past, ...api.radar.nowcast];
    const layers = frames.map((frame) =>
      L.tileLayer(api.host + frame.path + "/256/{{z}}/{{x}}/{{y}}/2/1_1.png", {{ opacity: 0 }}).addTo(map),
    );
    L.tileLayer(api.host + "/v2/coverage/0/256/{{z}}/{{x}}/{{y}}/0/0_0.png", {{ opacity: 0.3 }}).addTo(map);
    window.frameTimes = frames.map((frame) => frame.time);
    window.showFrame = (index) => layers.forEach((layer, at) => layer.setOpacity(at === index ? 1 : 0));
    showFrame(api.radar.past.length - 1);
  }};
  request.send();
</script>
"""
LOADED = """() => window.frameTimes && document.images.length > frameTimes.length
    && [...document.images].every((image) => image.complete)"""


def test_page_for_rainviewer_shows_the_rain_of_every_frame(browser, rainy):
    lon, lat = (float(value) for value in to_lon_lat(*CENTRE))
    page = browser.new_page(viewport={"width": 540, "height": 540})
    failed = []
    page.on("response", lambda answer: answer.ok or failed.append(answer.url))
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    with another_site(PAGE.format(host=rainy.url, lat=lat, lon=lon)) as site:
        page.goto(site)
    page.wait_for_function(LOADED)
    times = page.evaluate("frameTimes")
    assert times == sorted(times)
    assert len(times) == 3 + STEPS
    wet = tuple(palette("rain").colours[int(RATE.encode([20.0])[0]), :3].tolist())
    assert colour(page) == wet
    page.evaluate(f"showFrame({2 + STEPS})")  # the last of the forecast is dry
    assert colour(page) != wet
    assert not failed
    page.close()


@contextmanager
def another_site(page: str):
    """Serve a page from another port, which is another origin, as those of RainViewer's users are."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/rain.html"
        server.shutdown()


def colour(page) -> tuple[int, ...]:
    """Return the colour in the middle of the map."""
    with Image.open(io.BytesIO(page.locator("#map").screenshot())) as image:
        return image.convert("RGB").getpixel((256, 256))
