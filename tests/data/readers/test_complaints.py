"""Files that people could not read, or read wrongly, with some program.

Each docstring names the public report. The files are made here, as small as
they can be, with the property that made the trouble.
"""

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
import zarr
from rasterio.transform import Affine

from stormcell.data import schema, staging
from stormcell.data.archive_folder import ArchiveFolder
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import open_radar
from stormcell.errors import InputError

ALL = slice(None)
ZR = ReadOptions(zr=(200.0, 1.6))
_spec = importlib.util.spec_from_file_location("odim", Path(__file__).parent / "samples" / "odim_h5.py")
odim = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(odim)


def read(path, options=None):
    options = options or ReadOptions()
    ds = open_radar(path, options).read(options, ALL)
    schema.check(ds)
    return ds


def rates(path, options=None):
    return read(path, options)["rainfall_rate"].values


def times(path, options=None):
    return read(path, options)["time"].values.astype("datetime64[s]")


def frames(values, attributes, time=None, time_units="minutes since 2021-06-01", **axes):
    """Return rain ``(time, y, x)`` in Finland's projection, not encoded, as a file has it."""
    values = np.asarray(values)
    steps, rows, columns = values.shape
    axes = {
        "y": ("y", 7_000_000 - 1000.0 * np.arange(rows), {"units": "m"}),
        "x": ("x", 300_000 + 1000.0 * np.arange(columns), {"units": "m"}),
        **axes,
    }
    moments = 5 * np.arange(steps) if time is None else time
    return xr.Dataset(
        {
            "rain": (("time", "y", "x"), values, {"grid_mapping": "crs", **attributes}),
            "crs": ((), 0, pyproj.CRS(3067).to_cf()),
        },
        coords={"time": ("time", moments, {"units": time_units}), **axes},
    )


def save(ds, path, fill=None, **options):
    """Write the numbers of a dataset as they are."""
    ds.to_netcdf(path, engine="h5netcdf", encoding={"rain": {"_FillValue": fill}}, **options)
    return path


MMH = {"units": "mm/h"}


# Zarr


def _zarr_2(path, values, fill_value, scale):
    frames(values, MMH | scale).to_zarr(path, zarr_format=2, consolidated=False)
    group = zarr.open_group(path, mode="a")
    attributes = {name: value for name, value in group["rain"].attrs.items() if name != "_FillValue"}
    del group["rain"]
    array = group.create_array(
        "rain", shape=values.shape, dtype=values.dtype, chunks=values.shape, fill_value=fill_value
    )
    array[:] = values
    array.attrs.update(attributes | {"_ARRAY_DIMENSIONS": ["time", "y", "x"]})
    return path


DRY_AND_WET = np.array([[[0, 0, 3], [1, 2, 0]]])


def test_complaint_zeros_of_a_zarr_array_are_dry(tmp_path):
    """pydata/xarray issue 4930 and zarr-developers/zarr-python issue 703: zeros become NaN."""
    values = DRY_AND_WET.astype(np.float32)
    path = _zarr_2(tmp_path / "rain.zarr", values, 0, {})
    np.testing.assert_array_equal(rates(path), values)


def test_complaint_zeros_of_whole_numbers_in_zarr_are_refused_where_they_may_be_missing(tmp_path):
    """pydata/xarray issue 5475: the fill value of Zarr is not that of CF, and nothing tells them apart."""
    values = DRY_AND_WET.astype(np.int16)
    path = _zarr_2(tmp_path / "rain.zarr", values, 0, {"scale_factor": 0.5})
    with pytest.raises(InputError, match="missing or dry"):
        open_radar(path)
    path = _zarr_2(tmp_path / "clear.zarr", values, -1, {"scale_factor": 0.5})
    np.testing.assert_array_equal(rates(path), values * 0.5)


# Packed values


def test_complaint_valid_range_of_unsigned_numbers_in_a_signed_type(tmp_path):
    """Unidata/netcdf4-python issue 794: GOES rain rates with a valid range of 0 … −6, which means 65530."""
    codes = np.array([[[0, 1, -1], [-6, -5, 32767]]], np.int16)
    attributes = {
        **MMH,
        "_Unsigned": "true",
        "valid_range": np.array([0, -6], np.int16),
        "scale_factor": np.float32(0.00152602),
        "add_offset": np.float32(0),
    }
    path = save(frames(codes, attributes), tmp_path / "rain.nc", fill=np.int16(-1))
    numbers = np.array([[[0, 1, np.nan], [65530, np.nan, 32767]]])
    # The floats of the file and of the result have 24 bits each.
    np.testing.assert_allclose(rates(path), numbers * 0.00152602, rtol=3 * 2.0**-24)


