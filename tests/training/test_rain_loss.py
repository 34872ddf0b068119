import math

import pytest
import torch

from stormcell.data.scaling import LogScaling
from stormcell.training.rain_loss import rain_loss

NAN = float("nan")
SCALING = LogScaling(knee=0.5, top=50.0)


def by_hand(forecast: list[float], truth: list[float], weight: float) -> float:
    total, count = 0.0, 0
    for said, fell in zip(forecast, truth, strict=True):
        if math.isnan(fell):
            continue
        count += 1
        wanted = math.log1p(fell / 0.5) / math.log1p(50 / 0.5)
        error = said - wanted if fell > 0 else max(said, 0.0)
        total += (1 + weight * min(fell, 30)) * error**2
    return total / max(count, 1)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_rain_loss_equals_the_sum_by_hand(weight):
    forecast, truth = [0.3, -0.2, 0.1, -0.4, 0.5, 0.9], [0.5, 7.0, 0.0, 0.0, NAN, 80.0]
    loss = rain_loss(
        torch.tensor(forecast, dtype=torch.float64),
        torch.tensor(truth, dtype=torch.float64),
        SCALING,
        heavy_rain_weight=weight,
    )
    # A mean of five terms, none above 61, in float64: rounding of a few dozen ulp of that at the most.
    assert abs(loss.item() - by_hand(forecast, truth, weight)) < 36 * 61 * 2.2e-16


def test_rain_loss_of_unobserved_pixels_has_no_gradient():
    forecast = torch.tensor([0.3, 9.0], requires_grad=True)
    rain_loss(forecast, torch.tensor([0.5, NAN]), SCALING, heavy_rain_weight=1.0).backward()
    assert forecast.grad is not None
    assert forecast.grad[1] == 0
    assert forecast.grad[0] != 0


def test_rain_loss_without_observed_pixels_is_zero():
    assert rain_loss(torch.ones(3), torch.full((3,), NAN), SCALING, heavy_rain_weight=1.0).item() == 0
