import errno
import gzip
import json
import os
import shutil
from pathlib import Path

import h5netcdf
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

from stormcell.data import archive, archive_files, conversion, schema, store, time_axis
from stormcell.data.archive_folder import ArchiveFolder
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import source as source_module
from stormcell.errors import ArchiveError

TIMES = [f"20160928{clock}" for clock in ("1445", "1450", "1455", "1510")]


@pytest.fixture
def files(write_pgm):
    return [write_pgm(time) for time in TIMES]


def contents(path: Path) -> dict[str, bytes]:
    """Return everything that is committed, without the date of creation and the naming of the files."""
    root = json.loads((path / "zarr.json").read_text())
    del root["attributes"]["mlcast_created_on"]
    found = {"attributes": json.dumps(root["attributes"], sort_keys=True).encode()}
    folder = ArchiveFolder(path)
    for name, metadata in root["consolidated_metadata"]["metadata"].items():
        naming = archive_files.naming(metadata)
        if name in archive_files.BY_FRAME:
            for k in range(metadata["shape"][0]):
                found[f"{name} {k}"] = folder.read(archive_files.key(name, metadata, naming, k))
        elif name in archive_files.FIXED:
            found |= {f"{name}/{file}": folder.read(f"{name}/{file}") for file in folder.names(name)}
        else:
            found[name] = archive_files.read_chunks(folder, name, metadata).tobytes()
        metadata = (
            archive_files.renamed(metadata, "default", metadata["shape"][0]) if metadata["shape"] else {}
        )
        found[f"{name} metadata"] = json.dumps(metadata).encode()
    return found


