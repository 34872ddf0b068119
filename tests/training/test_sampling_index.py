from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray as xr

from stormcell.data import rain_index, schema, synthetic
from stormcell.data.archive import append
from stormcell.data.archive import open as open_archive
from stormcell.data.archive import rain as rates_of
from stormcell.data.grid import Grid
from stormcell.data.splits import Positions
from stormcell.training import sampling_index
from stormcell.training.sampling_index import keep, scan, stored_index
from stormcell.training.training_archive import Rain


def positions(*chosen: int) -> Positions:
    return np.array(chosen, np.int32)


def archive(count: int = 5) -> xr.DataArray:
    """Random rain on a grid that 32 does not divide, with unobserved pixels and an unobserved tile."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(0.2, 2.0, (count, 70, 50)).astype(np.float32)
    rate[rng.random(rate.shape) < 0.1] = np.nan
    rate[:, :32, :32] = np.nan
    rate[rate < 0.05] = 0
    grid = Grid.from_centres(pyproj.CRS(3067), 1000.0 * np.arange(50), 1000.0 * np.arange(70))
    times = np.datetime64("2024-06-01T00:00", "s") + np.arange(count) * np.timedelta64(300, "s")
    return schema.build(rate, times, grid, measured={}, attributes={})["rainfall_rate"]


def scanned(rain: xr.DataArray, folder: Path, *chosen: int):
    return scan(rain, positions(*(chosen or range(rain.sizes["time"]))), folder, lambda _: None)


def test_scan_weights_are_the_shares_of_wet_pixels(tmp_path):
    """Counted tile by tile here."""
    rain = archive()
    index = scanned(rain, tmp_path, 1, 3)[0].index(5)
    for position in (1, 3):
        expected = np.zeros((3, 2))
        for row in range(3):
            for column in range(2):
                tile = rain.values[position, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
                if (observed := np.isfinite(tile).sum()) > 0:
                    expected[row, column] = (tile >= 0.1).sum() / observed + 0.02
        np.testing.assert_allclose(index.tile_weights(position), expected, rtol=1e-12)
        assert index.weight[position] == pytest.approx(expected.sum(), rel=1e-12)
        assert index.observed[position] == np.isfinite(rain.values[position]).sum()
        assert index.wet[position] == (rain.values[position] >= 0.1).sum()
    assert index.weight[[0, 2, 4]].tolist() == [0, 0, 0]


def test_data_hash_depends_on_pixels_times_and_grid_of_the_frames_that_are_used(tmp_path):
    def hashed(rain: xr.DataArray) -> str:
        found, _ = scanned(rain, tmp_path, 0, 1, 2)
        return found.index(5).data_hash(rain, positions(0, 1, 2))

    base = archive()
    assert hashed(base) == hashed(archive())
    wetter, later, elsewhere, unused = (archive() for _ in range(4))
    wetter[2, 50, 40] += 0.1
    later["time"] = later["time"] + np.timedelta64(300, "s")
    elsewhere = elsewhere.assign_coords(x=elsewhere["x"] + 1000)
    unused[3] += 1.0
    assert len({hashed(base), hashed(wetter), hashed(later), hashed(elsewhere)}) == 4
    assert hashed(unused) == hashed(base)


def test_scan_that_was_kept_is_not_repeated(tmp_path):
    rain, read = archive(), []
    first, file = scanned(rain, tmp_path)
    keep(first, file)
    again, _ = scan(rain, positions(*range(5)), tmp_path, read.append)
    assert read == []
    for name in ("frames", "hashes", "tiles"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


@pytest.mark.parametrize(
    "change", ["other rates", "other frames", "damaged", "truncated", "of another shape"]
)
def test_scan_of_something_else_is_repeated(tmp_path, change):
    rain, chosen, read = archive(), positions(*range(5)), []
    first, file = scanned(rain, tmp_path)
    keep(first, file)
    if change == "other rates":
        rain = rain.copy(deep=True)
        rain[2, 60, 40] = 9.0
    elif change == "other frames":
        chosen = positions(0, 1, 2)
    elif change == "damaged":
        file.write_bytes(b"no zip")
    elif change == "truncated":
        file.write_bytes(file.read_bytes()[:-40])
    else:
        keep(sampling_index.Scan(chosen, first.frames[:2], first.hashes, first.tiles), file)
    again, _ = scan(rain, chosen, tmp_path, read.append)
    assert read == list(range(1, len(chosen) + 1))
    np.testing.assert_array_equal(again.hashes, [rain_index.frame_hash(rain.values[k]) for k in chosen])


def test_stored_index_equals_that_of_a_scan(tmp_path):
    rain = archive()
    tiles = np.stack([rain_index.tile_statistics(rate) for rate in rain.values])
    frames = np.stack([rain_index.frame_statistics(one) for one in tiles])
    hashes = np.array([rain_index.frame_hash(rate) for rate in rain.values], np.uint64)
    ds = xr.Dataset(
        {
            "tile_statistics": (
                ("time", "tile_statistic", "tile_y", "tile_x"),
                tiles,
                {"statistics": rain_index.STATISTICS, "tile_pixels": rain_index.TILE},
            ),
            "frame_statistics": (
                ("time", "frame_statistic"),
                frames,
                {"statistics": rain_index.FRAME_STATISTICS},
            ),
            "frame_hash": ("time", hashes),
        }
    )
    stored, found = stored_index(ds), scanned(rain, tmp_path)[0].index(5)
    assert stored is not None
    for name in ("observed", "wet", "weight", "hashes"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(found, name))
    for position in range(5):
        np.testing.assert_array_equal(stored.tile_weights(position), found.tile_weights(position))
    assert stored.data_hash(rain, positions(0, 4)) == found.data_hash(rain, positions(0, 4))
    assert stored_index(xr.Dataset()) is None


def test_stored_index_of_an_archive_equals_that_of_a_scan(tmp_path):
    """The statistics of an archive that was written from files, and its frames read again."""
    written = tmp_path / "a.zarr"
    append(written, synthetic.write(tmp_path / "radar", seed=3, events=1, steps=5, shape=(70, 50)))
    ds = open_archive(written)
    rain, stored = rates_of(ds), stored_index(ds)
    found = scanned(rain, tmp_path / "scans")[0].index(5)
    assert stored is not None
    for name in ("observed", "wet", "weight", "hashes"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(found, name))
    assert stored.weight.all()
    for position in range(5):
        np.testing.assert_array_equal(stored.tile_weights(position), found.tile_weights(position))
    every = positions(*range(5))
    assert stored.data_hash(rain, every) == rain_index.data_hash(ds, every, rain_index.stored(ds).hashes)
    assert Rain.of(ds).index is not None
    assert Rain.of(rain).index is None
