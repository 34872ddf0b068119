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


def test_expect_same_checks_an_array_that_has_the_id_of_one_that_was_checked(monkeypatch):
    monkeypatch.setattr(shared_rates, "in_worker", lambda: True)
    values = np.zeros((3, 2, 2), np.float32)
    rate = xr.DataArray(values + 1, dims=("time", "y", "x"))
    expected = shared_rates.digest(rate)
    shared_rates.expect_same(rate, expected)
    assert shared_rates._SAME[id(rate)] is rate
    other = xr.DataArray(values, dims=("time", "y", "x"))
    monkeypatch.setitem(shared_rates._SAME, id(other), rate)  # as if it came where the first one was
    with pytest.raises(WorkerError):
        shared_rates.expect_same(other, expected)
