import threading
import weakref

import pytest
import torch

from stormcell.forecast.lead_threads import ahead, worker_threads


class Thing:
    def __init__(self, lead):
        self.lead = lead


@pytest.mark.parametrize("threads", [1, 2])
def test_ahead_yields_every_lead_in_order(threads):
    assert [one.lead for one in ahead(Thing, 5, threads)] == [1, 2, 3, 4, 5]


def test_ahead_makes_the_next_two_while_one_is_used_and_no_more():
    begun = [threading.Event() for _ in range(5)]

    def make(lead):
        begun[lead - 1].set()
        return Thing(lead)

    made = ahead(make, 5, 2)
    assert next(made).lead == 1
    assert begun[2].wait(30)
    assert not begun[3].is_set()
    assert next(made).lead == 2
    assert begun[3].wait(30)


@pytest.mark.parametrize("threads", [1, 2])
def test_ahead_keeps_nothing_that_is_used(threads):
    made = ahead(Thing, 3, threads)
    one = next(made)
    there = weakref.ref(one)
    del one
    assert there() is None


@pytest.mark.parametrize("threads", [1, 2])
def test_ahead_error_comes_at_its_lead(threads):
    def make(lead):
        if lead == 2:
            raise ValueError("lead 2")
        return lead

    made = ahead(make, 3, threads)
    assert next(made) == 1
    with pytest.raises(ValueError, match="lead 2"):
        next(made)


def test_ahead_computes_with_one_thread_of_pytorch():
    assert list(ahead(lambda _: torch.get_num_threads(), 2, 2)) == [1, 1]


def test_worker_threads_leave_the_number_of_pytorch():
    before = torch.get_num_threads()
    with worker_threads(3) as pool:
        assert list(pool.map(lambda _: torch.get_num_threads(), range(5))) == [1] * 5
    assert torch.get_num_threads() == before
    with worker_threads(1) as pool:
        assert pool is None