def expect_nothing_left_over(path: Path) -> None:
    """Check that every file of a frame belongs to the archive, and that nothing is staged."""
    arrays = json.loads((path / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    folder = ArchiveFolder(path)
    for name in archive_files.BY_FRAME:
        naming, length = archive_files.naming(arrays[name]), arrays[name]["shape"][0]
        present = [archive_files.chunk_of(file) for file in folder.names(name)]
        assert {k for key in present if key and key[0] == naming for k in key[1:]} == set(range(length))
    for name, metadata in arrays.items():
        assert json.loads((path / name / "zarr.json").read_text()) == metadata
    assert not folder.exists(".stormcell/dirty")
    assert folder.names(".stormcell/staged") == []


def moments(*clocks: str) -> tuple[np.datetime64, ...]:
    return tuple(np.datetime64(f"2016-09-28T{clock}", "s") for clock in clocks)


def test_archive_append_unsorted_files_sorts_frames_and_lists_gaps(tmp_path, files):
    report = archive.append(tmp_path / "a.zarr", files[::-1])
    assert report.added == moments("14:45", "14:50", "14:55", "15:10")
    assert (report.present, report.refused, report.path) == ((), (), tmp_path / "a.zarr")
    ds = archive.open(tmp_path / "a.zarr")
    schema.check(ds)
    np.testing.assert_array_equal(ds["missing_times"], moments("15:00", "15:05"))
    for time, file in zip(TIMES, files, strict=True):
        codes = np.frombuffer(gzip.decompress(file.read_bytes())[-30:], np.uint8).reshape(6, 5)
        expected = np.where(codes == 0, 0, (10 ** ((codes - 64.0) / 20) / 223) ** (1 / 1.53))
        rate = ds["rainfall_rate"].sel(time=f"{time[:8]}T{time[8:]}")
        np.testing.assert_allclose(rate, np.where(codes == 255, np.nan, expected), rtol=1e-6)


def test_archive_append_writes_zarr_3_by_the_conventions(tmp_path, files):
    archive.append(tmp_path / "a.zarr", files)
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    rate = group["rainfall_rate"]
    assert (group.metadata.zarr_format, rate.chunks, rate.dtype) == (3, (1, 6, 5), np.float32)
    assert np.isnan(rate.fill_value)
    # The dataset that xarray opens with its default options.
    ds = xr.open_dataset(tmp_path / "a.zarr", engine="zarr", chunks=None)
    ds = ds.set_coords("crs").reset_coords(["frame_hash", "frame_statistics", "tile_statistics"])
    xr.testing.assert_identical(ds, archive.open(tmp_path / "a.zarr"))


def test_archive_append_large_frame_is_one_file_of_tiles(tmp_path, write_pgm):
    archive.append(tmp_path / "a.zarr", [write_pgm(rows=2, columns=4100, edit=wide)])
    rate = zarr.open_array(str(tmp_path / "a.zarr" / "rainfall_rate"), mode="r")
    assert rate.chunks == (1, 2, 257)
    assert rate.shards == (1, 2, 16 * 257)
    assert [path.name for path in (tmp_path / "a.zarr" / "rainfall_rate").glob("c*")] == ["c.0.0.0"]


def wide(content: bytes) -> bytes:
    """4100 pixels of 50 km exceed the projection, so they are 50 m wide."""
    import pyproj

    from_metres = pyproj.Proj("+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +R=6371288")
    corner = "{:.9f} {:.9f}".format(*from_metres(-300_000 + 4100 * 50, -3_300_000 + 2 * 50_000, inverse=True))
    lines = content.split(b"\n", 12)
    lines[3] = b"# metersperpixel_x 50"
    lines[11] = f"# topright {corner}".encode()
    return b"\n".join(lines)


def test_archive_append_same_files_twice_changes_nothing(tmp_path, files):
    path = tmp_path / "a.zarr"

    def state():
        present = [file for file in path.rglob("*") if file.is_file() and file.name != "sources.sqlite"]
        return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in present}

    archive.append(path, files)
    before = state()
    for known in (True, False):
        if not known:
            (path / ".stormcell" / "sources.sqlite").unlink()
        report = archive.append(path, files)
        assert (report.added, report.present) == ((), moments("14:45", "14:50", "14:55", "15:10"))
        assert before == state()


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_archive_append_in_several_calls_gives_the_same_archive(tmp_path, files, monkeypatch, at_once):
    archive.append(tmp_path / "whole.zarr", files)
    monkeypatch.setattr(store, "_FRAMES_PER_COMMIT", 1)
    for start in range(0, 4, at_once):
        archive.append(tmp_path / "parts.zarr", files[start : start + at_once])
    whole, parts = archive.open(tmp_path / "whole.zarr"), archive.open(tmp_path / "parts.zarr")
    xr.testing.assert_identical(whole.drop_attrs(deep=False), parts.drop_attrs(deep=False))


def test_archive_append_shorter_step_rewrites_the_missing_times(tmp_path, write_pgm):
    path = tmp_path / "a.zarr"
    for clocks, missing in (
        (("1200", "1210", "1230"), ["12:20"]),
        (("1240", "1245", "1250", "1255", "1300"), ["12:05", "12:15", "12:20", "12:25", "12:35"]),
    ):
        archive.append(path, [write_pgm(f"20160928{clock}") for clock in clocks])
        np.testing.assert_array_equal(archive.open(path)["missing_times"], moments(*missing))
        schema.check(archive.open(path))


def test_archive_open_during_an_append_shows_the_old_frames(tmp_path, files):
    path = tmp_path / "a.zarr"
    archive.append(path, files[:2])
    before = archive.open(path)
    archive.append(path, files)
    assert before.sizes["time"] == 2
    after = archive.open(path).isel(time=slice(2))
    xr.testing.assert_equal(before.drop_vars("missing_times"), after.drop_vars("missing_times"))


def test_archive_rain_is_what_forecasters_take(tmp_path, files):
    archive.append(tmp_path / "a.zarr", files)
    rain = archive.rain(archive.open(tmp_path / "a.zarr"))
    assert rain.dims == ("time", "y", "x")
    assert set(rain.coords) == {"time", "y", "x", "lat", "lon", "crs"}
    assert rain["crs"].attrs["spatial_ref"].startswith("PROJCRS")


def test_archive_rain_names_the_origin_of_the_data(tmp_path, files):
    archive.append(tmp_path / "a.zarr", files)
    ds = archive.open(tmp_path / "a.zarr")
    assert "license" not in archive.rain(ds.drop_attrs(deep=False)).attrs
    origin = {"title": "Rain", "source": "a radar", "license": "CC-BY-4.0", "institution": "somebody"}
    rain = archive.rain(ds.assign_attrs(origin, history="long"))
    assert rain.attrs == ds["rainfall_rate"].attrs | origin


def test_archive_append_folder_is_searched_for_radar_files(tmp_path, write_pgm):
    folder = tmp_path / "radar" / "deep"
    folder.mkdir(parents=True)
    write_pgm().rename(folder / "one.pgm.gz")
    (tmp_path / "radar" / "README.md").write_text("not radar")
    (folder / "empty.pgm").touch()
    report = archive.append(tmp_path / "a.zarr", [tmp_path / "radar"])
    assert len(report.added) == 1
    assert [(path.name, reason) for path, reason in report.refused] == [
        ("empty.pgm", "expected a radar file, found an empty one")
    ]


def no_radar(folder):
    (folder / "notes.txt").write_text("hello")


def hdf5_of_something_else(path):
    with h5py.File(path, "w") as file:
        file["image1"] = np.zeros(3)


def truncated_hdf5(path):
    hdf5_of_something_else(path)
    path.write_bytes(path.read_bytes()[:1000])


def gzip_cut_off(path):
    path.write_bytes(gzip.compress(b"P5\n# obstime 201609281445\n" + os.urandom(90_000))[:50_000])


def netcdf_without_rain(path):
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": 2}
        time = file.create_variable("time", ("time",), "i4", data=np.arange(2))
        time.attrs["units"] = "hours since 2020-01-01"


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [
        (lambda _: None, "missing.pgm", "found no such file"),
        (Path.touch, "empty.pgm.gz", "found an empty one"),
        (lambda path: path.write_bytes(gzip.compress(b"")), "empty.pgm.gz", "found an empty one"),
        (
            lambda path: path.write_text("rain"),
            "foreign.txt",
            "found another format",
        ),
        (lambda path: path.write_text("P5 but no image"), "foreign.pgm", "obstime"),
        (hdf5_of_something_else, "other.h5", "expected one variable of rain (time, y, x)"),
        (truncated_hdf5, "cut.h5", "expected complete HDF5"),
        (netcdf_without_rain, "dry.nc", "expected one variable of rain"),
        (gzip_cut_off, "cut.pgm.gz", "truncated or damaged"),
        (
            lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)),
            "broken.h5",
            "expected complete HDF5",
        ),
        (lambda path: path.write_bytes(b"CDF\x05" + bytes(100)), "new.nc", "NetCDF of version"),
        (
            lambda path: path.write_bytes(b"CDF\x01" + b"\xff" * 100),
            "broken.nc",
            "expected complete CF NetCDF",
        ),
        (lambda path: (path.mkdir(), no_radar(path)), "folder", "expected a folder with radar files"),
    ],
)
def test_archive_append_useless_file_is_refused_and_others_are_appended(tmp_path, files, make, name, reason):
    make(tmp_path / name)
    report = archive.append(tmp_path / "a.zarr", [tmp_path / name, *files])
    assert len(report.added) == 4
    ((path, found),) = report.refused
    assert path == tmp_path / name
    assert reason in found
    assert "\n" not in found


