import sys
from concurrent.futures import ThreadPoolExecutor

import h5netcdf
import h5py
import numpy as np
import pyproj
import pytest
import xarray as xr
from h5py._objects import phil

from stormcell.data import archive, schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import cf_netcdf, find, open_radar
from stormcell.data.readers.source import Source
from stormcell.errors import ArgumentError, InputError

ALL = slice(None)


@pytest.fixture
def values():
    rates = np.random.default_rng(0).gamma(1, 2, (3, 4, 5)) + 0.01
    rates[0, 0, 0], rates[0, 0, 1] = np.nan, 0
    return rates


@pytest.fixture
def save(tmp_path):
    def to_file(ds, engine="h5netcdf", name="radar.nc"):
        ds.to_netcdf(tmp_path / name, engine=engine)
        return tmp_path / name

    return to_file


def read(path, options=None, frames=ALL):
    ds = cf_netcdf.read(Source(path), options or ReadOptions(), frames)
    schema.check(ds)
    return ds


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("mm/h", 1),
        ("mm h-1", 1),
        ("mm h^-1", 1),
        ("kg m-2 h-1", 1),
        ("kg m-2 s-1", 3600),
        ("m s-1", 3.6e6),
        ("mm/5min", 12),
        ("mm/0.5h", 2),
    ],
)
@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_cf_netcdf_units_of_the_file_are_converted(cf, save, values, units, factor, engine):
    path = save(cf(values / factor, units=units), engine)
    assert find(Source(path)) is cf_netcdf
    np.testing.assert_allclose(read(path)["rainfall_rate"], values, rtol=1e-6)


def test_cf_netcdf_packed_values_are_unpacked(cf, save, values):
    ds = cf(np.round(values, 1), units="mm/h")
    ds["rain"].encoding = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -9999}
    np.testing.assert_allclose(read(save(ds))["rainfall_rate"], np.round(values, 1), atol=1e-6)


def test_cf_netcdf_reflectivity_without_z_r_raises(cf, save, values):
    path = save(cf(10 * np.log10(values.clip(1e-4)), units="dBZ"))
    with pytest.raises(InputError, match=r"zr: expected a and b"):
        read(path)
    found = read(path, ReadOptions(zr=(256.0, 1.42)))["rainfall_rate"]
    expected = (values.clip(1e-4) / 256) ** (1 / 1.42)
    np.testing.assert_allclose(found, np.where(expected < 0.0005, 0, expected), rtol=1e-6)
    assert found.attrs["zr_a"] == 256


def test_cf_netcdf_amount_without_a_period_raises(cf, save, values):
    with pytest.raises(InputError, match="expected time bounds or accum_time_h"):
        read(save(cf(values, units="mm")))
    options = read(save(cf(values, units="mm")), ReadOptions(units="mm/15min"))
    stated = read(save(cf(values, units="mm", accum_time_h=0.25)))
    for ds in (options, stated):
        np.testing.assert_allclose(ds["rainfall_rate"], values * 4, rtol=1e-6)
        assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 15


def test_cf_netcdf_amount_with_bounds_has_the_time_of_its_end(cf, save, values):
    ds = cf(values, minutes=10, units="kg m-2")
    starts = ds["time"].values
    ds["time"].attrs["bounds"] = "time_bounds"
    ds["time"].encoding["units"] = "minutes since 2020-05-01"
    ds["time_bounds"] = (("time", "bound"), np.stack([starts, starts + np.timedelta64(10, "m")], -1))
    path = save(ds)
    np.testing.assert_allclose(read(path)["rainfall_rate"], values * 6, rtol=1e-6)
    np.testing.assert_array_equal(read(path)["time"], starts + np.timedelta64(10, "m"))
    np.testing.assert_array_equal(
        cf_netcdf.times(Source(path), ReadOptions()), starts + np.timedelta64(10, "m")
    )


def test_cf_netcdf_missing_units_require_an_override(cf, save, values):
    path = save(cf(values).rename(rain="rainfall_amount"))
    for options, reason in (
        (ReadOptions(), "expected units, found none"),
        (ReadOptions(quantity="rate"), "expected units, found none"),
        (ReadOptions(units="mm/h"), r"expected its name \(amount\) and its units 'mm/h' \(rate\) to agree"),
    ):
        with pytest.raises(InputError, match=reason):
            read(path, options)
    np.testing.assert_allclose(read(path, ReadOptions("rate", "mm/h"))["rainfall_rate"], values, rtol=1e-6)


