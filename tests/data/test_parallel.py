"""Tasks in this process, on the cores of this machine, and on a scheduler reached by address."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from stormcell.data import dask_cluster, parallel
from stormcell.errors import ArgumentError, InputError, WorkerError


def square(task):
    time.sleep(0.02)
    return task * task, os.getpid()


def refuse_odd(task):
    if task % 2:
        raise InputError(f"{task}: expected an even number, found an odd one")
    return task


def kill_worker(folder, limit, task):
    """End the process the first ``limit`` times that this task is run."""
    runs = len(list(folder.glob(f"{task}-*")))
    (folder / f"{task}-{runs}").touch()
    if task == 3 and runs < limit:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def threads_of_libraries(task):  # noqa: ARG001
    import cv2

    return cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"], parallel.in_worker()


def results(workers, function, tasks):
    return [done.result() for done in workers.run(function, tasks)]


def test_workers_none_runs_each_task_in_this_process_when_its_result_is_asked_for():
    with parallel.workers("none") as workers:
        begun = []
        for done in workers.run(begun.append, range(3)):
            assert begun == list(range(done.task + 1))
        assert not parallel.in_worker()


def test_workers_by_address_return_results_in_order_from_other_processes(by_address):
    found = results(by_address, square, range(40))
    assert [value for value, _ in found] == [task * task for task in range(40)]
    processes = {process for _, process in found}
    assert os.getpid() not in processes
    assert len(processes) == 2


def test_workers_failing_task_raises_its_own_error_and_the_others_run(by_address):
    for workers in (by_address, parallel.THIS_PROCESS):
        outcomes = list(workers.run(refuse_odd, [0, 1, 2]))
        assert [outcomes[k].result() for k in (0, 2)] == [0, 2]
        with pytest.raises(InputError, match="1: expected an even number"):
            outcomes[1].result()


def test_workers_killed_once_run_the_task_again_and_lose_nothing(by_address, tmp_path):
    assert results(by_address, partial(kill_worker, tmp_path, 1), range(12)) == list(range(12))
    assert len(list(tmp_path.glob("3-*"))) == 2


def test_workers_killed_again_and_again_by_a_task_name_it_and_run_the_others(by_address, tmp_path):
    outcomes = list(by_address.run(partial(kill_worker, tmp_path, 99), range(6), name="frame {}".format))
    assert [done.result() for done in outcomes if done.task != 3] == [0, 1, 2, 4, 5]
    with pytest.raises(WorkerError, match=r"^frame 3: .*killed"):
        outcomes[3].result()


def test_workers_cores_are_this_many_processes_of_one_thread_each(monkeypatch):
    monkeypatch.setattr(parallel, "_process_count", lambda _: 2)
    before = dict(os.environ)
    with parallel.workers("cores") as workers:
        assert results(workers, threads_of_libraries, range(2)) == [(1, "1", True)] * 2
    assert dict(os.environ) == before


def test_workers_memory_limits_the_number_of_processes(monkeypatch):
    import dask.system
    import distributed.system

    monkeypatch.setattr(dask.system, "CPU_COUNT", 8)
    monkeypatch.setattr(distributed.system, "MEMORY_LIMIT", 5 * parallel.GIB)
    assert [parallel._process_count(size * parallel.GIB) for size in (1, 2, 9)] == [5, 2, 1]


class Clock:
    """A clock by which every task takes the same time."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def monotonic(self):
        return self.now

    def work(self, task):
        self.now += self.seconds
        return task


class AtOnce:
    """A thread that is never late."""

    def submit(self, function):
        future = Future()
        future.set_result(function())
        return future


def test_workers_by_default_go_on_here_while_processes_start(monkeypatch):
    clock, started, sent = Clock(2.0), threading.Event(), []

    class Late:
        def run(self, function, tasks, **_):
            sent.extend(tasks)
            return parallel.THIS_PROCESS.run(function, tasks)

    def start():
        started.wait(20)
        return Late()

    def work(task):
        if task == 5:
            started.set()
            while not workers._starting.done():
                time.sleep(0.001)
        return clock.work(task)

    monkeypatch.setattr(parallel, "time", clock)
    with ThreadPoolExecutor(1) as thread:
        workers = parallel._Adaptive(start, lambda: 2, thread)
        assert results(workers, work, range(20)) == list(range(20))
    assert sent == list(range(6, 20))


