import importlib.util
import struct
from pathlib import Path

import numpy as np
import pyproj
import pytest

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import find, nimrod, open_radar
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)
_spec = importlib.util.spec_from_file_location(
    "nimrod_sample", Path(__file__).parent / "samples" / "nimrod.py"
)
sample = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sample)

CODES = np.array([[0, 1, 32], [-1, 48, 3200]], np.int16)
RATES = [[0, 1 / 32, 1], [np.nan, 1.5, 100]]


@pytest.fixture
def write(tmp_path):
    def write_fields(*fields):
        path = tmp_path / "metoffice-c-band-rain-radar_uk_201603260005_1km-composite.dat"
        path.write_bytes(b"".join(fields))
        return path

    return write_fields


def rates(path, options=None):
    ds = nimrod.read(Source(path), options or ReadOptions(), ALL)
    schema.check(ds)
    return ds, ds["rainfall_rate"].values


def test_nimrod_rate_in_thirty_seconds_of_a_millimetre_is_read(write):
    path = write(sample.field(CODES))
    assert find(Source(path)) is nimrod
    ds, found = rates(path)
    np.testing.assert_allclose(found[0], RATES, rtol=1e-7)
    assert ds["time"].values == [np.datetime64("2016-03-26T00:05")]
    np.testing.assert_array_equal(ds["x"], [-404_500, -403_500, -402_500])
    np.testing.assert_array_equal(ds["y"], [1_549_500, 1_548_500])
    assert ds["rainfall_rate"].attrs["cell_methods"] == "time: point"
    assert ds.attrs["title"] == "Rainfall rate Composite"


@pytest.mark.parametrize(
    ("origin", "turned", "place"),
    [
        (1, CODES[::-1], {"north": 1_548_500.0}),
        (2, CODES[:, ::-1], {"west": -402_500.0}),
        (3, CODES[::-1, ::-1], {"north": 1_548_500.0, "west": -402_500.0}),
    ],
)
def test_nimrod_first_pixel_at_any_corner_gives_the_same_field(write, origin, turned, place):
    ds, found = rates(write(sample.field(turned, origin=origin, **place)))
    np.testing.assert_allclose(found[0], RATES, rtol=1e-7)
    np.testing.assert_array_equal(ds["x"], [-404_500, -403_500, -402_500])
    np.testing.assert_array_equal(ds["y"], [1_549_500, 1_548_500])


def test_nimrod_little_endian_file_gives_the_same_field(write):
    big = sample.field(CODES)
    header = big[4:516]
    parts = [np.frombuffer(header[a:b], f">{kind}") for a, b, kind in ((0, 62, "i2"), (62, 354, "f4"))]
    numbers = b"".join(part.astype(part.dtype.newbyteorder("<")).tobytes() for part in parts)
    values = CODES.astype("<i2").tobytes()
    marks = [struct.pack("<I", size) for size in (512, len(values))]
    path = write(marks[0] + numbers + header[354:] + marks[0], marks[1] + values + marks[1])
    assert find(Source(path)) is nimrod
    ds, found = rates(path)
    np.testing.assert_allclose(found[0], RATES, rtol=1e-7)
    assert ds["time"].values == [np.datetime64("2016-03-26T00:05")]


def test_nimrod_national_grid_is_that_of_the_ordnance_survey(write):
    # The worked example of the Ordnance Survey's guide to coordinate systems, on Airy's ellipsoid:
    # 651409.903 E, 313177.270 N is 52°39'27.2531" N, 1°43'4.5177" E.
    path = write(sample.field(CODES, north=313_177.270, west=651_409.903, latitude=49, longitude=-2))
    ds, _ = rates(path)
    expected = 52 + 39 / 60 + 27.2531 / 3600, 1 + 43 / 60 + 4.5177 / 3600
    # float32 resolves 4e-6° of latitude, and 0.03 m of the origin.
    np.testing.assert_allclose((ds["lat"].values[0, 0], ds["lon"].values[0, 0]), expected, atol=5e-6)


def test_nimrod_negative_number_is_not_observed(write):
    _, found = rates(write(sample.field(np.array([[-2, -32767], [0, 64]], np.int16))))
    np.testing.assert_array_equal(found[0], [[np.nan, np.nan], [0, 2]])


def test_nimrod_data_as_old_as_a_scan_is_an_observation(write):
    path = write(sample.field(CODES, data=(2016, 3, 26, 0, 0)))
    assert nimrod.times(Source(path), ReadOptions()) == [np.datetime64("2016-03-26T00:05")]