def test_cf_netcdf_units_of_something_else_are_named(cf, save, values):
    path = save(cf(values, units="W m-2"))
    with pytest.raises(InputError, match="expected units of rain, found 'W m-2'; give them with --units"):
        read(path)


def test_cf_netcdf_contradictory_file_requires_an_override(cf, save, values):
    path = save(cf(values, units="kg m-2", standard_name="rainfall_flux", accum_time_h=1.0))
    with pytest.raises(InputError, match="to agree"):
        read(path)
    np.testing.assert_allclose(read(path, ReadOptions("amount"))["rainfall_rate"], values, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [ReadOptions("amount"), ReadOptions(units="kg m-2 s-1"), ReadOptions("dbz", zr=(200.0, 1.6))],
)
def test_cf_netcdf_override_that_contradicts_the_file_raises(cf, save, values, options):
    with pytest.raises(InputError, match=r"expected the file.s .*in the options"):
        read(save(cf(values, units="mm/h")), options)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": "snow"},
        {"units": "furlong"},
        {"quantity": "rate", "units": "mm"},
        {"zr": (0.0, 1.6)},
        {"zr": (200.0, float("nan"))},
        {"units": "mm/0min"},
    ],
)
def test_cf_netcdf_impossible_override_raises(wrong):
    with pytest.raises(ArgumentError):
        ReadOptions(**wrong)


def test_cf_netcdf_rows_run_south_and_columns_east(cf, save, values):
    ds = cf(values, units="mm/h")
    turned = ds.isel(y=slice(None, None, -1), x=slice(None, None, -1)).transpose("x", "time", "y", ...)
    xr.testing.assert_identical(read(save(turned)).drop_attrs(), read(save(ds)).drop_attrs())


def test_cf_netcdf_ascending_degrees_are_flipped_and_have_no_projection(save, values):
    ds = xr.Dataset(
        {"rain_rate": (("time", "lat", "lon"), values, {"units": "mm/h"})},
        coords={
            "time": np.datetime64("2020-05-01T12:00", "ns") + np.arange(3) * np.timedelta64(15, "m"),
            "lat": np.float32(43.4 + 0.009 * np.arange(4)),
            "lon": np.float32(230 + 0.0125 * np.arange(5)),
        },
    )
    found = read(save(ds))
    np.testing.assert_allclose(found["rainfall_rate"], values[:, ::-1], rtol=1e-6)
    assert found["y"].attrs["standard_name"] == "latitude"
    assert found["y"].attrs["units"] == "degrees_north"
    assert found["x"].values[0] == pytest.approx(-130, abs=1e-5)
    np.testing.assert_allclose(found["lat"][:, 0], found["y"], atol=1e-5)


def test_cf_netcdf_kilometres_become_metres(cf, save, values):
    ds = cf(values, units="mm/h")
    metres = read(save(ds))
    for axis in "yx":
        ds[axis] = ds[axis] / 1000
        ds[axis].attrs["units"] = "km"
    np.testing.assert_allclose(read(save(ds))["x"], metres["x"])
    # The same without units: the PROJ string gives them.
    for axis in "yx":
        del ds[axis].attrs["units"]
    del ds["rain"].attrs["grid_mapping"]
    ds = ds.drop_vars("projection").assign_attrs(proj_string="+proj=utm +zone=35 +ellps=GRS80 +units=km")
    np.testing.assert_allclose(read(save(ds))["lat"], metres["lat"], atol=1e-5)


def test_cf_netcdf_frame_without_a_time_dimension_is_read(cf, save, values):
    ds = cf(values, units="mm/h").isel(time=1)
    found = read(save(ds))
    np.testing.assert_allclose(found["rainfall_rate"][0], values[1], rtol=1e-6)


def test_cf_netcdf_archive_saved_as_netcdf_needs_no_override(cf, save, values, tmp_path):
    values[1, 2, 3] = 0.0001  # weaker than an echo in another provider's file
    archive.append(tmp_path / "a.zarr", [save(cf(values, units="mm/h", source_quantity="rate"))])
    ds = archive.open(tmp_path / "a.zarr")
    again = read(save(ds.load(), name="again.nc"))
    xr.testing.assert_allclose(again, ds[["rainfall_rate", "missing_times"]], rtol=0)


def without(*names):
    return lambda ds: ds.drop_vars(names)


def with_negative(ds):
    ds["rain"][0, 0, 0] = -1
    return ds


