"""Zarr stores as radar files: MLCast archives, our own archives, and others."""

import json
import shutil
import zipfile

import numpy as np
import pyproj
import pytest
import xarray as xr

from stormcell.data import archive, schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import cf_zarr, find, is_folder_source, open_radar
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)
VALUES = np.random.default_rng(0).gamma(1, 2, (3, 4, 5)).astype(np.float32) + np.float32(0.01)


def read(path, options=None):
    file = open_radar(path, options)
    assert file.reader is cf_zarr
    ds = file.read(options or ReadOptions(), ALL)
    schema.check(ds)
    return ds


def mlcast(name, values, **attributes):
    """Return a dataset of MLCast's conventions with a variable ``name``."""
    crs = pyproj.CRS(3067).to_wkt()
    times = np.datetime64("2020-05-01T12:00", "ns") + np.arange(3) * np.timedelta64(5, "m")
    x, y = 300_000 + 1000.0 * np.arange(5), 7_000_000 - 1000.0 * np.arange(4)
    to_degrees = pyproj.Transformer.from_crs(3067, pyproj.CRS(3067).geodetic_crs, always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(x, y))
    axis = {"units": "m", "axis": "X", "standard_name": "projection_x_coordinate"}
    return xr.Dataset(
        {
            name: (("time", "y", "x"), values, {"grid_mapping": "crs", **attributes}),
            "crs": ((), 0, {"spatial_ref": crs, "crs_wkt": crs}),
            "missing_times": ("missing_times", times[:0]),
        },
        coords={
            "time": times,
            "y": ("y", y, {**axis, "axis": "Y", "standard_name": "projection_y_coordinate"}),
            "x": ("x", x, axis),
            "lat": (("y", "x"), lat, {"standard_name": "latitude", "units": "degrees_north"}),
            "lon": (("y", "x"), lon, {"standard_name": "longitude", "units": "degrees_east"}),
        },
    )


RATE = {"standard_name": "rainfall_flux", "units": "mm h-1"}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part:UserWarning")
def test_cf_zarr_mlcast_archive_of_rates_is_read(tmp_path, version, consolidated):
    values = VALUES.copy()
    values[0, 1, 2] = np.nan
    path = tmp_path / "mlcast.zarr"
    mlcast("mmh", values, **RATE).to_zarr(path, zarr_format=version, consolidated=consolidated)
    ds = read(path)
    np.testing.assert_array_equal(ds["rainfall_rate"], values)
    assert ds["time"].values[2] == np.datetime64("2020-05-01T12:10")
    assert (ds["x"].values[0], ds["y"].values[0]) == (300_000, 7_000_000)


@pytest.mark.parametrize(
    ("name", "attributes", "options", "expected"),
    [
        ("rainfall_flux", {"standard_name": "rainfall_flux", "units": "kg m-2 h-1"}, {}, VALUES),
        ("rr", {"units": "mm/h"}, {}, VALUES),
        (
            "dbz",
            {"standard_name": "equivalent_reflectivity_factor", "units": "dBZ"},
            {"zr": (200.0, 1.6)},
            (10 ** (VALUES.astype(float) / 10) / 200) ** (1 / 1.6),
        ),
        ("mm", {"standard_name": "precipitation_amount", "units": "mm"}, {"units": "mm/5min"}, 12 * VALUES),
        ("tp", {"standard_name": "rainfall_amount", "units": "kg m-2"}, {"units": "mm/5min"}, 12 * VALUES),
    ],
)
def test_cf_zarr_every_quantity_of_mlcast_is_read(tmp_path, name, attributes, options, expected):
    mlcast(name, VALUES, **attributes).to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    found = read(tmp_path / "a.zarr", ReadOptions(**options))["rainfall_rate"]
    np.testing.assert_allclose(found, expected, rtol=2e-7)


def test_cf_zarr_archive_is_copied_into_another_bit_by_bit(tmp_path, cf):
    ds = cf(VALUES * np.float32(1e-4), units="mm/h", source_quantity="dbz", zr_a=223.0, zr_b=1.53)
    ds["time"] = ds["time"].values + np.array([0, 0, 10], "m8[m]")  # a gap
    ds.to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    archive.append(tmp_path / "a.zarr", [tmp_path / "r.nc"])
    done = archive.append(tmp_path / "b.zarr", [tmp_path / "a.zarr"])
    assert (len(done.added), done.refused) == (3, ())
    first, second = (archive.open(tmp_path / name).load() for name in ("a.zarr", "b.zarr"))
    xr.testing.assert_identical(second.drop_attrs(deep=False), first.drop_attrs(deep=False))


