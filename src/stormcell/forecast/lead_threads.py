"""Threads that forecast lead times: the parts of one, and the next ones meanwhile."""

import collections
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from stormcell.data.parallel import in_worker

AHEAD = 2  # lead times that are made before they are used

_Made = TypeVar("_Made")


@contextmanager
def worker_threads(count: int) -> Iterator[Executor | None]:
    """Give threads that compute with one PyTorch thread each; None if one is enough."""
    if count == 1:
        yield None
        return
    before = torch.get_num_threads()
    with _workers(count) as pool:
        try:
            yield pool
        finally:
            torch.set_num_threads(before)


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Let PyTorch compute with a number of threads."""
    before = torch.get_num_threads()
    if count in (None, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        # In a worker process, other threads may be computing now, and all of them with the same number.
        if not in_worker():
            torch.set_num_threads(before)


def ahead(make: Callable[[int], _Made], steps: int, threads: int) -> Iterator[_Made]:
    """Yield what is made of each lead time; with threads, the next ones are made while one is used.

    Two are made ahead, so that a processor is not idle when either takes longer. Nothing is kept here while
    it is used, so that its memory can be freed.

    Args:
        make: Makes something of a lead time, numbered from 1. The lead times are made in their order.
        steps: Number of lead times.
        threads: Number of threads.
    """
    made: list[_Made] = []
    if threads == 1:
        for lead in range(1, steps + 1):
            with using_threads(1):
                made.append(make(lead))
            yield made.pop()
        return
    with _workers(1) as beside:
        following = collections.deque(beside.submit(make, lead) for lead in range(1, min(AHEAD, steps) + 1))
        for lead in range(1, steps + 1):
            made.append(following.popleft().result())
            if lead + AHEAD <= steps:
                following.append(beside.submit(make, lead + AHEAD))
            yield made.pop()


def _workers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
