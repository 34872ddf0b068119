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
    with pytest.raises(InputError, match="expected the 9 of geo_number_rows, found 8 × 7"):
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
    later = sorted(radar_data.glob("knmi_h5_20100826_later/*.h5"))
    for path in [*sorted(radar_data.glob("knmi_h5_20100826/*.h5")), *later[::16]]:
        with h5py.File(path) as file:
            codes = file["image1/image_data"][()]
        ds = knmi_hdf5.read(Source(path), ReadOptions(), ALL)
        expected = np.where(codes == 65535, np.nan, codes * 0.01 * 12)
        found = ds["rainfall_rate"].values[0]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert np.isnan(found).mean() == (codes == 65535).mean()
        assert (found > 0).mean() == ((codes > 0) & (codes < 65535)).mean()
        assert np.nanmax(found) == pytest.approx(codes[codes < 65535].max() * 0.12, rel=1e-6)
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


CALIBRATION = {
    "calibration_formulas": "GEO = 0.010000 * PV + 0.000000",
    "calibration_missing_data": 65534,
    "calibration_out_of_image": 65535,
}
CORNERS = [0.0, 49.362, 0.0, 55.974, 10.856, 55.389, 9.009, 48.895]


def add_image(path, index, parameter, values, calibration=None, **attributes):
    with h5py.File(path, "r+") as file:
        if f"image{index}" in file:
            del file[f"image{index}"]
        image = file.create_group(f"image{index}")
        if parameter:
            image.attrs["image_geo_parameter"] = np.bytes_(parameter)
        for name, value in attributes.items():
            image.attrs[f"image_{name}"] = np.bytes_(value)
        image["image_data"] = values
        if calibration:
            group = image.create_group("calibration").attrs
            for name, value in calibration.items():
                group[name] = np.bytes_(value) if isinstance(value, str) else np.array([value])
    return path


def rates(path, options=None):
    ds = knmi_hdf5.read(Source(path), options or ReadOptions(), ALL)
    schema.check(ds)
    np.testing.assert_array_equal(knmi_hdf5.times(Source(path), options or ReadOptions()), ds["time"].values)
    return ds["rainfall_rate"].values


@pytest.mark.parametrize("parameter", ["PRECIP_[MM]", "ACCUMULATED_PRECIPITATION_[MM]", "precipitation [mm]"])
def test_knmi_hdf5_accumulation_by_any_name_is_read(write_knmi, codes, parameter):
    found = rates(write_knmi(codes, parameter=parameter))
    np.testing.assert_allclose(found[0], np.where(codes == 65535, np.nan, codes * 0.12), rtol=1e-6)


def test_knmi_hdf5_time_with_a_fraction_is_rounded_and_not_cut(write_knmi, codes):
    path = write_knmi(codes)
    with h5py.File(path, "r+") as file:
        file["overview"].attrs["product_datetime_end"] = np.bytes_("26-AUG-2010;00:04:59.999")
    assert knmi_hdf5.times(Source(path), ReadOptions()) == [np.datetime64("2010-08-26T00:05")]


@pytest.mark.parametrize("parameter", ["RAINFALL_RATE_[MM/H]", "INTENSITY_[MM/HR]"])
def test_knmi_hdf5_rate_is_read(write_knmi, parameter):
    path = write_knmi(np.array([[0, 5], [65534, 65535]], np.uint16), parameter=parameter)
    np.testing.assert_allclose(rates(path)[0], [[0, 0.05], [np.nan, np.nan]], rtol=1e-6)


