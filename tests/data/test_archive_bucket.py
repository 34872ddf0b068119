"""Operations on the files of an archive: the same on a local disk and in an S3 store (moto's)."""

import os
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import obstore
import pytest

from stormcell.data import archive, bucket_lock, schema, store
from stormcell.data.archive_bucket import ArchiveBucket
from stormcell.data.archive_folder import ArchiveFolder
from stormcell.data.object_store import location
from stormcell.errors import ArchiveError

LOCK = ".stormcell/lock"


@pytest.fixture
def archive_in_s3(bucket):
    return ArchiveBucket(location(f"{bucket}/deep/a.zarr"))


@pytest.fixture(params=["local", "s3"])
def folder(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("archive_in_s3")
    return ArchiveFolder(tmp_path)


def test_archive_files_are_written_read_listed_and_deleted(folder):
    folder.make("a")
    folder.write("a/1", b"one")
    folder.write("a/1", b"two")
    folder.write("zarr.json", b"{}")
    assert folder.read("a/1") == b"two"
    assert {"a", "zarr.json"} <= set(folder.names()) <= {".stormcell", "a", "zarr.json"}
    assert folder.names("a") == ["1"]
    assert [folder.exists(name) for name in ("a", "a/1", "a/2", "b")] == [True, True, False, False]
    assert folder.names("b") == []
    with pytest.raises(FileNotFoundError):
        folder.read("a/2")
    for _ in range(2):
        folder.delete("a/1")
    assert not folder.exists("a/1")


def test_archive_files_staged_move_to_their_place_and_links_stay(folder):
    folder.make("a")
    names = [folder.stage(bytes([k])) for k in range(5)]
    assert {folder.read(name) for name in names} == {bytes([k]) for k in range(5)}
    folder.place_all((name, f"a/{k}") for k, name in enumerate(names))
    assert not any(folder.exists(name) for name in names)
    folder.link_all([("a/1", "a/7"), ("a/2", "a/3")])
    folder.delete("a/1")
    assert [folder.read(f"a/{k}") for k in (0, 2, 3, 4, 7)] == [bytes([k]) for k in (0, 2, 2, 4, 1)]
    with pytest.raises(FileNotFoundError):
        folder.link("a/none", "a/8")
    folder.delete_folder("a")
    assert folder.names("a") == []


def test_archive_files_are_pickled_for_workers(folder):
    other = pickle.loads(pickle.dumps(folder))
    assert folder.read(other.stage(b"rain")) == b"rain"


def test_archive_lock_excludes_another_writer_until_it_is_released(folder):
    other = pickle.loads(pickle.dumps(folder))
    with folder.lock():
        with pytest.raises(ArchiveError, match="expected no other writer, found another process"):
            other.lock().__enter__()
        folder.write("zarr.json", b"{}")
    with other.lock():
        pass


def test_archive_lock_in_s3_names_its_process(archive_in_s3):
    said = r"process \d+ on .*, since 20..-.* \d+ s ago"
    with archive_in_s3.lock(), pytest.raises(ArchiveError, match=said):
        ArchiveBucket(archive_in_s3.path).lock().__enter__()


def test_archive_lock_in_s3_of_a_dead_process_is_taken_over_when_it_is_stale(archive_in_s3, monkeypatch):
    archive_in_s3.write(LOCK, b"not a lock")
    other = ArchiveBucket(archive_in_s3.path)
    with pytest.raises(ArchiveError, match="found another process writing to it: an unknown one"):
        other.lock().__enter__()
    monkeypatch.setattr(bucket_lock, "_STALE_SECONDS", -1.0)
    with other.lock():
        monkeypatch.setattr(bucket_lock, "_STALE_SECONDS", 300.0)
        other.write("a/1", b"one")
    assert not other.exists(LOCK)


def test_archive_lock_in_s3_is_renewed_as_long_as_it_is_held(archive_in_s3, monkeypatch):
    monkeypatch.setattr(bucket_lock, "_RENEW_SECONDS", 0.05)
    at_lock = location(f"{archive_in_s3.path}/{LOCK}").store()
    with archive_in_s3.lock():
        monkeypatch.setattr(bucket_lock, "_STALE_SECONDS", 2.0)
        before = obstore.head(*at_lock)["last_modified"]
        time.sleep(1.5)
        assert obstore.head(*at_lock)["last_modified"] > before
        archive_in_s3.write("a/1", b"one")
    assert "lock of an archive" not in {thread.name for thread in threading.enumerate()}


def test_archive_lock_in_s3_taken_over_stops_its_first_writer_before_it_writes(archive_in_s3, monkeypatch):
    monkeypatch.setattr(bucket_lock, "_RENEW_SECONDS", 0.05)
    other = ArchiveBucket(archive_in_s3.path)
    with archive_in_s3.lock():
        other.write(LOCK, b"another's")
        time.sleep(0.5)
        with pytest.raises(ArchiveError, match="expected to keep the lock"):
            archive_in_s3.write("a/1", b"one")
    assert other.read(LOCK) == b"another's"
    assert not other.exists("a/1")


def test_archive_lock_in_s3_not_renewed_in_time_stops_its_writer(archive_in_s3, monkeypatch):
    with archive_in_s3.lock():
        monkeypatch.setattr(bucket_lock, "_STALE_SECONDS", 0.0)
        with pytest.raises(ArchiveError, match="not renewed in time"):
            archive_in_s3.link("a", "b")


def test_archive_root_in_s3_that_another_process_replaced_is_not_replaced(archive_in_s3):
    other = ArchiveBucket(archive_in_s3.path)
    archive_in_s3.write("zarr.json", b"first")
    with pytest.raises(ArchiveError, match="found that another process has committed"):
        other.write("zarr.json", b"blind")  # it expects no root
    assert other.read("zarr.json") == b"first"
    other.write("zarr.json", b"second")
    with pytest.raises(ArchiveError, match="found that another process has committed"):
        archive_in_s3.write("zarr.json", b"third")
    assert other.read("zarr.json") == b"second"


def test_archive_in_s3_is_written_changed_and_opened_like_a_local_one(bucket, write_pgm, tmp_path):
    times = [f"2016092814{minute}" for minute in (45, 50, 55)]
    files = [write_pgm(time) for time in times]
    other = write_pgm(times[0], name="other.pgm", values=np.full((6, 5), 200))
    for place in (f"{bucket}/rain.zarr", tmp_path / "rain.zarr"):
        opened = []
        for some, replace in (([files[0], files[2]], False), ([files[1]], False), ([other], True)):
            done = archive.append(place, some, replace=replace)
            assert not done.refused
            opened.append(archive.open(place))
        schema.check(opened[-1])
        assert [len(ds.time) for ds in opened] == [2, 3, 3]
        with pytest.raises(ArchiveError, match="expected an archive, found no such path"):
            archive.open(f"{place}-no")
    s3, local = archive.open(f"{bucket}/rain.zarr"), archive.open(tmp_path / "rain.zarr")
    assert s3.drop_attrs().identical(local.drop_attrs())
    # The dataset that was opened before the last change is read on.
    np.testing.assert_array_equal(opened[1].rainfall_rate[1], local.rainfall_rate[1])
    assert not [url for url in location(bucket).files() if "/staged/" in str(url) or url.name == "lock"]
    assert pickle.loads(pickle.dumps(s3)).identical(s3)


def set_environment(settings):
    os.environ.update(settings)


def test_archive_in_s3_is_written_by_workers(by_address, cluster, bucket, write_pgm, tmp_path):
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    with cluster.get_client() as client:
        client.run(set_environment, settings)
    files = [write_pgm(f"20160928{hour:02}{minute:02}") for hour in range(4) for minute in range(0, 60, 5)]
    archive.append(tmp_path / "rain.zarr", files)
    done = archive.append(f"{bucket}/rain.zarr", files, workers=by_address)
    assert len(done.added) == 48
    ours, local = archive.open(f"{bucket}/rain.zarr"), archive.open(tmp_path / "rain.zarr")
    assert ours.drop_attrs().identical(local.drop_attrs())


def test_archive_lock_in_s3_of_a_new_archive_outlives_the_cleaning_before_the_first_frame(bucket):
    with store.writing(location(f"{bucket}/new.zarr")) as opened:
        assert opened.folder.exists(LOCK)
    assert not location(f"{bucket}/new.zarr/{LOCK}").is_file()


def test_archive_lock_in_s3_that_was_deleted_stops_its_writer(archive_in_s3, monkeypatch):
    monkeypatch.setattr(bucket_lock, "_RENEW_SECONDS", 0.05)
    with archive_in_s3.lock():
        ArchiveBucket(archive_in_s3.path).delete(LOCK)
        time.sleep(0.5)
        with pytest.raises(ArchiveError, match="expected to keep the lock"):
            archive_in_s3.write("a/1", b"one")


KILLED = """
import os, sys
from stormcell.data import archive, store
from stormcell.data.archive_bucket import ArchiveBucket

place, operation, count, *files = sys.argv[1:]
done, left = getattr(ArchiveBucket, operation), [int(count)]

def until(self, *arguments, **options):
    left[0] -= 1
    if left[0] < 0:
        os._exit(9)
    return done(self, *arguments, **options)

setattr(ArchiveBucket, operation, until)
store._FRAMES_PER_COMMIT = 2
archive.append(place, files)
"""


@pytest.mark.parametrize(("operation", "count"), [("_put", 20), ("_put", 40), ("link", 9)])
def test_archive_in_s3_of_a_killed_writer_is_readable_and_completed(
    bucket, write_pgm, tmp_path, operation, count
):
    files = [write_pgm(f"2016092814{minute:02}") for minute in range(0, 40, 5)]
    place = f"{bucket}/killed.zarr"
    archive.append(place, files[3:5])  # the others are inserted before and appended
    words = [sys.executable, "-c", KILLED, place, operation, str(count), *map(str, files)]
    assert subprocess.run(words, check=False).returncode == 9
    before = archive.open(place)
    schema.check(before)
    assert 2 <= len(before.time) <= 8
    with pytest.raises(ArchiveError, match="expected no other writer"):
        archive.append(place, files)
    obstore.delete(*location(f"{place}/{LOCK}").store())  # instead of waiting for five minutes
    archive.append(place, files)
    archive.append(tmp_path / "whole.zarr", files)
    found, expected = archive.open(place), archive.open(tmp_path / "whole.zarr")
    assert found.drop_attrs().identical(expected.drop_attrs())
