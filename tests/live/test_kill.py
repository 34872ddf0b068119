"""A loop that is killed at any moment is continued by the next: the published tree is the same."""

import hashlib
import os
import subprocess
import sys

import pytest
from tests.live.conftest import START, STEP

from stormcell.data import archive
from stormcell.published.reading import Shelf

# The first run finds out what is written; then a loop is killed before the first rename of each kind.
# The loop runs in children of one process, which is faster than a process of its own for each moment.
KILLED = """
import json, os, re, signal, sys
from pathlib import Path
from tests.live.conftest import Rig

root = Path(sys.argv[1])


def kind(folder, name, target):
    "An operation and its target, without what differs between frames, arrays and pictures."
    inside = re.sub(r"[0-9a-f]{8,}|[0-9]+", "#", os.path.relpath(target, folder))
    inside = re.sub(r"^a.zarr/[a-z_]+/(c?).*", r"a.zarr/array/\\1", inside)
    return name + " " + re.sub(r"[.]part/.*", ".part/file", inside)


def dying(folder, name, kinds, last):
    plain = getattr(os, name)

    def operation(source, target):
        kinds.append(kind(folder, name, target))
        if len(kinds) > last:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(source, target)

    setattr(os, name, operation)


def run(folder, last):
    rig, kinds = Rig(folder, model="sprog"), []
    os.fsync = lambda _: None  # a kill loses nothing that was not flushed to the disk, which takes long
    for name in ("replace", "rename"):
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_loop_killed_at_any_moment_is_continued_by_the_next(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    expected = tree(tmp_path / "whole")
    assert expected[0].startswith(f"{START + 2 * STEP:%Y%m%dT%H%MZ}")
    killed = [folder for folder in tmp_path.iterdir() if folder.name != "whole"]
    assert len(killed) > 6
    for folder in killed:
        assert tree(folder) == expected, folder.name
