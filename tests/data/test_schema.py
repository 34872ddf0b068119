import numpy as np
import pyproj
import pytest

from stormcell.data import schema
from stormcell.data.grid import Grid
from stormcell.errors import ArchiveError

TIMES = np.datetime64("2016-09-28T14:45", "s") + np.array([0, 5, 10, 25]) * np.timedelta64(1, "m")


def make(crs=3067, west=0.0, north=7e6, pixel=1000.0):
    rate = np.random.default_rng(0).random((4, 3, 4))
    x, y = west + pixel * np.arange(4), north - pixel * np.arange(3)
    return schema.build(rate, TIMES, Grid.from_centres(pyproj.CRS(crs), x, y), measured={}, attributes={})


def test_schema_build_follows_the_schema():
    ds = make()
    schema.check(ds)
    assert ds["rainfall_rate"].dtype == np.float32
    assert ds["rainfall_rate"].attrs["standard_name"] == "rainfall_flux"
    assert ds["crs"].attrs["spatial_ref"] == ds["crs"].attrs["crs_wkt"]
    np.testing.assert_array_equal(ds["missing_times"], TIMES[2] + np.array([5, 10]) * np.timedelta64(1, "m"))


def test_schema_build_of_degrees_follows_the_schema():
    ds = make(4326, 0.0, 50.0, 0.01)
    schema.check(ds)
    assert "projection" not in ds["x"].attrs["standard_name"]


def drop(name):
    return lambda ds: ds.drop_vars(name)


def attribute(name, key, value):
    def change(ds):
        ds = ds.copy()
        ds[name].attrs[key] = value
        return ds

    return change


def coordinate(name, edit):
    return lambda ds: ds.assign_coords({name: (ds[name].dims, edit(ds[name].values), ds[name].attrs)})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (drop("rainfall_rate"), "rainfall_rate: expected this variable"),
        *((drop(name), f"expected {name}") for name in ("time", "y", "x", "lat", "lon", "crs")),
        (drop("missing_times"), "expected missing_times"),
        (lambda ds: ds.transpose("y", "x", ...), "expected non-empty dimensions .time, y, x."),
        (lambda ds: ds.isel(time=[]), "expected non-empty dimensions"),
        (
            lambda ds: ds.assign(rainfall_rate=ds["rainfall_rate"].astype(float)),
            "expected float32, found float64",
        ),
        (attribute("rainfall_rate", "units", "mm"), "expected units 'kg m-2 h-1', found 'mm'"),
        (attribute("rainfall_rate", "standard_name", "rain"), "expected standard_name"),
        (attribute("rainfall_rate", "grid_mapping", "map"), "expected grid_mapping 'crs'"),
        (attribute("crs", "crs_wkt", "somewhere"), "expected WKT"),
        (attribute("crs", "spatial_ref", pyproj.CRS(3857).to_wkt()), "expected the same WKT"),
        (attribute("x", "standard_name", "longitude"), "expected standard_name 'projection_x_coordinate'"),
        (attribute("y", "units", "km"), "y: expected units 'm', found 'km'"),
        (coordinate("y", lambda y: y[::-1]), "y: expected evenly spaced pixel centres, decreasing"),
        (coordinate("x", lambda x: x**1.5), "x: expected evenly spaced"),
        (coordinate("x", lambda x: x + 1e5), "lat, lon: expected the positions of the projected"),
        (coordinate("lat", lambda lat: lat[::-1] + 1), "lat, lon: expected the positions of the projected"),
        (coordinate("time", lambda time: time[[0, 0, 1, 2]]), "time: expected strictly increasing"),
        (coordinate("time", lambda _: np.arange(4)), "time, missing_times: expected dates"),
        (
            coordinate("missing_times", lambda times: times + np.timedelta64(1, "m")),
            "expected the 2 missing steps",
        ),
    ],
)
def test_schema_check_each_fault_is_named(change, complaint):
    with pytest.raises(ArchiveError, match=complaint):
        schema.check(change(make()))


def test_schema_check_all_faults_are_in_one_message():
    ds = attribute("y", "units", "km")(attribute("rainfall_rate", "units", "mm")(make()))
    with pytest.raises(ArchiveError, match=r"units 'kg m-2 h-1'.*; y: expected units"):
        schema.check(ds)


@pytest.mark.parametrize(
    ("rates", "complaint"),
    [([0, np.nan, 7], []), ([np.nan], []), ([0, -0.5], ["found -0.5"]), ([np.inf, 1], ["infinite"])],
)
def test_schema_value_problems_lists_impossible_rates(rates, complaint):
    found = schema.value_problems(np.array(rates, np.float32))
    assert len(found) == len(complaint)
    assert all(part in whole for part, whole in zip(complaint, found, strict=True))


def test_schema_adopt_renames_variables_of_other_writers():
    ds = make()
    ds["rainfall_rate"].attrs.update(units="mm/h", grid_mapping="projection")
    foreign = ds.rename(rainfall_rate="mmh", crs="projection")
    schema.check(schema.adopt(foreign))
    with pytest.raises(ArchiveError, match="expected one variable of rain rate"):
        schema.adopt(ds.drop_vars("rainfall_rate"))
