"""Files of known providers in CF NetCDF, made in the test in their layout: Rainfields and RADKLIM."""

import h5netcdf
import numpy as np
import pyproj
import pytest

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import cf_netcdf, find, open_radar
from stormcell.data.readers.radolan import composite_grid
from stormcell.data.readers.source import Source

ALL = slice(None)


def read(path, options=None):
    ds = open_radar(path, options).read(options or ReadOptions(), ALL)
    schema.check(ds)
    return ds


def write(path, dimensions, variables, attributes=None):
    """Write variables as ``name: (dimensions, values, attributes)``."""
    with h5netcdf.File(path, "w") as file:
        file.dimensions = dimensions
        for name, (dims, values, stated) in variables.items():
            item = file.create_variable(
                name, dims, np.asarray(values).dtype, fillvalue=stated.pop("_FillValue", None)
            )
            item[...] = values
            for key, value in stated.items():
                item.attrs[key] = value
        for key, value in (attributes or {}).items():
            file.attrs[key] = value
    return path


# Rainfields 3 of the Bureau of Meteorology: one frame per file, x and y in km, packed, and no time dimension.
# The valid ranges of x and y are the outer edges of the grid.
VALID = 1604102400  # 2020-10-31T00:00 UTC
X, Y = np.arange(-127.75, 128, 0.5), np.arange(127.75, -128, -0.5)


@pytest.fixture
def rainfields(tmp_path):
    codes = np.zeros((512, 512), np.int16)
    codes[0, 0], codes[100, 200], codes[511, 511] = -1, 40, 8
    seconds = {
        "units": "seconds since 1970-01-01 00:00:00 UTC",
        "standard_name": "time",
        "long_name": "Valid time",
    }
    return write(
        tmp_path / "310_20201031_0000.prcp-c6.nc",
        {"n2": 2, "x": 512, "y": 512},
        {
            "proj": (
                (),
                np.int8(0),
                {
                    "grid_mapping_name": "albers_conical_equal_area",
                    "standard_parallel": np.array([-18.0, -36.0]),
                    "longitude_of_central_meridian": 144.752,
                    "latitude_of_projection_origin": -37.852,
                    "false_easting": 0.0,
                    "false_northing": 0.0,
                    "semi_major_axis": 6378137.0,
                    "semi_minor_axis": 6356752.31414,
                },
            ),
            "x": (
                ("x",),
                X,
                {
                    "units": "km",
                    "standard_name": "projection_x_coordinate",
                    "valid_min": -128.0,
                    "valid_max": 128.0,
                },
            ),
            "y": (
                ("y",),
                Y,
                {
                    "units": "km",
                    "standard_name": "projection_y_coordinate",
                    "valid_min": -128.0,
                    "valid_max": 128.0,
                },
            ),
            "valid_time": ((), np.int64(VALID), seconds),
            "start_time": ((), np.int64(VALID - 360), {**seconds, "standard_name": "start_time"}),
            "precipitation": (
                ("y", "x"),
                codes,
                {
                    "grid_mapping": "proj",
                    "long_name": "Accumulated precipitation",
                    "standard_name": "precipitation_amount",
                    "units": "kg m-2",
                    "scale_factor": 0.05,
                    "add_offset": 0.0,
                    "_FillValue": np.int16(-1),
                },
            ),
        },
        {"institution": "Commonwealth of Australia, Bureau of Meteorology", "station_id": 310},
    )


def test_cf_providers_rainfields_amount_over_six_minutes_is_read(rainfields):
    assert find(Source(rainfields)) is cf_netcdf
    ds = read(rainfields)
    rates = ds["rainfall_rate"].values[0]
    assert ds["time"].values[0] == np.datetime64("2020-10-31T00:00")
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 6
    assert np.isnan(rates).sum() == 1
    assert np.isnan(rates[0, 0])
    assert rates[100, 200] == pytest.approx(40 * 0.05 * 10)
    assert rates[511, 511] == pytest.approx(8 * 0.05 * 10)
    assert (ds["x"].values[0], ds["y"].values[0]) == (-127_750, 127_750)
    to_degrees = pyproj.Proj("+proj=aea +lat_1=-18 +lat_2=-36 +lat_0=-37.852 +lon_0=144.752 +ellps=GRS80")
    expected = to_degrees(-127_750, 127_750, inverse=True)
    assert (float(ds["lon"][0, 0]), float(ds["lat"][0, 0])) == pytest.approx(expected, abs=1e-5)