def test_complaint_missing_value_and_fill_value_in_one_file(tmp_path):
    """Unidata/thredds issue 1050: MRMS reflectivity with −99 as missing_value and −999 as _FillValue."""
    values = np.array([[[-99, -999, 23], [10, 20, -5]]], np.float32)
    attributes = {"units": "dBZ", "missing_value": np.float32(-99)}
    path = save(frames(values, attributes), tmp_path / "rain.nc", fill=np.float32(-999))
    np.testing.assert_array_equal(np.isnan(rates(path, ZR)), values < -90)


@pytest.mark.parametrize("code", [-9999.0, -999.0, -327.68])
def test_complaint_reflectivity_with_a_code_that_no_attribute_lists_is_refused(tmp_path, code):
    """openradar/xradar issue 122: the codes for missing values are lost when a file is converted.

    By the Z–R relation, −9999 dBZ is a rain rate of 0: not observed would become dry.
    """
    values = np.full((1, 2, 3), 20, np.float32)
    values[0, 0, 0] = code
    path = save(frames(values, {"units": "dBZ"}), tmp_path / "rain.nc")
    with pytest.raises(InputError, match="-100 dBZ or more"):
        read(path, ZR)
    np.save(tmp_path / "rain.npy", values)
    options = ReadOptions(
        units="dBZ",
        zr=(200.0, 1.6),
        start="2021-06-01T00:00",
        crs="EPSG:3067",
        bounds=(300_000, 7_000_000, 303_000, 7_002_000),
    )
    with pytest.raises(InputError, match="-100 dBZ or more"):
        read(tmp_path / "rain.npy", options)
    values[0, 0, 0] = -np.inf
    np.save(tmp_path / "rain.npy", values)
    assert rates(tmp_path / "rain.npy", options)[0, 0, 0] == 0


@pytest.mark.parametrize("code", [1e20, 9.969209968386869e36])
def test_complaint_huge_code_that_no_attribute_lists_is_not_archived(tmp_path, code):
    """pydata/xarray issue 5475: what was never written has a number that nothing calls missing."""
    values = np.ones((1, 2, 3), np.float32)
    values[0, 0, 0] = code
    path = save(frames(values, MMH), tmp_path / "rain.nc", fill=np.float32(-1))
    staged = staging.stage(ArchiveFolder(tmp_path), read(path))
    assert "at most 1e+06 mm/h" in staged.problem
    assert not staged.frames


@pytest.mark.parametrize("dtype", [">u2", "<u4", ">i4", ">f4"])
def test_complaint_byte_order_and_width_do_not_change_the_codes(write_knmi, dtype):
    """Unidata/netcdf4-python issue 554 and pydata/xarray issue 416: numbers of the other byte order.

    65534 and 65535 are not observed in KNMI's accumulations, whichever type a program wrote them in.
    """
    codes = np.array([[0, 100, 65534, 65535]] * 2, dtype)
    expected = [0, 12, np.nan, np.nan]  # 100 × 0.01 mm in 5 min
    np.testing.assert_allclose(rates(write_knmi(codes))[0, 0], expected, rtol=1e-6)


# Times


def test_complaint_days_since_the_year_1(tmp_path):
    """pydata/xarray issue 8468: GrADS counts the days since 1-1-1 00:00:0.0 with six decimals."""
    stated = np.array([738841.25, 738841.291667, 738841.333333, 738841.375])
    ds = frames(np.ones((4, 2, 3), np.float32), MMH, time=stated, time_units="days since 1-1-1 00:00:0.0")
    # The file's attribute "minimum" says 06z16nov2023, and the step is an hour.
    expected = np.datetime64("2023-11-16T06", "s") + np.arange(4) * np.timedelta64(3600, "s")
    np.testing.assert_array_equal(times(save(ds, tmp_path / "rain.nc")), expected)


