import gzip
import importlib.util
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyproj
import pytest

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import eccodes_process, find, grib2, grib2_grid, grib2_sections, open_radar
from stormcell.data.readers.source import Source
from stormcell.errors import InputError, MissingExtraError

ALL = slice(None)
_spec = importlib.util.spec_from_file_location("grib2_sample", Path(__file__).parent / "samples" / "grib2.py")
sample = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sample)

needs_eccodes = pytest.mark.skipif(
    importlib.util.find_spec("eccodes") is None, reason="eccodes is not installed"
)
# ecCodes is asked in a process of its own: its wheel breaks pyproj in the process that imports it.
ECCODES = """
import json, sys
import eccodes as e
import numpy as np

handle = e.codes_new_from_message(open(sys.argv[1], "rb").read())
keys = {key: e.codes_get(handle, key) for key in ("dataDate", "dataTime", "Ni", "Nj", *sys.argv[3:])}
e.codes_set(handle, "missingValue", -9e33)
values = e.codes_get_double_array(handle, "values")
places = {}
if e.codes_get(handle, "numberOfPoints") < 100_000:
    places = {name: e.codes_get_double_array(handle, name) for name in ("latitudes", "longitudes")}
np.savez(sys.argv[2], values=values, **places)
print(json.dumps(keys))
"""


def by_eccodes(path, tmp_path, *keys):
    """Return keys, and values and places of all points in the order of the message."""
    arguments = [str(path), str(tmp_path / "values.npz"), *keys]
    done = subprocess.run([sys.executable, "-c", ECCODES, *arguments], capture_output=True, check=True)
    with np.load(tmp_path / "values.npz") as arrays:
        return json.loads(done.stdout), dict(arrays)


@pytest.fixture
def write(tmp_path):
    def write_messages(*contents):
        path = tmp_path / "rain.grib2"
        path.write_bytes(b"".join(contents))
        return path

    return write_messages


def rates(path, options=None):
    ds = grib2.read(Source(path), options or ReadOptions(), ALL)
    schema.check(ds)
    return ds, ds["rainfall_rate"].values


FIELD = np.array([[-3.0, -1.0, 0.0, 0.1, 12.3], [5.0, 6.0, 7.0, 8.0, 150.0]])


def test_grib2_rate_of_mrms_has_its_codes_as_not_observed(write):
    path = write(sample.message(FIELD))
    assert find(Source(path)) is grib2
    ds, found = rates(path)
    expected = [[np.nan, np.nan, 0, 0.1, 12.3], [5, 6, 7, 8, 150]]
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    assert ds["time"].values == [np.datetime64("2019-06-10T00:06")]
    np.testing.assert_allclose(ds["x"], -129.995 + 0.01 * np.arange(5), atol=1e-9)
    np.testing.assert_allclose(ds["y"], [54.995, 54.985], atol=1e-9)
    assert ds.attrs["source"] == "Data: NOAA/NSSL MRMS."
    assert ds["rainfall_rate"].attrs["cell_methods"] == "time: point"
    crs = pyproj.CRS.from_wkt(ds["crs"].attrs["crs_wkt"])
    assert crs.name == "Latitude and longitude, a = 6378160.0, b = 6356775.0"


@pytest.mark.parametrize(
    ("parameter", "name", "hours"),
    [
        (2, "RadarOnly_QPE_01H", 1),
        (9, "GaugeCorr_QPE_01H", 1),
        (13, "GaugeCorr_QPE_24H", 24),
        (14, "GaugeCorr_QPE_48H", 48),
        (29, "MountainMapper_QPE_72H", 72),
        (30, "MultiSensor_QPE_01H_Pass1", 1),
        (39, "MultiSensor_QPE_06H_Pass2", 6),
        (45, "RadarOnly_QPE_15M", 0.25),
    ],
)
def test_grib2_sum_of_mrms_is_divided_by_its_period(write, parameter, name, hours):
    ds, found = rates(write(sample.message(FIELD, sections={4: sample.product(6, parameter)})))
    np.testing.assert_allclose(found[0, 1], FIELD[1] / hours, rtol=1e-6)
    assert np.isnan(found[0, 0, :2]).all()
    assert ds.attrs["title"] == f"MRMS {name}"
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 60 * hours
    assert ds["time"].values == [np.datetime64("2019-06-10T00:06")]


