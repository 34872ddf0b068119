"""Batches that threads make ahead, while the network learns from earlier ones."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from stormcell.training.processes import local_process_count

T = TypeVar("T")

# Reading, tracking and interpolation run outside of Python's lock, but what lies between them does not.
_MOST_THREADS = 4


class Prefetch(Generic[T]):
    """The results of a function of consecutive numbers, made ahead of their use.

    The order in which threads finish has no influence on the results.

    Args:
        make: Function from the number of an update to its batch; it is called in threads.
        updates: Number of updates after which training ends; None if it is unknown.
        threads: Number of threads; None for :func:`thread_count`.

    Example:
        >>> with Prefetch(lambda update: update**2, updates=4, threads=2) as squares:
        ...     [squares(update) for update in range(4)]
        [0, 1, 4, 9]
    """

    def __init__(
        self, make: Callable[[int], T], *, updates: int | None = None, threads: int | None = None
    ) -> None:
        self._make, self._updates = make, updates
        self._threads = threads or thread_count()
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: dict[int, Future[T]] = {}

    def __call__(self, update: int) -> T:
        """Return the result of a number, and begin with those that follow it."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "batches")
        end = update + 1 + 2 * self._threads
        for number in range(
            update, end if self._updates is None else max(update + 1, min(end, self._updates))
        ):
            if number not in self._waiting:
                self._waiting[number] = self._pool.submit(self._make, number)
        for number in [number for number in self._waiting if number < update or number >= end]:
            self._waiting.pop(number).cancel()
        return self._waiting.pop(update).result()

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
        self._waiting.clear()

    def __enter__(self) -> "Prefetch[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def thread_count() -> int:
    """Return half of the cores that each process on this machine may use, from one to four.

    The network needs the cores, too. On two of them, it learns faster beside one thread than beside two.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_THREADS, cores // (2 * local_process_count())))
