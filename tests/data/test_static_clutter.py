import h5py
import numpy as np
import pytest
import xarray as xr
from tests.data.test_cleaning import frames

from stormcell.data import archive, static_clutter
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import open_radar
from stormcell.errors import ArgumentError, InputError


def moving_rain(generator, steps=60, side=80):
    """A band of rain, ragged at its edges, that moves by a pixel per frame over all of the grid."""
    x = np.arange(side)
    field = np.zeros((steps, side, side), np.float32)
    for step in range(steps):
        centre = (step * 1.7) % side
        near = np.abs(x - centre) < 6 + generator.integers(-1, 2, (side, 1))
        field[step] = np.where(near, generator.gamma(2, 2, (side, side)), 0)
    return field


@pytest.fixture
def rain():
    return moving_rain(np.random.default_rng(4))


def test_quantiles_around_agree_with_numpy():
    generator = np.random.default_rng(2)
    frequency = (generator.integers(0, 101, (23, 31)) / 100).astype(np.float32)
    frequency[generator.random(frequency.shape) < 0.2] = np.nan
    found = static_clutter.quantiles_around(frequency, 3, (0.5, 0.75))
    padded = np.pad(frequency, 3, constant_values=np.nan)
    for row in range(23):
        for column in range(31):
            square = padded[row : row + 7, column : column + 7]
            for share, result in zip((0.5, 0.75), found, strict=True):
                if np.isnan(frequency[row, column]):
                    assert np.isnan(result[row, column])
                else:
                    expected = np.quantile(square[~np.isnan(square)], share, method="inverted_cdf")
                    assert result[row, column] == pytest.approx(expected, abs=1e-6)


def test_find_static_pixels_in_moving_rain_are_found_and_no_others(rain):
    places = [(10, 10), (10, 11), (40, 70), (79, 0)]
    for place in places:
        rain[::2, *place] = 3  # half of the time
    found = static_clutter.find(frames(rain))
    assert sorted(zip(*np.nonzero(found["clutter"].values), strict=True)) == sorted(places)
    assert found["wet_frequency"].values[10, 10] == pytest.approx((rain[:, 10, 10] >= 0.1).mean())
    assert found.attrs["frames"] == 60


def test_find_rain_that_stood_is_kept(rain):
    y, x = np.mgrid[:80, :80]
    rain[:, (y - 40) ** 2 + (x - 40) ** 2 < 300] = 5  # always, over 17 km
    assert not static_clutter.find(frames(rain))["clutter"].values.any()


def test_find_unobserved_frames_do_not_count(rain):
    rain[:, 5, 5] = np.nan
    rain[:25, 5, 5] = 2  # always wet when observed
    rain[:, 20, 20] = np.nan
    rain[:19, 20, 20] = 2  # too rarely observed
    found = static_clutter.find(frames(rain))
    assert found["wet_frequency"].values[5, 5] == 1
    assert np.isnan(found["wet_frequency"].values[20, 20])
    assert [*zip(*np.nonzero(found["clutter"].values), strict=True)] == [(5, 5)]


def test_find_in_too_few_frames_raises(rain):
    with pytest.raises(InputError, match="20 frames or more, found at most 10"):
        static_clutter.find(frames(rain[:10]))


@pytest.mark.parametrize("options", [{"excess": 0}, {"excess": 1.5}, {"spread": -1}])
def test_find_threshold_out_of_range_raises(rain, options):
    with pytest.raises(ArgumentError, match="expected an excess of 0 to 1"):
        static_clutter.find(frames(rain), **options)


def test_write_is_cf_netcdf_that_read_mask_reads(rain, tmp_path):
    rain[:, 7, 9] = 1
    found = static_clutter.find(frames(rain))
    static_clutter.write(found, tmp_path / "clutter.nc")
    with xr.open_dataset(tmp_path / "clutter.nc") as ds:
        assert ds["clutter"].attrs["flag_meanings"] == "no_clutter clutter"
        assert ds["clutter"].attrs["grid_mapping"] == "crs"
        assert {"period_start", "period_end", "rule", "excess", "wet_threshold"} <= ds.attrs.keys()
    mask = static_clutter.read_mask(tmp_path / "clutter.nc")
    np.testing.assert_array_equal(mask.clutter, found["clutter"].values == 1)
    assert mask.grid.difference(mask.grid.of(found)) is None


