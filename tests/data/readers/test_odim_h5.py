import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import find, odim_h5, open_radar
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)
_spec = importlib.util.spec_from_file_location("odim", Path(__file__).parent / "samples" / "odim_h5.py")
odim = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(odim)

RATE = {"quantity": "RATE", "gain": 0.5, "offset": -1.0, "nodata": 255.0, "undetect": 0.0}
INTERVAL = {"startdate": "20240601", "starttime": "115500", "enddate": "20240601", "endtime": "120000"}
ACRR = {"quantity": "ACRR", "gain": 0.01, "offset": 0.0, "nodata": 65535.0, "undetect": 65534.0, **INTERVAL}
DBZH = {"quantity": "DBZH", "gain": 0.5, "offset": -32.0, "nodata": 255.0, "undetect": 0.0}
QIND = {"quantity": "QIND", "gain": 0.01, "offset": 0.0, "nodata": 255.0, "undetect": 255.0}
CODES = np.array([[0, 255, 2, 3, 4], [10, 20, 30, 40, 50], [5, 6, 7, 8, 9]], np.uint8)
MMH = np.where(CODES == 0, 0, np.where(CODES == 255, np.nan, CODES * 0.5 - 1)).astype(np.float32)


def time(text: str) -> np.datetime64:
    return np.datetime64(text, "s")


def read(path, options=None, frames=ALL):
    source, options = Source(path), options or ReadOptions()
    assert find(source) is odim_h5
    ds = odim_h5.read(source, options, frames)
    schema.check(ds)
    assert not schema.value_problems(ds["rainfall_rate"].values)
    if frames == ALL:
        np.testing.assert_array_equal(odim_h5.times(source, options), ds["time"].values)
    return ds


@pytest.fixture
def make(tmp_path):
    def to_file(whats=(RATE,), values=(CODES,), **changes):
        return odim.make(tmp_path / "radar.h5", whats, values, **changes)

    return to_file


@pytest.mark.parametrize("level", ["data", "dataset", "group"])
def test_odim_h5_what_at_any_level_gives_the_same_rates(make, level):
    ds = read(make(level=level))
    np.testing.assert_array_equal(ds["rainfall_rate"].values[0], MMH)
    assert ds["time"].values == [time("2024-06-01T12:00")]
    assert ds.attrs["source"] == "ORG:82"


def test_odim_h5_innermost_level_counts(make):
    path = make()
    with h5py.File(path, "r+") as file:
        odim.attach(file["what"], {"gain": 7.0, "quantity": "VIL", "nodata": 9.0})
        odim.attach(file["dataset1"].create_group("what"), {"gain": 9.0, "undetect": 3.0})
    np.testing.assert_array_equal(read(path)["rainfall_rate"].values[0], MMH)


def test_odim_h5_absent_gain_and_offset_are_one_and_zero(make):
    values = np.array([[0.0, -8888000, -9999000], [0.25, 12.5, 8647.3]])
    path = make([{"quantity": "RATE", "nodata": -9999000.0, "undetect": -8888000.0}], [values])
    expected = [[0, 0, np.nan], [0.25, 12.5, 8647.3]]
    np.testing.assert_allclose(read(path)["rainfall_rate"].values[0], expected, rtol=1e-7)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.int16])
def test_odim_h5_codes_of_any_type_are_found(make, kind):
    values = np.array([[1, 2, -32], [3, -31, 4]], kind)
    path = make([{"quantity": "RATE", "nodata": -32.0, "undetect": -31.0}], [values])
    expected = [[1, 2, np.nan], [3, 0, 4]]
    np.testing.assert_array_equal(read(path)["rainfall_rate"].values[0], expected)


def test_odim_h5_code_that_single_precision_rounds_is_found(make):
    values = np.array([[1, 2, -9999.9], [3, -0.1, 4]], np.float32)
    path = make([{"quantity": "RATE", "nodata": -9999.9, "undetect": -0.1}], [values])
    expected = [[1, 2, np.nan], [3, 0, 4]]
    np.testing.assert_array_equal(read(path)["rainfall_rate"].values[0], expected)


def test_odim_h5_nan_is_not_observed_and_zero_is_dry(make):
    values = np.array([[1, np.nan, 0], [3, 0, 4]])
    path = make([{"quantity": "RATE", "nodata": np.nan, "undetect": 0.0}], [values])
    np.testing.assert_array_equal(read(path)["rainfall_rate"].values[0], values)


def test_odim_h5_number_that_is_both_codes_is_not_observed(make):
    path = make([{**RATE, "offset": 0.0, "undetect": 255.0}])
    expected = np.where(CODES == 255, np.nan, CODES / 2)
    np.testing.assert_array_equal(read(path)["rainfall_rate"].values[0], expected)


def test_odim_h5_attributes_as_text_and_arrays_are_read(make):
    path = make()
    with h5py.File(path, "r+") as file:
        what = file["dataset1/data1/what"].attrs
        what["gain"], what["offset"] = "0.5", np.array([-1.0], np.float32)
        what["quantity"] = "RATE"  # of variable length
        file["what"].attrs["date"], file["what"].attrs["time"] = 20240601, 5  # 00:00:05
    ds = read(path)
    np.testing.assert_array_equal(ds["rainfall_rate"].values[0], MMH)
    assert ds["time"].values == [time("2024-06-01T00:00:05")]