def test_archive_append_gzip_bomb_is_refused(tmp_path, monkeypatch):
    taken = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: taken.append(size) or read(self, size))
    monkeypatch.setattr(source_module, "MOST_BYTES", 10_000)
    (tmp_path / "bomb.h5.gz").write_bytes(gzip.compress(b"\x89HDF\r\n\x1a\n" + bytes(10**7)))
    ((_, reason),) = archive.append(tmp_path / "a.zarr", [tmp_path / "bomb.h5.gz"]).refused
    assert reason == "expected at most 10000 bytes, found more"
    assert taken
    assert all(0 <= size <= 2**16 for size in taken)


def test_archive_append_all_refused_creates_nothing(tmp_path):
    (tmp_path / "foreign.txt").write_text("rain")
    assert archive.append(tmp_path / "a.zarr", [tmp_path / "foreign.txt"]).added == ()
    assert not (tmp_path / "a.zarr").exists()


def test_archive_append_truncated_frame_leaves_nothing(tmp_path, write_pgm):
    bad = write_pgm(edit=lambda content: content[:-1])
    assert "truncated" in archive.append(tmp_path / "a.zarr", [bad]).refused[0][1]
    assert not (tmp_path / "a.zarr").exists()


def test_archive_append_other_grid_or_conversion_is_refused(tmp_path, files, write_pgm):
    path = tmp_path / "a.zarr"
    archive.append(path, files[:2])
    other = write_pgm("201609281500", rows=7)
    assert "expected the archive's grid of 6 × 5, found 7 × 5" in archive.append(path, [other]).refused[0][1]
    moved = write_pgm(
        "201609281500", edit=lambda c: c.replace(b"centrallongitude 25", b"centrallongitude 24")
    )
    (_, reason), *_ = archive.append(path, [moved]).refused
    assert "the archive's" in reason or "metersperpixel" in reason
    options = ReadOptions(zr=(200.0, 1.6))
    assert (
        archive.append(path, files[2:3], options=options)
        .refused[0][1]
        .startswith("zr_a: expected the archive's 223.0, found 200.0")
    )


