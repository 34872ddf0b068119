import io

import numpy as np
import pytest
from PIL import Image
from tests.serve.publications import AHEAD, ISSUE, NEVER_SEEN, WET, place


def pixels(answer):
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


def test_weather_maps_lists_past_and_nowcast(client):
    found = client.get("/public/weather-maps.json").json()
    assert found["version"] == "2.0"
    assert found["host"] == "http://testserver"
    assert found["generated"] == ISSUE.timestamp() + 60
    past, nowcast = found["radar"]["past"], found["radar"]["nowcast"]
    assert [frame["time"] for frame in past] == [ISSUE.timestamp() - 300 * k for k in (2, 1, 0)]
    assert nowcast[0]["time"] == ISSUE.timestamp() + 300
    assert len(nowcast) == AHEAD
    assert len({frame["path"] for frame in past + nowcast}) == len(past + nowcast)


def test_client_that_only_knows_the_dialect_shows_every_frame(client):
    # As every viewer does it: the address of a tile is host, path, and then its own part.
    api = client.get("/public/weather-maps.json").json()
    for frame in api["radar"]["past"] + api["radar"]["nowcast"]:
        answer = client.get(api["host"] + frame["path"] + "/256/7/72/36/4/1_1.png")
        assert answer.status_code == 200
        assert Image.open(io.BytesIO(answer.content)).size == (256, 256)
        assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("size", [256, 512])
def test_square_around_a_place_has_its_rain_in_the_middle(client, size):
    path = client.get("/public/weather-maps.json").json()["radar"]["past"][-1]["path"]
    there = place(*WET)
    address = f"{path}/{size}/9/{there['lat']}/{there['lon']}/1/0_0.png"
    image = pixels(client.get(address))
    assert image.shape == (size, size, 4)
    assert image[size // 2, size // 2, 3] == 255  # rain is opaque


@pytest.mark.parametrize("tail", [".png", "/0/0_0.png"])
@pytest.mark.parametrize(("cell", "black"), [(WET, 0), (NEVER_SEEN, 255)])
def test_coverage_is_black_where_the_radar_never_observes(client, cell, black, tail):
    there = place(*cell)
    image = pixels(client.get(f"/v2/coverage/0/256/12/{there['lat']}/{there['lon']}{tail}"))
    assert image[128, 128].tolist() == [0, 0, 0, black]


def test_coverage_far_away_is_black(client):
    assert (pixels(client.get("/v2/coverage/0/512/7/1/1/0/0_0.png"))[..., 3] == 255).all()


@pytest.mark.parametrize("part", ["300/7/72/36", "256/7/999/36", "256/7/x/36", "256/99/72/36"])
def test_coverage_that_is_not_offered_is_a_problem(client, part):
    answer = client.get(f"/v2/coverage/0/{part}/0/0_0.png")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("part", "status"),
    [
        ("/300/7/72/36/4/1_1.png", 400),
        ("/256/7/999/36/4/1_1.png", 400),
        ("/256/7/x/36/4/1_1.png", 400),
        ("/256/7/91.0/36.0/4/1_1.png", 400),
        ("/256/99/72/36/4/1_1.png", 400),
        ("/256/7/72/36/4/smooth.png", 400),
    ],
)
def test_tile_that_is_not_offered_is_a_problem(client, part, status):
    path = client.get("/public/weather-maps.json").json()["radar"]["past"][0]["path"]
    answer = client.get(path + part)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_weather_maps_before_the_first_forecast_is_503(serve, published):
    assert serve(published).get("/public/weather-maps.json").status_code == 503