def test_odim_h5_accumulation_becomes_a_rate_at_its_end(make):
    codes = np.array([[65535, 65534, 0], [25, 100, 1000]], np.uint16)
    ds = read(make([ACRR], [codes], root={"time": "115500"}))
    # Hundredths of a millimetre in five minutes.
    np.testing.assert_allclose(ds["rainfall_rate"].values[0], [[np.nan, 0, 0], [3, 12, 120]], rtol=1e-6)
    assert ds["time"].values == [time("2024-06-01T12:00")]
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 5
    assert ds["rainfall_rate"].attrs["cell_methods"] == "time: mean"


@pytest.mark.parametrize(
    ("start", "end"), [("115500", "120000"), ("115501", "120000"), ("115500", "115959"), ("1155", "12:00:00")]
)
def test_odim_h5_interval_that_leaves_out_a_second_is_five_minutes(make, start, end):
    what = {**ACRR, "starttime": start, "endtime": end}
    ds = read(make([what], [np.full((2, 2), 100, np.uint16)]))
    assert ds["time"].values == [time("2024-06-01T12:00")]
    np.testing.assert_allclose(ds["rainfall_rate"], 12, rtol=1e-6)


def test_odim_h5_interval_until_24_hours_ends_with_the_next_day(make):
    what = {**ACRR, "startdate": "20240531", "starttime": "235500", "enddate": "20240531"}
    codes = [np.full((2, 2), 100, np.uint16)]
    ds = read(make([{**what, "endtime": "240000"}], codes))
    assert ds["time"].values == [time("2024-06-01T00:00")]
    np.testing.assert_allclose(ds["rainfall_rate"], 12, rtol=1e-6)
    with pytest.raises(
        InputError, match="enddate: expected YYYYmmdd and HHMMSS, found '20240531' and '240500'"
    ):
        read(make([{**what, "endtime": "240500"}], codes))


def test_odim_h5_accumulation_without_an_interval_needs_a_period(make):
    codes = [np.full((2, 2), 100, np.uint16)]
    for change in ({"starttime": "120000"}, {"startdate": None}):
        what = {name: value for name, value in {**ACRR, **change}.items() if value is not None}
        path = make([what], codes)
        with pytest.raises(InputError, match=r'accumulation period: .*--units "mm/5min"'):
            read(path)
        np.testing.assert_allclose(read(path, ReadOptions(units="mm/15min"))["rainfall_rate"], 4, rtol=1e-6)


def test_odim_h5_period_that_contradicts_the_file_raises(make):
    path = make([ACRR], [np.full((2, 2), 100, np.uint16)])
    np.testing.assert_allclose(read(path, ReadOptions(units="mm/5min"))["rainfall_rate"], 12, rtol=1e-6)
    with pytest.raises(InputError, match="expected the file's accumulation period of 5 min, found 15 min"):
        read(path, ReadOptions(units="mm/15min"))


@pytest.mark.parametrize("quantity", ["DBZH", "TH", "DBZV"])
def test_odim_h5_reflectivity_needs_a_z_r_relation(make, quantity):
    path = make([{**DBZH, "quantity": quantity}])
    with pytest.raises(InputError, match="zr: expected a and b"):
        read(path)
    ds = read(path, ReadOptions(zr=(200.0, 1.6)))
    expected = (10 ** ((CODES * 0.5 - 32) / 10) / 200) ** (1 / 1.6)
    expected = np.where(CODES == 0, 0, np.where(CODES == 255, np.nan, expected))
    np.testing.assert_allclose(ds["rainfall_rate"].values[0], expected, rtol=1e-6)
    assert ds["rainfall_rate"].attrs["source_quantity"] == "dbz"


def test_odim_h5_reflectivity_without_undetect_is_dry_up_to_minus_30_dbz(make):
    what = {name: value for name, value in DBZH.items() if name != "undetect"}
    found = read(make([what]), ReadOptions(zr=(200.0, 1.6)))["rainfall_rate"].values[0]
    np.testing.assert_array_equal(found == 0, CODES <= 4)


@pytest.mark.parametrize("place", ["how", "dataset1/how", "dataset1/data1/how"])
def test_odim_h5_z_r_relation_of_the_file_is_used_and_recorded(make, place):
    path = make([DBZH], [np.full((2, 2), 110, np.uint8)])
    with h5py.File(path, "r+") as file:
        odim.attach(file.create_group(place), {"zr_a": 300.0, "zr_b": 1.5})
    ds = read(path)
    np.testing.assert_allclose(ds["rainfall_rate"], (10**2.3 / 300) ** (1 / 1.5), rtol=1e-6)
    assert (ds["rainfall_rate"].attrs["zr_a"], ds["rainfall_rate"].attrs["zr_b"]) == (300, 1.5)
    assert read(path, ReadOptions(zr=(200.0, 1.6)))["rainfall_rate"].attrs["zr_a"] == 200


