"""Run a function over many tasks: in this process, on the cores of this machine, or on a Dask cluster.

The results are the same, to the bit and in the same order, wherever the tasks run. A function that is run in
this way must depend only on its task, and must leave the same behind when it is run twice, because Dask runs
a task again if its worker process was killed.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from stormcell.errors import ArgumentError

T = TypeVar("T")
R = TypeVar("R")

CORES, NONE = "cores", "none"
GIB = 2**30

# Tasks run in this process for this time before it is decided whether worker processes are worth starting.
_TRIAL_SECONDS = 1.0
# Starting them and importing the libraries takes each core about this time.
_START_SECONDS = 6.0


class Workers(Protocol):
    """Something that runs a function over tasks."""

    def run(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        name: Callable[[T], str] = str,
        skip: Callable[[T], bool] | None = None,
    ) -> "Iterator[Done[T, R]]":
        """Run a function over tasks, and yield what became of each, in the order of the tasks.

        Args:
            function: Function of a task. In other processes it and its results are pickled; what it shares
                between tasks (by :func:`functools.partial`) is sent once to each process.
            tasks: The tasks. Only a few are sent ahead of those whose results are taken.
            name: Name of a task, for errors.
            skip: Whether a task is not to be run after all, and not yielded; asked before it is begun.
        """


@dataclass(frozen=True)
class Done(Generic[T, R]):
    """A task that was run.

    Attributes:
        task: The task.
        result: Function that returns its result, or raises what the task raised. It raises
            :class:`~stormcell.errors.WorkerError` if the task ended its worker process again and again.
    """

    task: T
    result: Callable[[], R]


@contextmanager
def workers(scheduler: str | None = None, *, memory: int = GIB) -> Iterator[Workers]:
    """Start or find what runs tasks, and stop what was started at the end.

    The rule for ``scheduler=None``: tasks run in this process for a second. If by the mean of those that are
    done, the others would take longer than six seconds and the time in which the cores can do them, worker
    processes start on the cores of this machine, and take over when they are ready. So no work ever waits for
    processes to start.

    Args:
        scheduler: ``"none"`` for this process alone; ``"cores"`` for a process on each core of this machine;
            the address of a Dask scheduler, such as ``"tcp://10.0.0.1:8786"``; None for the rule above.
        memory: Memory that a task may need in bytes. On this machine, there are no more processes than have
            this much each.

    Raises:
        ArgumentError: No scheduler answers at the address, or its workers have another version of Stormcell.

    Example:
        >>> with workers("none") as serial:
        ...     [done.result() for done in serial.run(abs, [-1, 2])]
        [1, 2]
    """
    with ExitStack() as stack:
        if scheduler == NONE:
            yield THIS_PROCESS
        elif scheduler is None:
            # The thread is left after what it started, which is the reverse order.
            thread = stack.enter_context(ThreadPoolExecutor(1))
            yield _Adaptive(
                lambda: stack.enter_context(_cores(memory)), partial(_process_count, memory), thread
            )
        elif scheduler == CORES:
            yield stack.enter_context(_cores(memory))
        elif "://" in scheduler:
            from stormcell.data.dask_cluster import connected

            yield stack.enter_context(connected(scheduler))
        else:
            raise ArgumentError(
                f'--scheduler: expected an address such as tcp://host:8786, "{CORES}" or "{NONE}", '
                f"found {scheduler!r}"
            )


def in_worker() -> bool:
    """Whether this is a process of a Dask cluster, whose other processes use the other cores."""
    if "distributed" not in sys.modules:
        return False
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


class _ThisProcess:
    """Runs each task in this process, when its result is asked for."""

    def run(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        name: Callable[[T], str] = str,  # noqa: ARG002 - of a task that ends this process, nothing is said
        skip: Callable[[T], bool] | None = None,
    ) -> Iterator[Done[T, R]]:
        for task in tasks:
            if skip is None or not skip(task):
                yield _outcome(function, task)


THIS_PROCESS: Workers = _ThisProcess()


def _outcome(function: Callable[[T], R], task: T) -> Done[T, R]:
    """Run a task now; its error is raised when the result is asked for."""
    try:
        result = function(task)
    except Exception as error:
        return raising(task, error)
    return Done(task, lambda: result)


def raising(task: T, error: Exception) -> Done[T, Any]:
    """Return a task that failed."""
    return Done(task, partial(_raise, error))


def _raise(error: Exception) -> Any:
    raise error


class _Adaptive:
    """Runs tasks in this process, and on the cores of the machine if there is enough to do.

    While worker processes start, this process continues with the tasks.
    """

    def __init__(self, start: Callable[[], Workers], processes: Callable[[], int], thread: Executor) -> None:
        self._start, self._processes, self._thread = start, processes, thread
        self._starting: Future[Workers] | None = None

    def run(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        name: Callable[[T], str] = str,
        skip: Callable[[T], bool] | None = None,
    ) -> Iterator[Done[T, R]]:
        seconds, done = 0.0, 0
        while done < len(tasks):
            if self._starting is not None and self._starting.done():
                yield from self._starting.result().run(function, tasks[done:], name=name, skip=skip)
                return
            began = time.monotonic()
            task, done = tasks[done], done + 1
            if skip is not None and skip(task):
                continue
            outcome = _outcome(function, task)
            seconds += time.monotonic() - began
            yield outcome
            if self._starting is None and seconds >= _TRIAL_SECONDS:
                alone = seconds / done * (len(tasks) - done)
                if alone > _START_SECONDS + alone / self._processes():
                    self._starting = self._thread.submit(self._start)


def _cores(memory: int) -> AbstractContextManager[Workers]:
    from stormcell.data.dask_cluster import on_cores

    return on_cores(_process_count(memory))


def _process_count(memory: int) -> int:
    """Return the number of processes for this machine: one per core, if each gets the memory."""
    from stormcell.data.dask_cluster import core_count, memory_size

    return max(1, min(core_count(), memory_size() // memory))
