"""RADOLAN saved as NetCDF without a description: numbers and places against the raw file."""

import h5py
import numpy as np
import pyproj
import pytest

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import cf_netcdf, find, open_radar, radolan_netcdf
from stormcell.data.readers.radolan import composite_grid
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)


def read(path, options=None):
    ds = open_radar(path, options).read(options or ReadOptions(), ALL)
    schema.check(ds)
    return ds


@pytest.fixture
def path(request, tmp_path):
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location(
        "sample", Path(__file__).parent / "samples" / "radolan_netcdf.py"
    )
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    sample.write(tmp_path / "ry.nc", request)
    return tmp_path / "ry.nc"


def test_radolan_netcdf_hundredths_of_mm_in_five_minutes_become_rates(path):
    ds = read(path)
    rates = ds["rainfall_rate"].values
    # Rows run from the south in the file.
    np.testing.assert_allclose(
        rates[0, 899 - 150, 100:106], np.array([1, 2, 3, 10, 100, 0]) * 0.01 * 12, rtol=1e-6
    )
    assert np.isnan(rates).mean() == pytest.approx(1 - 100 * 100 / 900**2)
    np.testing.assert_array_equal(
        ds["time"].values.astype("datetime64[m]"), np.array(["2021-08-23T08:50", "2021-08-23T08:55"], "M8[m]")
    )
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == pytest.approx(5)


def test_radolan_netcdf_whole_numbers_without_a_scale_need_their_size(path):
    expected = read(path)["rainfall_rate"].values
    with h5py.File(path, "a") as file:
        del file["RY"].attrs["scale_factor"]
    with pytest.raises(InputError, match="RY: expected a scale_factor of whole numbers, found none; give"):
        read(path)
    for units in ("0.01 mm", "0.01 mm/5min"):
        found = read(path, ReadOptions(units=units))["rainfall_rate"].values
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(InputError, match="units: expected"):
        read(path, ReadOptions(units="0.01 mm/10min"))
    with pytest.raises(InputError, match="units: expected a unit of an amount, found mm/h in the options"):
        read(path, ReadOptions(units="mm/h"))


def test_radolan_netcdf_corners_and_centres_of_pixels_give_the_same_grid(path):
    expected = composite_grid(900, 900, wgs84=False)
    np.testing.assert_allclose(read(path)["x"], expected.x, atol=1)
    with h5py.File(path, "a") as file:
        for axis in "xy":
            file[axis][...] += 0.5
    np.testing.assert_allclose(read(path)["x"], expected.x, atol=1)
    np.testing.assert_allclose(read(path)["y"], expected.y, atol=1)


def test_radolan_netcdf_other_places_or_units_are_left_to_cf(path):
    with h5py.File(path, "a") as file:
        file["x"][...] += 3
    assert find(Source(path)) is cf_netcdf
    with pytest.raises(InputError, match="RY: expected units, found none"):
        read(path)
    with h5py.File(path, "a") as file:
        file["x"][...] -= 3
        file["RY"].attrs["units"] = "mm"
    assert find(Source(path)) is cf_netcdf


def test_radolan_netcdf_quantity_that_contradicts_the_product_is_refused(path):
    with pytest.raises(InputError, match="expected the file's amount"):
        read(path, ReadOptions("rate"))
    with pytest.raises(InputError, match="min_quality: expected a format with a quality field"):
        read(path, ReadOptions(min_quality=0.5))


def test_radolan_netcdf_real_file_agrees_with_its_numbers(radar_data):
    path = radar_data / "dwd_radolan_ry_20210823" / "radolan_ry_data_compressed.nc"
    assert find(Source(path)) is radolan_netcdf
    ds = read(path)
    with h5py.File(path) as file:
        codes, minutes = file["RY"][()], file["time"][()]
        lat, lon = file["latitude"][()], file["longitude"][()]
    raw = np.where(codes == -9999, np.nan, codes * 0.01 * 12)[:, ::-1]
    rates = ds["rainfall_rate"].values
    np.testing.assert_allclose(rates, raw, rtol=1e-6)
    assert np.isnan(rates).mean() == np.isnan(raw).mean()
    assert (rates >= 0.1).sum() == (raw >= 0.1).sum()
    assert np.nanmax(rates) == pytest.approx(np.nanmax(raw))
    expected = np.datetime64("2021-08-23T08:50", "s") + minutes.astype("m8[m]")
    np.testing.assert_array_equal(ds["time"].values.astype("datetime64[s]"), expected)
    # The file's latitudes are those of the pixels' lower left corners: half a pixel from our centres.
    crs = pyproj.CRS.from_wkt(ds["crs"].attrs["crs_wkt"])
    to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    found = to_degrees.transform(*np.meshgrid(ds["x"].values - 500, ds["y"].values[::-1] - 500))
    # The file's latitudes are in single precision.
    np.testing.assert_allclose(found[0], lon, atol=2e-6)
    np.testing.assert_allclose(found[1], lat, atol=4e-6)