@pytest.mark.parametrize("level", ["data", "one", "dataset"])
def test_odim_h5_other_quantities_beside_the_rain_are_left(make, level):
    others = [{**RATE, "quantity": name} for name in ("HGHT", "ACRRQ")]
    for whats, values in (
        ([RATE, *others, QIND], [CODES, CODES + 1, CODES + 2, CODES]),
        ([QIND, *others, RATE], [CODES + 3, CODES + 1, CODES + 2, CODES]),
    ):
        np.testing.assert_array_equal(read(make(whats, values, level=level))["rainfall_rate"].values[0], MMH)


def test_odim_h5_several_rain_quantities_require_a_choice(make):
    path = make([DBZH, RATE, {**DBZH, "quantity": "TH"}], [CODES + 1, CODES, CODES], level="one")
    with pytest.raises(InputError, match=r"one rain quantity, found DBZH, RATE, TH; .*--variable"):
        odim_h5.times(Source(path), ReadOptions())
    with pytest.raises(InputError, match="one rain quantity, found DBZH, RATE, TH"):
        read(path, ReadOptions("dbz", zr=(200.0, 1.6)))
    for options in (ReadOptions("rate"), ReadOptions(units="mm/h"), ReadOptions(variable="rate")):
        np.testing.assert_array_equal(read(path, options)["rainfall_rate"].values[0], MMH)
    for place in ("dataset1/data2", "/dataset1/data2/"):
        np.testing.assert_array_equal(read(path, ReadOptions(variable=place))["rainfall_rate"].values[0], MMH)
    with pytest.raises(InputError, match=r"variable: expected one of dataset1/data1 \(DBZH\).*, found SRI"):
        read(path, ReadOptions(variable="SRI"))


def test_odim_h5_images_of_the_same_time_require_a_choice(make):
    path = make([DBZH, DBZH], [CODES, CODES + 1])
    with pytest.raises(InputError, match=r"one image for each time, found dataset1/data1 .*--variable"):
        read(path, ReadOptions(zr=(200.0, 1.6)))
    ds = read(path, ReadOptions(zr=(200.0, 1.6), variable="dataset2"))
    assert float(ds["rainfall_rate"][0, 0, 0]) > 0


def test_odim_h5_product_is_a_choice(make):
    path = make([{**RATE, "product": "CAPPI"}, {**RATE, "product": "SURF"}], [CODES[::-1], CODES])
    ds = read(path, ReadOptions(variable="surf"))
    np.testing.assert_array_equal(ds["rainfall_rate"].values[0], MMH)
    assert ds.attrs["title"] == "Radar composite SURF"


def test_odim_h5_unknown_quantity_requires_quantity_and_units(make):
    path = make([{**RATE, "quantity": "SRI"}])
    with pytest.raises(InputError, match=r"expected an image of RATE, .*found SRI"):
        read(path)
    with pytest.raises(InputError, match=r"found 'SRI'; give it with --quantity and --units"):
        read(path, ReadOptions(variable="SRI"))
    ds = read(path, ReadOptions("rate", "kg m-2 s-1", variable="SRI"))
    np.testing.assert_allclose(ds["rainfall_rate"].values[0], MMH * 3600, rtol=1e-6)
    unnamed = make([{name: value for name, value in RATE.items() if name != "quantity"}])
    np.testing.assert_array_equal(read(unnamed, ReadOptions("rate", "mm/h"))["rainfall_rate"].values[0], MMH)


def test_odim_h5_vertical_sections_beside_the_composite_are_left(make):
    path = make([{**DBZH, "product": "MAX"}, {**DBZH, "product": "HSP"}, {**DBZH, "product": "VSP"}],
                [CODES, CODES[:2], CODES[:, :2]])  # fmt: skip
    assert read(path, ReadOptions(zr=(200.0, 1.6)))["rainfall_rate"].shape == (1, 3, 5)


def test_odim_h5_rate_has_the_nominal_time_of_the_file(make):
    for start, end in (
        ("115001", "120000"),
        ("115000", "120500"),
        ("120000", "120000"),
        ("120010", "120455"),
    ):
        what = {**RATE, **INTERVAL, "starttime": start, "endtime": end}
        assert read(make([what]))["time"].values == [time("2024-06-01T12:00")]


def test_odim_h5_forecast_has_the_time_it_is_for(make):
    lead = {**INTERVAL, "starttime": "123500", "endtime": "123500"}
    assert read(make([{**RATE, **lead}]))["time"].values == [time("2024-06-01T12:35")]
    lead["starttime"] = "123000"
    codes = [np.ones((2, 2), np.uint16)]
    assert read(make([{**ACRR, **lead}], codes))["time"].values == [time("2024-06-01T12:35")]


def test_odim_h5_images_of_several_times_have_their_own(make):
    moments = ["121000", "120000", "120500"]
    whats = [{**RATE, **INTERVAL, "starttime": moment, "endtime": moment} for moment in moments]
    path = make(whats, [CODES, np.full((3, 5), 11), np.full((3, 5), 12)])
    ds = read(path)
    np.testing.assert_array_equal(
        ds["time"].values, time("2024-06-01T12:00") + np.arange(3) * np.timedelta64(300, "s")
    )
    np.testing.assert_array_equal(ds["rainfall_rate"][2].values, MMH)
    np.testing.assert_array_equal(ds["rainfall_rate"][:, 1, 0], [4.5, 5, 4])
    np.testing.assert_array_equal(read(path, frames=slice(1, 2))["rainfall_rate"], ds["rainfall_rate"][1:2])


