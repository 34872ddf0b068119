"""A loop that is killed at any moment is continued by the next: the published tree is the same."""

import os
import subprocess
import sys

import pytest
from tests.live.conftest import START, STEP

from stormcell.data import archive
from stormcell.published.reading import Shelf

# The loop runs in children of one process, which is faster than a process of its own for each moment.
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.live.conftest import Rig

root, moments = Path(sys.argv[1]), int(sys.argv[2])


def dying(name, left):
    plain = getattr(os, name)

    def operation(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        # A kill loses nothing that was not flushed to the disk, which takes long.
        return None if name == "fsync" else plain(*arguments, **options)

    setattr(os, name, operation)


def run(folder, last):
    rig, left = Rig(folder, model="sprog"), [last]
    for name in ("fsync", "replace", "rename"):
        dying(name, left)
    rig.arrive(0, 1, 2)
    return last - left[0]


def forked(folder, last):
    reader, writer = os.pipe()
    child = os.fork()  # no thread has been started yet
    if child == 0:
        os.write(writer, str(run(folder, last)).encode())
        os._exit(0)
    os.close(writer)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    count = os.read(reader, 20).decode()
    os.close(reader)
    return None if killed else int(count)


total = forked(root / "whole", 10_000)
for moment in sorted({round(k * (total - 1) / (moments - 1)) for k in range(moments)}):
    assert forked(root / str(moment), moment) is None
    assert forked(root / str(moment), 10_000) is not None
"""


def tree(folder):
    """All that is published and archived, except times of writing."""
    shelf = Shelf(folder / "published")
    latest = shelf.latest()
    manifests = [shelf.manifest(*name) for name in shelf.publications()]
    left = sorted(path.name for path in shelf.root.glob(".*") if path.name != ".lock")
    files = sorted(str(path.relative_to(shelf.root)) for path in shelf.root.glob("[0-9]*/**/*"))
    times = archive.open(folder / "a.zarr")["time"].values.tolist()
    facts = [(one.folder, one.model, one.preliminary, one.degraded, one.products) for one in manifests]
    return latest.folder, latest.observed, latest.earlier, facts, files, left, times


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_loop_killed_at_any_moment_is_continued_by_the_next(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path), "6"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    folders = sorted(tmp_path.iterdir())
    assert len(folders) == 7
    expected = tree(tmp_path / "whole")
    assert expected[0].startswith(f"{START + 2 * STEP:%Y%m%dT%H%MZ}")
    for folder in folders:
        assert tree(folder) == expected, folder.name