def test_archive_append_time_of_the_archive_is_compared(tmp_path, files, write_pgm):
    path = tmp_path / "a.zarr"
    archive.append(path, files)
    changed = write_pgm("201609281450", np.full((6, 5), 80), name="changed.pgm")
    report = archive.append(path, [files[0], changed])
    assert report.added == ()
    assert report.present == moments("14:45")
    reasons = dict(report.refused)
    assert "2016-09-28T14:50:00 is in the archive already, with other rates" in reasons[changed]


def test_archive_append_interleaved_files_are_merged(tmp_path, cf):
    rates = np.random.default_rng(0).random((6, 4, 5)) + 1
    whole = cf(rates, units="mm/h")
    for name, part in (("even.nc", slice(0, None, 2)), ("odd.nc", slice(1, None, 2))):
        whole.isel(time=part).to_netcdf(tmp_path / name, engine="h5netcdf")
    ticks = []
    report = archive.append(
        tmp_path / "a.zarr",
        [tmp_path / "odd.nc", tmp_path / "even.nc"],
        progress=lambda *counts: ticks.append(counts),
    )
    assert (len(report.added), report.refused, ticks[-1]) == (6, (), (6, 6))
    np.testing.assert_allclose(archive.open(tmp_path / "a.zarr")["rainfall_rate"], rates, rtol=1e-6)


def test_archive_append_large_file_is_read_in_blocks(tmp_path, cf, monkeypatch):
    from stormcell.data.readers import cf_netcdf

    rates = np.random.default_rng(0).random((7, 4, 5)) + 1
    cf(rates, units="mm/h").to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    asked = []
    read = cf_netcdf.read
    monkeypatch.setattr(cf_netcdf, "read", lambda p, t, f: asked.append((f.start, f.stop)) or read(p, t, f))
    monkeypatch.setattr(conversion, "BLOCK_PIXELS", 3 * 20)
    archive.append(tmp_path / "a.zarr", [tmp_path / "r.nc"])
    assert asked == [(0, 1), (1, 4), (4, 7)]
    np.testing.assert_allclose(archive.open(tmp_path / "a.zarr")["rainfall_rate"], rates, rtol=1e-6)


def test_archive_append_impossible_rates_are_refused(tmp_path, cf):
    rates = np.ones((1, 4, 5))
    rates[0, 0, 0] = np.inf
    cf(rates, units="mm/h").to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    assert "infinite" in archive.append(tmp_path / "a.zarr", [tmp_path / "r.nc"]).refused[0][1]


@pytest.mark.parametrize("make", [Path.touch, lambda path: (path.mkdir(), no_radar(path))])
def test_archive_append_to_something_else_changes_nothing(tmp_path, files, make):
    make(tmp_path / "a.zarr")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArchiveError, match="expected an archive"):
        archive.append(tmp_path / "a.zarr", files)
    assert sorted(tmp_path.rglob("*")) == before


def test_archive_append_to_another_programs_store_is_refused(tmp_path, files):
    xr.Dataset({"rainfall_rate": ("time", [1.0])}).to_zarr(
        tmp_path / "a.zarr", consolidated=False, zarr_format=3
    )
    with pytest.raises(ArchiveError, match="expected an archive"):
        archive.append(tmp_path / "a.zarr", files)