def test_odim_h5_accumulations_over_several_periods_require_a_choice(make):
    hour = {**ACRR, "starttime": "110000"}
    path = make([ACRR, hour], [np.full((2, 2), 100, np.uint16)] * 2)
    with pytest.raises(
        InputError, match=r"period: .* dataset1/data1 5 min, dataset2/data1 60 min; .*--units"
    ):
        read(path)
    for options, rate in ((ReadOptions(units="mm/5min"), 12), (ReadOptions(variable="dataset2"), 1)):
        np.testing.assert_allclose(read(path, options)["rainfall_rate"], rate, rtol=1e-6)


def test_odim_h5_file_without_a_time_requires_one(make):
    path = make()
    with h5py.File(path, "r+") as file:
        del file["what"].attrs["date"]
    with pytest.raises(InputError, match=r"time: expected date and time in what, .*--start"):
        read(path)
    assert read(path, ReadOptions(start="2024-06-01T12:00"))["time"].values == [time("2024-06-01T12:00")]


def quality(path, group, attributes, values, room="how"):
    with h5py.File(path, "r+") as file:
        index = file.create_group(group)
        index["data"] = values
        odim.attach(index.require_group("what"), {"gain": 0.01, "offset": 0.0, "nodata": 255.0})
        odim.attach(index.require_group(room), attributes)
    return path


# 255 is no quality: OPERA gives none where it is dry.
INDEX = np.array([[255, 255, 49, 50, 51], [0, 100, 100, 100, 100], [100, 100, 100, 100, 100]], np.uint8)
GOOD = np.where(INDEX < 50, np.nan, MMH)


@pytest.mark.parametrize(
    ("group", "attributes", "room"),
    [
        ("dataset1/data1/quality1", {"task": "pl.imgw.quality.qi_total"}, "how"),
        ("dataset1/data1/quality1", {"task": "pl.imgw.quality.qi_total"}, "what"),
        ("dataset1/quality1", {"quantity": "QIND"}, "what"),
        ("dataset1/data1/quality2", {"task": "fi.fmi.quality_index"}, "how"),
    ],
)
def test_odim_h5_quality_below_the_threshold_is_not_observed(make, group, attributes, room):
    path = quality(make(), group, attributes, INDEX, room)
    np.testing.assert_array_equal(read(path)["rainfall_rate"].values[0], MMH)
    found = read(path, ReadOptions(min_quality=0.5))["rainfall_rate"].values[0]
    np.testing.assert_array_equal(found, GOOD)


@pytest.mark.parametrize("change", [{"nodata": 0.0}, {"undetect": 0.0}])
def test_odim_h5_rain_whose_quality_is_a_code_is_not_observed(make, change):
    path = make([RATE, {**QIND, "nodata": 255.0, "undetect": 254.0, **change}], [CODES, INDEX])
    assert MMH[INDEX == 0] > 0
    np.testing.assert_array_equal(read(path, ReadOptions(min_quality=0.5))["rainfall_rate"].values[0], GOOD)


@pytest.mark.parametrize("level", ["data", "one", "dataset"])
def test_odim_h5_quality_in_a_dataset_is_a_threshold(make, level):
    path = make([RATE, QIND], [CODES, INDEX], level=level)
    np.testing.assert_array_equal(read(path, ReadOptions(min_quality=0.5))["rainfall_rate"].values[0], GOOD)


def test_odim_h5_distance_to_the_radar_is_not_a_quality(make):
    with pytest.raises(InputError, match="min_quality: expected one quality index, found no quality field"):
        read(make(), ReadOptions(min_quality=0.5))
    path = quality(
        make(), "dataset1/data1/quality1", {"task": "se.smhi.composite.distance.radar"}, np.zeros((3, 5))
    )
    with pytest.raises(InputError, match=r"one quality index, found se\.smhi\.composite\.distance\.radar"):
        read(path, ReadOptions(min_quality=0.5))
    quality(path, "dataset1/data1/quality2", {"task": "pl.imgw.quality.qi_total"}, INDEX)
    np.testing.assert_array_equal(read(path, ReadOptions(min_quality=0.5))["rainfall_rate"].values[0], GOOD)


STEREO = "+proj=stere +lat_0=90 +lon_0=10 +lat_ts=60 +a=6378137 +b=6356752.3142451802"
MERCATOR = "+proj=merc +lat_ts=0 +lon_0=0 +k=1.0 +x_0=-1254222.15 +y_0=-6702777.85 +a=6378137 +b=6378137"
SWISS = (
    "+proj=somerc +lat_0=46.95240555555556 +lon_0=7.439583333333333 +k_0=1 +x_0=600000 +y_0=200000 "
    "+ellps=bessel +towgs84=674.374,15.056,405.346,0,0,0,0 +units=m"
)