def test_read_mask_of_other_and_damaged_files_raises(rain, tmp_path):
    found = static_clutter.find(frames(rain))
    path = tmp_path / "clutter.nc"
    static_clutter.write(found, path)
    content = path.read_bytes()
    damaged = [content[: len(content) * part // 20] for part in range(20)]
    for bad in [*damaged, b"no mask", np.random.default_rng(0).bytes(5000)]:
        path.write_bytes(bad)
        with pytest.raises(InputError, match=r"clutter\.nc: "):
            static_clutter.read_mask(path)
    found.drop_vars("clutter").to_netcdf(path, engine="h5netcdf")
    with pytest.raises(InputError, match="expected a mask of stormcell clutter"):
        static_clutter.read_mask(path)


def test_read_mask_that_claims_an_absurd_size_raises(tmp_path):
    with h5py.File(tmp_path / "clutter.nc", "w") as file:
        file.create_dataset("clutter", (4, 4), "i1")
        file.create_dataset("x", (2**40,), "f8", chunks=(1024,))
    with pytest.raises(InputError, match=r"clutter\.nc: .*expected a size"):
        static_clutter.read_mask(tmp_path / "clutter.nc")


@pytest.mark.parametrize(
    ("folders", "share"),
    [(("knmi_h5_20100826", "knmi_h5_20100826_later"), 0.0), (("fmi_pgm_20160928",), 2e-4)],
    ids=["knmi", "fmi"],
)
def test_find_touches_nearly_no_rain_of_real_events(radar_data, folders, share):
    files = sorted(path for folder in folders for path in (radar_data / folder).iterdir())
    parts = [open_radar(path).read(ReadOptions(), slice(None)) for path in files[::2]]
    rate = np.concatenate([part["rainfall_rate"].values for part in parts])
    first = parts[0].drop_vars(["rainfall_rate", "time", "missing_times"])
    times = np.concatenate([part["time"].values for part in parts])
    whole = first.assign(
        rainfall_rate=(("time", "y", "x"), rate, parts[0]["rainfall_rate"].attrs),
        time=("time", times),
        missing_times=("missing_times", times[:0]),
    )
    clutter = static_clutter.find(whole)["clutter"].values == 1
    wet = rate >= 0.1
    assert wet[:, clutter].sum() <= share * wet.sum()


def test_find_in_an_archive_reads_it_in_blocks(tmp_path, write_pgm, monkeypatch):
    monkeypatch.setattr(static_clutter, "_BLOCK", 8)
    files = [
        write_pgm(
            f"2016092814{minute:02}", rows=40, columns=40, values=np.zeros((40, 40)) + 100 * (minute % 2)
        )
        for minute in range(20)
    ]
    archive.append(tmp_path / "a.zarr", files)
    seen = []
    ds = archive.open(tmp_path / "a.zarr")
    found = static_clutter.find(ds, progress=lambda *numbers: seen.append(numbers))
    assert seen == [(done, 20) for done in (8, 16, 20)]
    assert np.unique(found["wet_frequency"].values).tolist() == [0.5]


def test_find_in_europe_marks_what_is_static_in_both_halves_of_the_period(radar_data):
    files = sorted((radar_data / "opera_odim20_rate_20180824").iterdir())
    part = {"y": slice(1170, 1470), "x": slice(733, 1033)}  # 600 km around the Alps, of 4.2 million pixels
    parts = [open_radar(path).read(ReadOptions(), slice(None)).isel(part).compute() for path in files]
    times = np.concatenate([each["time"].values for each in parts])
    rate = np.concatenate([each["rainfall_rate"].values for each in parts])
    whole = (
        parts[0]
        .drop_vars(["rainfall_rate", "time", "missing_times"])
        .assign(
            rainfall_rate=(("time", "y", "x"), rate, parts[0]["rainfall_rate"].attrs),
            time=("time", times),
            missing_times=("missing_times", times[:0]),
        )
    )
    clutter = static_clutter.find(whole)["clutter"].values == 1
    assert 300 < clutter.sum() < 700
    # Rain moved within the six hours, and clutter did not. Two means of twelve independent frames differ by
    # up to 0.16 on average, by chance alone.
    wet = rate >= 0.1
    halves = [wet[part].mean(axis=0) for part in (slice(0, 12), slice(12, 24))]
    assert all(np.median(half[clutter]) > 0.5 for half in halves)
    rain = ~clutter & (wet.mean(axis=0) > 0.3)
    apart = [np.abs(halves[0] - halves[1])[pixels].mean() for pixels in (clutter, rain)]
    assert apart[0] < 0.3
    assert apart[1] > 0.4


def test_static_clutter_find_by_two_workers_equals_one_process(by_address, rain, monkeypatch):
    monkeypatch.setattr(static_clutter, "_BLOCK", 7)
    rain[:, 30:32, 40:42] = 5
    alone, together = (
        static_clutter.find(frames(rain), workers=workers)
        for workers in (static_clutter.THIS_PROCESS, by_address)
    )
    assert alone["clutter"].values.any()
    assert together.equals(alone)
