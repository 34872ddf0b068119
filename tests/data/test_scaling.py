import numpy as np
import pytest
import torch

from stormcell.data.scaling import LogScaling
from stormcell.errors import ArgumentError

RATES = np.array([0.0, 1e-4, 0.1, 1.0, 30.0, 100.0, 8647.0])


@pytest.mark.parametrize("array", [RATES, torch.from_numpy(RATES)], ids=["numpy", "torch"])
def test_scaling_inverse_of_forward_is_the_rate(array):
    scaling = LogScaling(knee=0.3, top=50.0)
    back = scaling.inverse(scaling.forward(array))
    assert type(back) is type(array)
    # log1p and expm1 are accurate to a few ulp; expm1 multiplies an error by its argument, at most 13 here.
    np.testing.assert_allclose(np.asarray(back), RATES, rtol=50 * np.finfo(float).eps)


def test_scaling_dry_is_exactly_zero_and_nan_stays_nan():
    scaled = LogScaling().forward(np.array([0.0, np.nan], np.float32))
    assert scaled[0] == 0
    assert np.isnan(scaled[1])
    assert scaled.dtype == np.float32


def test_scaling_numpy_and_torch_agree():
    scaling = LogScaling()
    np.testing.assert_allclose(
        scaling.forward(torch.from_numpy(RATES)).numpy(), scaling.forward(RATES), rtol=4 * np.finfo(float).eps
    )


@pytest.mark.parametrize("wrong", [{"knee": 0.0}, {"top": -1.0}, {"knee": float("nan")}])
def test_scaling_constants_that_are_not_positive_raise(wrong):
    with pytest.raises(ArgumentError, match="expected a rate above 0 mm/h"):
        LogScaling(**wrong)
