"""Writers that are killed: at every moment the archive can be read, and the next writer completes it."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pyproj
import pytest
import xarray as xr
from tests.data.test_archive import contents, expect_nothing_left_over
from tests.data.test_archive_changes import add

from stormcell.data import archive, pruning, rain_index, schema
from stormcell.data.archive_folder import ArchiveFolder
from stormcell.data.grid import Grid
from stormcell.errors import ArchiveChangedError, ArchiveError

# The child is killed before its n-th operation on a file, for each n in turn, or in the middle of writing.
KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path
import numpy as np
from stormcell.data import archive, store
from stormcell.data.archive_folder import ArchiveFolder

base, out, moments, at_once, action = Path(sys.argv[1]), Path(sys.argv[2]), *json.loads(sys.argv[3])
store._FRAMES_PER_COMMIT = at_once
operations = ("stage", "place", "link", "delete", "make")


def run(path, last):
    def dying(operation):
        method = getattr(ArchiveFolder, operation)

        def die_before(self, *arguments, **options):
            nonlocal last
            last -= 1
            if last < 0 and operation == "stage":
                method(self, arguments[0][: len(arguments[0]) // 2], **options)
            if last < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(self, *arguments, **options)

        return die_before

    for operation in operations:
        setattr(ArchiveFolder, operation, dying(operation))
    exec(action)
    return last


def forked(path, last):
    if base.exists():
        shutil.copytree(base, path)
    reader, writer = os.pipe()
    child = os.fork()  # no thread has been started yet
    if child == 0:
        os.write(writer, str(run(path, last)).encode())
        os._exit(0)
    os.close(writer)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = os.read(reader, 20).decode()
    os.close(reader)
    return None if killed else int(left)


total = 10_000 - forked(out / "whole.zarr", 10_000)
for moment in sorted({round(k) for k in np.linspace(0, total - 1, min(moments, total))}):
    assert forked(out / f"{moment}.zarr", moment) is None
print(total)
"""


def kill(base, out, action, *, moments=15, at_once=32):
    """Run an action on copies of an archive, and kill it at many moments; one copy is not killed.

    A new archive that is killed before the first operation leaves nothing.
    """
    out.mkdir()
    statement = json.dumps([moments, at_once, action])
    command = [sys.executable, "-c", KILLED, str(base), str(out), statement]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [path for path in sorted(out.iterdir()) if path.name != "whole.zarr"]


def appending(files, **options):
    names = [str(file) for file in files]
    return f"archive.append(path, [Path(name) for name in {names}], **{options})"


@pytest.mark.parametrize(
    ("clocks", "held", "at_once"),
    [
        ("1445 1450 1510", 0, 32),  # a new archive
        ("1445 1450 1510", 2, 1),  # an archive that gets a gap
        ("1200 1210 1230 1235 1240 1245", 3, 32),  # an archive whose step changes from 10 to 5 minutes
    ],
)
def test_archive_append_killed_at_any_moment_is_completed_by_the_next(
    tmp_path, write_pgm, clocks, held, at_once
):
    files = [write_pgm(f"20160928{clock}") for clock in clocks.split()]
    base, out = tmp_path / "base.zarr", tmp_path / "killed"
    if held:
        archive.append(base, files[:held])
    paths = kill(base, out, appending(files), at_once=at_once)
    assert len(paths) >= 14
    whole = contents(out / "whole.zarr")
    expected = archive.open(out / "whole.zarr").load().drop_vars("missing_times").drop_attrs(deep=False)
    for path in paths:
        committed = 0
        if (path / "zarr.json").exists():
            ds = archive.open(path)
            schema.check(ds)
            committed = ds.sizes["time"]
            left = ds.load().drop_vars("missing_times").drop_attrs(deep=False)
            xr.testing.assert_identical(left, expected.isel(time=slice(committed)))
        assert committed >= held
        report = archive.append(path, files)
        assert (len(report.present), report.refused) == (committed, ())
        assert len(report.added) == len(files) - committed
        assert contents(path) == whole
        expect_nothing_left_over(path)