def uneven(ds):
    return ds.assign_coords(x=("x", [0.0, 1000, 2000, 3000, 9000], {"units": "m"}))


def twice(ds):
    return ds.rename(rain="rain_rate").assign(rr=ds["rain"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("projection"), "projection: expected a grid mapping or a PROJ string"),
        (without("time"), "time: expected this coordinate"),
        (without("x"), "y, x: expected coordinates of the pixels, found none"),
        (without("rain"), "expected one variable of rain"),
        (with_negative, "expected 0 or more, found -1"),
        (uneven, "x: expected evenly spaced pixel centres"),
        (twice, "expected one variable of rain .* found rain_rate, rr"),
        (lambda ds: ds.isel(x=[0]), "x: expected at least 2 finite pixel centres"),
        (lambda ds: ds.assign_coords(time=[1.0, 2.0, 3.0]), "time: expected dates"),
        (lambda ds: ds.assign_coords(x=("x", np.arange(5.0), {"units": "s"})), "x: expected m or km"),
    ],
)
def test_cf_netcdf_faulty_file_raises_and_names_the_fault(cf, save, values, change, reason):
    path = save(change(cf(values, units="mm/h")))
    with pytest.raises(InputError, match=reason):
        cf_netcdf.times(Source(path), ReadOptions()), read(path)


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_cf_netcdf_truncated_file_raises(cf, save, values, engine):
    path = save(cf(values, units="mm/h"), engine)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="expected complete"):
        cf_netcdf.times(Source(path), ReadOptions())


def test_cf_netcdf_impossible_size_raises(tmp_path):
    path = tmp_path / "huge.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": 10**12, "y": 10**6, "x": 10**6}
        file.create_variable("time", ("time",), "f8", chunks=(1024,))
        file.create_variable("rain", ("time", "y", "x"), "f4", chunks=(1, 64, 64))
    with pytest.raises(InputError, match="expected a size that a radar file can have"):
        cf_netcdf.times(Source(path), ReadOptions())


def test_cf_netcdf_real_openmrg_agrees_with_the_file(radar_data):
    path = radar_data / "openmrg_20150827" / "openMRG_Radar_180minutes.nc"
    with pytest.raises(InputError, match="expected units, found none"):
        read(path)
    ds = read(path, ReadOptions("rate", "mm/h"))
    with h5netcdf.File(path) as file:
        raw = file["rainfall_amount"][:]
        lat, lon, seconds = file["lat"][:], file["lon"][:], file["time"][:]
        y = file["y"][:]
    assert y[0] > y[-1]  # already north first
    floor = raw.min()
    assert floor == pytest.approx((10**-3 / 200) ** (1 / 1.6), rel=1e-3)  # −30 dBZ
    np.testing.assert_allclose(ds["rainfall_rate"], np.where(raw == floor, 0, raw), rtol=1e-6)
    assert int((ds["rainfall_rate"] == 0).sum()) == int((raw == floor).sum())
    np.testing.assert_array_equal(ds["time"].values.astype("datetime64[s]").astype(int), seconds)
    # The spacing of float32 near 58 is 4e-6.
    np.testing.assert_allclose(ds["lat"], lat, atol=2e-6, rtol=0)
    np.testing.assert_allclose(ds["lon"], lon, atol=2e-6, rtol=0)


def test_cf_netcdf_real_openrainer_agrees_with_the_file(radar_data):
    path = radar_data / "openrainer_20220917" / "openrainer_RAD.nc"
    ds = read(path)
    with h5netcdf.File(path) as file:
        raw = file["rainfall_amount"][:]
    raw = raw[:, ::-1] * 4  # mm in a quarter of an hour, rows from the south
    np.testing.assert_allclose(ds["rainfall_rate"], np.where(raw < 0.0005, 0, raw), rtol=1e-6)


def test_cf_netcdf_projection_of_the_file_is_retained(cf, save, values):
    found = read(save(cf(values, units="mm/h")))
    crs = pyproj.CRS.from_wkt(found["crs"].attrs["crs_wkt"])
    assert crs == pyproj.CRS(3067)
    lon, lat = pyproj.Transformer.from_crs(3067, crs.geodetic_crs, always_xy=True).transform(
        300_000, 7_000_000
    )
    assert (float(found["lat"][0, 0]), float(found["lon"][0, 0])) == pytest.approx((lat, lon), abs=1e-5)


