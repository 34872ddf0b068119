"""Frames that come late, are corrected or are dropped: what readers see, and what it costs."""

import dataclasses
import json
import os
import pickle
import shutil
from collections import Counter
from contextlib import suppress
from functools import cache
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from tests.data.test_archive import contents, expect_nothing_left_over, moments
from typer.testing import CliRunner

from stormcell.cli.main import app
from stormcell.data import (
    archive,
    archive_files,
    numbering,
    pruning,
    rain_index,
    schema,
    splice,
    staging,
    summary,
)
from stormcell.data.archive_folder import ArchiveFolder, files_of
from stormcell.data.grid import Grid
from stormcell.data.object_store import location
from stormcell.data.splits import Window
from stormcell.data.store import writing
from stormcell.errors import ArchiveChangedError, ArchiveError, ArgumentError, InputError
from stormcell.training.crop_reader import CropReader

START = np.datetime64("2016-09-28T00:00", "s")
GRID = Grid.from_centres(pyproj.CRS(3067), 1000.0 * np.arange(4), 7_000_000 - 1000.0 * np.arange(3))
NOW = np.datetime64("2016-10-28", "s")


def frames_at(minutes, version=0):
    """Return frames whose every pixel has their minute, so that a frame in a wrong place is found."""
    minutes = np.sort(np.asarray(minutes, int))
    rate = np.full((len(minutes), 3, 4), 1.0) * (minutes + version / 4)[:, None, None]
    rate[:, 0, 0] = np.nan
    return schema.build(
        rate, START + minutes * np.timedelta64(60, "s"), GRID, measured={"zr_a": 223.0}, attributes={}
    )


def staged(opened, frames, *, replace=False):
    present = {} if replace else opened.hashes(frames["time"].values)
    return staging.stage(opened.folder, frames, opened.arrays, present).frames


def add(path, frames, *, replace=False, now=NOW):
    """Add frames in one call, and return what became of each."""
    empty = staging.without_frames(frames)
    with writing(path, now=now) as opened:
        return [
            opened.add(frame, empty, replace=replace) for frame in staged(opened, frames, replace=replace)
        ]


def write(path, minutes, version=0, *, replace=False, now=NOW):
    return add(path, frames_at(minutes, version), replace=replace, now=now)


def expect_frames(ds, expected):
    """Check the frames of a dataset, given as {minute: version}, with everything that is stored of them."""
    minutes = ((ds["time"].values - START) / np.timedelta64(60, "s")).astype(int)
    assert minutes.tolist() == sorted(expected)
    values = minutes + np.array([expected[minute] for minute in minutes]) / 4
    rate = ds["rainfall_rate"].values
    np.testing.assert_array_equal(rate[:, 1, 1], values.astype(np.float32))
    for position, frame in enumerate(rate):
        tiles = rain_index.tile_statistics(frame)
        assert ds["frame_hash"].values[position] == rain_index.frame_hash(frame)
        np.testing.assert_array_equal(ds["tile_statistics"].values[position], tiles)
        np.testing.assert_array_equal(
            ds["frame_statistics"].values[position], rain_index.frame_statistics(tiles)
        )


@cache
def stored_at(minute, version):
    """Return everything that is stored of a frame."""
    frame = frames_at([minute], version)["rainfall_rate"].values[0]
    tiles = rain_index.tile_statistics(frame)
    return {
        "rainfall_rate": frame,
        "tile_statistics": tiles,
        "frame_statistics": rain_index.frame_statistics(tiles),
        "frame_hash": rain_index.frame_hash(frame),
    }