BELGIAN = (
    "+proj=lcc +lat_1=49.83333333333334 +lat_2=51.16666666666666 +lat_0=50.797815 +lon_0=4.359215833333333 "
    "+x_0=649328 +y_0=665262 +ellps=GRS80 +towgs84=0,0,0,0,0,0,0 +units=m +no_defs"
)


@pytest.mark.parametrize("decimals", [12, 3, 2])
@pytest.mark.parametrize(
    ("proj", "west", "north", "scale"),
    [
        (odim.LAEA, 0.0, 0.0, 2000.0),
        (f"{STEREO} +x_0=543196.835217764 +y_0=3622588.861931002", 0.0, -500.0, 1000.0),
        (MERCATOR, 0.0, 587_000.0, 1555.7),
        (SWISS, 255_000.0, 480_000.0, 1000.0),
        (BELGIAN, 300_000.0, 1_000_000.0, 1000.0),
        ("+proj=aeqd +lat_0=52.3469 +lon_0=19.0926 +ellps=sphere", -450_000.0, 400_000.0, 1000.0),
    ],
)
def test_odim_h5_corners_are_those_of_the_outermost_pixels(make, proj, west, north, scale, decimals):
    values = [np.full((400, 300), 4, np.uint8)]
    ds = read(make([RATE], values, proj=proj, west=west, north=north, scale=scale, decimals=decimals))
    # Three decimals are 0.0005° or 56 m, with Mercator's scale at 51° 90 m.
    allowed = 0.01 if decimals == 12 else 90 * 10 ** (3 - decimals)
    np.testing.assert_allclose(ds["x"], west + scale * (np.arange(300) + 0.5), atol=allowed, rtol=0)
    np.testing.assert_allclose(ds["y"], north - scale * (np.arange(400) + 0.5), atol=allowed, rtol=0)
    np.testing.assert_allclose(np.diff(ds["x"]), scale, rtol=1e-9)
    # Latitude and longitude by another way: PROJ's own inverse of the string.
    lon, lat = pyproj.Proj(proj)(west + scale / 2, north - scale / 2, inverse=True)
    assert float(ds["lat"][0, 0]) == pytest.approx(lat, abs=10.0**-decimals + 1e-4)
    assert float(ds["lon"][0, 0]) == pytest.approx(lon, abs=2 * 10.0**-decimals + 1e-4)


def test_odim_h5_projection_in_kilometres_gives_the_same_positions(make):
    plain = f"{STEREO} +x_0=500000 +y_0=3500000"
    metres = read(make(proj=plain, west=0.0, north=0.0, scale=1000.0))
    for scale in (1.0, 1000.0):
        path = make(proj=f"{plain} +units=km", west=0.0, north=0.0, scale=1.0)
        with h5py.File(path, "r+") as file:
            file["where"].attrs["xscale"] = file["where"].attrs["yscale"] = scale
        kilometres = read(path)
        for name in ("x", "y", "lat", "lon"):
            np.testing.assert_allclose(kilometres[name], metres[name], rtol=1e-7, atol=1e-5)


@pytest.mark.parametrize("scale", [0.01, 1000.0, None])
def test_odim_h5_latitude_and_longitude_are_a_grid_in_degrees(make, scale):
    path = make(
        proj="+proj=longlat +datum=WGS84",
        west=8.0,
        north=48.0,
        scale=0.01,
        where={"xscale": scale, "yscale": scale},
    )
    ds = read(path)
    np.testing.assert_allclose(ds["x"], 8.005 + 0.01 * np.arange(5), rtol=1e-9)
    np.testing.assert_allclose(ds["y"], 47.995 - 0.01 * np.arange(3), rtol=1e-9)


def test_odim_h5_grid_across_the_date_line_is_read(make):
    path = make(proj="+proj=longlat +datum=WGS84", west=179.98, north=-36.0, scale=0.01)
    with h5py.File(path, "r+") as file:
        for corner in ("LR_lon", "UR_lon"):
            file["where"].attrs[corner] -= 360
    np.testing.assert_allclose(read(path)["x"], 179.985 + 0.01 * np.arange(5), rtol=1e-9)


def test_odim_h5_corners_at_pixel_centres_are_recognised_by_the_pixel_size(make):
    expected = read(make())
    path = make()
    inner = odim.corners_of(odim.LAEA, 501_000, -1_001_000, 2000, 2, 4)
    with h5py.File(path, "r+") as file:
        odim.attach(file["where"], inner)
    np.testing.assert_allclose(read(path)["x"], expected["x"], atol=1e-3)
    np.testing.assert_allclose(read(path)["y"], expected["y"], atol=1e-3)


def test_odim_h5_where_of_the_dataset_and_two_corners_suffice(make):
    expected = read(make())
    path = make(where={"xscale": None, "yscale": None, "xsize": None, "ysize": None})
    with h5py.File(path, "r+") as file:
        where = file["dataset1"].create_group("where")
        odim.attach(where, {"xsize": "5", "ysize": 3.0, "xscale": 2000.0, "yscale": 2000.0})
        for corner in ("UL", "LR"):
            del file["where"].attrs[f"{corner}_lon"]
    found = read(path)
    np.testing.assert_allclose(found["x"], expected["x"], atol=1)
    np.testing.assert_allclose(found["y"], expected["y"], atol=1)