def test_cf_zarr_stores_in_a_folder_count_as_one_file_each(tmp_path):
    folder = tmp_path / "data" / "2020"
    folder.mkdir(parents=True)
    mlcast("mmh", VALUES, **RATE).to_zarr(folder / "may.zarr", zarr_format=3, consolidated=False)
    assert is_folder_source(folder / "may.zarr")
    assert not is_folder_source(folder)
    for added in (3, 0):
        # The archive lies in the folder too, and is not its own source.
        done = archive.append(tmp_path / "data" / "a.zarr", [tmp_path / "data"])
        assert (len(done.added), len(done.present), done.refused) == (added, 3 - added, ())


@pytest.mark.parametrize("prefix", ["", "may.zarr/"])
def test_cf_zarr_zip_file_is_read(tmp_path, prefix):
    mlcast("mmh", VALUES, **RATE).to_zarr(tmp_path / "may.zarr", zarr_format=2, consolidated=True)
    with zipfile.ZipFile(tmp_path / "may.zip", "w") as file:
        for member in (tmp_path / "may.zarr").rglob("*"):
            if member.is_file():
                file.write(member, prefix + str(member.relative_to(tmp_path / "may.zarr")))
    np.testing.assert_array_equal(read(tmp_path / "may.zip")["rainfall_rate"], VALUES)


def test_cf_zarr_zip_file_of_other_things_is_not_recognised(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    assert not cf_zarr.recognises(Source(tmp_path / "a.npz"))


def test_cf_zarr_zip_member_that_claims_an_absurd_size_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zarr.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zarr.json", "{}")
        file.writestr("rain/c/0", bytes(2**28 + 1))
    with pytest.raises(InputError, match=r"rain/c/0: expected at most 268435456 bytes, found 268435457"):
        read(tmp_path / "bomb.zarr.zip")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("time", lambda array: array.update(shape=[10**12])),
        ("mmh", lambda array: array.update(shape=[3, 10**6, 10**6])),
        ("mmh", lambda array: array["chunk_grid"]["configuration"].update(chunk_shape=[1000, 1000, 1000])),
    ],
)
def test_cf_zarr_impossible_size_is_refused(tmp_path, name, change):
    path = tmp_path / "a.zarr"
    mlcast("mmh", VALUES, **RATE).to_zarr(path, zarr_format=3, consolidated=False)
    array = json.loads((path / name / "zarr.json").read_text())
    change(array)
    (path / name / "zarr.json").write_text(json.dumps(array))
    with pytest.raises(InputError, match=r"expected|conflicting sizes"):
        read(path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"zarr_format": 9}', '{"zarr_format": 3, "node_type": "array"}']
)
def test_cf_zarr_damaged_root_is_refused(tmp_path, content):
    path = tmp_path / "a.zarr"
    mlcast("mmh", VALUES, **RATE).to_zarr(path, zarr_format=3, consolidated=False)
    (path / "zarr.json").write_text(content)
    with pytest.raises(InputError):
        read(path)


def test_cf_zarr_missing_chunk_is_not_observed(tmp_path):
    path = tmp_path / "a.zarr"
    ds = mlcast("mmh", VALUES, **RATE)
    ds["mmh"].encoding["chunks"] = (1, 4, 5)
    ds.to_zarr(path, zarr_format=3, consolidated=False)
    shutil.rmtree(path / "mmh" / "c" / "1")
    found = read(path)["rainfall_rate"].values
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], VALUES[[0, 2]])


def test_cf_zarr_forecast_is_refused(tmp_path):
    ds = mlcast("mmh", VALUES, **RATE)
    ds["forecast_period"] = (
        "time",
        [300, 600, 900],
        {"standard_name": "forecast_period", "units": "seconds"},
    )
    ds.to_zarr(tmp_path / "f.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(InputError, match="expected observations, found a forecast up to 900 seconds ahead"):
        read(tmp_path / "f.zarr")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part:UserWarning")
def test_cf_zarr_only_group_with_arrays_is_read(tmp_path, version, packed):
    store = tmp_path / "radar.zarr"
    xr.Dataset(attrs={"title": "radars"}).to_zarr(store, zarr_format=version)
    mlcast("rain", VALUES, **RATE).to_zarr(store, group="composite/rain", zarr_format=version, mode="a")
    path = tmp_path / "radar.zarr.zip"
    if packed:
        shutil.make_archive(str(path.with_suffix("")), "zip", store)
    found = read(path if packed else store)
    np.testing.assert_allclose(found["rainfall_rate"].values, VALUES, rtol=1e-6)
    mlcast("rain", VALUES, **RATE).to_zarr(store, group="other", zarr_format=version, mode="a")
    with pytest.raises(
        InputError, match="expected one group with arrays of rain, found composite/rain, other"
    ):
        read(store)


def test_cf_zarr_folder_of_other_things_is_refused(tmp_path):
    with pytest.raises(InputError, match="found a folder of another kind"):
        find(Source(tmp_path))
