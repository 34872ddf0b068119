"""One cell has the same rain in every form in which it can be asked for."""

import io
import math

import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.io import MemoryFile
from tests.serve.publications import AHEAD, GRID, ISSUE, NAME, RUN, STEP, square

from stormcell.data.projection import to_degrees
from stormcell.maps.levels import RATE
from stormcell.maps.mercator import to_lon_lat
from stormcell.maps.palettes import palette
from stormcell.maps.places import cell_at

ZOOM = 12  # a pixel of a tile is 19 m wide there
LEVEL_OF = {tuple(colour): level for level, colour in enumerate(palette("rain").colours.tolist())}
# From one level to the next, the rate rises by 2.9 %; an answer has four digits.
A_STEP = (150 / 0.1) ** (1 / 253) - 1

shares = st.floats(0, 1, exclude_max=True)
far_away = st.tuples(
    st.floats(-90, 90).filter(lambda lat: not 59 < lat < 61.5), st.floats(-180, 180, exclude_max=True)
)
few = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pixel_at(manifest, down, across):
    """Return row and column of the pixel at shares of a picture's sides, and the place of its centre."""
    left, bottom, right, top = manifest["raster"]["bounds"]
    rows, columns = manifest["raster"]["shape"]
    row, column = int(down * rows), int(across * columns)
    x = left + (right - left) / columns * (column + 0.5)
    y = top - (top - bottom) / rows * (row + 0.5)
    lon, lat = to_lon_lat(x, y)
    return (row, column), {"lat": float(lat), "lon": float(lon)}


def tile_at(lat, lon):
    """Return column and row of the tile with a place, and the pixel in it, by the rule of all web maps."""
    across = (lon + 180) / 360 * 2**ZOOM
    down = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**ZOOM
    return int(across), int(down), (int(across % 1 * 256), int(down % 1 * 256))


def value_of(encoding, level):
    """Return the value of a level with nothing but the manifest."""
    if level in (0, 255):
        return {0: 0.0, 255: None}[level]
    ratio = encoding["maximum"] / encoding["minimum"]
    return encoding["minimum"] * ratio ** ((level - 1) / (encoding["levels"] - 1))


def rates(client, manifest, pixel, cell, step, there):
    """Return the rate at a place by the form in which it was asked for."""
    valid = ISSUE + (step + 1) * STEP
    found = {}
    point = client.get("/point", params=there).json()["properties"]
    found["point"] = point["timeseries"][1 + step]["data"]["instant"]["details"]["precipitation_rate"]
    area = client.post("/area", json=square(*cell, size=0.3)).json()["features"][0]["properties"]
    found["area"] = area["timeseries"][3 + step]["mean"]
    asked = {"coords": f"POINT({there['lon']} {there['lat']})", "parameter-name": "rate"}
    covered = client.get("/collections/forecast/position", params=asked).json()
    found["EDR"] = covered["ranges"]["rate"]["values"][step]
    packed = client.get("/collections/forecast/position", params={**asked, "f": "NetCDF4"}).content
    netcdf = xr.load_dataset(io.BytesIO(packed), engine="h5netcdf")
    found["EDR as NetCDF"] = float(netcdf["rate"][step, 0, 0])
    encoding = manifest["encodings"]["rate"]
    picture = client.get(f"/frames/{NAME[:14]}/{RUN}/rate/{valid:%Y%m%dT%H%MZ}.png").content
    found["picture"] = value_of(encoding, int(np.asarray(Image.open(io.BytesIO(picture)))[pixel]))
    column, row, place_in_tile = tile_at(**there)
    address = f"/tiles/{NAME[:14]}/{RUN}/rate/{valid:%Y%m%dT%H%MZ}/{ZOOM}/{column}/{row}.png"
    tile = Image.open(io.BytesIO(client.get(address).content)).convert("RGBA")
    found["tile"] = value_of(encoding, LEVEL_OF[tile.getpixel(place_in_tile)])
    with MemoryFile(client.get(f"/files/{NAME[:14]}/{RUN}/forecast.tif").content) as file, file.open() as cog:
        x, y = to_degrees(pyproj.CRS.from_wkt(cog.crs.to_wkt())).transform(
            there["lon"], there["lat"], direction="INVERSE"
        )
        found["GeoTIFF"] = float(next(cog.sample([(x, y)], indexes=step + 1))[0])
    return found


