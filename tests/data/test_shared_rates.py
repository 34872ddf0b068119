from functools import partial

import numpy as np
import pytest
import xarray as xr

from stormcell.data import shared_rates
from stormcell.errors import WorkerError


def check(rate, digest, task):
    shared_rates.expect_same(rate, digest)
    return task


def test_expect_same_raises_only_in_a_worker_with_other_rates(by_address):
    rate = xr.DataArray(np.ones((3, 2, 2), np.float32), dims=("time", "y", "x"))
    found = by_address.run(partial(check, rate, shared_rates.digest(rate)), [1, 2])
    assert [done.result() for done in found] == [1, 2]
    shared_rates.expect_same(rate, "another")
    (done,) = by_address.run(partial(check, rate, shared_rates.digest(rate * np.nan)), [1])
    with pytest.raises(WorkerError, match="expected that they read the same archive, found other rates"):
        done.result()


def test_expect_same_of_an_array_in_the_place_of_another_checks_it(monkeypatch):
    monkeypatch.setattr(shared_rates, "in_worker", lambda: True)
    values = np.zeros((3, 2, 2), np.float32)
    rate = xr.DataArray(values + 1, dims=("time", "y", "x"))
    expected, place = shared_rates.digest(rate), id(rate)
    shared_rates.expect_same(rate, expected)
    del rate
    others = [xr.DataArray(values, dims=("time", "y", "x")) for _ in range(100)]
    assert place in map(id, others)  # one of them has the id of the array that is gone
    for other in others:
        with pytest.raises(WorkerError):
            shared_rates.expect_same(other, expected)
