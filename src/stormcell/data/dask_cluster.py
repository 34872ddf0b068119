"""Dask clusters: processes on the cores of this machine, or a cluster that somebody started.

Dask runs a task again if its worker process was killed, three times at most.
"""

import logging
import os
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from typing import Any, TypeVar, cast

import dask
import dask.system
import distributed.system
from distributed import CancelledError, Client, KilledWorker, LocalCluster, WorkerPlugin, get_worker
from distributed.comm.core import CommClosedError
from distributed.protocol import pickle

from stormcell.data.parallel import Done, raising
from stormcell.errors import ArgumentError, WorkerError

T = TypeVar("T")
R = TypeVar("R")

# Tasks per worker thread that are sent before they are needed, so that no worker waits for the next.
_AHEAD = 2
_CONNECT_SECONDS = 20
_STARTS = 3  # attempts to start worker processes
# One thread of each library per worker process, because there is a process per core.
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
# Dask lets the C library return memory at once, so that the system must clear it again and again: a half more
# processor time for frames of 24.5 million pixels. With these, it keeps up to 128 MB for arrays up to 32 MB.
_ALLOCATION = {"MALLOC_TRIM_THRESHOLD_": 2**27, "MALLOC_MMAP_THRESHOLD_": 2**25}
_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"


def core_count() -> int:
    """Return the number of cores that this process may use."""
    return int(dask.system.CPU_COUNT)


def memory_size() -> int:
    """Return the memory that this process may use, in bytes."""
    return int(distributed.system.MEMORY_LIMIT)


class Cluster:
    """Runs tasks on a cluster; see :class:`stormcell.data.parallel.Workers`."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client

    def run(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        name: Callable[[T], str] = str,
        skip: Callable[[T], bool] | None = None,
    ) -> Iterator[Done[T, R]]:
        """Run a function over tasks, and yield what became of each, in the order of the tasks.

        Raises:
            WorkerError: The scheduler is gone.
        """
        if not tasks:
            return
        run = f"stormcell-{uuid.uuid4().hex}"
        running: deque[tuple[T, Any]] = deque()
        # Whether a task is skipped is asked just before it is begun.
        remaining = (task for task in tasks if skip is None or not skip(task))
        try:
            self._client.register_plugin(_Function(function), name=run)
            ahead = self._ahead()
            while True:
                for task in islice(remaining, ahead - len(running)):
                    running.append((task, self._client.submit(_call, run, task, pure=False)))
                if not running:
                    return
                task, future = running.popleft()
                if isinstance(future.exception(), KilledWorker):
                    # Dask also blames tasks that waited on the killed workers. Alone, one is blamed rightly.
                    for _, other in running:
                        other.exception()  # waits for its end
                    future = self._client.submit(_call, run, task, pure=False)
                yield _outcome(task, future, name)
        except (CancelledError, CommClosedError) as lost:
            raise WorkerError(f"scheduler: expected it to run until the end, found it gone: {lost}") from lost
        finally:
            with suppress(Exception):  # the cluster may be gone
                self._client.cancel([future for _, future in running])
                self._client.unregister_worker_plugin(run)

    def _ahead(self) -> int:
        """Return the number of tasks to have in flight; an adaptive cluster begins with no worker."""
        threads: dict[str, int] = self._client.nthreads()
        return max(4, _AHEAD * sum(threads.values()))


def _outcome(task: T, future: Any, name: Callable[[T], str]) -> Done[T, Any]:
    try:
        result = future.result()
    except KilledWorker:
        return raising(
            task,
            WorkerError(
                f"{name(task)}: expected a result, found that every worker process was killed that worked on "
                "it, perhaps for want of memory"
            ),
        )
    except (CancelledError, CommClosedError):
        raise
    except Exception as error:
        return raising(task, error)
    return Done(task, lambda: result)


class _Function(WorkerPlugin):
    """A function that each worker process is sent once, also one that starts later.

    If the function were the result of a task instead, Dask would run all tasks where that result is.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._pickled = pickle.dumps(function)

    @cached_property
    def function(self) -> Callable[..., Any]:
        function: Callable[..., Any] = pickle.loads(self._pickled)
        return function


def _call(run: str, task: Any) -> Any:
    """Run the function of a run, in a worker process."""
    return cast(_Function, get_worker().plugins[run]).function(task)


@contextmanager
def unchanged_environment() -> Iterator[None]:
    """Undo changes of the environment, because Dask sets the workers' variables in this process too."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def on_cores(processes: int) -> Iterator[Cluster]:
    """Start worker processes on this machine, of one thread each."""
    # A new process finds modules by its environment, and not where its parent does.
    environment: dict[str, Any] = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment |= dict.fromkeys(_ONE_THREAD, 1) | _ALLOCATION
    with (
        unchanged_environment(),
        dask.config.set(
            {
                _ENVIRONMENT: dask.config.get(_ENVIRONMENT) | environment,
                "distributed.worker.profile.enabled": False,  # it is for the dashboard
            }
        ),
        _started(processes) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield Cluster(client)


def _started(processes: int) -> LocalCluster:
    """Start worker processes; again, if one of them was killed before it was ready.

    Raises:
        WorkerError: They could not be started.
    """
    for attempt in range(_STARTS):
        # Dask logs the failure of a worker, and raises it, too.
        silence = logging.ERROR if attempt == _STARTS - 1 else logging.CRITICAL
        try:
            return LocalCluster(
                n_workers=processes,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                silence_logs=silence,
            )
        except RuntimeError as error:
            failure = error
    raise WorkerError(
        f"workers: expected {processes} processes to start, found that they ended {_STARTS} times: {failure}"
    ) from failure


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connect to the scheduler of a running cluster.

    Raises:
        ArgumentError: No scheduler answers at the address, or its workers have another version of Stormcell.
    """
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        raise ArgumentError(
            f"--scheduler: expected a Dask scheduler at {address}, found none: {error}"
        ) from None
    with client:
        expected = _version()
        for worker, found in client.run(version, "stormcell", on_error="return").items():
            if found != expected:
                raise ArgumentError(
                    f"--scheduler: expected workers with Stormcell {expected}, found {found} on {worker}"
                )
        yield Cluster(client)


def _version() -> str:
    return version("stormcell")