@pytest.mark.parametrize("kept", [("LL",), ("UL",), ("UR",), ("LR",), ("LL", "UL"), ("UL", "UR")])
def test_odim_h5_one_corner_suffices_if_the_pixel_size_is_known(make, kept):
    expected = read(make())
    path = make()
    with h5py.File(path, "r+") as file:
        for corner in {"LL", "UL", "UR", "LR"} - {*kept}:
            del file["where"].attrs[f"{corner}_lon"]
    found = read(path)
    np.testing.assert_allclose(found["x"], expected["x"], atol=1e-3)
    np.testing.assert_allclose(found["y"], expected["y"], atol=1e-3)
    with h5py.File(path, "r+") as file:
        del file["where"].attrs["xscale"]
    with pytest.raises(InputError, match=f"corners: expected LL, UL, UR, LR, found {', '.join(kept)}"):
        read(path)


def test_odim_h5_pixel_size_in_kilometres_is_converted(make):
    found = read(make(where={"xscale": 2.0, "yscale": 2.0}))
    np.testing.assert_allclose(found["x"], read(make())["x"], atol=1e-3)
    with pytest.raises(InputError, match="corners: expected a distance of 5 × 3 pixels of 3000 × 3000"):
        read(make(where={"xscale": 3.0, "yscale": 3.0}))


@pytest.mark.parametrize("pad", [b"", b" ", b"\n"])
def test_odim_h5_text_that_is_padded_is_read(make, pad):
    path = make([{**RATE, **INTERVAL}])
    with h5py.File(path, "r+") as file:
        what, data = file["what"].attrs, file["dataset1/data1/what"].attrs
        for attributes, name in ((what, "object"), (what, "date"), (data, "quantity"), (data, "enddate")):
            attributes[name] = np.array(attributes[name] + pad, "S20")
    ds = read(path)
    np.testing.assert_array_equal(ds["rainfall_rate"].values[0], MMH)
    assert ds["time"].values == [time("2024-06-01T12:00")]


def test_odim_h5_missing_projection_is_taken_from_the_options(make):
    path = make(where={"projdef": None})
    with pytest.raises(InputError, match=r"projdef: expected a projection, .*--crs"):
        read(path)
    found = read(path, ReadOptions(crs=odim.LAEA))
    np.testing.assert_allclose(found["x"][0], 501_000, atol=1e-3)
    with h5py.File(path, "r+") as file:
        odim.attach(file["where"], {"projdef": "+init=epsg:3035"})
        odim.attach(file["where"], odim.corners_of("EPSG:3035", 4e6, 3e6, 2000, 3, 5))
    np.testing.assert_allclose(read(path)["x"][0], 4_001_000, atol=1e-3)


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (
            {"xscale": 2400.0},
            r"corners: expected a distance of 5 × 3 pixels of 2400 × 2000, found 4.17 × 3.00",
        ),
        ({"yscale": 0.0}, "yscale: expected a size above 0"),
        ({"xscale": np.nan}, "xscale: expected a size above 0"),
        ({"xsize": 6}, "xsize: expected the image's 5 pixels, found 6"),
        ({"LL_lat": 45.0}, "corners: expected a rectangle in the projection"),
        ({"LL_lat": 99.0}, "LL: expected a corner on the earth"),
        ({"UR_lat": "north"}, "expected a number in UR_lat, found 'north'"),
        (
            {"UR_lat": None, "LR_lat": None, "xscale": None},
            "corners: expected LL, UL, UR, LR, found LL, UL",
        ),
        ({"projdef": "+proj=nowhere"}, "projection: expected WKT, a PROJ string"),
        ({"projdef": "+proj=geocent"}, "projection: expected a map projection"),
    ],
)
def test_odim_h5_contradictory_grid_raises(make, where, reason):
    with pytest.raises(InputError, match=reason):
        read(make(where=where))


def test_odim_h5_edges_that_the_user_states_count_instead_of_the_corners(make):
    path = make(where={"xscale": 2400.0})
    with pytest.raises(InputError, match="--bounds"):
        read(path)
    bounds = (500_000.0, -1_006_000.0, 510_000.0, -1_000_000.0)
    np.testing.assert_allclose(read(path, ReadOptions(bounds=bounds))["x"], 501_000 + 2000 * np.arange(5))


def test_odim_h5_images_of_different_sizes_raise(make):
    whats = [{**RATE, **INTERVAL, "starttime": moment, "endtime": moment} for moment in ("120000", "120500")]
    with pytest.raises(InputError, match=r"dataset2/data1: expected \(3, 5\) pixels, found \(2, 5\)"):
        read(make(whats, [CODES, CODES[:2]]))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("PVOL", "a polar volume"),
        ("SCAN", "a polar scan"),
        ("VP", "a vertical profile"),
        ("XSEC", "cross-section"),
    ],
)
def test_odim_h5_other_objects_are_refused_by_name(make, kind, words):
    path = make(root={"object": kind})
    with pytest.raises(InputError, match=rf"found {kind}, .*{words}; put it on a grid .*xradar and wradlib"):
        open_radar(path)


