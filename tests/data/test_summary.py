import numpy as np
import pyproj
import pytest

from stormcell.data import archive, schema, shared_rates, summary
from stormcell.data.grid import Grid
from stormcell.errors import ArchiveError, WorkerError


@pytest.fixture
def ds():
    rate = np.zeros((4, 2, 5), np.float32)
    rate[0, 0, :3] = [0.09, 0.1, 7.5]
    rate[1] = np.nan
    rate[2, 1, 0] = np.nan
    times = np.datetime64("2016-09-28T14:45", "s") + np.array([0, 5, 10, 25]) * np.timedelta64(1, "m")
    grid = Grid.from_centres(pyproj.CRS(3067), 1000.0 * np.arange(5), 7_000_000 - 1000.0 * np.arange(2))
    return schema.build(rate, times, grid, measured={"zr_a": 223.0}, attributes={"license": "CC-BY-4.0"})


def test_summary_describe_agrees_with_numbers_counted_by_hand(ds, monkeypatch):
    whole = summary.describe(ds)
    assert (whole.frames, whole.missing_steps, whole.longest_run, whole.unobserved_frames) == (4, 2, 3, 1)
    assert whole.step == np.timedelta64(5, "m")
    assert whole.missing_fraction == pytest.approx(11 / 40)
    assert whole.wet_fraction == pytest.approx(2 / 29)
    assert whole.highest == 7.5
    assert (whole.grid, str(whole.spacing), whole.problems) == ((2, 5), "1000 × 1000 m", ())
    assert whole.attributes == {"license": "CC-BY-4.0", "zr_a": "223.0"}
    # The size of the blocks has no influence.
    monkeypatch.setattr(summary, "_BLOCK_PIXELS", 1)
    assert summary.describe(ds) == whole


def test_summary_describe_lists_problems_among_the_lines(ds):
    ds["rainfall_rate"][0, 0, 0] = -3
    ds["rainfall_rate"][3, 0, 0] = 9000
    ds["rainfall_rate"].attrs["units"] = "mm"
    lines = summary.describe(ds).lines()
    problems = [value for name, value in lines if name == "problem"]
    assert len(problems) == 3
    for part, problem in zip(("found 'mm'", "found -3", "clutter"), problems, strict=True):
        assert part in problem


def test_summary_describe_single_unobserved_frame_has_no_step(ds):
    found = summary.describe(
        ds.isel(time=[1]).drop_vars("missing_times").assign(missing_times=ds.missing_times[:0])
    )
    assert found.step is None
    assert np.isnan(found.wet_fraction)
    assert np.isnan(found.highest)
    assert dict(found.lines())["time step"].endswith("from a single frame")


def test_summary_describe_archive_tells_what_was_cleaned(tmp_path, write_pgm):
    codes = np.zeros((6, 5))
    codes[1, 1:3] = 250  # 93 dBZ: 4646 mm/h
    archive.append(
        tmp_path / "a.zarr", [write_pgm("201609281440", codes), write_pgm("201609281445", 0 * codes)]
    )
    found = summary.describe(archive.open(tmp_path / "a.zarr"))
    assert found.cleaned == "2 implausible pixels removed in 1 frame (2 impossible)"
    lines = dict(found.lines())
    assert lines["cleaned"] == found.cleaned
    assert lines["highest_rate_kept"] == "2280.0"


def test_summary_describe_limit_depends_on_the_accumulation_period(ds):
    ds["rainfall_rate"][3, 0, 0] = 500
    assert not summary.describe(ds).problems
    ds["rainfall_rate"].attrs["accumulation_minutes"] = 60.0
    (problem,) = summary.describe(ds).problems
    assert "expected at most 421.6 mm/h, the record, found 500" in problem


def test_summary_describe_something_else_raises(ds):
    with pytest.raises(ArchiveError):
        summary.describe(ds.drop_vars("crs"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda ds: ds.isel(time=slice(0)), "expected non-empty dimensions"),
        (
            lambda ds: ds.transpose("y", "x", "time", "missing_times"),
            r"expected non-empty dimensions \(time, y, x\)",
        ),
        (lambda ds: ds.assign_coords(time=np.arange(4.0)), "expected dates"),
    ],
)
def test_summary_describe_unreadable_dataset_raises(ds, spoil, reason):
    with pytest.raises(ArchiveError, match=reason):
        summary.describe(spoil(ds))


def test_summary_describe_missing_times_dimension_may_have_any_name(ds):
    renamed = ds.drop_vars("missing_times").assign(missing_times=("absent", ds["missing_times"].values))
    found = summary.describe(renamed)
    assert (found.missing_steps, found.problems) == (2, ())
    assert set(archive.rain(renamed).coords) == {"time", "y", "x", "lat", "lon", "crs"}


def test_summary_describe_real_event_agrees_with_its_files(radar_data, tmp_path):
    archive.append(tmp_path / "a.zarr", [radar_data / "knmi_h5_20100826"])
    found = summary.describe(archive.open(tmp_path / "a.zarr"))
    assert (found.frames, found.missing_steps, found.longest_run, found.problems) == (12, 0, 12, ())
    assert found.missing_fraction == pytest.approx(
        0.7437, abs=5e-5
    )  # 74 % of the grid, see the data's README


def test_describe_by_two_workers_equals_one_process(by_address, write_pgm, tmp_path, monkeypatch):
    archive.append(tmp_path / "a.zarr", [write_pgm(f"2016092814{minute}") for minute in range(10, 60, 5)])
    monkeypatch.setattr(summary, "_BLOCK_PIXELS", 1)
    ds = archive.open(tmp_path / "a.zarr")
    assert str(summary.describe(ds, deep=True, workers=by_address)) == str(summary.describe(ds, deep=True))


def test_describe_by_workers_that_read_other_frames_raises(by_address, write_pgm, tmp_path, monkeypatch):
    archive.append(tmp_path / "a.zarr", [write_pgm(f"2016092814{minute}") for minute in (10, 15)])
    monkeypatch.setattr(summary, "_BLOCK_PIXELS", 1)
    monkeypatch.setattr(shared_rates, "digest", lambda _: "of other rates")
    with pytest.raises(WorkerError, match="expected that they read the same archive, found other rates"):
        summary.describe(archive.open(tmp_path / "a.zarr"), deep=True, workers=by_address)
