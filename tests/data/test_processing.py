import pickle
import re

import numpy as np
import pytest
from tests.data.test_cleaning import frames

from stormcell.data import archive, rain_index, schema
from stormcell.data.cleaning import Cleaning
from stormcell.data.processing import Processing
from stormcell.data.regrid import Target
from stormcell.errors import ArgumentError


def test_processing_by_default_removes_only_impossible_rates():
    before = frames([[9000.0, 1.0], [np.nan, 0.0]])
    after = Processing()(before)
    np.testing.assert_array_equal(after["rainfall_rate"].values[0], [[np.nan, 1], [np.nan, 0]])
    assert after["cleaned_pixels"].values.tolist() == [[1, 0, 0]]
    assert after.attrs == before.attrs


def test_processing_cleans_on_the_file_grid_before_it_regrids():
    # The mean of all four pixels would be 2252 mm/h, which is possible.
    before = frames(np.kron([[1.0, 2.0], [3.0, 9000.0]], np.eye(1)).repeat(2, 0).repeat(2, 1)[1:3, 1:3])
    step = Processing(grid=Target("EPSG:3067", 2000, (-500, 6_998_500, 3500, 7_000_500)))
    after = step(before)
    assert after["rainfall_rate"].values[0, 0, 0] == pytest.approx(2)
    assert after["cleaned_pixels"].values.tolist() == [[1, 0, 0]]
    assert {"highest_rate_kept", "regridding"} <= after["rainfall_rate"].attrs.keys()
    schema.check(after)


def test_processing_stated_attributes_replace_those_of_the_files():
    before = frames(np.zeros((2, 2))).assign_attrs(license="unknown", source="radar")
    after = Processing(attributes={"license": "CC-BY-4.0", "title": "caf\udce9"})(before)
    assert (after.attrs["license"], after.attrs["source"]) == ("CC-BY-4.0", "radar")
    assert after.attrs["title"] == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("name", ["", "mlcast_created_on", "coordinates", "Conventions"])
def test_processing_attribute_that_stormcell_writes_raises(name):
    with pytest.raises(ArgumentError, match="expected a name that Stormcell does not write"):
        Processing(attributes={name: "x"})


def test_processing_can_be_sent_to_other_processes():
    step = Processing(Cleaning(min_group=3), Target("EPSG:3067", 500), {"title": "a"})
    assert pickle.loads(pickle.dumps(step)) == step


def test_archive_of_whole_frames_has_one_chunk_per_frame_and_the_same_rates(tmp_path, write_pgm):
    files = [write_pgm(f"2016092814{minute}", rows=40, columns=600) for minute in ("40", "45")]
    archive.append(tmp_path / "a.zarr", files[:1], processing=Processing(whole_frames=True))
    archive.append(tmp_path / "a.zarr", files)  # decided by the archive
    archive.append(tmp_path / "b.zarr", files)
    whole, tiled = (archive.open(tmp_path / name) for name in ("a.zarr", "b.zarr"))
    assert whole["rainfall_rate"].encoding["chunks"] == (1, 40, 600)
    assert tiled["rainfall_rate"].encoding["chunks"] != (1, 40, 600)
    np.testing.assert_array_equal(whole["rainfall_rate"].values, tiled["rainfall_rate"].values)


def test_archive_counts_cleaned_pixels_of_each_frame_and_keeps_them(tmp_path, write_pgm):
    codes = np.zeros((6, 5))
    codes[1, 1:3], codes[4, 4] = 250, 100  # 93 dBZ: 4646 mm/h
    files = [write_pgm("201609281440", codes), write_pgm("201609281445", np.zeros((6, 5)))]
    done = archive.append(tmp_path / "a.zarr", files)
    assert done.cleaned == ((2, 0, 0), (0, 0, 0))
    assert archive.append(tmp_path / "a.zarr", files).cleaned == ()
    ds = archive.open(tmp_path / "a.zarr")
    names = list(ds["frame_statistics"].attrs["statistics"])
    counts = ds["frame_statistics"].values[:, [names.index(name) for name in rain_index.CLEANED]]
    assert counts.tolist() == [[2, 0, 0], [0, 0, 0]]
    assert np.isnan(ds["rainfall_rate"].values[0, 1, 1:3]).all()
    assert ds["rainfall_rate"].attrs["highest_rate_kept"] == 2280


@pytest.mark.parametrize(
    ("cleaning", "reason"),
    [
        (Cleaning(max_rate=100), r"highest_rate_kept: expected the archive's 2280\.0, found 100"),
        (Cleaning(max_rate=None), r"highest_rate_kept: expected the archive's 2280\.0, found None"),
        (Cleaning(min_group=3), "smallest_group_kept: expected the archive's None, found 3"),
    ],
)
def test_archive_of_other_rules_refuses_frames(tmp_path, write_pgm, cleaning, reason):
    archive.append(tmp_path / "a.zarr", [write_pgm("201609281440")])
    processing = Processing(cleaning)
    ((_, found),) = archive.append(
        tmp_path / "a.zarr", [write_pgm("201609281445")], processing=processing
    ).refused
    assert re.search(reason, found)


def test_archive_with_a_grid_takes_files_of_other_grids(tmp_path, write_pgm):
    target = Processing(grid=Target("EPSG:3067", 100_000, (0, 6_400_000, 800_000, 7_600_000)))
    files = [write_pgm("201609281440", rows=30, columns=30), write_pgm("201609281445", rows=32, columns=35)]
    done = archive.append(tmp_path / "a.zarr", files, processing=target)
    assert len(done.added) == 2
    assert not done.refused
    ds = archive.open(tmp_path / "a.zarr")
    assert ds["rainfall_rate"].shape == (2, 12, 8)
    assert ds["x"].values[:2].tolist() == [50_000, 150_000]
    schema.check(ds)


def test_archive_that_exists_takes_stated_attributes_and_keeps_the_others(tmp_path, write_pgm):
    files, path = [write_pgm("201609281440"), write_pgm("201609281445")], tmp_path / "a.zarr"
    archive.append(path, files[:1], processing=Processing(attributes={"title": "first", "comment": "kept"}))
    reader = archive.open(path)
    before = reader["rainfall_rate"].values
    for given in (files, files[:1]):  # with a new frame, and with none
        title = f"of {len(given)} files"
        archive.append(path, given, processing=Processing(attributes={"title": title}))
        found = archive.open(path)
        assert (found.attrs["title"], found.attrs["comment"]) == (title, "kept")
        assert found.sizes["time"] == 2
        assert found.attrs["license"] == "CC-BY-4.0"
        schema.check(found)
    root = (path / "zarr.json").stat().st_mtime_ns
    archive.append(path, files, processing=Processing(attributes={"title": title}))
    assert (path / "zarr.json").stat().st_mtime_ns == root  # the same attributes change nothing
    np.testing.assert_array_equal(reader["rainfall_rate"].values, before)