def test_odim_h5_polar_file_without_an_object_is_refused(make):
    path = make()
    with h5py.File(path, "r+") as file:
        del file["what"].attrs["object"]
        odim.attach(file["dataset1"].create_group("where"), {"nbins": 240, "nrays": 360, "elangle": 0.5})
    with pytest.raises(InputError, match="found SCAN, a polar scan"):
        open_radar(path)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"gain": 0.0}, "gain: expected a factor other than 0"),
        ({"gain": "much"}, "expected a number in gain, found 'much'"),
        ({"quantity": "CLASS"}, "expected an image of RATE, .*found CLASS"),
        (
            {**INTERVAL, "endtime": "250000"},
            "enddate: expected YYYYmmdd and HHMMSS, found '20240601' and '25",
        ),
        ({**INTERVAL, "enddate": "20240231"}, "enddate: expected YYYYmmdd"),
        ({**INTERVAL, "enddate": "20230601"}, "time: expected an end after the start"),
        (
            {**INTERVAL, "startdate": "20240501", "enddate": "20240501"},
            "nominal time .* near the end of the data",
        ),
    ],
)
def test_odim_h5_faulty_file_raises_and_names_the_fault(make, what, reason):
    with pytest.raises(InputError, match=reason):
        read(make([{**RATE, **what}]))


@pytest.mark.parametrize(
    "values", [np.ones((3, 5, 2), np.uint8), np.ones(5, np.uint8), np.ones((3, 5), "S3")]
)
def test_odim_h5_data_of_another_shape_or_type_raise(make, values):
    path = make()
    with h5py.File(path, "r+") as file:
        del file["dataset1/data1/data"]
        file["dataset1/data1/data"] = values
    with pytest.raises(InputError, match=r"expected|xsize"):
        read(path)


def test_odim_h5_data_in_another_file_are_refused(make, tmp_path):
    other = make().rename(tmp_path / "other.h5")
    path = make()
    with h5py.File(path, "r+") as file:
        del file["dataset1/data1/data"]
        file["dataset1/data1/data"] = h5py.ExternalLink(other.name, "/dataset1/data1/data")
    with pytest.raises(InputError, match="dataset1/data1/data: expected data in the file, found a link"):
        open_radar(path)
    with h5py.File(path, "r+") as file:
        del file["dataset1/data1/data"]
        layout = h5py.VirtualLayout((3, 5), np.uint8)
        layout[:] = h5py.VirtualSource(str(other), "dataset1/data1/data", (3, 5))
        file.create_virtual_dataset("dataset1/data1/data", layout)
    with pytest.raises(InputError, match="expected data in the file, found data in another file"):
        open_radar(path)
    with h5py.File(path, "r+") as file:
        del file["dataset1/data1/data"]
        file["dataset1/data1"].create_dataset("data", (3, 5), np.uint8, external=str(other))
    with pytest.raises(InputError, match="expected data in the file, found data in another file"):
        open_radar(path)


def test_odim_h5_impossible_size_raises(make):
    path = make()
    with h5py.File(path, "r+") as file:
        del file["dataset1/data1/data"]
        file["dataset1/data1"].create_dataset("data", (10**6, 10**6), "u1", chunks=(64, 64))
    with pytest.raises(InputError, match="expected a size that a radar file can have"):
        open_radar(path)


NODATA, UNDETECT = -9999000.0, -8888000.0