def test_complaint_days_in_single_precision(tmp_path):
    """pydata/xarray issue 1859: 1982-12-31T23:59:59.56 in place of 1983-01-01, and pull request 9618."""
    stated = (1096 + np.arange(24) / 24).astype(np.float32)  # 1096 days from 1980 to 1983
    ds = frames(np.ones((24, 2, 3), np.float32), MMH, time=stated, time_units="days since 1980-1-1 0:0:0")
    expected = np.datetime64("1983-01-01", "s") + np.arange(24) * np.timedelta64(3600, "s")
    np.testing.assert_array_equal(times(save(ds, tmp_path / "rain.nc")), expected)


def test_complaint_nanoseconds_and_an_empty_calendar(tmp_path):
    """pydata/xarray pull request 9618: times in nanoseconds, which xarray writes itself."""
    stated = np.int64(1_622_505_600_000_000_000) + np.arange(3) * 300_000_000_000
    ds = frames(np.ones((3, 2, 3), np.float32), MMH, stated, "nanoseconds since 1970-01-01")
    ds["time"].attrs["calendar"] = ""
    expected = np.datetime64("2021-06-01", "s") + np.arange(3) * np.timedelta64(300, "s")
    np.testing.assert_array_equal(times(save(ds, tmp_path / "rain.nc")), expected)


# Grids


def test_complaint_axes_in_kilometres(tmp_path):
    """metoppv/improver issue 1514: x and y of a radar grid in kilometres count as metres."""
    near = save(frames(np.ones((1, 2, 3), np.float32), MMH), tmp_path / "m.nc")
    axes = {"y": ("y", [7000.0, 6999.0], {"units": "km"}), "x": ("x", [300.0, 301.0, 302.0], {"units": "km"})}
    far = save(frames(np.ones((1, 2, 3), np.float32), MMH, **axes), tmp_path / "km.nc")
    np.testing.assert_array_equal(read(near)["lat"].values, read(far)["lat"].values)


def test_complaint_longitudes_from_0_to_360_across_greenwich(tmp_path):
    """corteva/rioxarray issue 58: longitudes that start again at 0."""
    values = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
    axes = {
        "y": ("y", [51.0, 50.0], {"units": "degrees_north"}),
        "x": ("x", [358.5, 359.5, 0.5, 1.5], {"units": "degrees_east"}),
    }
    ds = frames(values, MMH, **axes).drop_vars("crs")
    found = read(save(ds, tmp_path / "rain.nc"))
    np.testing.assert_array_equal(found["x"].values % 360, [358.5, 359.5, 0.5, 1.5])
    np.testing.assert_array_equal(found["rainfall_rate"].values, values)


@pytest.mark.parametrize("lat", ["lat_2d", "geolat", "pixel_latitude", "LAT1"])
def test_complaint_latitude_of_another_name_is_not_rain(tmp_path, lat):
    """Unidata/MetPy issue 1665: latitude and longitude as variables beside x and y."""
    ds = frames(np.ones((1, 2, 3), np.float32), {})
    ds[lat] = ("y", "x"), np.full((2, 3), 63.0)
    ds[lat.replace("latitude", "longitude").replace("lat", "lon").replace("LAT", "LON")] = (
        ("y", "x"),
        np.full((2, 3), 23.0),
    )
    ds = ds.rename(rain="field")
    path = tmp_path / "rain.nc"
    ds.to_netcdf(path, engine="h5netcdf")
    assert (rates(path, ReadOptions(quantity="rate", units="mm/h")) == 1).all()


def test_complaint_pixel_is_point_does_not_shift_the_grid(tmp_path):
    """corteva/rioxarray issue 805: AREA_OR_POINT=Point shifts the pixels by half of one, or not.

    GDAL has corrected for it when it gives the corner of the file.
    """
    corner = Affine(1000, 0, 300_000, 0, -1000, 7_000_000)
    found = []
    for kind in ("Area", "Point"):
        path = tmp_path / f"{kind}_202106010000.tif"
        profile = {"driver": "GTiff", "count": 1, "height": 2, "width": 3, "dtype": "float32"}
        with rasterio.open(path, "w", crs="EPSG:3067", transform=corner, **profile) as file:
            file.update_tags(AREA_OR_POINT=kind)
            file.write(np.ones((1, 2, 3), np.float32))
        ds = read(path, ReadOptions(units="mm/h"))
        found.append((float(ds["x"][0]), float(ds["y"][0])))
    assert found == [(300_500, 6_999_500)] * 2