def test_workers_by_default_that_cannot_start_say_so(monkeypatch):
    clock = Clock(2.0)
    monkeypatch.setattr(parallel, "time", clock)

    def fail():
        raise WorkerError("workers: expected 2 processes to start")

    with ThreadPoolExecutor(1) as thread:
        workers = parallel._Adaptive(fail, lambda: 2, thread)
        with pytest.raises(WorkerError, match="expected 2 processes to start"):
            results(workers, lambda task: time.sleep(0.01) or clock.work(task), range(1000))


@pytest.mark.parametrize(
    ("seconds", "tasks", "alone"),
    [(0.1, 100, 100), (1.0, 12, 12), (1.0, 20, 1), (10.0, 2, 2), (10.0, 3, 1)],
)
def test_workers_by_default_start_processes_only_for_much_work(monkeypatch, seconds, tasks, alone):
    clock, sent = Clock(seconds), []

    class Started:
        def run(self, function, tasks, **_):
            sent.extend(tasks)
            return parallel.THIS_PROCESS.run(function, tasks)

    monkeypatch.setattr(parallel, "time", clock)
    workers = parallel._Adaptive(Started, lambda: 2, AtOnce())
    assert results(workers, clock.work, range(tasks)) == list(range(tasks))
    assert sent == list(range(alone, tasks))


def test_workers_without_a_scheduler_at_the_address_name_it(monkeypatch):
    monkeypatch.setattr(dask_cluster, "_CONNECT_SECONDS", 0.2)
    with pytest.raises(ArgumentError, match=r"expected a Dask scheduler at tcp://127.0.0.1:9"):
        parallel.workers("tcp://127.0.0.1:9").__enter__()
    with pytest.raises(ArgumentError, match=r"expected an address .*found 'many'"):
        parallel.workers("many").__enter__()


def test_workers_with_another_version_are_refused(cluster, monkeypatch):
    monkeypatch.setattr(dask_cluster, "_version", lambda: "999")
    with pytest.raises(ArgumentError, match="expected workers with Stormcell 999"):
        parallel.workers(cluster.scheduler_address).__enter__()


def test_workers_stopped_early_cancel_what_they_sent(by_address):
    outcomes = by_address.run(time.sleep, [0.01] * 50)
    next(outcomes)
    outcomes.close()
    assert results(by_address, square, [3])[0][0] == 9


def test_workers_whose_scheduler_ends_raise_a_worker_error(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "_CONNECT_SECONDS", 2)
    file = tmp_path / "scheduler.json"
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard",
         "--host", "127.0.0.1", "--scheduler-file", str(file)],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not file.exists() or not file.read_text():
            time.sleep(0.05)
        with parallel.workers(json.loads(file.read_text())["address"]) as workers:
            threading.Timer(0.5, scheduler.kill).start()
            running = workers.run(square, [1])  # waits for a worker
            with pytest.raises(WorkerError, match="scheduler"):
                next(running)
    finally:
        scheduler.kill()
        scheduler.wait()


def test_parallel_module_is_imported_without_dask():
    code = "import sys, stormcell.data.parallel; assert not {'dask', 'distributed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


class Unlucky:
    """A local cluster whose workers are killed before they are ready, so many times."""

    def __init__(self, times):
        self.left, self.started = times, dask_cluster.LocalCluster

    def __call__(self, **options):
        if self.left:
            self.left -= 1
            raise RuntimeError("Nanny failed to start.")
        return self.started(**options)


def test_on_cores_with_a_worker_killed_at_its_start_starts_again(monkeypatch):
    monkeypatch.setattr(dask_cluster, "LocalCluster", Unlucky(2))
    with dask_cluster.on_cores(1) as cluster:
        assert [done.result()[0] for done in cluster.run(square, [3])] == [9]


def test_on_cores_with_workers_that_never_start_raises(monkeypatch):
    monkeypatch.setattr(dask_cluster, "LocalCluster", Unlucky(3))
    with (
        pytest.raises(WorkerError, match="expected 2 processes to start, found that they ended 3 times"),
        dask_cluster.on_cores(2),
    ):
        pass