# What KNMI writes: 0 is no echo, 255 is outside of the image.
@pytest.mark.parametrize("missing", [0, 255, 254])
def test_knmi_hdf5_no_echo_is_dry_and_outside_is_not_observed(write_knmi, missing):
    values = np.array([[0, 1, 254], [255, 64, 110]], np.uint8)
    path = add_image(
        write_knmi(values),
        1,
        "REFLECTIVITY_[DBZ]",
        values,
        {
            "calibration_formulas": "GEO = 0.500000 * PV + -32.000000",
            "calibration_missing_data": missing,
            "calibration_out_of_image": 255,
        },
    )
    expected = (10 ** ((values * 0.5 - 32) / 10) / 200) ** (1 / 1.6)
    expected[0, 0], expected[1, 0] = 0, np.nan
    if missing == 254:
        expected[0, 2] = np.nan
    np.testing.assert_allclose(rates(path)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("missing", [65534, 65535, 0, None])
def test_knmi_hdf5_both_highest_codes_are_not_observed(write_knmi, missing):
    values = np.array([[0, 1], [65534, 65535]], np.uint16)
    calibration = {**CALIBRATION, "calibration_missing_data": missing}
    calibration = {name: value for name, value in calibration.items() if value is not None}
    path = add_image(write_knmi(values), 1, "PRECIP_[MM]", values, calibration)
    np.testing.assert_allclose(rates(path)[0], [[0, 0.12], [np.nan, np.nan]], rtol=1e-6)


@pytest.mark.parametrize(
    ("formula", "gain", "offset"),
    [
        ("GEO = 0.500000 * PV + -32.000000", 0.5, -32),
        ("GEO=0.5*PV-32", 0.5, -32),
        ("geo = .5*pv - 3.2e1", 0.5, -32),
        ("GEO = -32.0 + 0.5 * PV", 0.5, -32),
        ("GEO=(0.5*PV)+(-32.0)", 0.5, -32),
        ("GEO = PV * 0.5 - 32", 0.5, -32),
        ("GEO = PV / 2 - 32", 0.5, -32),
        ("GEO=5.0E-01*PV+-3.2E+01", 0.5, -32),
        ("GEO=PV", 1, 0),
        ("GEO=0.5PV-32.0", 0.5, -32),
        ("GEO = -32.0 + .5 PV", 0.5, -32),
        ("GEO=0.01*PV+0.0", 0.01, 0),
        ("GEO=+0.01*PV", 0.01, 0),
    ],
)
def test_knmi_hdf5_formula_in_any_form_is_read(write_knmi, formula, gain, offset):
    values = np.array([[70, 80], [90, 100]], np.uint8)
    path = write_knmi(values, formula=formula, parameter="REFLECTIVITY_[DBZ]")
    expected = (10 ** ((values * gain + offset) / 10) / 200) ** (1 / 1.6)
    np.testing.assert_allclose(rates(path)[0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "formula",
    [
        *("GEO=exp(PV)", "GEO=PV*PV", "GEO=0*PV+1", "GEO=1e999*PV", "PV", "GEO=", "GEO=0.5*PV+x", "GEO=PV/0"),
        *("GEO=PV 0.5", "GEO=PV(0.5)", "GEO=0.5*PV 3", "GEO=PVPV"),
    ],
)
def test_knmi_hdf5_other_formula_raises(write_knmi, codes, formula):
    with pytest.raises(InputError, match=r"expected GEO=a\*PV\+b"):
        rates(write_knmi(codes, formula=formula))


@pytest.fixture
def forecast(write_knmi):
    """25 accumulations over five minutes in a product of two hours; only the first has a calibration."""
    path = write_knmi(
        np.full((8, 7), 1, np.uint16),
        start="30-AUG-2026;13:40:00.000",
        end="30-AUG-2026;15:40:00.000",
        proj="+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +x_0=0 +y_0=0 +units=km",
    )
    for lead in range(25):
        valid = np.datetime64("2026-08-30T13:40") + np.timedelta64(5 * lead, "m")
        add_image(
            path,
            lead + 1,
            "PRECIP_[MM]",
            np.full((8, 7), lead, np.uint16),
            CALIBRATION if lead == 0 else None,
            datetime_valid=f"30-AUG-2026;{str(valid)[11:]}:00.000",
        )
    return path


def test_knmi_hdf5_images_of_a_forecast_have_their_own_times_and_periods(forecast):
    found = rates(forecast)
    assert found.shape == (25, 8, 7)
    # Hundredths of a millimetre in five minutes, whatever the period of the product.
    np.testing.assert_allclose(found[:, 0, 0], 0.12 * np.arange(25), rtol=1e-6)
    times = knmi_hdf5.times(Source(forecast), ReadOptions())
    np.testing.assert_array_equal(
        times, np.datetime64("2026-08-30T13:40", "s") + 300 * np.arange(25).astype("m8[s]")
    )
    part = knmi_hdf5.read(Source(forecast), ReadOptions(), slice(9, 11))
    np.testing.assert_array_equal(part["rainfall_rate"], found[9:11])
    assert part["rainfall_rate"].attrs["accumulation_minutes"] == 5


def test_knmi_hdf5_images_at_irregular_times_need_a_period(forecast):
    with h5py.File(forecast, "r+") as file:
        del file["image3"]
    with pytest.raises(InputError, match=r'expected images at regular times.*--units "mm/5min"'):
        rates(forecast)
    found = rates(forecast, ReadOptions(units="mm/5min"))
    np.testing.assert_allclose(found[:, 0, 0], 0.12 * np.delete(np.arange(25), 2), rtol=1e-6)


def test_knmi_hdf5_one_lead_time_is_chosen_by_its_image(forecast):
    with pytest.raises(InputError, match="expected images at regular times, or one at the product's end"):
        rates(forecast, ReadOptions(variable="image4"))
    found = rates(forecast, ReadOptions(variable="image4", units="mm/5min"))
    np.testing.assert_allclose(found, np.full((1, 8, 7), 0.36), rtol=1e-6)


def test_knmi_hdf5_period_that_contradicts_the_file_raises(write_knmi, codes):
    with pytest.raises(InputError, match="expected the file's period of 5 min, found 60 min"):
        rates(write_knmi(codes), ReadOptions(units="mm/60min"))


@pytest.fixture
def three_images(write_knmi, codes):
    """Rain, its quality, and the factor by which gauges adjusted it, as in KNMI's real-time product."""
    path = add_image(write_knmi(codes), 1, "PRECIP_[MM]", codes, CALIBRATION)
    index = {"calibration_formulas": "GEO = 0.01 * PV + 0.0", "calibration_out_of_image": 255}
    values = np.full((8, 7), 100, np.uint8)
    values[2, :4] = [0, 49, 50, 255]
    add_image(path, 2, "QUALITY_[-]", values, index)
    return add_image(path, 3, "ADJUSTMENT_FACTOR_[DB]", codes // 2, CALIBRATION)


def test_knmi_hdf5_quality_and_factor_beside_the_rain_are_left(three_images, codes):
    expected = np.where(codes == 65535, np.nan, codes * 0.12)[None]
    np.testing.assert_allclose(rates(three_images), expected, rtol=1e-6)
    with h5py.File(three_images, "r+") as file:  # in another order
        file.move("image1", "image9")
        file.move("image3", "image1")
    np.testing.assert_allclose(rates(three_images), expected, rtol=1e-6)


def test_knmi_hdf5_quality_below_the_threshold_is_not_observed(three_images, write_knmi, codes):
    whole = rates(three_images)[0]
    found = rates(three_images, ReadOptions(min_quality=0.5))[0]
    whole[2, [0, 1, 3]] = np.nan
    np.testing.assert_array_equal(found, whole)
    with pytest.raises(InputError, match="min_quality: expected one image of quality, found none"):
        rates(write_knmi(codes), ReadOptions(min_quality=0.5))


def test_knmi_hdf5_several_rain_quantities_require_a_choice(write_knmi, codes):
    path = add_image(write_knmi(codes), 2, "REFLECTIVITY_[DBZ]", codes, CALIBRATION)
    with pytest.raises(
        InputError, match=r"one rain quantity, found ACCUM.*, REFLECTIVITY_\[DBZ\]; .*--variable"
    ):
        rates(path)
    expected = rates(write_knmi(codes, name="other.h5"))
    for options in (ReadOptions("amount"), ReadOptions(variable="image1"), ReadOptions(units="mm")):
        np.testing.assert_array_equal(rates(path, options), expected)
    assert knmi_hdf5.read(Source(path), ReadOptions("dbz"), ALL)["rainfall_rate"].attrs["zr_a"] == 200
    with pytest.raises(InputError, match=r"variable: expected an image of rain, among .*, found image7"):
        rates(path, ReadOptions(variable="image7"))
    add_image(path, 2, "ACCUMULATED_PRECIPITATION_[MM]", codes, CALIBRATION)
    with pytest.raises(InputError, match=r"expected one image for each time, found image1 .*, image2"):
        rates(path)


@pytest.mark.parametrize(
    ("proj", "dim", "factor"),
    [
        ("+a=6378137 +b=6356752 +x_0=0 +y_0=0 +units=km", "KM,KM", 1),
        ("+a=6378137 +b=6356752 +x_0=0 +y_0=0", "KM,KM", 1),
        ("+a=6378137 +b=6356752 +x_0=0 +y_0=0 +units=m", "M,M", 1000),
        ("+a=6378.137 +b=6356.752 x_0=0 y_0=0", "KM", 1),
        ("+a=6378137 +b=6356752 +units=km", "M,M", 1000),
    ],
)
def test_knmi_hdf5_units_of_the_projection_do_not_move_the_grid(write_knmi, proj, dim, factor):
    values = np.full((765, 700), 1, np.uint16)
    path = write_knmi(values, proj=f"+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 {proj}")
    with h5py.File(path, "r+") as file:
        attributes = file["geographic"].attrs
        attributes["geo_product_corners"] = np.array(CORNERS, np.float32)
        attributes["geo_dim_pixel"] = np.bytes_(dim)
        attributes["geo_pixel_size_x"], attributes["geo_pixel_size_y"] = np.array([[factor], [-factor]], "f4")
    ds = knmi_hdf5.read(Source(path), ReadOptions(), ALL)
    np.testing.assert_allclose(ds["x"], 500 + 1000 * np.arange(700))
    np.testing.assert_allclose(ds["y"], -3650500 - 1000 * np.arange(765))
    # The pixel of De Bilt, by the formulas of the ellipsoidal projection (Snyder 1987, 21-33 to 21-40).
    e = np.sqrt(1 - (6356752 / 6378137) ** 2)

    def t(latitude):
        sine = np.sin(latitude)
        return np.tan(np.pi / 4 - latitude / 2) / ((1 - e * sine) / (1 + e * sine)) ** (e / 2)

    true, lat, lon = np.deg2rad([60, 52.1028, 5.1792])
    rho = 6378137 * np.cos(true) / np.sqrt(1 - (e * np.sin(true)) ** 2) * t(lat) / t(true)
    column, row = int(rho * np.sin(lon) // 1000), int((rho * np.cos(lon) - 3_650_000) // 1000)
    assert float(ds["lat"][row, column]) == pytest.approx(52.1028, abs=0.005)
    assert float(ds["lon"][row, column]) == pytest.approx(5.1792, abs=0.008)


def test_knmi_hdf5_corners_that_contradict_the_grid_raise(write_knmi, codes):
    path = write_knmi(codes)
    for corners in (CORNERS, [0.0] * 8):
        with h5py.File(path, "r+") as file:
            file["geographic"].attrs["geo_product_corners"] = np.array(corners, np.float32)
        if any(corners):  # of the whole image: this one has 8 × 7 pixels
            with pytest.raises(InputError, match=r"geo_product_corners: .*found corners 1\.03e\+06 m away"):
                rates(path)
        else:
            assert rates(path).shape == (1, 8, 7)


def test_knmi_hdf5_polar_volume_is_refused_by_name(write_knmi, codes):
    path = write_knmi(codes)
    with h5py.File(path, "r+") as file:
        del file["image1"]
        file.create_group("scan1/calibration")
    assert find(Source(path)) is knmi_hdf5
    with pytest.raises(InputError, match="found a polar volume of KNMI; put it on a grid first"):
        knmi_hdf5.times(Source(path), ReadOptions())


def test_knmi_hdf5_pysteps_takes_codes_and_units_for_granted(write_knmi):
    importers = pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")
    values = np.array([[0, 10], [65534, 65535]], np.uint16)
    path = add_image(write_knmi(values), 1, "PRECIP_[MM]", values, CALIBRATION)
    amounts, _, _ = importers.import_knmi_hdf5(str(path))
    assert amounts[1, 0] == 655.34  # millimetres in five minutes
    assert np.isnan(rates(path)[0, 1, 0])


def test_knmi_hdf5_quantity_of_an_unknown_name_is_stated(write_knmi, codes):
    path = write_knmi(codes, parameter="RAC")
    with pytest.raises(InputError, match="expected accumulated mm or dBZ, found RAC"):
        rates(path)
    found = rates(path, ReadOptions("amount", "mm"))
    np.testing.assert_allclose(found[0], np.where(codes == 65535, np.nan, codes * 0.12), rtol=1e-6)