def test_grib2_reflectivity_of_mrms_is_converted_by_the_given_relation(write):
    values = np.array([[-999.0, -99.0, -10.0], [0.0, 23.0, 50.0]])
    numbers = np.rint(values * 10 + 10000).astype(np.uint16)
    sections = {
        4: sample.product(8, 8),
        5: sample.packing(41, 6, reference=-10000),
        7: sample.section(7, sample.png(numbers)),
    }
    path = write(sample.message(values, sections=sections))
    with pytest.raises(InputError, match="give them with --zr"):
        rates(path)
    _, found = rates(path, ReadOptions(zr=(300.0, 1.4)))
    expected = (10 ** (values / 10) / 300) ** (1 / 1.4)
    expected[0, :2] = np.nan
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


@pytest.mark.parametrize("scanning", range(0, 0x100, 0x10))
def test_grib2_scanning_mode_gives_the_same_field(write, scanning):
    rows, columns = 3, 4
    field = np.arange(12.0).reshape(rows, columns)  # row 0 the northernmost
    west_to_east, from_north = not scanning & 0x80, not scanning & 0x40
    by_columns, alternating = scanning & 0x20, scanning & 0x10
    order = []
    for line in range(columns if by_columns else rows):
        places = list(range(rows if by_columns else columns))
        if alternating and line % 2:
            places.reverse()
        order += [(place, line) if by_columns else (line, place) for place in places]
    values = [
        field[row if from_north else rows - 1 - row, column if west_to_east else columns - 1 - column]
        for row, column in order
    ]
    content = sample.message(
        np.array(values).reshape(rows, columns),
        sections={3: sample.lat_lon(rows, columns, scanning=scanning)},
    )
    ds, found = rates(write(content))
    np.testing.assert_allclose(found[0], field, rtol=1e-6)
    assert (ds["x"].values[0], ds["y"].values[0]) == pytest.approx((-129.995, 54.995))


@pytest.mark.parametrize("parameter", [(15, 1), (16, 4), (16, 5)])
def test_grib2_reflectivity_of_other_centres_is_converted(write, parameter):
    numbers = np.array([[0, 10], [23, 50]], np.uint16)
    sections = {
        4: sample.product(*parameter),
        5: sample.packing(41, 4, reference=0, decimal=0),
        7: sample.section(7, sample.png(numbers)),
    }
    path = write(sample.message(np.zeros((2, 2)), sections=sections, discipline=0, centre=78))
    _, found = rates(path, ReadOptions(zr=(200.0, 1.6)))
    np.testing.assert_allclose(found[0], (10 ** (numbers / 10) / 200) ** (1 / 1.6), rtol=1e-6)


def test_grib2_reflectivity_that_is_a_code_is_refused(write):
    sections = {
        4: sample.product(15, 1),
        5: sample.packing(41, 4, reference=-9999, decimal=0),
        7: sample.section(7, sample.png(np.array([[0, 10_000], [10_022, 10_050]], np.uint16))),
    }
    path = write(sample.message(np.zeros((2, 2)), sections=sections, discipline=0, centre=78))
    with pytest.raises(InputError, match=r"found -inf to .* is one of them a code"):
        rates(path, ReadOptions(zr=(200.0, 1.6)))


def test_grib2_messages_are_sorted_and_others_ignored(write):
    later, earlier = (sample.message(FIELD + minute, time=f"2019-06-10T00:0{minute}:00") for minute in (8, 6))
    other = sample.message(FIELD, sections={4: sample.product(6, 0)})
    path = write(b"\x01\r\r\n123 \r\r\nTTAA00 KWBN 100006\r\r\n", later, other, b"\0\0\0", earlier)
    assert find(Source(path)) is grib2
    ds, found = rates(path)
    assert list(ds["time"].values.astype("M8[m]").astype(str)) == ["2019-06-10T00:06", "2019-06-10T00:08"]
    np.testing.assert_allclose(found[:, 1, 4], [156, 158])
    last = grib2.read(Source(path), ReadOptions(), slice(1, 2))["rainfall_rate"].values
    np.testing.assert_array_equal(last[0], found[1])


def test_grib2_two_products_need_a_choice(write):
    rate, amount = (sample.message(FIELD, sections={4: sample.product(6, number)}) for number in (1, 2))
    path = write(rate, amount)
    with pytest.raises(InputError, match="found PrecipRate, RadarOnly_QPE_01H; choose one with --variable"):
        rates(path)
    ds, _ = rates(path, ReadOptions(variable="RadarOnly_QPE_01H"))
    assert ds["rainfall_rate"].attrs["source_quantity"] == "amount"
    with pytest.raises(InputError, match="variable: expected one of"):
        rates(path, ReadOptions(variable="rain"))