@pytest.fixture
def base(tmp_path, write_pgm):
    """An archive that has changed before, so that the other naming of its files exists."""
    path = tmp_path / "base.zarr"
    archive.append(path, [write_pgm(f"20160928{clock}") for clock in ["1440", "1445", "1500", "1505"]])
    archive.append(path, [write_pgm("201609281450")])
    archive.append(path, [write_pgm("201609281510")])
    return path


def expect_before_or_after(path, before, after):
    """Check that an archive can be read, and is as before or as after a change."""
    schema.check(archive.open(path))
    assert contents(path) in (before, after)


def test_archive_append_late_frame_killed_at_any_moment_is_inserted_by_the_next(tmp_path, base, write_pgm):
    late = [write_pgm("201609281455")]
    paths = kill(base, tmp_path / "killed", appending(late))
    assert len(paths) >= 14
    before, after = contents(base), contents(tmp_path / "killed" / "whole.zarr")
    for path in paths:
        expect_before_or_after(path, before, after)
        assert archive.append(path, late).refused == ()
        assert contents(path) == after
        expect_nothing_left_over(path)


def test_archive_append_replacing_killed_at_any_moment_is_completed_by_the_next(tmp_path, base, write_pgm):
    corrected = [write_pgm("201609281445", np.full((6, 5), 80), name="corrected.pgm")]
    paths = kill(base, tmp_path / "killed", appending(corrected, replace=True))
    assert len(paths) >= 14
    before, after = contents(base), contents(tmp_path / "killed" / "whole.zarr")
    for path in paths:
        expect_before_or_after(path, before, after)
        assert archive.append(path, corrected, replace=True).refused == ()
        assert contents(path) == after
        expect_nothing_left_over(path)


def test_pruning_prune_killed_at_any_moment_is_completed_by_the_next(tmp_path, base):
    action = "from stormcell.data import pruning; pruning.prune(path, keep='10min', durable=True)"
    paths = kill(base, tmp_path / "killed", action)
    assert len(paths) >= 14
    before, after = contents(base), contents(tmp_path / "killed" / "whole.zarr")
    for path in paths:
        expect_before_or_after(path, before, after)
        pruning.prune(path, keep="10min")
        assert contents(path) == after
        expect_nothing_left_over(path)


@pytest.mark.parametrize("change", ["insert", "replace", "prune"])
def test_archive_change_on_a_full_disk_leaves_the_archive_as_it_was(
    tmp_path, base, write_pgm, monkeypatch, change
):
    path, stage, room = tmp_path / "a.zarr", ArchiveFolder.stage, [0]
    late = write_pgm("201609281455")
    corrected = write_pgm("201609281445", np.full((6, 5), 80), name="corrected.pgm")
    known = contents(base)

    def stage_while_there_is_room(self, *arguments, **options):
        room[0] -= 1
        if room[0] == -1:  # later writes find the space that was freed
            raise OSError(errno.ENOSPC, "No space left on device")
        return stage(self, *arguments, **options)

    monkeypatch.setattr(ArchiveFolder, "stage", stage_while_there_is_room)
    for writes in range(40):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(base, path)
        room[0] = writes
        try:
            if change == "prune":
                pruning.prune(path, keep="10min")
            else:
                archive.append(path, [late if change == "insert" else corrected], replace=change == "replace")
        except ArchiveError as error:
            assert "No space left on device; the 6 frames committed before are intact" in str(error)  # noqa: PT017
            assert contents(path) == known
            expect_nothing_left_over(path)
        else:
            break
    assert 5 <= writes < 40
    assert contents(path) != known


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("lasting", [True, False])
def test_archive_append_whose_flush_to_the_disk_fails_is_made_or_not_made(
    tmp_path, base, write_pgm, monkeypatch, exists, lasting
):
    """It fails from the first flush on, from the second, …: also just after the root was replaced."""
    path, late, flush, left = tmp_path / "a.zarr", write_pgm("201609281455"), os.fsync, [0]

    def fail(handle):
        left[0] -= 1
        if left[0] == -1 or (lasting and left[0] < 0):
            raise OSError(errno.EIO, "Input/output error")
        flush(handle)

    monkeypatch.setattr(os, "fsync", fail)
    for flushes in range(100):
        shutil.rmtree(path, ignore_errors=True)
        if exists:
            shutil.copytree(base, path)
        left[0] = flushes
        try:
            archive.append(path, [late], durable=True)
        except ArchiveError as error:
            assert "Input/output error" in str(error)  # noqa: PT017
        else:
            break
        left[0] = 1000
        assert archive.append(path, [late]).refused == ()
        assert len(archive.open(path).load()["time"]) == (7 if exists else 1)
        expect_nothing_left_over(path)
    assert 5 <= flushes < 100


