"""A loop that is killed at any moment is continued by the next: the published tree is the same."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.live.conftest import START, STEP

from stormcell.data import archive
from stormcell.published.reading import Shelf

# The first run finds out what is written; then a loop is killed before the first operation of each kind.
# The loop runs in children of one process, which is faster than a process of its own for each moment.
KILLED = """
import json, os, re, signal, sys
from pathlib import Path
from tests.live.conftest import Rig

root = Path(sys.argv[1])


def kind(folder, name, where):
    "An operation and its target, without the numbers and hashes in the name."
    path = os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else os.fspath(where)
    inside = os.path.relpath(path, folder)
    return name + " " + re.sub(r"[0-9a-f]{8,}|[0-9]+", "#", inside)


def dying(folder, name, kinds, last):
    plain = getattr(os, name)

    def operation(*arguments, **options):
        kinds.append(kind(folder, name, arguments[-1]))
        if len(kinds) > last:
            os.kill(os.getpid(), signal.SIGKILL)
        # A kill loses nothing that was not flushed to the disk, which takes long.
        return None if name == "fsync" else plain(*arguments, **options)

    setattr(os, name, operation)


def run(folder, last):
    rig, kinds = Rig(folder, model="sprog"), []
    for name in ("fsync", "replace", "rename"):
        dying(folder, name, kinds, last)
    rig.arrive(0, 1, 2)
    return {found: kinds.index(found) for found in set(kinds)}


def forked(folder, last):
    reader, writer = os.pipe()
    child = os.fork()  # no thread has been started yet
    if child == 0:
        os.write(writer, json.dumps(run(folder, last)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        found = answer.read()
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    return None if killed else json.loads(found)


never = 10**6
for moment in forked(root / "whole", never).values():
    assert forked(root / str(moment), moment) is None
    assert forked(root / str(moment), never) is not None
"""


def tree(folder):
    """All that is published and archived, except times of writing."""
    shelf = Shelf(folder / "published")
    latest = shelf.latest()
    manifests = [shelf.manifest(*name) for name in shelf.publications()]
    left = sorted(path.name for path in shelf.root.glob(".*") if path.name != ".lock")
    files = {str(path.relative_to(shelf.root)): contents(path) for path in shelf.root.glob("[0-9]*/**/*")}
    times = archive.open(folder / "a.zarr")["time"].values.tolist()
    facts = [(one.folder, one.model, one.preliminary, one.degraded, one.products) for one in manifests]
    return latest.folder, latest.observed, latest.earlier, facts, files, left, times


def contents(path):
    """A digest of a file with values; empty for one that has the time of writing in it."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix in (".npy", ".png") else ""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it needs Linux")
def test_loop_killed_at_any_moment_is_continued_by_the_next(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    expected = tree(tmp_path / "whole")
    assert expected[0].startswith(f"{START + 2 * STEP:%Y%m%dT%H%MZ}")
    killed = [folder for folder in tmp_path.iterdir() if folder.name != "whole"]
    assert len(killed) > 10
    for folder in killed:
        assert tree(folder) == expected, folder.name