def wmo(values, four, **changes):
    return sample.message(values, sections={4: four}, discipline=0, centre=78, **changes)


def test_grib2_amount_over_an_interval_becomes_a_rate_at_its_end(write):
    four = sample.product(1, 8, interval=("2019-06-10T00:21:00", 15, 1))
    ds, found = rates(write(wmo(np.abs(FIELD), four)))
    np.testing.assert_allclose(found[0], np.abs(FIELD) * 4, rtol=1e-6)
    assert ds["time"].values == [np.datetime64("2019-06-10T00:21")]
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 15


@pytest.mark.parametrize(("parameter", "name"), [(52, "tp"), (65, "tirf")])
def test_grib2_rate_summed_over_an_interval_is_an_amount(write, parameter, name):
    # ICON and ecCodes write total precipitation as the accumulation of its rate.
    four = sample.product(1, parameter, interval=("2019-06-10T00:11:00", 5, 1))
    ds, found = rates(write(wmo(np.abs(FIELD), four)))
    np.testing.assert_allclose(found[0], np.abs(FIELD) * 12, rtol=1e-6)
    assert ds["time"].values == [np.datetime64("2019-06-10T00:11")]
    assert ds["rainfall_rate"].attrs["source_quantity"] == "amount"
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 5
    assert ds.attrs["title"].startswith(name)


@pytest.mark.parametrize(
    ("interval", "method"), [(None, "time: point"), (("2019-06-10T00:21:00", 15, 0), "time: mean")]
)
def test_grib2_rate_in_kilograms_and_seconds_is_converted(write, interval, method):
    ds, found = rates(write(wmo(np.abs(FIELD), sample.product(1, 7, interval=interval))))
    np.testing.assert_allclose(found[0], np.abs(FIELD) * 3600, rtol=1e-6)
    assert ds["rainfall_rate"].attrs["cell_methods"] == method


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (wmo(FIELD, sample.product(0, 0)), "found discipline 0, category 0, parameter 0"),
        (sample.message(FIELD, sections={4: sample.product(6, 46)}), "category 6, parameter 46"),
        (sample.message(FIELD, centre=7), "found discipline 209, category 6, parameter 1"),
        (wmo(FIELD, sample.product(1, 7, ahead=60)), "found a forecast for 3600 seconds later"),
        (wmo(FIELD, sample.product(1, 7, process=2)), "found a forecast or other kind"),
        (wmo(FIELD, sample.product(1, 7), kind=1), "found a forecast or other kind"),
        (wmo(FIELD, sample.product(1, 8)), "tp: expected an interval, found an amount at an instant"),
        (wmo(FIELD, sample.product(1, 8, interval=("2019-06-10T00:21:00", 10, 1))), "expected an interval"),
        (wmo(FIELD, sample.product(1, 8, interval=("2019-06-10T00:21:00", 15, 2))), "statistical process 2"),
        (wmo(FIELD, sample.product(1, 7)), "found -10800 to .* is one of them a code"),
        (sample.message(FIELD) * 2, "expected one frame per time, found two"),
        (sample.message(FIELD, time="2019-06-31T00:00:00"), "time: expected a date that exists"),
        (sample.message(FIELD)[:-1], "ends with 7777"),
        (sample.message(FIELD)[:7] + b"\x01" + sample.message(FIELD)[8:], "edition 2, found edition 1"),
    ],
)
def test_grib2_message_that_cannot_be_used_raises(write, content, reason):
    options = ReadOptions(zr=(200.0, 1.6))
    with pytest.raises(InputError, match=reason):
        open_radar(write(content)).read(options, ALL)