@few
@given(down=shares, across=shares, step=st.integers(0, AHEAD - 1))
def test_place_has_the_same_rain_in_every_form(client, published_once, down, across, step):
    manifest = client.get(f"/{NAME}/manifest.json").json()
    pixel, exact = pixel_at(manifest, down, across)
    there = {name: round(value, 4) for name, value in exact.items()}
    cell = cell_at(GRID, **exact)
    assume(cell is not None and cell == cell_at(GRID, **there))
    with xr.open_dataset(published_once / NAME / "forecast.nc", engine="h5netcdf") as file:
        truth = float(file["rainfall_rate"][step, *cell])
    found = rates(client, manifest, pixel, cell, step, there)
    # This one has the values before they became levels.
    assert found.pop("GeoTIFF") == pytest.approx(truth, nan_ok=True)
    for form, rate in found.items():
        if math.isnan(truth):
            assert rate is None or math.isnan(rate), form
        elif truth < RATE.minimum:
            assert rate == 0, form
        else:
            # Half a step of the levels, and the rounding of the answer.
            assert rate == pytest.approx(truth, rel=A_STEP / 2 + 1e-3), form


@few
@given(where=far_away)
def test_far_away_is_404_in_every_form_but_tiles_of_rainviewer(client, where):
    lat, lon = where
    near = {"type": "Polygon", "coordinates": [[[lon, lat], [lon + 0.1, lat], [lon, max(lat - 0.1, -90)]]]}
    answers = [
        client.get("/point", params={"lat": lat, "lon": lon}),
        client.get("/collections/forecast/position", params={"coords": f"POINT({lon:.6f} {lat:.6f})"}),
        client.get("/collections/observed/position", params={"coords": f"POINT({lon:.6f} {lat:.6f})"}),
    ]
    box = f"{lon},{max(lat - 0.1, -90)},{lon + 0.1},{lat}"
    corners = near["coordinates"][0]
    polygon = f"POLYGON(({','.join(f'{x:.6f} {y:.6f}' for x, y in [*corners, corners[0]])}))"
    if lat > -89.9:
        answers.append(client.post("/area", json=near))
        answers.append(client.get("/collections/forecast/area", params={"coords": polygon}))
        answers.append(client.get("/collections/forecast/cube", params={"bbox": box}))
    if abs(lat) < 85:  # where the map ends
        column, row, _ = tile_at(lat, lon)
        column %= 2**ZOOM  # the tile east of 180° E
        valid = f"{ISSUE + STEP:%Y%m%dT%H%MZ}"
        answers.append(client.get(f"/tiles/{NAME[:14]}/{RUN}/rate/{valid}/{ZOOM}/{column}/{row}.png"))
        # Viewers made for RainViewer ask for every tile in view, and take an error for a broken server.
        tail = f"256/{ZOOM}/{column}/{row}/1/0_0.png"
        rain = alphas(client.get(f"/v2/radar/{NAME}/rate/{valid}/{tail}"))
        unseen = alphas(client.get(f"/v2/coverage/0/{tail}"))
        assert (rain == 0).all()
        assert (unseen == 255).all()
    assert {answer.status_code for answer in answers} == {404}


def alphas(answer):
    """Return the opacity of the pixels of a tile that is black where it is not transparent."""
    assert answer.status_code == 200
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))
    assert not pixels[..., :3][pixels[..., 3] > 0].any()
    return pixels[..., 3]
