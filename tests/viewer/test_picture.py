"""Pictures in the browser: the levels are read exactly, and lie where they belong."""

import base64
import io
import math
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tests.viewer.publications import BLOCK, GRID, MIDDLE, PIXEL

from stormcell.maps.levels import RATE
from stormcell.maps.mercator import to_lon_lat
from stormcell.maps.palettes import palette

EDGES = {
    "west": GRID.x[BLOCK[1]][0] - PIXEL / 2,
    "east": GRID.x[BLOCK[1]][-1] + PIXEL / 2,
    "north": GRID.y[BLOCK[0]][0] + PIXEL / 2,
    "south": GRID.y[BLOCK[0]][-1] - PIXEL / 2,
}
CENTRE = ((EDGES["west"] + EDGES["east"]) / 2, (EDGES["north"] + EDGES["south"]) / 2)


def metres_per_pixel(zoom: float) -> float:
    return 2 * math.pi * 6_378_137 / 256 / 2**zoom


def hash_of(x: float, y: float, zoom: float, time: str = "now", layer: str = "rate") -> str:
    lon, lat = to_lon_lat(x, y)
    return f"#{float(lat):.9f}/{float(lon):.9f}/{zoom}/{time}/{layer}"


@pytest.mark.parametrize("zoom", [6, 9, 11])
def test_map_block_of_rain_lies_under_its_place(open_page, rainy, zoom):
    page = open_page(rainy, f"?opacity=100&palette=rain{hash_of(*CENTRE, zoom)}")
    image = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))[:690].astype(int)
    level = int(RATE.encode(np.array([20.0]))[0])
    block, sea = palette("rain").colours[level, :3].astype(int), image[600, 1000]
    # Pixels at an edge are mixed of both; at least half must be of the block.
    share = ((image - sea) @ (block - sea)) / ((block - sea) @ (block - sea))
    mixed = np.abs(image - sea - share[..., None] * (block - sea)).max(axis=-1) < 4
    mixed[:, :300] = False  # the colour bar has the colour, too
    rows, columns = np.nonzero(mixed & (share >= 0.5))
    found = {"west": columns.min(), "east": columns.max() + 1, "north": rows.min(), "south": rows.max() + 1}
    scale = metres_per_pixel(zoom)
    expected = {
        "west": 640 + (EDGES["west"] - CENTRE[0]) / scale,
        "east": 640 + (EDGES["east"] - CENTRE[0]) / scale,
        "north": 400 - (EDGES["north"] - CENTRE[1]) / scale,
        "south": 400 - (EDGES["south"] - CENTRE[1]) / scale,
    }
    for side, place in expected.items():
        assert abs(found[side] - place) <= 1, side


PLACES = {
    "middle": (0, 0),
    "edge": (-10, 0),
    "beside": (-11, 0),
    "far from it": (30, 0),
    "not seen": (0, -45),
}


def test_hover_value_equals_the_answer_of_the_server(open_page, rainy):
    zoom = 8
    page = open_page(rainy, hash_of(*CENTRE, zoom))
    for step in range(4):
        for name, (columns, rows) in PLACES.items():
            # In the middle of a pixel of the picture, so that no rounding decides.
            x, y = CENTRE[0] + (columns + 0.5) * PIXEL, CENTRE[1] - (rows + 0.5) * PIXEL
            page.mouse.move(
                640 + (x - CENTRE[0]) / metres_per_pixel(zoom), 400 - (y - CENTRE[1]) / metres_per_pixel(zoom)
            )
            details = rainy.point(*reversed(to_lon_lat(x, y)))["timeseries"][step]["data"]["instant"][
                "details"
            ]
            rate = details["precipitation_rate"]
            expected = (
                "not observed" if rate is None else f"{rate:#.2g}".rstrip(".") + " mm/h" if rate else "dry"
            )
            assert page.inner_text("#under-pointer") == expected, (step, name)
        page.keyboard.press("ArrowRight")


def test_hover_outside_the_grid_shows_nothing(open_page, rainy):
    page = open_page(rainy, hash_of(MIDDLE[0] + 70 * PIXEL, MIDDLE[1], 9))
    page.mouse.move(600, 380)
    page.mouse.move(640, 400)
    assert page.is_hidden("#under-pointer")


def png(levels: np.ndarray, filters: list[int]) -> bytes:
    """Return an indexed PNG file whose rows have these filters, by the specification's section 9."""
    rows = [
        bytes([kind]) + bytes(filtered(levels.astype(int), row, kind)) for row, kind in enumerate(filters)
    ]
    height, width = levels.shape
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0),
        b"PLTE": bytes(range(256)) * 3,
        b"tRNS": b"\x00\x80",
        b"IDAT": zlib.compress(b"".join(rows)),
        b"IEND": b"",
    }
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def filtered(levels: np.ndarray, row: int, kind: int) -> np.ndarray:
    padded = np.pad(levels, ((1, 0), (1, 0)))
    here, left = padded[row + 1, 1:], padded[row + 1, :-1]
    above, corner = padded[row, 1:], padded[row, :-1]
    estimate = left + above - corner
    distances = np.abs(np.stack([left, above, corner]) - estimate)
    paeth = np.choose(distances.argmin(axis=0), [left, above, corner])
    predicted = [np.zeros_like(here), left, above, (left + above) // 2, paeth][kind]
    return (here - predicted).astype(np.uint8)


def test_png_with_every_filter_is_read_exactly(open_page, rainy):
    levels = np.random.default_rng(1).integers(0, 256, (15, 23), np.uint8)
    content = png(levels, [0, 1, 2, 3, 4] * 3)
    # The file itself is right: another library reads it.
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), levels)
    page = open_page(rainy)
    found = page.evaluate(
        """async (text) => {
            const { decode } = await import("/viewer/png.js");
            const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt());
            const { width, height, levels, colours } = await decode(bytes.buffer);
            return { width, height, levels: [...levels], colours: [...new Uint8Array(colours.buffer)] };
        }""",
        base64.b64encode(content).decode(),
    )
    assert (found["height"], found["width"]) == levels.shape
    assert found["levels"] == levels.ravel().tolist()
    assert found["colours"][:12] == [0, 1, 2, 0, 3, 4, 5, 128, 6, 7, 8, 255]