# Text


def test_complaint_attributes_are_arrays_of_bytes(tmp_path):
    """h5netcdf/h5netcdf issue 27: attributes that are arrays of one text of bytes."""
    path = save(frames(np.ones((1, 2, 3), np.float32), MMH), tmp_path / "rain.nc")
    with h5py.File(path, "a") as file:
        file["rain"].attrs["units"] = np.array([b"mm (5 min)-1"])
        file["time"].attrs["units"] = np.array([b"minutes since 2021-06-01"])
    assert (rates(path) == 12).all()


def _radolan(tmp_path, head, codes):
    pixels = np.zeros((450, 450), "<u2")
    pixels[-1, : len(codes)] = codes  # the last row of the file is the northernmost
    path = tmp_path / "radolan"
    path.write_bytes(head + b"\x03" + pixels.tobytes())
    return path


def test_complaint_radolan_wn_has_the_precision_of_its_text(tmp_path):
    """wradlib/wradlib issue 548: reflectivity of WN is ten times too high without PR E-01."""
    head = b"WN011500100000120BY 405117VS 5SW   2.29.1PR E-01INT   5GP 450x 450VV 000MF 00000008MS 7<asb>"
    path = _radolan(tmp_path, head, [0, 1000, 0x29C4])
    # 1000 × 0.1 / 2 − 32.5 = 17.5 dBZ
    expected = [0, (10**1.75 / 200) ** (1 / 1.6), np.nan]
    np.testing.assert_allclose(rates(path, ZR)[0, 0, :3], expected, rtol=1e-6)


def test_complaint_radolan_text_with_a_quality_flag(tmp_path):
    """wradlib/wradlib issues 113 and 153: RQ has QN after the module flags 00000002."""
    head = (
        b"RQ011500100000120BY 405117VS 5SW   2.29.1PR E-01INT  60GP 450x 450VV 000MF 00000002QN 001MS 5<asb>"
    )
    path = _radolan(tmp_path, head, [0, 25, 0x29C4])
    np.testing.assert_allclose(rates(path)[0, 0, :3], [0, 2.5, np.nan], rtol=1e-6)


def test_complaint_radolan_text_that_is_not_utf8(tmp_path):
    """wradlib/wradlib issue 607: UnicodeDecodeError for files from before 2015."""
    head = b"RW011550100000114BY 405117VS 3SW   2.1.0 PR E-01INT  60GP 450x 450MS 11<asb,b\xf6o,ros>"
    path = _radolan(tmp_path, head, [0, 25, 0x29C4])
    np.testing.assert_allclose(rates(path)[0, 0, :3], [0, 2.5, np.nan], rtol=1e-6)
    assert times(path)[0] == np.datetime64("2014-01-01T15:50", "s")


# ODIM


def test_complaint_odim_accumulation_over_another_period(tmp_path):
    """pySTEPS/pysteps issue 214: accumulations of Belgium, whose period is not that of OPERA."""
    what = {"quantity": "ACRR", "gain": 0.1, "offset": 0.0, "nodata": -1.0, "undetect": -2.0}
    interval = {"startdate": "20240601", "starttime": "115000", "enddate": "20240601", "endtime": "120000"}
    codes = np.array([[10, -1, -2], [0, 20, 30]], ">i2")
    path = odim.make(tmp_path / "radar.h5", [what | interval], [codes])
    expected = [[6, np.nan, 0], [0, 12, 18]]  # mm in ten minutes
    np.testing.assert_allclose(rates(path)[0], expected, rtol=1e-6)


def test_complaint_odim_highest_number_is_no_echo(tmp_path):
    """openradar/xradar issue 122: pixels without echo have the highest number, and show as heavy rain."""
    what = {"quantity": "DBZH", "gain": 0.5, "offset": -32.0, "nodata": 0.0, "undetect": 255.0}
    path = odim.make(tmp_path / "radar.h5", [what], [np.array([[0, 255, 110], [255, 0, 255]], np.uint8)])
    expected = [[np.nan, 0, (10**2.3 / 200) ** (1 / 1.6)], [0, np.nan, 0]]
    np.testing.assert_allclose(rates(path, ZR)[0], expected, rtol=1e-6)