def test_cf_netcdf_real_openmrg_has_the_places_and_numbers_of_the_file(radar_data):
    """With h5py alone, and the CRS from the file's PROJ string."""
    path = radar_data / "openmrg_20150827" / "openMRG_Radar_180minutes.nc"
    ds = read(path, ReadOptions("rate", "mm/h"))
    with h5py.File(path) as file:
        raw, x, y = (file[name][()] for name in ("rainfall_amount", "x", "y"))
    rates = ds["rainfall_rate"].values
    assert ds["time"].values[[0, -1]].astype("M8[m]").astype(str).tolist() == [
        "2015-08-27T00:20",
        "2015-08-27T03:15",
    ]
    assert np.isnan(rates).mean() == np.isnan(raw).mean()
    assert (rates >= 0.1).mean() == (raw >= 0.1).mean()
    assert np.nanmax(rates) == pytest.approx(np.nanmax(raw), rel=1e-7)
    for pixel in ((0, 0, 0), (10, 20, 30), (35, 47, 36)):
        assert rates[pixel] == pytest.approx(raw[pixel] if raw[pixel] > 5e-4 else 0, rel=1e-7)
    np.testing.assert_allclose(ds["x"], x)
    np.testing.assert_allclose(ds["y"], y)
    to_degrees = pyproj.Proj("+proj=stere +lat_ts=60 +ellps=bessel +lon_0=14 +lat_0=90")
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        expected = to_degrees(x[column], y[row], inverse=True)
        found = (float(ds["lon"][row, column]), float(ds["lat"][row, column]))
        assert found == pytest.approx(expected, abs=4e-6)


def test_cf_netcdf_real_openrainer_has_the_places_and_numbers_of_the_file(radar_data):
    path = radar_data / "openrainer_20220917" / "openrainer_RAD.nc"
    ds = read(path)
    with h5py.File(path) as file:
        raw, lat, lon = (file[name][()] for name in ("rainfall_amount", "lat", "lon"))
        times = file["time"][()]
    rates = ds["rainfall_rate"].values
    np.testing.assert_array_equal(ds["time"].values.astype("datetime64[s]").astype(int), times)
    assert np.isnan(rates).mean() == np.isnan(raw).mean()
    assert (rates >= 0.1).sum() == (raw >= 0.025).sum()
    assert np.nanmax(rates) == pytest.approx(4 * np.nanmax(raw), rel=1e-6)
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 15
    # Latitudes ascend in the file, and are in single precision.
    np.testing.assert_allclose(ds["y"], lat[::-1], atol=4e-6)
    np.testing.assert_allclose(ds["x"], lon, atol=2e-6)
    for row, column in ((0, 0), (144, 200), (289, 372)):
        np.testing.assert_allclose(rates[:, row, column], 4 * raw[:, 289 - row, column], atol=5e-4)
    assert ds["crs"].attrs["grid_mapping_name"] == "latitude_longitude"


def test_cf_netcdf_leaves_the_lock_of_h5py_although_its_frames_are_kept(cf, save, values):
    """Dask's profiler keeps frames of other threads, and lets go of them in its own."""
    path = save(cf(values, units="mm/h"))
    kept = []
    sys.setprofile(lambda frame, *_: kept.append(frame))
    try:
        read(path)
    finally:
        sys.setprofile(None)
    with ThreadPoolExecutor(1) as other:
        free = other.submit(phil.acquire, blocking=False).result()
        if free:
            other.submit(phil.release).result()
    assert kept
    assert free


def test_cf_netcdf_of_64_bit_data_is_read_by_the_library_that_the_error_names(tmp_path):
    netcdf = pytest.importorskip("netCDF4")
    path = tmp_path / "rain.nc"
    with netcdf.Dataset(path, "w", format="NETCDF3_64BIT_DATA") as file:
        for name, values, units in (
            ("time", [0], "seconds since 2020-05-01"),
            ("lat", [50.1, 50.0], "degrees_north"),
            ("lon", [5.0, 5.1], "degrees_east"),
        ):
            file.createDimension(name, len(values))
            item = file.createVariable(name, "f8", (name,))
            item.units, item[:] = units, values
        item = file.createVariable("rain", "f4", ("time", "lat", "lon"))
        item.units, item[:] = "mm/h", [[[0, 1], [2, 3]]]
    with pytest.raises(InputError, match=r"found version 5; .* --format xarray:netcdf4 reads it"):
        open_radar(path)
    options = ReadOptions(format="xarray:netcdf4")
    found = open_radar(path, options).read(options, slice(None))
    np.testing.assert_array_equal(found["rainfall_rate"].values, [[[0, 1], [2, 3]]])
