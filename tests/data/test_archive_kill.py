"""Writers that are killed: at every moment the archive can be read, and the next writer completes it."""

import json
import subprocess
import sys

import pytest
import xarray as xr
from tests.data.test_archive import contents, expect_nothing_left_over

from stormcell.data import archive, schema

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


def kill(base, out, action, *, moments=22, at_once=32):
    """Run an action on copies of an archive, and kill it at many moments; one copy is not killed."""
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
    assert len(paths) >= 20
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
        assert contents(path) == contents(out / "whole.zarr")
        expect_nothing_left_over(path)
