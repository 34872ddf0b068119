"""Feeds and archives that fail, and what becomes of the files."""

import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest
from tests.live.conftest import START, STEP, Rig, frame

from stormcell.errors import ArgumentError, OutputError, WorkerError
from stormcell.live.archiving import AddFiles, LookAtArchive
from stormcell.published.reading import Shelf

pytestmark = pytest.mark.usefixtures("small_files")


def test_intake_done_files_are_moved_and_others_stay(tmp_path):
    rig = Rig(tmp_path, done=tmp_path / "done")
    rig.arrive(0, 1)
    rig.put(1, "revised.pgm", factor=1.5)
    rig.turns(3)
    assert sorted(path.name for path in rig.settings.done.iterdir()) == ["radar_000.pgm", "radar_001.pgm"]
    assert [path.name for path in rig.feed.iterdir()] == ["revised.pgm"]


def test_intake_done_files_of_equal_names_are_all_kept_and_stay_in_their_subfolders(tmp_path):
    rig = Rig(tmp_path, done=tmp_path / "done")
    for k, place in enumerate(("north/radar.pgm", "south/radar.pgm", "south/radar.pgm", "south/radar.pgm")):
        (rig.feed / place).parent.mkdir(exist_ok=True)
        rig.arrive(k, name=place)
    files = {path.relative_to(rig.settings.done).as_posix() for path in rig.settings.done.rglob("*.pgm")}
    assert files == {"north/radar.pgm", "south/radar.pgm", "south/radar-2.pgm", "south/radar-3.pgm"}
    assert (rig.settings.done / "south" / "radar-3.pgm").read_bytes() == frame(3)


def test_intake_done_folder_for_a_feed_in_an_object_store_is_refused(tmp_path):
    rig = Rig(tmp_path, done=tmp_path / "done")
    rig.restart(feed="memory:///feed")
    with pytest.raises(ArgumentError, match="--done: expected a feed on the disk"):
        rig.turns()


def test_intake_reader_that_crashes_costs_only_its_file(rig):
    def crash(job):
        if isinstance(job, AddFiles) and any(path.name == "bad.pgm" for path in job.files):
            raise WorkerError("killed by signal 11")

    rig.before = crash
    rig.put(1, "bad.pgm")
    rig.arrive(0, 1, 2)
    rig.turns(100)
    assert rig.times == [0, 1, 2]
    assert rig.counts["corrupt"] == 1


@pytest.mark.parametrize("job_type", [AddFiles, LookAtArchive])
@pytest.mark.parametrize("error", [WorkerError, OutputError])
def test_intake_job_on_the_archive_that_fails_is_a_problem_and_tried_again(rig, job_type, error):
    rig.arrive(0, 1, 2)
    fails = True

    def fail(job):
        if fails and isinstance(job, job_type):
            raise error("expected an answer within 600 s, found none")

    rig.before = fail
    rig.arrive(3)
    if job_type is LookAtArchive or error is OutputError:
        assert "expected an answer within 600 s" in Shelf(rig.out).status().problems[0]
    fails = False
    rig.now += timedelta(seconds=10)
    rig.turns()
    assert rig.newest.issue == START + 3 * STEP
    assert rig.counts["added"] == 4
    assert Shelf(rig.out).status().problems == ()


def test_intake_file_that_the_system_withholds_is_read_when_it_gives_it(rig, monkeypatch):
    rig.arrive(0, 1, 2)
    plain, withheld = Path.open, True

    def opened(path, *arguments, **options):
        if withheld and path.name == "radar_003.pgm":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return plain(path, *arguments, **options)

    rig.put(3)
    monkeypatch.setattr(Path, "open", opened)
    rig.now = START + 3 * STEP
    for _ in range(10):
        rig.turns()
        rig.now += timedelta(seconds=60)
    assert rig.counts == {"added": 3, "partial": 1}
    assert len([line for line in rig.lines if "Permission denied" in line]) == 1
    withheld = False
    rig.turns()
    assert rig.times == [0, 1, 2, 3]


def test_intake_archive_in_an_object_store_that_fails_costs_no_file(rig, monkeypatch):
    from stormcell.data.archive_bucket import ArchiveBucket

    def fail(*_):
        raise OSError(errno.EIO, "the store cannot be reached")

    rig.restart(archive="memory:///rain.zarr")
    with monkeypatch.context() as patch:
        patch.setattr(ArchiveBucket, "write_lock", fail)
        rig.arrive(0, 1, 2)
        rig.now += timedelta(seconds=90)
        rig.turns()
        assert rig.counts == {}
        assert "the store cannot be reached" in Shelf(rig.out).status().problems[0]
    rig.turns()
    assert rig.counts == {"added": 3}


def test_intake_feed_that_cannot_be_read_is_a_problem(rig):
    rig.arrive(0, 1, 2)
    rig.feed.rename(rig.feed.with_name("elsewhere"))
    rig.turns()
    assert "the feed cannot be read" in Shelf(rig.out).status().problems[0]
    rig.feed.with_name("elsewhere").rename(rig.feed)
    rig.turns()
    assert Shelf(rig.out).status().problems == ()


def test_intake_archive_that_another_process_writes_to_is_tried_again(rig):
    from stormcell.data.archive_folder import ArchiveFolder

    rig.arrive(0, 1, 2)
    with ArchiveFolder(rig.settings_archive).lock():
        rig.arrive(3)
        assert "another process writing" in " ".join(Shelf(rig.out).status().problems)
    rig.turns()
    assert rig.times == [0, 1, 2, 3]
    assert rig.newest.issue == START + 3 * STEP