WRITER = """
import os, sys, time
from contextlib import contextmanager
from pathlib import Path
from stormcell.data import pruning
from tests.data.test_archive_changes import add
from tests.data.test_archive_kill import minutes_as_rates

path, count, newest = Path(sys.argv[1]), 0, 55


def step():
    global count
    count += 1
    (path.parent / "next").write_text(str(count))
    os.replace(path.parent / "next", path.parent / "count")


def write(minutes, replace=False):
    add(path, minutes_as_rates(minutes), replace=replace)


for turn in range(20):
    newest += 10
    write([newest])
    for change in (
        lambda: write([newest - 5]),
        lambda: write([newest - 20], replace=True),
        lambda: pruning.prune(path, keep="2h"),
    ):
        time.sleep(0.01 * (turn % 4))
        step()
        change()
        step()
"""


def minutes_as_rates(minutes):
    """Return frames whose every pixel has their minute, so that a frame in a wrong place is found."""
    minutes = np.array(minutes)
    grid = Grid.from_centres(pyproj.CRS(3067), 1000.0 * np.arange(4), 7_000_000 - 1000.0 * np.arange(3))
    times = np.datetime64("2016-09-28T00:00", "s") + minutes * np.timedelta64(60, "s")
    rate = np.ones((len(minutes), 3, 4)) * minutes[:, None, None]
    return schema.build(rate, times, grid, measured={}, attributes={})


def test_archive_readers_during_changes_see_every_frame_at_its_time(tmp_path):
    """A process changes an archive all the time; others open it, by Stormcell and by xarray alone."""
    path = tmp_path / "a.zarr"
    add(path, minutes_as_rates(range(0, 60, 5)))
    count = tmp_path / "count"  # odd during a change that is not an append
    count.write_text("0")
    command = [sys.executable, "-c", WRITER, str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    reads = Counter()
    try:
        while writer.poll() is None:
            for opened in (archive.open, xr.open_zarr):
                first = int(count.read_text())
                try:
                    ds = opened(path)
                    time.sleep(0.01 * (sum(reads.values()) % 4))
                    ds = ds.load()
                except ArchiveChangedError:
                    reads["changed"] += 1
                    continue
                # A reader may miss one change. Xarray alone does not see that a second has begun.
                if opened is xr.open_zarr and (int(count.read_text()) + 1) // 2 - first // 2 > 1:
                    reads["too late"] += 1
                    continue
                minutes = (ds["time"].values - np.datetime64("2016-09-28T00:00")) / np.timedelta64(1, "m")
                assert (np.diff(minutes) > 0).all()
                rate = ds["rainfall_rate"].values
                np.testing.assert_array_equal(rate, np.ones((1, 3, 4)) * minutes[:, None, None])
                assert ds["frame_hash"].values.tolist() == [rain_index.frame_hash(frame) for frame in rate]
                reads[opened.__module__] += 1
    finally:
        writer.kill()
        _, errors = writer.communicate()
    assert writer.returncode == 0, errors
    assert min(reads[module] for module in ("stormcell.data.archive", "xarray.backends.zarr")) >= 5