@pytest.mark.parametrize(
    "make", [lambda _: None, Path.touch, Path.mkdir, lambda path: zarr.create_group(str(path))]
)
def test_archive_open_something_else_raises(tmp_path, make):
    make(tmp_path / "a.zarr")
    with pytest.raises(ArchiveError, match=r"a\.zarr: expected an archive"):
        archive.open(tmp_path / "a.zarr")


def test_archive_append_to_a_locked_archive_raises(tmp_path, files):
    archive.append(tmp_path / "a.zarr", files[:1])
    complaints = []

    def meanwhile(*_):
        with pytest.raises(ArchiveError, match="found another process writing to it") as caught:
            archive.append(tmp_path / "a.zarr", files[1:])
        complaints.append(caught.value)

    archive.append(tmp_path / "a.zarr", files[:3], progress=meanwhile)
    assert len(complaints) == 2


def test_archive_append_to_a_new_locked_archive_raises(tmp_path, files):
    """On a new archive, the removal of a dead process's files must not remove the lock."""
    path, complaints = tmp_path / "a.zarr", []

    def meanwhile(*_):
        with pytest.raises(ArchiveError, match="found another process writing to it") as caught:
            archive.append(path, files[1:])
        complaints.append(caught.value)

    assert len(archive.append(path, files[:2], progress=meanwhile).added) == 2
    assert len(complaints) == 2
    assert archive.open(path).sizes["time"] == 2


@pytest.mark.parametrize("again", [False, True])
def test_archive_append_lock_on_a_replaced_folder_does_not_count(tmp_path, files, monkeypatch, again):
    fcntl = pytest.importorskip("fcntl")
    path, lock = tmp_path / "a.zarr", fcntl.flock

    def replaced_before(*arguments):
        path.rmdir()
        if again:
            (tmp_path / "kept").mkdir()  # so that the new folder does not get the old one's inode number
            path.mkdir()
        lock(*arguments)

    monkeypatch.setattr(fcntl, "flock", replaced_before)
    with pytest.raises(ArchiveError, match="found another process writing to it"):
        archive.append(path, files)


def test_archive_append_leaves_files_of_others(tmp_path, files):
    path = tmp_path / "a.zarr"
    path.mkdir()
    (path / "thesis.partial").write_text("years of work")
    with pytest.raises(ArchiveError, match=r"found a folder that contains thesis\.partial"):
        archive.append(path, files)
    (path / "thesis.partial").rename(tmp_path / "thesis.partial")
    archive.append(path, files[:2])
    (tmp_path / "thesis.partial").rename(path / "thesis.partial")
    (path / "rainfall_rate" / ".DS_Store").touch()
    assert len(archive.append(path, files).added) == 2
    assert (path / "thesis.partial").read_text() == "years of work"
    assert (path / "rainfall_rate" / ".DS_Store").exists()


@pytest.mark.parametrize("name", [".zarr.17.part.json", "zarr.json.partial"])
def test_archive_append_removes_a_partial_root(tmp_path, files, write_pgm, name):
    path, partial = tmp_path / "a.zarr", tmp_path / "a.zarr" / name
    path.mkdir()
    partial.write_text("{")
    archive.append(path, [write_pgm("201609281445", edit=lambda content: content[:-1], name="cut.pgm")])
    assert not path.exists()
    archive.append(path, files[1:])
    partial.write_text("{")
    archive.append(path, files)
    assert not partial.exists()


def test_archive_append_wrong_date_is_refused_and_named(tmp_path, files, write_pgm, monkeypatch):
    monkeypatch.setattr(time_axis, "MOST_MISSING", 100)
    path = tmp_path / "a.zarr"
    # Before the first wrong date, 98 steps of 5 minutes are missing. The second is in the next century.
    near, far = write_pgm("201609282325"), write_pgm("211609281200")
    report = archive.append(path, [far, *files, near], now=np.datetime64("2200-01-01"))
    assert report.added == moments("14:45", "14:50", "14:55", "15:10", "23:25")
    ((refused, reason),) = report.refused
    assert refused == far
    assert "every 5 min, found more than 100 missing" in reason
    assert "2116-09-28T12:00:00 after the archive's last, 2016-09-28T23:25:00" in reason
    schema.check(archive.open(path))