def test_nimrod_amount_is_divided_by_its_period(write):
    changes = {"minutes": 15, "data": (2016, 3, 25, 23, 50)}
    ds, found = rates(write(sample.field(CODES, units=b"mm*32", title=b"Accumulation", **changes)))
    np.testing.assert_allclose(found[0], np.multiply(RATES, 4), rtol=1e-7)
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 15


def test_nimrod_reflectivity_needs_a_relation(write):
    values = np.array([[23.0, -10.0], [-32767.0, 40.0]], np.float32)
    path = write(sample.field(values, units=b"dBZ", kind=0, missing_real=-32767))
    with pytest.raises(InputError, match="give them with --zr"):
        rates(path)
    _, found = rates(path, ReadOptions(zr=(200.0, 1.6)))
    expected = (10 ** (np.where(values == -32767, np.nan, values) / 10) / 200) ** (1 / 1.6)
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["i4", "f4"])
def test_nimrod_numbers_of_four_bytes_are_read(write, kind):
    _, found = rates(write(sample.field(CODES.astype(kind), kind=int(kind == "i4"))))
    np.testing.assert_allclose(found[0], RATES, rtol=1e-7)


def test_nimrod_fields_are_sorted_and_others_ignored(write):
    later = sample.field(CODES + 32, valid=(2016, 3, 26, 0, 10, 0), data=(2016, 3, 26, 0, 10))
    others = [sample.field(CODES, units=units) for units in (b"m", b"K", b"%")]
    path = write(later, *others, sample.field(CODES))
    ds, found = rates(path)
    assert list(ds["time"].values.astype("M8[m]").astype(str)) == ["2016-03-26T00:05", "2016-03-26T00:10"]
    np.testing.assert_allclose(found[:, 1, 1], [1.5, 2.5])
    np.testing.assert_array_equal(nimrod.times(Source(path), ReadOptions()), ds["time"].values)


def test_nimrod_european_grid_has_its_projection_in_the_header(write):
    origin = {"latitude": 55, "longitude": 10, "easting": 0, "northing": 0, "scale": 1}
    place = {"west": -1_000_000, "north": 500_000, "dx": 5000, "dy": 5000}
    path = write(sample.field(CODES, grid=4, ellipsoid=1, **origin, **place))
    ds, _ = rates(path)
    # The meridian's arc from 55° N on the ellipsoid of Hayford, by the geodesic.
    x, y = pyproj.Proj(pyproj.CRS.from_wkt(ds["crs"].attrs["crs_wkt"]))(10, 59)
    distance = pyproj.Geod(ellps="intl").inv(10, 55, 10, 59)[2]
    np.testing.assert_allclose((x, y), (0, distance), atol=1e-3)
    assert (ds["x"].values[1], ds["y"].values[1]) == (-995_000, 495_000)


def test_nimrod_grid_in_degrees_is_read(write):
    path = write(sample.field(CODES, grid=1, ellipsoid=0, west=-10, north=60, dx=0.01, dy=0.02))
    ds, _ = rates(path)
    np.testing.assert_allclose(ds["x"], [-10, -9.99, -9.98])
    np.testing.assert_allclose(ds["y"], [60, 59.98])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (sample.field(CODES, units=b"K", title=b"Temperature"), r"found Temperature \(K\)"),
        (sample.field(CODES, units=b"mm/h*0"), "a divisor above 0"),
        (sample.field(CODES, valid=(2016, 2, 30, 0, 0, 0)), "a date that exists, found 2016-2-30"),
        (sample.field(CODES, valid=(2016, 3, 26, 1, 5, 0)), "a forecast 60 minutes ahead"),
        (sample.field(CODES, units=b"mm"), "period: expected the minutes of an amount"),
        (sample.field(CODES, origin=4), "origin: expected a corner"),
        (sample.field(CODES, grid=3), "found grid 3"),
        (sample.field(CODES, grid=4, ellipsoid=1), "expected the true origin"),
        (sample.field(CODES, longitude=10), "longitude: expected -2 of the National Grid, found 10"),
        (sample.field(CODES, rows=3), "expected 3 × 3 numbers of 2 bytes, found 12"),
        (sample.field(CODES, rows=-2), "expected at least 2 × 2 pixels"),
        (sample.field(CODES, kind=2), "found kind 2"),
        (sample.field(CODES, offset=5), "expected no offset, found 5"),
        (sample.field(CODES)[:-4] + struct.pack(">I", 13), "between equal marks"),
        (sample.field(CODES) + b"\0", "between equal marks"),
        (sample.field(CODES) * 2, "expected one field per time"),
    ],
)
def test_nimrod_file_that_cannot_be_used_raises(write, content, reason):
    with pytest.raises(InputError, match=reason):
        open_radar(write(content)).read(ReadOptions(), ALL)