def grid_of_absurd_size():
    grid = bytearray(sample.lat_lon(2, 5))
    grid[6:10] = struct.pack(">I", 5 * 2**28)
    grid[34:38] = struct.pack(">I", 2**28)
    return bytes(grid)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({3: sample.lat_lon(2, 5, points=11)}, "expected 2 rows of 5 points, found 11"),
        ({3: grid_of_absurd_size()}, "expected at most 134217728 points"),
        ({3: sample.lat_lon(2, 5, dx=11_000)}, "expected an increment of 0.01°, found 0.011°"),
        ({3: sample.lat_lon(2, 5, scanning=0x08)}, "scanning mode: expected rows without offsets"),
        ({3: sample.lat_lon(2, 5, shape=77)}, "shape of the earth"),
        ({3: sample.projected(101, bytes(30), 2, 5)}, "found template 3.101"),
        ({5: sample.packing(41, 11)}, "section 5: expected 10 values, found 11"),
        ({5: sample.packing(0, 10)}, ""),
        ({5: sample.packing(0, 10, bits=63)}, "at most 32 bits"),
        ({5: sample.packing(200, 10)}, "found template 5.200"),
        ({5: sample.packing(41, 10, decimal=-3000)}, "expected a scale of rain"),
        ({6: sample.section(6, b"\0\xff")}, "expected a bitmap of 10 points"),
        ({6: sample.section(6, b"\0\xf0\0")}, "section 5: expected 4 values, found 10"),
        ({7: sample.section(7, sample.png(np.zeros((3, 5), np.uint16)))}, "expected 10 points of 16 bits"),
        ({7: sample.section(7, sample.png(np.zeros((2, 5), np.uint8)))}, "found 5 × 2 of 8"),
        ({7: sample.section(7, b"nothing")}, "expected a PNG image"),
        ({5: sample.packing(0, 10, bits=16), 7: sample.section(7, bytes(19))}, "expected 20 octets"),
        ({8: sample.section(8, b"")}, "found section 8"),
        ({8: sample.product(6, 1)}, "expected one field in a message, found section 4 after 7"),
    ],
)
def test_grib2_size_that_contradicts_others_raises(write, sections, reason):
    content = sample.message(np.abs(FIELD), sections=sections)
    if not reason:  # any number of octets after the values is allowed
        assert open_radar(write(content)).read(ReadOptions(), ALL).sizes["time"] == 1
        return
    with pytest.raises(InputError, match=reason):
        open_radar(write(content)).read(ReadOptions(), ALL)


def test_grib2_constant_field_of_absurd_size_raises(write):
    rows, columns = 4_000, 10_000
    sections = {
        3: sample.lat_lon(rows, columns),
        5: sample.packing(0, rows * columns, bits=0),
        7: sample.section(7, b""),
    }
    content = sample.message(FIELD, sections=sections)
    with pytest.raises(InputError, match="expected at most 33554432 equal values, found 40000000"):
        open_radar(write(content)).read(ReadOptions(), ALL)


def test_grib2_damaged_png_raises(write):
    content = bytearray(sample.message(FIELD))
    at = content.index(b"IDAT") + 10
    content[at] ^= 4
    with pytest.raises(InputError, match="PNG: expected a complete image with right checksums"):
        rates(write(content))


def test_grib2_bitmap_marks_missing_points(write):
    numbers = np.array([[40, 50, 60]], np.uint16)  # 1, 2 and 3 mm/h
    sections = {
        5: sample.packing(41, 3),
        6: sample.section(6, b"\0" + bytes([0b01001000, 0b01000000])),
        7: sample.section(7, sample.png(numbers)),
    }
    _, found = rates(write(sample.message(FIELD, sections=sections)))
    expected = np.full((2, 5), np.nan)
    expected.flat[[1, 4, 9]] = 1, 2, 3
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


