"""Archiving the same files again: unchanged ones are not opened, whatever became of them."""

import os
import sqlite3
import time

import numpy as np
import pytest
from tests.data.test_archive import moments

from stormcell.data import archive, conversion, pruning
from stormcell.data.object_store import location
from stormcell.data.read_options import ReadOptions


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that are opened, as a list that the test may clear."""
    names, open_radar = [], conversion.open_radar

    def counted(path, options):
        names.append(path.name)
        return open_radar(path, options)

    monkeypatch.setattr(conversion, "open_radar", counted)
    return names


@pytest.fixture
def files(write_pgm):
    """Files that were written long enough ago for their time to be trusted."""

    def write(clock, *arguments, **options):
        path = write_pgm(f"20160928{clock}", *arguments, **options)
        os.utime(path, ns=(10**18, 10**18))
        return path

    return write


def test_archive_append_unchanged_files_are_not_opened(tmp_path, files, opened):
    path, first = tmp_path / "a.zarr", [files(clock) for clock in ("1445", "1450", "1455")]
    archive.append(path, first)
    assert len(opened) == 3
    opened.clear()
    newer = files("1500")
    report = archive.append(path, [*first, newer])
    assert opened == [newer.name]
    assert (report.added, report.present) == (moments("15:00"), moments("14:45", "14:50", "14:55"))


def test_archive_append_unchanged_objects_are_not_opened(tmp_path, files, opened):
    import obstore

    store, _ = location("memory://sources").store()
    path = tmp_path / "a.zarr"
    objects = []
    for clock in ("1445", "1450"):
        obstore.put(store, f"sources/{clock}.pgm", files(clock).read_bytes())
        objects.append(f"memory://sources/{clock}.pgm")
    archive.append(path, objects)
    opened.clear()
    assert archive.append(path, objects).present == moments("14:45", "14:50")
    assert opened == []
    obstore.put(store, "sources/1450.pgm", files("1450", np.full((6, 5), 70)).read_bytes())
    assert [place.name for place in archive.append(path, objects).revised] == ["1450.pgm"]
    assert opened == ["1450.pgm"]


def test_archive_append_changed_file_is_opened(tmp_path, files, opened):
    path = tmp_path / "a.zarr"
    file = files("1445", np.full((6, 5), 70), name="a.pgm")
    size = file.stat().st_size
    archive.append(path, [file])
    opened.clear()
    os.utime(file, ns=(10**18 + 1, 10**18 + 1))  # the same contents: compared by their hash, and remembered
    assert archive.append(path, [file]).present == moments("14:45")
    assert archive.append(path, [file]).present == moments("14:45")
    assert opened == []
    files("1445", np.full((6, 5), 71), name="a.pgm")
    os.utime(file, ns=(10**18 + 2, 10**18 + 2))
    assert file.stat().st_size == size  # only time and contents differ
    ((refused, reason),) = archive.append(path, [file]).refused
    assert (refused, opened) == (file, [file.name])
    assert reason.endswith("with other rates")


def test_archive_append_file_written_again_at_once_is_opened(tmp_path, write_pgm, opened):
    """Two writes within the resolution of a file's time have the same time."""
    path, file = tmp_path / "a.zarr", write_pgm(values=np.full((6, 5), 70), name="a.pgm")
    stat = file.stat()
    archive.append(path, [file])
    write_pgm(values=np.full((6, 5), 71), name="a.pgm")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_size == stat.st_size
    assert archive.append(path, [file]).refused[0][1].endswith("with other rates")
    assert opened == ["a.pgm", "a.pgm"]


def test_archive_append_refused_file_is_named_again_without_being_opened(tmp_path, files, opened):
    path = tmp_path / "a.zarr"
    good, cut, grid = files("1445"), files("1450", edit=lambda content: content[:-1]), files("1455", rows=7)
    foreign = tmp_path / "foreign.txt"
    foreign.write_text("rain")
    os.utime(foreign, ns=(10**18, 10**18))
    first = archive.append(path, [good, cut, grid, foreign])
    assert len(first.refused) == 3
    opened.clear()
    again = archive.append(path, [good, cut, grid, foreign])
    assert dict(again.refused) == dict(first.refused)
    assert opened == []
    good.chmod(0o600)
    cut.chmod(0o600)  # a refused file is tried again after its permissions have changed
    assert dict(archive.append(path, [good, cut, grid, foreign]).refused) == dict(first.refused)
    assert opened == [cut.name]


