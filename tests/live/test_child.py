import os
import select
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from stormcell.errors import FramesError, WorkerError
from stormcell.live.child import Child


def refuse():
    raise FramesError("frames: too few")


def fail():
    raise RuntimeError("a\nb")


def fill_and_wait():
    content = b"1" * 400_000_000
    time.sleep(60)
    return len(content)


@pytest.fixture(scope="module")
def child():
    child = Child(memory=300_000_000)
    yield child
    child.close(patience=5)


def test_child_job_runs_in_another_process_that_stays(child):
    first = child(os.getpid, seconds=60)
    assert first != os.getpid()
    assert child(os.getpid, seconds=60) == first


@pytest.mark.parametrize(("name", "value"), [("MALLOC_ARENA_MAX", "2"), ("OMP_WAIT_POLICY", "PASSIVE")])
def test_child_keeps_little_memory_and_its_threads_wait_without_spinning(child, name, value):
    assert child(partial(os.getenv, name), seconds=60) == value


def test_child_error_of_stormcell_is_raised_as_it_is(child):
    with pytest.raises(FramesError, match="frames: too few"):
        child(refuse, seconds=60)


def test_child_other_error_is_one_line(child):
    with pytest.raises(WorkerError, match=r"^RuntimeError: a b$"):
        child(fail, seconds=60)


def test_child_hanging_job_is_ended_and_the_next_one_runs(child):
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"within 0\.2 s"):
        child(partial(time.sleep, 60), seconds=0.2)
    assert time.monotonic() - began < 20
    assert child(partial(divmod, 7, 2), seconds=60) == (3, 1)


def test_child_that_uses_too_much_memory_is_ended(child):
    with pytest.raises(WorkerError, match="expected at most 300 MB of memory"):
        child(fill_and_wait, seconds=60)
    assert child(partial(divmod, 7, 2), seconds=60) == (3, 1)


def test_child_that_is_killed_is_named_with_the_signal(child):
    process = child(os.getpid, seconds=60)
    with pytest.raises(WorkerError, match="killed by signal 9"):
        child(partial(os.kill, process, signal.SIGKILL), seconds=60)
    assert child(os.getpid, seconds=60) != process


ABANDONED = """
import os, time
from functools import partial
from stormcell.live.child import Child

if __name__ == "__main__":
    child = Child(memory=300_000_000)
    print(child(os.getpid, seconds=60), flush=True)
    child(partial(time.sleep, 60), seconds=60)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="it waits for a process that is not its own child")
def test_child_ends_in_the_middle_of_a_job_when_the_other_process_is_killed(tmp_path):
    (tmp_path / "abandoned.py").write_text(ABANDONED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, tmp_path / "abandoned.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        ended = os.pidfd_open(int(process.stdout.readline()))
        process.kill()
    try:
        assert select.select([ended], [], [], 30)[0]
    finally:
        os.close(ended)