PACKINGS = [
    ("grid_simple", 8),
    ("grid_simple", 13),
    ("grid_simple", 16),
    ("grid_png", 16),
    ("grid_jpeg", 16),
    ("grid_ccsds", 16),
    ("grid_ieee", 32),
    ("grid_complex", 16),
    ("grid_complex_spatial_differencing", 16),
]
# Writes a message of every packing, with and without a bitmap, and the values that ecCodes decodes.
PACK = """
import json, sys
import eccodes as e
import numpy as np

keys = dict(Ni=40, Nj=30, discipline=0, parameterCategory=1, parameterNumber=7, decimalScaleFactor=1,
            typeOfGeneratingProcess=8, typeOfProcessedData=7,
            latitudeOfFirstGridPointInDegrees=55, longitudeOfFirstGridPointInDegrees=5,
            latitudeOfLastGridPointInDegrees=52.1, longitudeOfLastGridPointInDegrees=8.9,
            iDirectionIncrementInDegrees=.1, jDirectionIncrementInDegrees=.1)
for packing, bits in json.loads(sys.argv[2]):
    for bitmap in (0, 1):
        values = np.random.default_rng(0).gamma(1, 2, 1200).round(1)
        handle = e.codes_grib_new_from_samples("regular_ll_sfc_grib2")
        for key, value in keys.items():
            e.codes_set(handle, key, value)
        e.codes_set(handle, "bitsPerValue", bits)
        if bitmap:
            e.codes_set(handle, "bitmapPresent", 1)
            e.codes_set(handle, "missingValue", 9999)
            values[::7] = 9999
        e.codes_set_values(handle, values)
        e.codes_set(handle, "packingType", packing)
        message = e.codes_get_message(handle)
        with open(f"{sys.argv[1]}/{packing}-{bits}-{bitmap}.grib2", "wb") as file:
            file.write(message)
        handle = e.codes_new_from_message(message)
        assert e.codes_get(handle, "packingType") == packing
        e.codes_set(handle, "missingValue", -9e33)
        np.save(f"{sys.argv[1]}/{packing}-{bits}-{bitmap}.npy", e.codes_get_double_array(handle, "values"))
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    arguments = [str(folder), json.dumps(PACKINGS)]
    subprocess.run([sys.executable, "-c", PACK, *arguments], check=True, capture_output=True)
    return folder


@needs_eccodes
@pytest.mark.parametrize("bitmap", [0, 1])
@pytest.mark.parametrize(("packing", "bits"), PACKINGS)
def test_grib2_packing_agrees_with_eccodes(packed, packing, bits, bitmap):
    name = f"{packing}-{bits}-{bitmap}"
    raw = np.load(packed / f"{name}.npy")
    expected = np.where(raw == -9e33, np.nan, raw)
    assert np.isnan(expected).sum() == (172 if bitmap else 0)
    _, found = rates(packed / f"{name}.grib2")
    # ecCodes decodes in float32, with a few roundings of the largest value and the reference.
    np.testing.assert_allclose(found[0].ravel(), expected * 3600, rtol=1e-6, atol=2e-3)


MICRO = 1_000_000
GRIDS = {
    "polar_stereographic": sample.projected(
        20,
        sample.signed(45 * MICRO) + sample.signed(5 * MICRO) + b"\x30" + sample.signed(60 * MICRO)
        + sample.signed(10 * MICRO) + struct.pack(">II", 2_000_000, 1_000_000) + b"\0\x40",
    ),
    "lambert": sample.projected(
        30,
        sample.signed(25 * MICRO) + sample.signed(255 * MICRO) + b"\x30" + sample.signed(38_500_000)
        + sample.signed(262_500_000) + struct.pack(">II", 3_000_000, 3_000_000) + b"\0\x40"
        + sample.signed(38_500_000) + sample.signed(38_500_000) + sample.signed(-90 * MICRO) + bytes(4),
    ),
    "mercator": sample.projected(
        10,
        sample.signed(16_828_685) + sample.signed(291_804_687) + b"\x30" + sample.signed(20 * MICRO)
        + sample.signed(16_896_090) + sample.signed(291_898_361) + b"\x40" + bytes(4)
        + struct.pack(">II", 2_500_000, 2_500_000),
    ),
    "lambert_azimuthal_equal_area": sample.projected(
        140,
        sample.signed(56 * MICRO) + sample.signed(350 * MICRO) + sample.signed(52 * MICRO)
        + sample.signed(10 * MICRO) + b"\x30" + struct.pack(">II", 5_000_000, 5_000_000) + b"\0",
    ),
}  # fmt: skip


@needs_eccodes
@pytest.mark.parametrize("name", GRIDS)
def test_grib2_projected_grid_agrees_with_eccodes(write, tmp_path, name):
    path = write(sample.message(np.ones((4, 5)), sections={3: GRIDS[name]}))
    keys, arrays = by_eccodes(path, tmp_path, "gridType")
    assert keys["gridType"] == name
    ds, _ = rates(path)
    [message] = grib2_sections.messages(path.read_bytes())
    _, layout = grib2_grid.grid_of(message.sections[3])
    assert layout.columns == 5
    # float32 resolves 8e-6 degrees at 100°.
    np.testing.assert_allclose(ds["lat"], layout.arrange(arrays["latitudes"]), atol=2e-5)
    difference = ds["lon"].values - layout.arrange(arrays["longitudes"])
    np.testing.assert_allclose((difference + 180) % 360 - 180, 0, atol=4e-5)


def test_grib2_without_eccodes_names_the_extra(write, monkeypatch):
    sections = {5: sample.packing(0, 10, bits=12), 7: sample.section(7, bytes(15))}
    path = write(sample.message(np.abs(FIELD), sections=sections))
    monkeypatch.setattr(eccodes_process, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"install stormcell\[grib\]"):
        rates(path)
    # MRMS does not need it.
    assert rates(write(sample.message(FIELD)))[1].shape == (1, 2, 5)


BESIDE = """
import sys
{imports}
from pathlib import Path
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import open_radar

handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
eccodes.codes_get_double_array(handle, "values")
eccodes.codes_release(handle)
ds = open_radar(Path(sys.argv[1])).read(ReadOptions(), slice(None))
print(float(ds["lat"].values[0, 0]))
import rasterio
print(rasterio.crs.CRS.from_epsg(3067).to_epsg())
"""


@needs_eccodes
@pytest.mark.parametrize("imports", ["import eccodes", "import stormcell.data.grid, eccodes"])
def test_grib2_projections_work_in_a_process_with_eccodes(write, imports):
    path = write(sample.message(np.ones((4, 5)), sections={3: GRIDS["lambert"]}))
    code = BESIDE.format(imports=imports)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    latitude, code = done.stdout.split()
    assert float(latitude) == pytest.approx(float(rates(path)[0]["lat"].values[0, 0]))
    assert code == "3067"


@needs_eccodes
@pytest.mark.parametrize("program", ["import os; os.abort()", "import time; time.sleep(60)"])
def test_grib2_eccodes_that_ends_or_hangs_is_an_input_error(write, tmp_path, monkeypatch, program):
    sections = {5: sample.packing(0, 10, bits=12), 7: sample.section(7, bytes(15))}
    path = write(sample.message(np.abs(FIELD), sections=sections))
    eccodes_process._process.cache_clear()
    broken = tmp_path / "broken.py"
    broken.write_text(program)
    with monkeypatch.context() as patch:
        patch.setattr(eccodes_process, "_PROGRAM", broken)
        patch.setattr(eccodes_process, "SECONDS", 0.5)
        with pytest.raises(InputError, match="ecCodes ended or took too long"):
            rates(path)
    # All numbers are 0, and the values the reference: −3, not observed.
    assert np.isnan(rates(path)[1]).all()


@needs_eccodes
@pytest.mark.parametrize(
    ("folder", "hours", "parameter"),
    [("mrms_preciprate_2min_20190610", 1, 1), ("mrms_gaugecorr_qpe01h_20160920", 1, 9)],
)
def test_grib2_real_frames_agree_with_eccodes(radar_data, tmp_path, folder, hours, parameter):
    for path in sorted(radar_data.glob(f"{folder}/*"))[1:2]:
        names = ("parameterNumber", "longitudeOfFirstGridPointInDegrees", "latitudeOfLastGridPointInDegrees")
        keys, arrays = by_eccodes(path, tmp_path, *names)
        assert keys["parameterNumber"] == parameter
        ds, found = rates(path)
        digits = "".join(letter for letter in str(ds["time"].values[0])[:19] if letter.isdigit())
        # The file's name has the time too.
        assert digits == f"{keys['dataDate']}{keys['dataTime']:04}00" == path.stem[-15:].replace("-", "")
        raw = arrays["values"].reshape(keys["Nj"], keys["Ni"])
        assert set(np.unique(raw[raw < 0])) <= {-1.0, -3.0}
        expected = np.where(raw < 0, np.nan, raw / hours).astype(np.float32)
        np.testing.assert_array_equal(found[0], expected)
        assert 0.3 < np.isnan(found).mean() < 0.4
        x, y = ds["x"].values, ds["y"].values
        np.testing.assert_allclose((x[0] % 360, y[-1]), [keys[name] for name in names[1:]], atol=2e-6)
        np.testing.assert_allclose((x[-1], y[0]), (-60.005, 54.995), atol=1e-9)


def test_grib2_real_frame_shows_faults_of_pysteps(radar_data):
    pytest.importorskip("pygrib", reason="pysteps needs pygrib, which is not installed")
    importers = pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")
    path = sorted(radar_data.glob("mrms_gaugecorr_qpe01h_20160920/*"))[1]
    _, found = rates(path)
    theirs, _, metadata = importers.import_mrms_grib(str(path), window_size=1)
    np.testing.assert_allclose(found[0], np.ma.filled(theirs, np.nan), rtol=1e-6)
    # It gives the period of an hour as two minutes, and coarser pixels if nothing is said.
    assert metadata["accutime"] == 2.0
    assert importers.import_mrms_grib(str(path))[0].shape == (875, 1750)


def test_grib2_compressed_real_frame_is_read(radar_data, tmp_path):
    path = min(radar_data.glob("mrms_preciprate_2min_20190610/*"))
    packed = tmp_path / f"{path.name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    assert open_radar(packed).times == [np.datetime64("2019-06-10T00:00")]
