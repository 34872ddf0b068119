import io

import numpy as np
import pytest
import xarray as xr
from covjson_pydantic.coverage import Coverage
from edr_pydantic.capabilities import ConformanceModel, LandingPageModel
from edr_pydantic.collections import Collection, Collections, Instances
from tests.serve.publications import (
    AHEAD,
    FAR_AWAY,
    GRID,
    NAME,
    NEVER_SEEN,
    WET,
    WET_RATE,
    place,
    square,
)

HALF_A_STEP = 0.015
FORECAST = "/collections/forecast"
AT_WET = {"coords": f"POINT({place(*WET)['lon']} {place(*WET)['lat']})"}


def coverage(client, address, **asked):
    answer = client.get(address, params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/prs.coverage+json"
    return Coverage.model_validate_json(answer.content)


def netcdf(client, address, **asked):
    answer = client.get(address, params={**asked, "f": "NetCDF4"})
    assert answer.headers["content-type"] == "application/x-netcdf"
    return xr.load_dataset(io.BytesIO(answer.content), engine="h5netcdf")


def wkt(polygon):
    return f"POLYGON(({','.join(f'{lon} {lat}' for lon, lat in polygon['coordinates'][0])}))"


def test_documents_follow_the_models_and_lead_to_each_other(client):
    landing = LandingPageModel.model_validate_json(client.get("/?f=json").content)
    for link in landing.links:
        assert client.get(link.href).status_code == 200, link.href
    ConformanceModel.model_validate_json(client.get("/conformance").content)
    found = Collections.model_validate_json(client.get("/collections").content)
    assert [one.id for one in found.collections] == ["observed", "forecast"]
    for one in found.collections:
        again = Collection.model_validate_json(client.get(one.links[0].href).content)
        assert again == one
        answer = client.get(one.data_queries.position.link.href, params=AT_WET)
        assert answer.status_code == 200
    instances = Instances.model_validate_json(client.get(f"{FORECAST}/instances").content)
    assert [one.id for one in instances.instances] == [NAME]
    assert client.get(instances.instances[0].links[0].href).status_code == 200


def test_position_is_a_series_at_the_cells_centre(client):
    found = coverage(client, f"{FORECAST}/position", **AT_WET)
    assert found.domain.domainType == "PointSeries"
    assert found.domain.axes.x.values == [pytest.approx(place(*WET)["lon"], abs=1e-4)]
    assert len(found.domain.axes.t.values) == AHEAD
    assert found.domain.axes.t.values[0].isoformat() == "2026-11-28T03:30:00+00:00"
    assert set(found.parameters.root) == {
        "rate", "extrapolation", "p10", "p90", "above-0.1", "member-1", "member-2",
    }  # fmt: skip
    assert found.ranges["rate"].values[0] == pytest.approx(WET_RATE, rel=HALF_A_STEP)
    assert [system.system.type for system in found.domain.referencing] == ["GeographicCRS", "TemporalRS"]


def test_position_takes_parameters_and_times(client):
    asked = {"parameter-name": "p90,rate", "datetime": "2026-11-28T03:35:00Z/2026-11-28T03:45:00Z"}
    found = coverage(client, f"{FORECAST}/position", **AT_WET, **asked)
    assert list(found.ranges) == ["rate", "p90"]
    assert found.ranges["rate"].shape == [3]


def test_position_not_observed_is_null(client):
    there = place(*NEVER_SEEN)
    found = coverage(client, "/collections/observed/position", coords=f"POINT({there['lon']} {there['lat']})")
    assert found.ranges["observed"].values == [None, None, None]


def test_area_has_the_cells_that_the_polygon_covers(client):
    found = coverage(client, f"{FORECAST}/area", coords=wkt(square(*WET, size=1.4)))
    places = found.domain.axes.composite.values
    assert found.domain.domainType == "MultiPointSeries"
    assert len(places) == 9
    assert found.ranges["rate"].shape == [AHEAD, 9]
    assert found.ranges["rate"].axisNames == ["t", "composite"]
    assert found.ranges["rate"].values[4] == pytest.approx(WET_RATE, rel=HALF_A_STEP)


def test_cube_is_a_block_of_the_grid(client):
    lon, lat = np.array(square(*WET, size=1.2)["coordinates"][0]).T
    bbox = f"{lon.min()},{lat.min()},{lon.max()},{lat.max()}"
    found = coverage(client, f"{FORECAST}/cube", bbox=bbox, **{"parameter-name": "rate"})
    rows, columns = (list(axis.values) for axis in (found.domain.axes.y, found.domain.axes.x))
    assert set(rows) >= set(GRID.y[4:7])
    assert set(columns) >= set(GRID.x[4:7])
    values = np.array(found.ranges["rate"].values, float).reshape(found.ranges["rate"].shape)
    at_wet = values[0, rows.index(GRID.y[5]), columns.index(GRID.x[5])]
    assert at_wet == pytest.approx(WET_RATE, rel=HALF_A_STEP)
    assert found.domain.referencing[0].system.id.endswith("/EPSG/0/3067")


def test_netcdf_has_the_grid_and_the_issue_time(client):
    ds = netcdf(client, f"{FORECAST}/area", coords=wkt(square(*WET, size=1.4)))
    assert ds["rate"].dims == ("time", "y", "x")
    assert ds["rate"].attrs["standard_name"] == "rainfall_rate"
    assert ds["rate"].attrs["grid_mapping"] == "crs"
    assert "crs_wkt" in ds["crs"].attrs
    assert ds["time"].values[0] == np.datetime64("2026-11-28T03:30")
    assert ds["forecast_reference_time"].values == np.datetime64("2026-11-28T03:25")
    assert float(ds["rate"][0, 1, 1]) == pytest.approx(WET_RATE, rel=HALF_A_STEP)
    assert "above_0_1" in ds


def test_instance_answers_for_ever(client):
    address = f"{FORECAST}/instances/{NAME}/position"
    newest = coverage(client, f"{FORECAST}/position", **AT_WET)
    assert coverage(client, address, **AT_WET) == newest
    answer = client.get(address, params=AT_WET)
    assert "immutable" in answer.headers["cache-control"]
    again = client.get(address, params=AT_WET, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("query", ["position", "area", "cube"])
@pytest.mark.parametrize("source", ["observed", "forecast", f"forecast/instances/{NAME}"])
def test_far_away_is_404_everywhere(client, source, query):
    lon, lat = FAR_AWAY["lon"], FAR_AWAY["lat"]
    triangle = f"POLYGON(({lon} {lat},{lon + 1} {lat},{lon} {lat + 1},{lon} {lat}))"
    asked = {
        "position": {"coords": f"POINT({lon} {lat})"},
        "area": {"coords": triangle},
        "cube": {"bbox": f"{lon},{lat},{lon + 1},{lat + 1}"},
    }[query]
    answer = client.get(f"/collections/{source}/{query}", params=asked)
    assert answer.status_code == 404
    assert len(answer.json()["bbox"]) == 4


@pytest.mark.parametrize(
    ("address", "asked", "status"),
    [
        ("/collections/snow", {}, 404),
        ("/collections/snow/position", AT_WET, 404),
        (f"{FORECAST}/position", {}, 400),
        (f"{FORECAST}/position", {"coords": "POINT(x y)"}, 400),
        (f"{FORECAST}/position", {**AT_WET, "parameter-name": "snow"}, 400),
        (f"{FORECAST}/position", {**AT_WET, "crs": "EPSG:3067"}, 400),
        (f"{FORECAST}/position", {**AT_WET, "f": "GRIB"}, 400),
        (f"{FORECAST}/position", {**AT_WET, "datetime": "soon"}, 400),
        (f"{FORECAST}/position", {**AT_WET, "datetime": "2026-11-29T00:00Z"}, 404),
        (f"{FORECAST}/instances/yesterday", {}, 404),
        (f"{FORECAST}/instances/20260101T0000Z-0a1b2c3d/position", AT_WET, 410),
    ],
)
def test_query_that_cannot_be_answered_is_a_problem(client, address, asked, status):
    answer = client.get(address, params=asked)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.json()["detail"].splitlines()) == 1