def test_cf_providers_rainfields_importer_of_pysteps_loses_ellipsoid_and_time(rainfields):
    """pysteps rounds the projection, drops the ellipsoid, and returns no time."""
    pytest.importorskip("netCDF4")
    importers = pytest.importorskip("pysteps.io.importers")
    amount, _, metadata = importers.import_bom_rf3(str(rainfields))
    ours = read(rainfields)
    theirs = amount * 60 / metadata["accutime"]
    np.testing.assert_allclose(
        np.where(np.isnan(theirs), np.nan, theirs), ours["rainfall_rate"][0], rtol=1e-6
    )
    assert (metadata["x1"], metadata["y2"]) == (-128_000, 128_000)
    assert "ellps" not in metadata["projection"]
    assert not [key for key in metadata if "time" in key and key != "accutime"]


def test_cf_providers_rainfields_without_edges_is_half_a_pixel_off_in_pysteps(rainfields):
    """Without valid ranges of x and y, pysteps takes the centres of the outer pixels for the edges."""
    pytest.importorskip("netCDF4")
    importers = pytest.importorskip("pysteps.io.importers")
    with h5netcdf.File(rainfields, "a") as file:
        for axis in "xy":
            del file[axis].attrs["valid_min"], file[axis].attrs["valid_max"]
    _, _, metadata = importers.import_bom_rf3(str(rainfields))
    assert metadata["x1"] == -127_750  # the centre of the first column
    assert read(rainfields)["x"].values[0] == -127_750


@pytest.mark.parametrize(("name", "minutes"), [("RW", 60), ("YW", 5)])
def test_cf_providers_radklim_sums_with_bounds_are_read(tmp_path, name, minutes):
    """RADKLIM in NetCDF: sums on DWD's extended grid, in km from the pole, the interval as time bounds."""
    grid = composite_grid(1100, 900, wgs84=False)
    sums = np.full((2, 1100, 900), -9999, np.int16)
    sums[:, 500:600, 400:500] = 0
    sums[0, 550, 450], sums[1, 551, 451] = 12, 34  # rows from the south
    end = np.array([minutes, 2 * minutes])
    path = write(
        tmp_path / f"{name}_2017.002.nc",
        {"time": 2, "y": 1100, "x": 900, "nv": 2},
        {
            name: (
                ("time", "y", "x"),
                sums,
                {
                    "units": "kg m-2",
                    "standard_name": "rainfall_amount",
                    "long_name": f"RADKLIM {name}",
                    "cell_methods": "time: sum",
                    "grid_mapping": "polar_stereographic",
                    "scale_factor": 0.1,
                    "_FillValue": np.int16(-9999),
                },
            ),
            "time": (
                ("time",),
                end,
                {
                    "units": "minutes since 2017-08-16 12:00:00",
                    "standard_name": "time",
                    "bounds": "time_bnds",
                },
            ),
            "time_bnds": (("time", "nv"), np.stack([end - minutes, end], 1), {}),
            "x": (("x",), grid.x / 1000, {"units": "km", "standard_name": "projection_x_coordinate"}),
            "y": (("y",), grid.y[::-1] / 1000, {"units": "km", "standard_name": "projection_y_coordinate"}),
            "lat": (("y", "x"), np.zeros((1100, 900), "f4"), {"units": "degrees_north"}),
            "lon": (("y", "x"), np.zeros((1100, 900), "f4"), {"units": "degrees_east"}),
            "polar_stereographic": (
                (),
                np.int32(0),
                {
                    "grid_mapping_name": "polar_stereographic",
                    "straight_vertical_longitude_from_pole": 10.0,
                    "latitude_of_projection_origin": 90.0,
                    "standard_parallel": 60.0,
                    "earth_radius": 6370040.0,
                    "false_easting": 0.0,
                    "false_northing": 0.0,
                },
            ),
        },
        {"Conventions": "CF-1.6", "institution": "Deutscher Wetterdienst"},
    )
    assert find(Source(path)) is cf_netcdf
    ds = read(path)
    rates = ds["rainfall_rate"].values
    factor = 60 / minutes
    assert rates[0, 1099 - 550, 450] == pytest.approx(1.2 * factor)
    assert rates[1, 1099 - 551, 451] == pytest.approx(3.4 * factor)
    assert np.isfinite(rates).sum() == 2 * 100 * 100
    expected = np.datetime64("2017-08-16T12:00", "s") + end.astype("m8[m]")
    np.testing.assert_array_equal(ds["time"].values.astype("datetime64[s]"), expected)
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == minutes
    np.testing.assert_allclose(ds["lat"], grid.lat_lon()[0], atol=1e-5)
    np.testing.assert_allclose(ds["lon"], grid.lat_lon()[1], atol=1e-5)