def test_odim_h5_real_opera_rates_agree_with_h5py(radar_data):
    paths = sorted(radar_data.glob("opera_odim20_rate_20180824/*.hdf"))
    for path in paths[:: len(paths) // 3]:
        ds = read(path)
        with h5py.File(path) as file:
            raw = file["dataset1/data1/data"][()]
            corners = dict(file["where"].attrs)
        found = ds["rainfall_rate"].values[0]
        stamp = path.stem.rsplit("_", 1)[1]
        assert str(ds["time"].values[0])[:19].translate({45: None, 58: None, 84: None}) == stamp
        np.testing.assert_array_equal(np.isnan(found), raw == NODATA)
        np.testing.assert_array_equal(found == 0, (raw == UNDETECT) | (raw == 0))
        assert np.nanmax(found) == np.float32(raw.max())
        for row, column in np.argwhere(raw > 1)[::5000]:
            assert found[row, column] == np.float32(raw[row, column])
        check_corners(ds, corners, 2000)


def test_odim_h5_real_cirrus_reflectivity_agrees_with_h5py(radar_data):
    path = min(radar_data.glob("opera_odim24_dbzh_20241126/*.hdf"))
    ds = read(path, ReadOptions(zr=(200.0, 1.6)))
    with h5py.File(path) as file:
        raw = file["dataset1/data1/data"][()]
        corners = dict(file["where"].attrs)
    # The scans began at 00:50:01.
    assert ds["time"].values == [time("2024-11-26T01:00")]
    found = ds["rainfall_rate"].values[0]
    np.testing.assert_array_equal(np.isnan(found), raw == NODATA)
    np.testing.assert_array_equal(found == 0, raw == UNDETECT)
    assert 0.49 < np.isnan(found).mean() < 0.492
    for row, column in [*np.argwhere(raw > 0)[::50000], np.unravel_index(raw.argmax(), raw.shape)]:
        expected = (10 ** (raw[row, column] / 10) / 200) ** (1 / 1.6)
        assert found[row, column] == pytest.approx(expected, rel=1e-6)
    check_corners(ds, corners, 1000)


def check_corners(ds, corners, scale):
    projection = pyproj.Proj(corners["projdef"].decode())
    x, y = ds["x"].values, ds["y"].values
    west, east, south, north = x[0] - scale / 2, x[-1] + scale / 2, y[-1] - scale / 2, y[0] + scale / 2
    for name, place in (
        ("LL", (west, south)),
        ("UL", (west, north)),
        ("UR", (east, north)),
        ("LR", (east, south)),
    ):
        # The corners of the file are off by a millimetre, and one of them by a decimetre: 1e-6°.
        expected = corners[f"{name}_lon"], corners[f"{name}_lat"]
        assert projection(*place, inverse=True) == pytest.approx(expected, abs=1e-6)


def test_odim_h5_real_quality_touches_only_rain(radar_data):
    for folder, options in (
        ("opera_odim20_rate_20180824", {}),
        ("opera_odim24_dbzh_20241126", {"zr": (200.0, 1.6)}),
    ):
        path = min(radar_data.glob(f"{folder}/*.hdf"))
        whole, part = (
            read(path, ReadOptions(**options, min_quality=each))["rainfall_rate"].values[0]
            for each in (None, 0.5)
        )
        with h5py.File(path) as file:
            place = "dataset2/data1" if "dataset2" in file else "dataset1/data1/quality1"
            index = file[place]["data"][()]
        bad = (index >= 0) & (index < 0.5)
        assert bad.any()
        np.testing.assert_array_equal(part, np.where(bad, np.nan, whole))
        # Dry pixels have no quality, and stay dry.
        np.testing.assert_array_equal(part == 0, (whole == 0) & ~bad)


def test_odim_h5_real_rates_agree_with_pysteps(radar_data):
    importers = pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")
    path = min(radar_data.glob("opera_odim20_rate_20180824/*.hdf"))
    rates, _, metadata = importers.import_opera_hdf5(str(path), qty="RATE")
    ds = read(path)
    np.testing.assert_array_equal(ds["rainfall_rate"].values[0], rates.astype(np.float32))
    x, y = ds["x"].values, ds["y"].values
    found = [x[0] - 1000, x[-1] + 1000, y[-1] - 1000, y[0] + 1000]
    # pysteps takes the outermost of the four corners, which are rounded.
    np.testing.assert_allclose(found, [metadata[name] for name in ("x1", "x2", "y1", "y2")], atol=0.2)


def test_odim_h5_pysteps_loses_the_worst_quality_of_real_cirrus(radar_data):
    importers = pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")
    path = min(radar_data.glob("opera_odim24_dbzh_20241126/*.hdf"))
    dbz, index, metadata = importers.import_opera_hdf5(str(path), qty="DBZH")
    with h5py.File(path) as file:
        worst = file["dataset1/data1/quality1/data"][()] == 0
    assert worst.mean() > 0.1
    assert np.isnan(index[worst]).all()  # the file does not say that 0 is a code
    assert metadata["accutime"] == 15  # of five-minute files
    rates = read(path, ReadOptions(zr=(200.0, 1.6), min_quality=0.1))["rainfall_rate"].values[0]
    assert np.isnan(rates[worst]).all()
    # Elsewhere, the two agree; pysteps gives -30 dBZ to dry pixels.
    known = (rates > 0) & (dbz > -30)
    np.testing.assert_allclose(rates[known], (10 ** (dbz[known] / 10) / 200) ** (1 / 1.6), rtol=1e-6)


def test_odim_h5_pysteps_loses_the_period_and_the_dry_pixels(make):
    importers = pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")
    path = make([{**ACRR, "offset": 0.5}], [np.array([[65535, 65534, 0], [25, 100, 1000]], np.uint16)])
    amounts, _, metadata = importers.import_odim_hdf5(str(path), qty="ACRR")
    assert metadata["accutime"] == 15  # whatever the file says: here 5 minutes
    assert amounts[0, 1] == 0.5  # undetect becomes the offset
    ds = read(path)
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 5
    assert float(ds["rainfall_rate"][0, 0, 1]) == 0


def test_odim_h5_dwd_forecast_agrees_with_pysteps(make):
    importers = pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")
    what = {**ACRR, "starttime": "121000", "endtime": "121500", "product": "RV"}
    path = make([what], [np.arange(15, dtype=np.uint16).reshape(3, 5)])
    with h5py.File(path, "r+") as file:
        odim.attach(file["dataset1"].create_group("what"), what)
    amounts, _, metadata = importers.import_dwd_hdf5(str(path), qty="ACRR")
    ds = read(path)
    assert metadata["accutime"] == ds["rainfall_rate"].attrs["accumulation_minutes"] == 5
    np.testing.assert_allclose(ds["rainfall_rate"].values[0], amounts * 12, rtol=1e-6)
    # The file is of 12:00, when the forecast was made.
    assert ds["time"].values == [time("2024-06-01T12:15")]