def test_archive_append_step_that_makes_too_many_frames_missing_is_refused(tmp_path, write_pgm, monkeypatch):
    """With a step of an hour no time is missing; with a step of a minute, 118 are missing."""
    monkeypatch.setattr(time_axis, "MOST_MISSING", 100)
    hours = [write_pgm(f"20160928{hour:02}00") for hour in (0, 1, 2)]
    minutes = [write_pgm(f"2016092802{minute:02}") for minute in range(1, 6)]
    report = archive.append(tmp_path / "a.zarr", [*hours, *minutes])
    # The step becomes a minute when minutes are as frequent as hours. With two of them, 58 are missing.
    assert [path.name for path, _ in report.refused] == ["201609280202.pgm.gz", "201609280204.pgm.gz"]
    assert len(report.added) == 6
    schema.check(archive.open(tmp_path / "a.zarr"))


def test_archive_append_refused_frame_refuses_the_rest_of_its_file(tmp_path, cf):
    rates = np.ones((4, 4, 5))
    rates[1, 0, 0] = np.inf
    cf(rates, units="mm/h").to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    report = archive.append(tmp_path / "a.zarr", [tmp_path / "r.nc"])
    assert report.added == (np.datetime64("2020-05-01T12:00", "s"),)
    assert len(report.refused) == 1


@pytest.mark.parametrize("held", [0, 2])
def test_archive_append_on_a_full_disk_leaves_committed_frames(tmp_path, files, monkeypatch, held):
    """The disk is full at the first write, at the second, …, until everything fits."""
    base, path = tmp_path / "base.zarr", tmp_path / "a.zarr"
    if held:
        archive.append(base, files[:held])
    stage, room = ArchiveFolder.stage, [0]

    def stage_while_there_is_room(self, *arguments, **options):
        room[0] -= 1
        if room[0] == -1:  # later writes find the space that was freed
            raise OSError(errno.ENOSPC, "No space left on device")
        return stage(self, *arguments, **options)

    monkeypatch.setattr(ArchiveFolder, "stage", stage_while_there_is_room)
    for writes in range(100):
        shutil.rmtree(path, ignore_errors=True)
        if held:
            shutil.copytree(base, path)
        room[0] = writes
        try:
            archive.append(path, files)
        except ArchiveError as error:
            assert f"No space left on device; the {held} frames" in str(error)  # noqa: PT017
        else:
            break
        if held:
            xr.testing.assert_identical(archive.open(path).load(), archive.open(base).load())
            assert contents(path) == contents(base)
            expect_nothing_left_over(path)
        else:
            assert not path.exists()
    assert len(archive.append(path, files).present) == 4
    expect_nothing_left_over(path)
    assert 10 <= writes < 100  # two files for each frame, the series, the root and the arrays


def test_archive_append_real_event_agrees_with_its_bytes(tmp_path, radar_data):
    sources = sorted((radar_data / "fmi_pgm_20160928").glob("*.pgm.gz"))
    report = archive.append(tmp_path / "a.zarr", [radar_data / "fmi_pgm_20160928"])
    assert (len(report.added), report.refused) == (40, ())
    ds = archive.open(tmp_path / "a.zarr")
    codes = np.stack(
        [np.frombuffer(gzip.decompress(file.read_bytes())[-1226 * 760 :], np.uint8) for file in sources]
    )
    stamps = [str(time)[:16].translate({45: None, 58: None, 84: None}) for time in ds["time"].values]
    assert stamps == [file.name[:12] for file in sources]
    rate = ds["rainfall_rate"].values.reshape(40, -1)
    assert np.isnan(rate).mean() == (codes == 255).mean()
    # Rates in float32 have a relative error of 6e-8.
    top = codes[codes < 255].max()
    assert np.nanmax(rate) == pytest.approx((10 ** ((top - 64) / 20) / 223) ** (1 / 1.53), rel=1e-6)
    wet = (codes != 255) & (codes >= 64 + 2 * 10 * np.log10(223 * 0.1**1.53))
    np.testing.assert_array_equal(rate >= 0.1, wet)
