"""Archives that workers convert: the same to the bit as those of one process, also if a worker is killed."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from tests.data.test_archive import contents, expect_nothing_left_over

from stormcell.data import archive, conversion, parallel
from stormcell.data.archive_folder import ArchiveFolder
from stormcell.data.parallel import in_worker
from stormcell.data.readers import fmi_pgm
from stormcell.errors import ArchiveError, WorkerError


@pytest.fixture
def files(write_pgm, cf, tmp_path):
    """Forty single frames and a file of several, a damaged file, one of another grid, and a duplicate."""
    start = np.datetime64("2016-09-28T00:00")
    names = [f"{time.astype(object):%Y%m%d%H%M}" for time in start + 5 * np.arange(40)]
    found = [write_pgm(name) for name in names]
    found.append(write_pgm(names[30], name="other.pgm", values=np.full((6, 5), 200)))
    found.append(write_pgm("201609280302", name="damaged.pgm", edit=lambda content: content[:-3]))
    found.append(write_pgm("201609280303", name="larger.pgm", rows=7))
    cf(np.ones((5, 6, 5)), start="2016-09-28T03:20", units="mm/h").to_netcdf(
        tmp_path / "foreign.nc", engine="h5netcdf"
    )
    return [*found, tmp_path / "foreign.nc"]


def test_append_by_two_workers_equals_one_process_to_the_bit(by_address, files, tmp_path):
    alone = archive.append(tmp_path / "alone.zarr", files)
    seen = []
    together = archive.append(
        tmp_path / "together.zarr", files, workers=by_address, progress=lambda *counts: seen.append(counts)
    )
    assert contents(tmp_path / "together.zarr") == contents(tmp_path / "alone.zarr")
    assert (together.added, together.present, together.refused) == (
        alone.added, alone.present, alone.refused,
    )  # fmt: skip
    assert {place.name for place, _ in alone.refused} == {
        "other.pgm", "damaged.pgm", "larger.pgm", "foreign.nc",
    }  # fmt: skip
    expect_nothing_left_over(tmp_path / "together.zarr")
    assert seen[-1][1] == 48

    again = archive.append(tmp_path / "together.zarr", files, workers=by_address)
    assert (again.added, again.present) == ((), alone.added)
    expect_nothing_left_over(tmp_path / "together.zarr")


def test_append_late_and_replaced_frames_by_two_workers_equals_one_process(by_address, files, tmp_path):
    for name, workers in (("alone.zarr", archive.THIS_PROCESS), ("together.zarr", by_address)):
        for some, replace in ((files[20:30], False), (files[:41], True)):
            archive.append(tmp_path / name, some, workers=workers, replace=replace)
    assert contents(tmp_path / "together.zarr") == contents(tmp_path / "alone.zarr")
    assert len(archive.open(tmp_path / "alone.zarr").time) == 40


def kill_once(marker, read, source, options, frames):
    """Read a file, and end the worker at the first attempt to read the tenth."""
    if in_worker() and source.name.startswith("201609280045") and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return read(source, options, frames)


def set_reader(read):
    fmi_pgm.read = read


def test_append_of_a_killed_worker_loses_nothing(cluster, by_address, files, tmp_path):
    archive.append(tmp_path / "alone.zarr", files)
    marker = tmp_path / "killed"
    with cluster.get_client() as client:
        client.run(set_reader, partial(kill_once, marker, fmi_pgm.read))
    done = archive.append(tmp_path / "together.zarr", files, workers=by_address)
    assert marker.exists()
    assert len(done.added) == 40
    assert contents(tmp_path / "together.zarr") == contents(tmp_path / "alone.zarr")
    expect_nothing_left_over(tmp_path / "together.zarr")


WRITER = """
import sys
from stormcell.data import archive, parallel, store

store._FRAMES_PER_COMMIT = 4  # so that some are committed before the end
with parallel.workers(sys.argv[1]) as workers:
    archive.append(sys.argv[2], sys.argv[3:], workers=workers)
"""


def test_append_by_workers_killed_with_its_worker_is_completed_by_the_next(
    cluster, by_address, files, tmp_path
):
    files = files[:20]
    archive.append(tmp_path / "alone.zarr", files)
    path = tmp_path / "together.zarr"
    names = [cluster.scheduler_address, str(path), *map(str, files)]
    writer = subprocess.Popen([sys.executable, "-c", WRITER, *names])
    try:
        while not (path / "zarr.json").exists():
            assert writer.poll() is None
            time.sleep(0.005)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    finally:
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
    committed = archive.open(path).sizes["time"]
    assert 1 <= committed < 20
    done = archive.append(path, files, workers=by_address)
    assert (len(done.present), len(done.added)) == (committed, 20 - committed)
    assert contents(path) == contents(tmp_path / "alone.zarr")
    expect_nothing_left_over(path)


class KilledAt:
    """Workers that are all killed by one file."""

    def __init__(self, name):
        self.name = name

    def run(self, function, tasks, **options):
        for done in parallel.THIS_PROCESS.run(function, tasks, **options):
            killed = isinstance(done.task, conversion.Run) and done.task.file.path.name == self.name
            yield parallel.raising(done.task, WorkerError("killed")) if killed else done


def test_append_file_that_kills_every_worker_is_refused_and_others_are_added(write_pgm, tmp_path):
    files = [write_pgm(f"201609281{time}") for time in (400, 405, 410)]
    done = archive.append(tmp_path / "a.zarr", files, workers=KilledAt(files[1].name))
    assert done.refused == ((files[1], "killed"),)
    assert len(done.added) == 2


def test_archive_folder_that_a_worker_does_not_see_is_named(tmp_path):
    with pytest.raises(ArchiveError, match="expected a folder that all workers share, found no such archive"):
        ArchiveFolder(tmp_path / "a.zarr").expect_shared()
