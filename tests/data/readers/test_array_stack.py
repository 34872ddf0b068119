import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import array_stack, open_radar
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)
VALUES = np.random.default_rng(0).gamma(1, 2, (3, 6, 5)).astype(np.float32)
TIMES = np.datetime64("2020-05-01T12:00", "s") + 300 * np.arange(3)
PLACE = {"x": 300_000.0 + 1000 * np.arange(5), "y": 7_000_000.0 - 1000 * np.arange(6), "crs": "EPSG:3067"}
OPTIONS = ReadOptions(
    units="mm/h",
    start="2020-05-01T12:00",
    step="5min",
    crs="EPSG:3067",
    bounds=(299_500.0, 6_994_500.0, 304_500.0, 7_000_500.0),
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Source]:
    """Write a .npz file of rates in mm/h; keywords add arrays, replace them, or take them out (None)."""

    def write(name: str = "rain.npz", **changes) -> Source:
        arrays = {"rate": VALUES, "time": TIMES, "units": "mm/h", **PLACE} | changes
        np.savez(tmp_path / name, **{key: value for key, value in arrays.items() if value is not None})
        return Source(tmp_path / name)

    return write


def rain(source: Source, options: ReadOptions = ReadOptions()) -> np.ndarray:  # noqa: B008
    return array_stack.read(source, options, ALL)["rainfall_rate"].values


def test_array_stack_file_that_describes_itself_is_read(write):
    ds = array_stack.read(write(), ReadOptions(), ALL)
    np.testing.assert_array_equal(ds["rainfall_rate"], VALUES)
    np.testing.assert_array_equal(ds["time"], TIMES)
    np.testing.assert_array_equal(ds["x"], PLACE["x"])
    np.testing.assert_array_equal(ds["y"], PLACE["y"])


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_array_stack_array_alone_is_described_by_options(tmp_path, suffix):
    path = tmp_path / f"rain{suffix}"
    with path.open("wb") as file:
        np.save(file, VALUES) if suffix == ".npy" else np.savez(file, VALUES)
    file = open_radar(path, OPTIONS)
    assert file.reader is array_stack
    np.testing.assert_array_equal(file.times, TIMES)
    ds = file.read(OPTIONS, slice(1, 3))
    np.testing.assert_array_equal(ds["rainfall_rate"], VALUES[1:])
    np.testing.assert_allclose(ds["x"], PLACE["x"])
    np.testing.assert_allclose(ds["y"], PLACE["y"])


def test_array_stack_one_frame_has_the_time_of_the_name(tmp_path):
    np.save(tmp_path / "rain_202005011205.npy", VALUES[0])
    options = ReadOptions(units="mm/h", crs=OPTIONS.crs, bounds=OPTIONS.bounds)
    ds = array_stack.read(Source(tmp_path / "rain_202005011205.npy"), options, ALL)
    np.testing.assert_array_equal(ds["rainfall_rate"], VALUES[:1])
    assert ds["time"].values == TIMES[1]


@pytest.mark.parametrize(
    "stored",
    [
        TIMES.astype("M8[ns]"),
        np.array(["2020-05-01T12:00Z", "2020-05-01T12:05Z", "2020-05-01T12:10Z"]),
        np.array([b"202005011200", b"202005011205", b"202005011210"]),
        np.array([datetime(2020, 5, 1, 12, 5 * k) for k in range(3)], object),
    ],
)
def test_array_stack_times_of_every_kind_are_read(write, stored):
    np.testing.assert_array_equal(array_stack.times(write(time=stored), ReadOptions()), TIMES)


def test_array_stack_rows_from_the_south_and_columns_from_the_east_are_turned(write):
    source = write(x=PLACE["x"][::-1], y=PLACE["y"][::-1])
    ds = array_stack.read(source, ReadOptions(), ALL)
    np.testing.assert_array_equal(ds["rainfall_rate"], VALUES[:, ::-1, ::-1])
    np.testing.assert_array_equal(ds["y"], PLACE["y"])


def test_array_stack_unordered_times_are_sorted(write):
    ds = array_stack.read(write(time=TIMES[[2, 0, 1]]), ReadOptions(), ALL)
    np.testing.assert_array_equal(ds["rainfall_rate"], VALUES[[1, 2, 0]])


@pytest.mark.parametrize("two_dimensions", [False, True])
def test_array_stack_latitudes_and_longitudes_are_read(write, two_dimensions):
    lat, lon = 51 - 0.01 * np.arange(6), 2 + 0.01 * np.arange(5)
    if two_dimensions:
        lat, lon = np.meshgrid(lat, lon, indexing="ij")
    ds = array_stack.read(write(lat=lat, lon=lon, x=None, y=None, crs=None), ReadOptions(), ALL)
    assert (ds["y"].values[0], ds["x"].values[-1]) == pytest.approx((51, 2.04))
    assert ds["y"].attrs["units"] == "degrees_north"


def test_array_stack_projection_in_kilometres_is_converted(write):
    proj = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +R=6370.04 +units=km"
    x, y = -100.0 + np.arange(5), -4000.0 - np.arange(6)
    ds = array_stack.read(write(x=x, y=y, crs=proj), ReadOptions(), ALL)
    assert (ds["x"].values[0], ds["y"].values[0]) == (-100_000, -4_000_000)


