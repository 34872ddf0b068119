import threading
import time

import pytest

from stormcell.training.prefetch import Prefetch


def test_prefetch_results_do_not_depend_on_the_order_in_which_threads_finish():
    def make(update: int) -> int:
        time.sleep(0.01 * (update % 3 == 0))
        return 10 * update

    with Prefetch(make, threads=3) as ahead:
        assert [ahead(update) for update in range(3, 20)] == [10 * update for update in range(3, 20)]


def test_prefetch_makes_each_batch_once_and_no_batch_after_the_last():
    made, lock = [], threading.Lock()

    def make(update: int) -> int:
        with lock:
            made.append(update)
        return update

    with Prefetch(make, updates=7, threads=2) as ahead:
        for update in range(7):
            ahead(update)
    assert sorted(made) == list(range(7))


def test_prefetch_works_ahead_while_a_batch_is_used():
    """The batch after the next is made before it is asked for."""
    third = threading.Event()
    with Prefetch(lambda update: third.set() if update == 2 else None, threads=1) as ahead:
        ahead(0)
        assert third.wait(timeout=30)


def test_prefetch_raises_the_error_of_its_batch():
    def make(update: int) -> int:
        if update == 2:
            raise ValueError("batch 2")
        return update

    with Prefetch(make, threads=2) as ahead:
        assert [ahead(0), ahead(1)] == [0, 1]
        with pytest.raises(ValueError, match="batch 2"):
            ahead(2)


def test_prefetch_after_a_jump_continues_there():
    with Prefetch(lambda update: update, threads=2) as ahead:
        assert [ahead(0), ahead(40), ahead(41), ahead(3)] == [0, 40, 41, 3]