def frames_read(ds, expected):
    """Check some frames of a dataset, given as {minute: version}; return how much is refused."""
    counts = Counter()
    minutes = sorted(expected)
    for position in {0, len(minutes) // 2, len(minutes) - 1}:
        minute = minutes[position]
        for name, values in stored_at(minute, expected[minute]).items():
            try:
                found = ds[name].variable[position].values
            except ArchiveChangedError as error:
                assert "expected at most one change since the archive was opened" in str(error)  # noqa: PT017
                counts["refused"] += 1
            else:
                np.testing.assert_array_equal(found, values)
                counts["read"] += 1
    return counts


def expect_archive(path, expected):
    ds = archive.open(path)
    schema.check(ds)
    expect_frames(ds, expected)
    expect_nothing_left_over(path)


def test_store_add_late_frame_is_inserted_where_it_belongs(tmp_path):
    write(tmp_path / "late.zarr", [0, 5, 15, 20])
    assert archive.open(tmp_path / "late.zarr")["missing_times"].size == 1
    assert write(tmp_path / "late.zarr", [10]) == ["added"]
    assert archive.open(tmp_path / "late.zarr")["missing_times"].size == 0
    write(tmp_path / "whole.zarr", [0, 5, 10, 15, 20])
    assert contents(tmp_path / "late.zarr") == contents(tmp_path / "whole.zarr")
    expect_archive(tmp_path / "late.zarr", dict.fromkeys([0, 5, 10, 15, 20], 0))


def test_archive_append_files_in_any_order_gives_the_same_archive(tmp_path, write_pgm):
    files = [write_pgm(f"20160928{clock}") for clock in ("1445", "1450", "1455", "1500", "1515")]
    archive.append(tmp_path / "whole.zarr", files)
    for number in (3, 1, 4, 0, 2):
        report = archive.append(tmp_path / "parts.zarr", [files[number]])
        assert (len(report.added), report.refused) == (1, ())
    assert contents(tmp_path / "parts.zarr") == contents(tmp_path / "whole.zarr")


def test_store_add_random_changes_always_gives_what_was_added(tmp_path, monkeypatch):
    """Also readers that opened the archive before one change and any number of appends read on.

    Before more changes, they read what these did not touch, and an error in place of everything else.
    """
    monkeypatch.setattr(archive_files, "TIMES_PER_CHUNK", 5)
    monkeypatch.setattr(splice, "TIMES_PER_CHUNK", 5)
    monkeypatch.setattr("stormcell.data.committed.TIMES_PER_CHUNK", 5)
    random = np.random.default_rng(1)
    path, expected, readers = tmp_path / "a.zarr", {}, []
    kinds, later = Counter(), Counter()
    for _ in range(60):
        newest, oldest = max(expected, default=0), min(expected, default=0)
        kind = random.choice(["append", "append", "insert", "replace", "prune"]) if expected else "append"
        before = archive_files.read_root(ArchiveFolder(path))
        if kind == "prune":
            limit = int(random.integers(oldest, newest + 1))
            pruning.prune(path, before=str(START + limit * np.timedelta64(60, "s")))
            expected = {minute: version for minute, version in expected.items() if minute >= limit}
        else:
            size = int(random.integers(1, 9))
            if kind == "append":
                minutes = newest + np.arange(1, size + 1) * random.choice([5, 5, 10])
            elif kind == "insert":
                minutes = random.integers(oldest, newest + 1, size)
            else:
                minutes = random.choice(sorted(expected), min(size, len(expected)), replace=False)
            if kind == "insert":
                minutes = np.setdiff1d(minutes, list(expected))
            minutes, version = np.unique(minutes).tolist(), int(random.integers(0, 4))
            if minutes:
                write(path, minutes, version, replace=kind == "replace")
            expected |= dict.fromkeys(minutes, version)
        kinds[kind] += 1
        expect_archive(path, expected)
        # A reader may miss one change of the naming; appending does not change it.
        naming = archive_files.naming(
            archive_files.read_root(ArchiveFolder(path))["consolidated_metadata"]["metadata"]["time"]
        )
        if before is not None:
            old = archive_files.naming(before["consolidated_metadata"]["metadata"]["time"])
            # A prune that drops nothing frees what readers of one change ago use.
            freed = kind == "prune" and old == naming
            readers = [
                (ds, known, changes + ((old != naming) or (freed and changes > 0)))
                for ds, known, changes in readers
            ]
        for ds, known, changes in readers:
            counts = frames_read(ds, known)
            if changes < 2:
                assert counts["refused"] == 0
            else:
                later += counts
        readers = [*readers[-4:], (archive.open(path), dict(expected), 0)]
    assert min(kinds.values()) > 4
    assert min(later["read"], later["refused"]) > 50


@pytest.mark.parametrize("place", ["local", "s3"])
@pytest.mark.parametrize("second", ["insert", "prune", "killed"])
def test_archive_open_reader_of_two_changes_ago_raises(tmp_path, monkeypatch, request, place, second):
    folder = tmp_path if place == "local" else location(request.getfixturevalue("bucket"))
    path = folder / "a.zarr"
    write(path, [0, 5, 10, 20, 30])
    ds = archive.open(str(path))
    reader = CropReader(archive.rain(ds), in_memory=False)
    before, after = Window((0, 1), (2,)), Window((1, 2), (3,))
    area = slice(0, 3), slice(0, 4)
    write(path, [25])
    copy = pickle.loads(pickle.dumps(ds))
    reader.crop(after, *area, [1])
    expect_frames(pickle.loads(pickle.dumps(ds)), dict.fromkeys([0, 5, 10, 20, 30], 0))
    if second == "killed":
        folder = files_of(path)
        monkeypatch.setattr(type(folder), "link_all", Mock(side_effect=KeyboardInterrupt))
        with suppress(KeyboardInterrupt):
            write(path, [15])
    elif second == "insert":
        write(path, [15])
    else:
        pruning.prune(str(path), before="2016-09-28T00:05")
    for lazy in (ds, copy, pickle.loads(pickle.dumps(ds)), ds.chunk()):
        with pytest.raises(ArchiveChangedError, match="open it again"):
            lazy["rainfall_rate"].load()
        with pytest.raises(ArchiveChangedError, match="open it again"):
            lazy["tile_statistics"][3].load()
    with pytest.raises(ArchiveChangedError, match="open it again"):
        reader.crop(after, *area, [1])
    with pytest.raises(ArchiveChangedError, match="open it again"):
        summary.describe(ds, deep=True)
    # What the second change did not touch can be read.
    if second != "prune":
        assert reader.crop(before, *area, [1])[1][0, 1, 1] == 10
    expect_frames(archive.open(str(path)), dict.fromkeys(expected_after(second), 0))


def expected_after(second):
    return {
        "insert": [0, 5, 10, 15, 20, 25, 30],
        "killed": [0, 5, 10, 20, 25, 30],
        "prune": [5, 10, 20, 25, 30],
    }[second]


def test_archive_open_reader_after_a_second_prune_freed_its_files_raises(tmp_path):
    path = tmp_path / "a.zarr"
    write(path, [0, 5, 10, 20])
    ds = archive.open(path)
    for _ in range(2):
        pruning.prune(path, before="2016-09-28T00:05")
    with pytest.raises(ArchiveChangedError, match="open it again"):
        ds["rainfall_rate"].load()


def test_archive_open_missing_file_of_a_frame_raises(tmp_path):
    """Zarr alone takes it for a frame in which nothing was observed."""
    path = tmp_path / "a.zarr"
    write(path, [0, 5, 10])
    ds = archive.open(path)
    (path / "rainfall_rate" / "c.1.0.0").unlink()
    assert ds["rainfall_rate"][[0, 2], 1, 1].values.tolist() == [0, 10]
    with pytest.raises(ArchiveError, match=r"a file for every frame, found no rainfall_rate/c\.1\.0\.0"):
        ds["rainfall_rate"].load()
    shutil.rmtree(path)
    with pytest.raises(ArchiveError, match=r"a file for every frame, found no rainfall_rate/c\.2\.0\.0"):
        ds["rainfall_rate"][2].load()


def test_numbering_many_changes_are_joined_and_never_forgotten():
    """Against the lowest first position since, of changes of which all are kept."""
    random = np.random.default_rng(0)
    state, firsts = numbering.Numbering(), []
    for number in range(300):
        firsts.append(int(random.integers(number, number + 40)))
        state = state.changed(firsts[-1])
        state = numbering.parse(json.dumps({"v2": (1, 2, state.changes)}).encode())["v2"]
        assert len(state.changes) <= 32
        for since in range(number + 1):
            exact, found = min(firsts[since:]), state.unchanged_since(since)
            assert found == exact if since > number - 20 else found <= exact
    assert state.unchanged_since(300) is None
    assert numbering.parse(b'{"v2": [3, 5]}') == {"v2": numbering.Numbering(3, 5)}
    assert numbering.parse(b"[]") == numbering.parse(b"") == {}


def operations(monkeypatch, *names):
    """Count the calls of methods of ArchiveFolder."""
    counts = Counter()
    for name in names:
        method = getattr(ArchiveFolder, name)

        def counted(self, *arguments, method=method, name=name, **options):
            counts[name] += 1
            return method(self, *arguments, **options)

        monkeypatch.setattr(ArchiveFolder, name, counted)
    return counts


def test_store_add_late_frame_costs_what_is_newer(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    write(path, [5 * k for k in range(100) if k != 97])
    counts = operations(monkeypatch, "link", "stage", "place", "names")
    write(path, [5 * 97])
    assert counts["link"] == 2 * 99  # the first change: every file of rates and of tiles
    counts.clear()
    write(path, [5 * k for k in range(100, 104) if k != 101])
    appended = dict(counts)
    assert "link" not in appended
    counts.clear()
    write(path, [5 * 101])
    # Links for what changed since: the frames from the first late one (97 to 100), and the newer ones.
    assert counts["link"] == 2 * (101 - 97 + 2)
    # Two files of the frame, three series, missing times, two notes, the root and six arrays.
    assert counts["stage"] <= 2 + 3 + 1 + 2 + 1 + 6
    assert counts["names"] == 3  # the archive, without its arrays; and the staged files, before and after


def test_store_add_appending_costs_the_same_at_any_size(tmp_path, monkeypatch):
    path, seen = tmp_path / "a.zarr", []
    counts = operations(monkeypatch, "link", "stage", "place", "names", "read", "delete", "exists")
    for k in range(30):
        write(path, [5 * k])
        seen.append(dict(counts))
        counts.clear()
    assert all(each == seen[2] for each in seen[3:])


def test_store_add_replaced_frame_links_the_others_only_once(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    write(path, range(0, 50, 5))
    assert write(path, [20], 1, replace=True) == ["replaced"]
    counts = operations(monkeypatch, "link", "stage")
    assert write(path, [40], 1, replace=True) == ["replaced"]
    assert counts["link"] == 2 * (10 - 4 - 1)  # the frames after the one that was replaced before
    expect_archive(path, {**dict.fromkeys(range(0, 50, 5), 0), 20: 1, 40: 1})


def test_store_add_same_time_is_compared(tmp_path):
    path = tmp_path / "a.zarr"
    write(path, [0, 5, 10])
    assert write(path, [0, 5, 15]) == ["present", "present", "added"]
    with pytest.raises(InputError, match="2016-09-28T00:05:00 is in the archive already, with other rates"):
        write(path, [5], 1)
    assert write(path, [5], 1, replace=True) == ["replaced"]
    assert write(path, [5], 1, replace=True) == ["present"]
    expect_archive(path, {0: 0, 5: 1, 10: 0, 15: 0})


def test_store_add_rates_that_differ_by_rounding_are_present(tmp_path):
    path, frames = tmp_path / "a.zarr", frames_at([100])
    write(path, [100])
    for change, outcome in ((1e-6, ["present"]), (1e-4, None)):
        changed = frames.copy(deep=True)
        changed["rainfall_rate"] *= 1 + np.float32(change)
        if outcome is None:
            with pytest.raises(InputError, match="with other rates"):
                add(path, changed)
        else:
            assert add(path, changed) == outcome
    expect_archive(path, {100: 0})


def test_archive_append_overlapping_files_first_one_decides(tmp_path, write_pgm):
    first = write_pgm("201609281445", name="a.pgm")
    second = write_pgm("201609281445", np.full((6, 5), 80), name="b.pgm")
    for replace in (False, True):
        report = archive.append(tmp_path / "a.zarr", [first, second], replace=replace)
        assert report.added + report.present == moments("14:45")
        assert "with other rates" in dict(report.refused)[second]
        assert (report.future, report.revised) == (set(), {second})
    report = archive.append(tmp_path / "a.zarr", [second], replace=True)
    assert (report.replaced, report.refused) == (moments("14:45"), ())
    report = archive.append(tmp_path / "a.zarr", [second, first], replace=True)
    assert (report.present, report.replaced) == (moments("14:45"), ())


def test_archive_append_damaged_frame_is_refused_and_replaced(tmp_path, write_pgm):
    path, file = tmp_path / "a.zarr", write_pgm("201609281445")
    archive.append(path, [file, write_pgm("201609281450")])
    frame = path / "rainfall_rate" / "c.0.0.0"
    whole = frame.read_bytes()
    frame.write_bytes(whole[: len(whole) // 2])
    other = write_pgm("201609281445", np.full((6, 5), 80), name="b.pgm")
    assert "but damaged" in archive.append(path, [other]).refused[0][1]
    assert archive.append(path, [file], replace=True).replaced == moments("14:45")
    assert (path / "rainfall_rate" / "0.0.0").read_bytes() == whole


def test_archive_append_frame_dated_in_the_future_is_refused(tmp_path, write_pgm):
    files = [write_pgm(f"2016092814{minute}") for minute in ("45", "50", "55")]
    now = np.datetime64("2016-09-28T14:48:00", "s")
    report = archive.append(tmp_path / "a.zarr", files, now=now)
    assert report.added == moments("14:45", "14:50")  # two minutes ahead are allowed
    assert report.refused == (
        (
            files[2],
            "time: expected a time before now, 2016-09-28T14:48:00, found 2016-09-28T14:55:00, "
            "dated in the future",
        ),
    )
    assert (report.future, report.revised) == ({files[2]}, set())
    assert archive.append(tmp_path / "a.zarr", files).added == moments("14:55")


def test_archive_append_old_date_is_refused_and_named(tmp_path, write_pgm, monkeypatch):
    monkeypatch.setattr("stormcell.data.time_axis.MOST_MISSING", 100)
    archive.append(tmp_path / "a.zarr", [write_pgm(f"2016092814{minute}") for minute in (45, 50, 55)])
    ((_, reason),) = archive.append(tmp_path / "a.zarr", [write_pgm("201509281445")]).refused
    assert "found more than 100 missing" in reason
    assert "with 2015-09-28T14:45:00 before 2016-09-28T14:45:00" in reason


def test_archive_append_changed_step_that_is_not_a_multiple_is_stated(tmp_path):
    write(tmp_path / "a.zarr", [0, 7, 12, 17, 22, 32])
    ds = archive.open(tmp_path / "a.zarr")
    assert ds.attrs["consistent_timestep_start"] == "2016-09-28T00:07:00"
    np.testing.assert_array_equal(ds["missing_times"], moments("00:05", "00:27"))
    pruning.prune(tmp_path / "a.zarr", keep="20min")
    assert "consistent_timestep_start" not in archive.open(tmp_path / "a.zarr").attrs


def test_pruning_prune_drops_the_oldest_without_rewriting(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    write(path, range(0, 100, 5))
    before = archive.open(path)
    kept = archive_files.key("rainfall_rate", {"shape": [0, 0, 0]}, "default", 12)
    inode = (path / kept).stat().st_ino
    counts = operations(monkeypatch, "stage")
    dropped = pruning.prune(path, keep="35min")
    assert counts["stage"] <= 3 + 2 + 1 + 5  # series, notes, root, arrays: no frame
    assert dropped == tuple(START + np.arange(0, 60, 5) * np.timedelta64(60, "s"))
    expect_archive(path, dict.fromkeys(range(60, 100, 5), 0))
    assert (path / "rainfall_rate" / "0.0.0").stat().st_ino == inode
    # Readers that opened the archive before read on, until the next prune frees their files.
    expect_frames(before, dict.fromkeys(range(0, 100, 5), 0))
    assert (path / "rainfall_rate" / "c.0.0.0").exists()
    assert pruning.prune(path, keep="35min") == ()
    assert not list((path / "rainfall_rate").glob("c.*"))
    expect_archive(path, dict.fromkeys(range(60, 100, 5), 0))


def test_pruning_prune_frames_do_not_come_back(tmp_path, write_pgm):
    files = [write_pgm(f"2016092814{minute}") for minute in ("40", "45", "50", "55")]
    path = tmp_path / "a.zarr"
    archive.append(path, files)
    assert pruning.prune(path, before="2016-09-28T14:50") == moments("14:40", "14:45")
    for known in (True, False):
        if not known:
            (path / ".stormcell" / "sources.sqlite").unlink()
        report = archive.append(path, files)
        assert (report.added, report.present, report.pruned) == (
            (),
            moments("14:50", "14:55"),
            moments("14:40", "14:45"),
        )
    assert archive.open(path).attrs["pruned_before"] == "2016-09-28T14:50:00"
    assert pruning.prune(path, before="2016-10-01") == moments("14:50")  # the newest frame stays
    assert archive.open(path).sizes["time"] == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "--keep with a period or --before with a time, found neither"),
        ({"keep": "30d", "before": "2016-01-01"}, "--before with a time, found both"),
        ({"keep": "-3d"}, "expected a period such as 90min, 12h, 30d or 2w"),
        ({"keep": "0d"}, "expected a period such as 90min, 12h, 30d or 2w"),
        ({"keep": "soon"}, "expected a period such as 90min, 12h, 30d or 2w"),
        ({"before": "yesterday"}, "expected a time such as"),
    ],
)
def test_pruning_prune_bad_option_raises(tmp_path, options, reason):
    write(tmp_path / "a.zarr", [0, 5])
    with pytest.raises(ArgumentError, match=reason):
        pruning.prune(tmp_path / "a.zarr", **options)


def test_pruning_prune_something_else_raises(tmp_path):
    with pytest.raises(ArchiveError, match="expected an archive, found none"):
        pruning.prune(tmp_path / "a.zarr", keep="1d")
    assert not (tmp_path / "a.zarr").exists()


def test_archive_append_to_an_archive_of_an_earlier_version_names_the_way(tmp_path, write_pgm):
    path = tmp_path / "a.zarr"
    archive.append(path, [write_pgm("201609281445")])
    root = json.loads((path / "zarr.json").read_text())
    for name in ("tile_statistics", "frame_statistics", "frame_hash"):
        del root["consolidated_metadata"]["metadata"][name]
    (path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(
        ArchiveError, match=r"found one of an earlier version; «stormcell archive .* copies it"
    ):
        archive.append(path, [write_pgm("201609281450")])
    assert rain_index.stored(archive.open(path)) is None


def test_rain_index_stored_has_what_training_needs(tmp_path):
    write(tmp_path / "a.zarr", [0, 5, 10])
    write(tmp_path / "b.zarr", [0, 10])
    ds, other = archive.open(tmp_path / "a.zarr"), archive.open(tmp_path / "b.zarr")
    index, other_index = rain_index.stored(ds), rain_index.stored(other)
    assert index.frames.shape == (3, 8)
    assert index.frames[1].tolist() == [11, 11, 55, 5, 1.02, 0, 0, 0]
    assert index.tiles[1].values.tolist() == [[[11]], [[11]], [[55]], [[5]]]
    some, every = np.array([0, 2]), slice(None)
    same = rain_index.data_hash(ds, some, index.hashes[some])
    expected = rain_index.data_hash(other, every, other_index.hashes)
    assert same == expected != rain_index.data_hash(ds, every, index.hashes)


def test_cli_prune_and_replace_print_what_they_did(tmp_path, write_pgm):
    def run(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    path = tmp_path / "a.zarr"
    files = [write_pgm(f"2016092814{minute}") for minute in ("40", "45", "50")]
    assert run("archive", *files, "--out", path, "--durable").exit_code == 0
    other = write_pgm("201609281450", np.full((6, 5), 80), name="b.pgm")
    done = run("archive", other, "--out", path, "--replace")
    assert (done.exit_code, done.stdout) == (
        0,
        f"{path}: 0 frames added, 0 already present, 1 replaced, 0 files refused\n",
    )
    done = run("prune", path, "--keep", "5min", "--durable")
    assert (done.exit_code, done.stdout) == (0, f"{path}: 1 frame dropped\n")
    done = run("archive", files[0], "--out", path)
    assert "1 older than those kept" in done.stdout


def test_archive_tools_read_the_archive_at_any_naming(tmp_path):
    path = tmp_path / "a.zarr"
    write(path, [0, 5, 15])
    for minute in (10, 12):
        write(path, [minute])
        for consolidated in (True, False):
            context = (
                pytest.warns(match="not recognized") if not consolidated else pytest.MonkeyPatch.context()
            )
            with context:
                ds = xr.open_zarr(path, chunks=None, consolidated=consolidated)
            values = ds["rainfall_rate"].values[:, 2, 2]
            assert values.tolist() == ((ds["time"].values - START) / np.timedelta64(1, "m")).tolist()
            assert pd.Index(ds["time"].values).is_monotonic_increasing


def test_summary_describe_reads_frames_only_if_deep(tmp_path):
    write(tmp_path / "a.zarr", [0, 5, 10, 20])
    ds = archive.open(tmp_path / "a.zarr")
    deep = summary.describe(ds, deep=True)
    assert deep == summary.describe(ds.drop_vars(["frame_statistics", "tile_statistics", "frame_hash"]))
    assert deep.problems == ()
    for file in (tmp_path / "a.zarr" / "rainfall_rate").glob("c.*"):
        file.unlink()
    assert summary.describe(archive.open(tmp_path / "a.zarr")) == dataclasses.replace(deep, read=False)


@pytest.mark.parametrize("damage", ["missing", "cut", "exchanged", "statistics", "statistics missing"])
def test_summary_describe_deep_names_damaged_frames(tmp_path, damage):
    path = tmp_path / "a.zarr"
    write(path, [0, 5, 10, 20])
    array = "tile_statistics/{}.0.0.0" if "statistics" in damage else "rainfall_rate/{}.0.0"
    damaged, other = (path / array.format(f"c.{k}") for k in (1, 3))
    if "missing" in damage:
        damaged.unlink()
    elif damage == "cut":
        damaged.write_bytes(damaged.read_bytes()[:-9])
    else:
        damaged.write_bytes(other.read_bytes())
    found = summary.describe(archive.open(path), deep=True)
    assert found.problems == (
        "rates: expected those that were archived, found damaged frames at 2016-09-28T00:05",
    )
    assert summary.describe(archive.open(path)).problems == ()
    assert write(path, [5], replace=True) == ["replaced"]
    assert summary.describe(archive.open(path), deep=True).problems == ()


@pytest.mark.parametrize("change", ["new", "append", "insert", "prune"])
def test_store_durable_flushes_everything_before_the_root(tmp_path, monkeypatch, change):
    """After a power cut, the disk has at least what was flushed: all that the new root describes."""
    path, flushed, checked = tmp_path / "a.zarr", {}, []
    if change != "new":
        add(path, frames_at([0, 5, 15]))
    before = {file.stat().st_ino for file in path.rglob("*") if file.is_file()}
    clock = iter(range(10**6))
    fsync, place, link = os.fsync, ArchiveFolder.place, ArchiveFolder.link
    changed = {}  # folders, and when an entry of theirs changed

    def record(handle):
        flushed[os.fstat(handle).st_ino] = next(clock)
        fsync(handle)

    def placing(self, staged, name):
        if name == "zarr.json":
            for array in archive_files.ARRAYS:
                for file in (path / array).iterdir():
                    assert file.stat().st_ino in before | flushed.keys(), file
                if array in changed:
                    assert flushed[(path / array).stat().st_ino] > changed[array]
            assert flushed[(path / ".stormcell").stat().st_ino] > changed[".stormcell"]
            checked.append(name)
        place(self, staged, name)
        changed[name.rpartition("/")[0]] = next(clock)

    def linking(self, name, to):
        link(self, name, to)
        changed[to.rpartition("/")[0]] = next(clock)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(ArchiveFolder, "place", placing)
    monkeypatch.setattr(ArchiveFolder, "link", linking)
    if change == "prune":
        pruning.prune(path, keep="10min", durable=True)
    else:
        frames = frames_at([10] if change == "insert" else [20])
        with writing(path, durable=True, now=NOW) as opened:
            for frame in staged(opened, frames):
                opened.add(frame, staging.without_frames(frames))
    assert checked == ["zarr.json"]