def test_array_stack_packed_integers_are_unpacked(write):
    codes = np.array([[[0, 120], [255, 10]]], np.uint8)
    x, y = PLACE["x"][:2], PLACE["y"][:2]
    source = write(rate=codes, time=TIMES[:1], x=x, y=y, units="mm/5min", scale=0.01, nodata=255)
    np.testing.assert_allclose(rain(source), [[[0, 14.4], [np.nan, 1.2]]], rtol=1e-6)


def test_array_stack_quality_below_the_lowest_is_not_observed(write):
    quality = np.linspace(0, 1, VALUES.size).reshape(VALUES.shape)
    quality[0, 0, 0] = np.nan
    source = write(quality=quality)
    observed = np.isfinite(rain(source, ReadOptions(min_quality=0.5)))
    np.testing.assert_array_equal(observed, quality >= 0.5)
    with pytest.raises(InputError, match="min_quality: expected an array quality"):
        rain(write(), ReadOptions(min_quality=0.5))


def test_array_stack_array_is_chosen_by_name(write):
    source = write(forecast=VALUES + 1)
    with pytest.raises(InputError, match=r"found rate, forecast; choose one with --variable"):
        rain(source)
    np.testing.assert_array_equal(rain(source, ReadOptions(variable="forecast")), VALUES + 1)
    with pytest.raises(InputError, match="variable: expected snow, found rate"):
        rain(source, ReadOptions(variable="snow"))


@pytest.mark.parametrize(
    ("changes", "options", "reason"),
    [
        ({"units": None}, ReadOptions(), r"rate of float32: expected units .* --units"),
        ({"units": None, "rate": VALUES.astype(np.int16)}, ReadOptions(), r"rate of int16: expected units"),
        ({"rate": (VALUES - 9999).astype(np.int16)}, ReadOptions(), "is it a code for missing values"),
        ({"time": None}, ReadOptions(), "give --start"),
        (
            {"time": np.arange(3)},
            ReadOptions(),
            r"time: expected dates, found int64 without units; give --start",
        ),
        ({"time": TIMES[:2]}, ReadOptions(), r"time: expected 3 times, found \(2,\)"),
        ({"time": np.array(["NaT"] * 3, "M8[s]")}, ReadOptions(), "a date for each time, found missing"),
        ({}, ReadOptions(start="2020-05-01T12:05"), "time: expected the file's 2020-05-01T12:00:00"),
        ({}, ReadOptions(crs="EPSG:3035"), "crs: expected the file's EPSG:3067, found EPSG:3035"),
        (
            {"crs": None},
            ReadOptions(),
            "projection: expected that of x and y, found none; give it with --crs",
        ),
        ({"x": None}, ReadOptions(), "give --bounds"),
        ({"x": np.arange(4.0)}, ReadOptions(), r"x: expected 5 coordinates, found \(4,\)"),
        ({"lat": np.eye(6, 5), "lon": np.eye(6, 5)}, ReadOptions(), "coordinates that vary along both axes"),
        ({"rate": np.array([[{}]], object)}, ReadOptions(), "found pickled objects, which are not read"),
        ({"rate": VALUES.astype(complex)}, ReadOptions(), "expected numbers"),
        ({"units": np.array(5)}, ReadOptions(), "units: expected text, found int64"),
        ({"rate": VALUES[None]}, ReadOptions(), "found no such array"),
    ],
)
def test_array_stack_unusable_file_raises_and_gives_the_reason(write, changes, options, reason):
    with pytest.raises(InputError, match=reason):
        rain(write(**changes), options)


def test_array_stack_bomb_in_an_object_array_does_not_go_off(write, tmp_path):
    mark = tmp_path / "exploded"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (mark,)

    source = write(time=np.array([Bomb(), Bomb(), Bomb()], object))
    with pytest.raises(InputError, match="dates: expected an array of dates only"):
        rain(source)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert mark.exists()


def test_array_stack_large_file_is_read_in_parts(tmp_path):
    # 2 GB on a disk that stores only what was written; one frame has 4 MB.
    path = tmp_path / "rain_202005011200.npy"
    stack = np.lib.format.open_memmap(path, "w+", np.float32, (500, 1000, 1000))
    stack[499, 0, :3] = [1, 2, 3]
    del stack
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from stormcell.data.read_options import ReadOptions\n"
        "from stormcell.data.readers import open_radar\n"
        "options = ReadOptions(units='mm/h', start='2020-05-01T12:00', step='5min', crs='EPSG:3067',\n"
        "                      bounds=(0., 6e6, 1e6, 7e6))\n"
        "file = open_radar(Path(sys.argv[1]), options)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(file.read(options, slice(499, 500))['rainfall_rate'].values[0, 0, :3].tolist())\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    values, grown = done.stdout.splitlines()
    assert values == "[1.0, 2.0, 3.0]"
    assert int(grown) < 300_000  # kilobytes; the file has two million


def test_array_stack_times_with_a_fraction_are_rounded_and_not_cut(write):
    cut = TIMES.astype("datetime64[us]") - np.timedelta64(20, "us")
    np.testing.assert_array_equal(array_stack.times(write(time=cut), ReadOptions()), TIMES)
    objects = np.array(cut.astype(object), object)
    np.testing.assert_array_equal(array_stack.times(write(time=objects), ReadOptions()), TIMES)


def test_array_stack_mask_that_may_mean_either_is_refused_unless_left_out(write):
    source = write(mask=VALUES < 1)
    with pytest.raises(InputError, match=r"mask: expected NaN .* may mean observed or not; --variable"):
        rain(source)
    np.testing.assert_array_equal(rain(source, ReadOptions(variable="rate")), VALUES)
