import io

import numpy as np
import pytest
from PIL import Image
from tests.serve.publications import DRY, RUN, WET, place

from stormcell.maps.mercator import to_metres

ADDRESS = f"/tiles/20261128T0325Z/{RUN}/observed/20261128T0325Z"


def tile_at(cell, zoom):
    """Return column and row of the tile with a cell, and the cell's pixel in it."""
    x, y = to_metres(place(*cell)["lon"], place(*cell)["lat"])
    world = 2 * 20_037_508.342789244
    across, down = (x / world + 0.5) * 2**zoom, (0.5 - y / world) * 2**zoom
    return int(across), int(down), (int(down % 1 * 256), int(across % 1 * 256))


@pytest.mark.parametrize("zoom", [8, 9, 11])
def test_tile_has_rain_where_it_is(client, zoom):
    for cell, opaque in ((WET, 255), (DRY, 0)):
        column, row, pixel = tile_at(cell, zoom)
        answer = client.get(f"{ADDRESS}/{zoom}/{column}/{row}.png")
        image = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))
        assert image[*pixel, 3] == opaque


def test_tile_beyond_the_picture_is_404_with_the_bounds_of_the_grid(client):
    answer = client.get(f"{ADDRESS}/8/0/0.png")
    west, south, east, north = answer.json()["bbox"]
    assert answer.status_code == 404
    assert west < place(*WET)["lon"] < east
    assert south < place(*WET)["lat"] < north


def test_tile_that_the_client_has_is_304(client):
    first = client.get(f"{ADDRESS}/7/72/36.png")
    again = client.get(f"{ADDRESS}/7/72/36.png", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert client.get(f"{ADDRESS}/7/72/37.png").headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("part", ["/2/4/0.png", "/13/0/0.png", "/7/-1/0.png", "/7/72/36.png?size=100"])
def test_tile_that_does_not_exist_is_400(client, part):
    assert client.get(ADDRESS + part).status_code == 400


def test_tilejson_leads_to_tiles(client):
    document = client.get("/tilejson/latest/rate.json").json()
    assert document["tilejson"] == "3.0.0"
    west, south, east, north = document["bounds"]
    assert west < place(*WET)["lon"] < east
    assert south < place(*WET)["lat"] < north
    address = document["tiles"][0].format(z=7, x=72, y=36)
    assert client.get(address).headers["content-type"] == "image/png"
    assert client.get("/tilejson/latest/snow.json").status_code == 404