def test_archive_append_other_options_open_the_file(tmp_path, files, opened):
    path, file = tmp_path / "a.zarr", files("1445")
    archive.append(path, [file])
    reason = archive.append(path, [file], options=ReadOptions(zr=(200.0, 1.6))).refused[0][1]
    assert reason.startswith("zr_a: expected the archive's 223.0")
    assert opened == [file.name] * 2


def test_archive_append_file_refused_for_its_date_is_opened_again(tmp_path, files, opened):
    path, now = tmp_path / "a.zarr", np.datetime64("2016-09-28T14:46", "s")
    both = [files("1445"), files("1455")]
    assert "in the future" in archive.append(path, both, now=now).refused[0][1]
    assert archive.append(path, both, now=now + np.timedelta64(10, "m")).added == moments("14:55")
    assert opened == [both[0].name, both[1].name, both[1].name]


def test_archive_append_file_with_other_rates_is_opened_again_only_to_replace(tmp_path, files, opened):
    path, folder = tmp_path / "a.zarr", tmp_path / "corrected"
    folder.mkdir()
    archive.append(path, [files("1445")])
    files("1445", np.full((6, 5), 80), name="b.pgm").rename(folder / "b.pgm")
    opened.clear()
    for _ in range(2):
        assert archive.append(path, [folder]).refused[0][1].endswith("with other rates")
    assert opened == ["b.pgm"]
    for _ in range(2):
        report = archive.append(path, [folder], replace=True)
    assert (report.present, report.refused) == (moments("14:45"), ())
    assert opened == ["b.pgm"] * 2


def test_archive_append_pruned_frames_of_unchanged_files_are_named(tmp_path, files, opened):
    path, both = tmp_path / "a.zarr", [files("1445"), files("1450")]
    archive.append(path, both)
    pruning.prune(path, keep="1min")
    opened.clear()
    report = archive.append(path, both)
    assert (report.pruned, report.present, opened) == (moments("14:45"), moments("14:50"), [])


@pytest.mark.parametrize("damage", ["missing", "cut", "not a table", "other columns", "of another archive"])
def test_archive_append_with_a_damaged_table_reads_the_files(tmp_path, files, opened, damage):
    path, both = tmp_path / "a.zarr", [files("1445"), files("1450")]
    archive.append(path, both)
    opened.clear()
    table = path / ".stormcell" / "sources.sqlite"
    if damage == "missing":
        table.unlink()
    elif damage == "cut":
        table.write_bytes(table.read_bytes()[:5000])
    elif damage == "not a table":
        table.write_bytes(b"rain" * 1000)
    elif damage == "other columns":
        table.unlink()
        with sqlite3.connect(table) as database:
            database.execute("CREATE TABLE sources (path BLOB)")
        database.close()
    else:
        archive.append(tmp_path / "b.zarr", [*both, files("1455")])
        opened.clear()
        (tmp_path / "b.zarr" / ".stormcell" / "sources.sqlite").replace(table)
        both.append(files("1455"))
    report = archive.append(path, both)
    assert report.refused == ()
    assert report.present == moments("14:45", "14:50")
    assert opened
    opened.clear()
    assert len(archive.append(path, both).present) == len(both)
    assert opened == []


def test_archive_append_locked_table_is_not_waited_for_long(tmp_path, files):
    path, both = tmp_path / "a.zarr", [files("1445"), files("1450")]
    archive.append(path, both[:1])
    database = sqlite3.connect(path / ".stormcell" / "sources.sqlite", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    assert archive.append(path, both).added == moments("14:50")
    assert time.monotonic() - started < 30
    database.close()
