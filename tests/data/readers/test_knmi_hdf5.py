import h5py
import numpy as np
import pyproj
import pytest

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import find, knmi_hdf5
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)


@pytest.fixture
def codes():
    values = np.random.default_rng(0).integers(0, 3000, (8, 7)).astype(np.uint16)
    values[0, 0], values[1, 1] = 65535, 0
    return values


def test_knmi_hdf5_accumulation_becomes_a_rate_at_its_end(write_knmi, codes):
    path = write_knmi(codes, end="01-DEC-2010;00:05:00.000", start="30-NOV-2010;23:55:00.000")
    assert find(Source(path)) is knmi_hdf5
    ds = knmi_hdf5.read(Source(path), ReadOptions(), ALL)
    schema.check(ds)
    assert (
        knmi_hdf5.times(Source(path), ReadOptions())
        == ds["time"].values
        == [np.datetime64("2010-12-01T00:05")]
    )
    expected = np.where(codes == 65535, np.nan, codes / 100 * 6)  # ten minutes
    np.testing.assert_allclose(ds["rainfall_rate"].values[0], expected, rtol=1e-6)
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 10


def test_knmi_hdf5_reflectivity_is_converted_and_its_lowest_code_is_dry(write_knmi):
    values = np.array([[0, 110], [255, 64]], np.uint8)
    path = write_knmi(values, formula="GEO = 0.5*PV-32.0", parameter="REFLECTIVITY_[DBZ]")
    with h5py.File(path, "r+") as file:
        file["image1/calibration"].attrs["calibration_missing_data"] = np.array([255])
    ds = knmi_hdf5.read(Source(path), ReadOptions(zr=(300.0, 1.5)), ALL)
    expected = [[0, (10**2.3 / 300) ** (1 / 1.5)], [np.nan, (1 / 300) ** (1 / 1.5)]]
    np.testing.assert_allclose(ds["rainfall_rate"].values[0], expected, rtol=1e-6)
    assert (ds["rainfall_rate"].attrs["zr_a"], ds["rainfall_rate"].attrs["zr_b"]) == (300.0, 1.5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"end": "26-AUG-2010;00:00:00.000"}, "expected an end after the start"),
        ({"end": "26-AOÛ-2010;00:05:00.000".encode("ascii", "replace").decode()}, "expected DD-MON-YYYY"),
        ({"end": "31-FEB-2010;00:05:00.000"}, "expected a date that exists"),
        ({"formula": "GEO=exp(PV)"}, "expected GEO=a"),
        ({"parameter": "ECHO_HEIGHT_[KM]"}, "expected accumulated mm or dBZ, found ECHO_HEIGHT"),
        ({"proj": "+proj=stere +lat_0=90"}, "expected the earth's axes"),
    ],
)
def test_knmi_hdf5_faulty_file_raises_and_names_the_fault(write_knmi, codes, change, reason):
    with pytest.raises(InputError, match=reason):
        knmi_hdf5.read(Source(write_knmi(codes, **change)), ReadOptions(), ALL)


def test_knmi_hdf5_image_unlike_its_grid_raises(write_knmi, codes):
    path = write_knmi(codes)
    with h5py.File(path, "r+") as file:
        file["geographic"].attrs["geo_number_rows"] = np.array([9])
    with pytest.raises(InputError, match="expected the grid's 9 × 7, found 8 × 7"):
        knmi_hdf5.read(Source(path), ReadOptions(), ALL)


def test_knmi_hdf5_impossible_size_raises(write_knmi, codes):
    path = write_knmi(codes)
    with h5py.File(path, "r+") as file:
        del file["image1/image_data"]
        file["image1"].create_dataset("image_data", (1_000_000, 1_000_000), "u2", chunks=(64, 64))
    with pytest.raises(InputError, match="image_data: expected"):
        knmi_hdf5.read(Source(path), ReadOptions(), ALL)


def test_knmi_hdf5_projection_in_metres_gives_the_same_positions(write_knmi, codes):
    in_metres = "+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378137 +b=6356752 +x_0=0 +y_0=0"
    one, other = (
        knmi_hdf5.read(Source(write_knmi(codes, **proj)), ReadOptions(), ALL)
        for proj in ({}, {"proj": in_metres})
    )
    np.testing.assert_array_equal(one["lat"], other["lat"])


def test_knmi_hdf5_real_frames_agree_with_h5py(radar_data):
    for path in sorted(radar_data.glob("knmi_h5_20100826/*.h5")):
        with h5py.File(path) as file:
            codes = file["image1/image_data"][()]
        ds = knmi_hdf5.read(Source(path), ReadOptions(), ALL)
        expected = np.where(codes == 65535, np.nan, codes * 0.01 * 12)
        np.testing.assert_allclose(ds["rainfall_rate"].values[0], expected, rtol=1e-6)
        assert path.stem[-12:] == str(ds["time"].values[0])[:16].translate({45: None, 58: None, 84: None})


def test_knmi_hdf5_real_corners_agree_with_the_file(radar_data):
    path = min(radar_data.glob("knmi_h5_20100826/*.h5"))
    ds = knmi_hdf5.read(Source(path), ReadOptions(), ALL)
    with h5py.File(path) as file:  # lower left, upper left, upper right, lower right: longitude, latitude
        corners = file["geographic"].attrs["geo_product_corners"].reshape(4, 2)
    to_degrees = pyproj.Proj(pyproj.CRS.from_wkt(ds["crs"].attrs["crs_wkt"]))
    x, y = ds["x"].values, ds["y"].values
    west, east, south, north = x[0] - 500, x[-1] + 500, y[-1] - 500, y[0] + 500
    found = [
        to_degrees(*at, inverse=True) for at in ((west, south), (west, north), (east, north), (east, south))
    ]
    # The file gives three decimals.
    np.testing.assert_allclose(found, corners, atol=6e-4, rtol=0)


def test_knmi_hdf5_real_frames_agree_with_pysteps(radar_data):
    importers = pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")
    path = sorted(radar_data.glob("knmi_h5_20100826/*.h5"))[5]
    mm, _, metadata = importers.import_knmi_hdf5(str(path))
    ds = knmi_hdf5.read(Source(path), ReadOptions(), ALL)
    np.testing.assert_allclose(ds["rainfall_rate"].values[0], mm * 12, rtol=1e-6)
    x, y = ds["x"].values / 1000, ds["y"].values / 1000
    assert (x[0] - 0.5, x[-1] + 0.5) == (metadata["x1"], metadata["x2"])
    assert (y[-1] - 0.5, y[0] + 0.5) == (metadata["y1"], metadata["y2"])
    assert metadata["yorigin"] == "upper"
