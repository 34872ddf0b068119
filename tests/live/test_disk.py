"""A disk that is full, read-only or fails, at any moment."""

import errno
import os
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from tests.live.conftest import START, STEP, Rig, issue

from stormcell.errors import ArchiveError, OutputError
from stormcell.live.archiving import AddFiles
from stormcell.live.making import Forecast
from stormcell.published.manifest import time_name
from stormcell.published.reading import Shelf

pytestmark = pytest.mark.usefixtures("small_files")


OPERATIONS = ("fsync", "replace", "mkdir")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Folders that are published without a fault, and how often each operation was called for it."""
    rig, counts = Rig(tmp_path_factory.mktemp("undisturbed")), Counter()
    with pytest.MonkeyPatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(os, name, partial(counted, counts, name, getattr(os, name)))
        rig.arrive(0, 1, 2)
    return rig.folders, counts


def counted(counts, name, plain, *arguments, **options):
    counts[name] += 1
    return plain(*arguments, **options)


@pytest.mark.parametrize(
    ("operation", "moment", "error"),
    [
        *(("fsync", k / 5, errno.ENOSPC) for k in range(6)),
        *((operation, k / 2, errno.ENOSPC) for operation in ("replace", "mkdir") for k in range(3)),
        *((operation, moment, errno.EROFS) for operation in OPERATIONS for moment in (0.0, 0.7)),
    ],
)
def test_live_loop_disk_that_fails_at_any_moment_leaves_nothing_half_and_is_tried_again(
    rig, undisturbed, monkeypatch, operation, moment, error
):
    folders, counts = undisturbed
    left = round(moment * (counts[operation] - 1))
    plain = getattr(os, operation)

    def write(*arguments, **options):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(error, os.strerror(error))
        return plain(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, write)
        rig.arrive(0, 1, 2)
    assert any(os.strerror(error) in line for line in rig.lines)
    assert not [path.name for path in rig.out.rglob(".*.part*")]
    rig.now += timedelta(seconds=60)
    rig.turns(4)
    assert rig.folders == folders
    assert rig.newest.folder == folders[-1]
    assert rig.times == [0, 1, 2]
    assert Shelf(rig.out).status().problems == ()


def test_live_loop_with_little_free_space_drops_the_oldest_publications_and_says_so(tmp_path):
    rig = Rig(tmp_path, least_free=1000)
    for k in range(6):
        rig.arrive(k)
    before = rig.folders
    rig.free = lambda _: 500 if len(rig.folders) > 3 else 2000
    rig.arrive(6)
    assert rig.folders[:-1] == before[3:]  # two before the new one is published, and one after
    assert rig.newest.issue == START + 6 * STEP
    assert f"too little free space: dropped 2 publications up to {before[1]}" in " ".join(rig.lines)
    latest = Shelf(rig.out).latest()
    assert {one.folder for one in latest.observed} <= set(rig.folders)
    assert [time_name(when) for when, _ in latest.earlier] == [issue(k) for k in (5, 4)]


def test_live_loop_without_free_space_keeps_the_newest_publication_and_publishes_nothing(tmp_path):
    rig = Rig(tmp_path, least_free=1000)
    space = 2000
    rig.free = lambda _: space
    for k in range(5):
        rig.arrive(k)
    newest = rig.newest.folder
    space = 10
    rig.arrive(5)
    assert rig.folders == [newest]
    assert rig.times == list(range(6))
    assert "expected 0 MB of free space, found 0 MB" in Shelf(rig.out).status().problems[0]
    space = 2000
    rig.now += timedelta(seconds=30)
    rig.turns()
    assert rig.newest.issue == START + 5 * STEP
    assert Shelf(rig.out).status().problems == ()


def test_live_loop_that_cannot_write_the_archive_makes_room_first(tmp_path):
    rig = Rig(tmp_path, least_free=1000)
    for k in range(4):
        rig.arrive(k)
    rig.free = lambda _: 500 if len(rig.folders) > 1 else 2000

    def refuse(job):
        if isinstance(job, AddFiles) and rig.free(rig.out) < 1000:
            raise ArchiveError("a.zarr: could not be written: No space left on device")

    rig.before = refuse
    rig.arrive(4)
    assert rig.times == list(range(5))


def test_live_loop_full_disk_is_a_problem_and_tried_again(rig):
    rig.arrive(0, 1, 2)
    full = True

    def refuse(job):
        if full and isinstance(job, Forecast):
            raise OutputError("published: could not be written: No space left on device")

    rig.before = refuse
    rig.arrive(3)
    assert rig.newest.issue == START + 2 * STEP
    assert "No space left" in Shelf(rig.out).status().problems[0]
    full = False
    rig.now += timedelta(seconds=31)
    rig.turns()
    assert rig.newest.issue == START + 3 * STEP
    assert rig.newest.degraded is None
    assert Shelf(rig.out).status().problems == ()
