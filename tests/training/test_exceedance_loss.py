import numpy as np
import pytest
import torch

from stormcell.models.exceedance import THRESHOLDS
from stormcell.training.exceedance_loss import (
    CRPS_SHARE,
    exceedance_loss,
    intervals,
    observed_pixels,
    squared_loss,
    threshold_crps,
)

SOME = (0.1, 1.0, 5.0)


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rain(*shape: int, seed: int = 0) -> torch.Tensor:
    rate = np.random.default_rng(seed).gamma(0.4, 4, shape)
    rate[..., 0] = np.nan
    return torch.from_numpy(rate)


def by_hand(found: np.ndarray, target: np.ndarray, thresholds, weights=None) -> tuple[float, float]:
    """The loss and the sum of the CRPS, pixel by pixel."""
    rates = np.array(thresholds)
    borders = [0.0, *(rates[1:] + rates[:-1]) / 2]
    widths = np.diff([*borders, borders[-1] + rates[-1] - rates[-2]])
    importance = np.sqrt(widths) / np.mean(np.sqrt(widths))
    loss = crps = pixels = 0.0
    for example, row, col in np.ndindex(target.shape):
        rate = target[example, row, col]
        if np.isnan(rate):
            continue
        pixels += 1
        weight = 1 if weights is None else weights[example]
        entropy = brier = 0.0
        for k, threshold in enumerate(thresholds):
            p = 1 / (1 + np.exp(-found[example, k, row, col]))
            entropy += importance[k] * -np.log(p if rate >= threshold else 1 - p) / len(thresholds)
            brier += widths[k] * (p - (rate >= threshold)) ** 2
        loss += weight * (entropy + CRPS_SHARE * brier)
        crps += brier
    return loss / pixels, crps


@pytest.mark.parametrize("weights", [None, [0.5, 2.0]])
def test_exceedance_loss_and_crps_equal_those_by_hand(weights):
    found, target = logits(2, 3, 4, 5), rain(2, 4, 5)
    expected = by_hand(found.numpy(), target.numpy(), SOME, weights)
    crop_weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    # Interval widths are float32.
    assert exceedance_loss(found, target, SOME, crop_weights=crop_weights).item() == pytest.approx(
        expected[0], rel=1e-6
    )
    assert threshold_crps(found, target, SOME).item() == pytest.approx(expected[1], rel=1e-6)


def test_intervals_reach_from_zero_and_meet_halfway():
    found = intervals(THRESHOLDS).numpy()
    borders = np.concatenate([[0], np.cumsum(found)])
    for k in range(13):
        assert borders[k + 1] == pytest.approx((THRESHOLDS[k] + THRESHOLDS[k + 1]) / 2, rel=1e-5)
    assert found[-1] == pytest.approx(2 * (30 - 25))


@pytest.mark.parametrize("probability", [0.02, 0.3, 0.9])
def test_exceedance_loss_is_proper(probability):
    """Of all forecasts of an event, the one with its frequency has the lowest loss."""
    events = 1000
    target = torch.zeros(1, 1, events, dtype=torch.float64)
    target[..., : round(probability * events)] = 3.0  # above the first threshold, and not above the second
    candidates = torch.cat([torch.linspace(0.005, 0.995, 199), torch.tensor([probability])]).double()
    losses, scores = [], []
    for one in candidates:
        forecast = torch.stack([torch.logit(one), torch.logit(torch.tensor(1e-9).double())])
        forecast = forecast[None, :, None, None].expand(1, 2, 1, events)
        losses.append(exceedance_loss(forecast, target, (1.0, 10.0)).item())
        scores.append(threshold_crps(forecast, target, (1.0, 10.0)).item())
    assert candidates[int(np.argmin(losses))].item() == pytest.approx(probability, abs=1e-6)
    assert candidates[int(np.argmin(scores))].item() == pytest.approx(probability, abs=1e-6)


def test_exceedance_loss_has_the_gradient_of_finite_differences():
    found, target = logits(1, 3, 2, 3).requires_grad_(), rain(1, 2, 3)
    weight = torch.tensor([1.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda given: exceedance_loss(given, target, SOME, crop_weights=weight), (found,)
    )


def test_exceedance_loss_of_unobserved_pixels_has_no_gradient():
    found, target = logits(1, 3, 2, 3).requires_grad_(), rain(1, 2, 3)
    exceedance_loss(found, target, SOME).backward()
    assert not found.grad[..., 0].any()
    assert found.grad[..., 1:].all()


def test_exceedance_loss_of_nothing_observed_is_zero():
    target = torch.full((1, 2, 3), torch.nan, dtype=torch.float64)
    assert exceedance_loss(logits(1, 3, 2, 3), target, SOME) == 0
    assert threshold_crps(logits(1, 3, 2, 3), target, SOME) == 0
    assert observed_pixels(target.isfinite()) == 1


def test_exceedance_loss_of_parts_adds_up_to_that_of_the_whole():
    """Processes have parts of a batch that differ in the number of observed pixels."""
    found, target = logits(4, 3, 2, 5), rain(4, 2, 5)
    target[0, :, :4] = torch.nan
    weights = torch.tensor([0.5, 1.0, 2.0, 0.7], dtype=torch.float64)
    whole = exceedance_loss(found, target, SOME, crop_weights=weights)
    pixels = observed_pixels(target.isfinite()) / 2  # an equal share for each of two processes
    parts = [
        exceedance_loss(found[part], target[part], SOME, pixels=pixels, crop_weights=weights[part])
        for part in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close(sum(parts) / 2, whole)


def test_exceedance_loss_of_certain_logits_is_finite():
    target = rain(1, 2, 3)
    for sure in (-1e4, 1e4):
        assert exceedance_loss(torch.full((1, 3, 2, 3), sure).double(), target, SOME).isfinite()


def test_squared_loss_is_the_squared_error_of_the_mean_pixel_by_pixel():
    found, target, weights = logits(2, 3, 4, 5), rain(2, 4, 5), torch.tensor([0.5, 2.0], dtype=torch.float64)
    widths = intervals(SOME).double().numpy()
    total, pixels = 0.0, 0
    for example, row, col in np.ndindex(*target.shape):
        rate = target[example, row, col].item()
        if np.isfinite(rate):
            mean = sum(widths / (1 + np.exp(-found[example, :, row, col].numpy())))
            total += weights[example].item() * (mean - min(rate, SOME[-1])) ** 2
            pixels += 1
    assert squared_loss(found, target, SOME, crop_weights=weights).item() == pytest.approx(total / pixels)
    halved = squared_loss(found, target, SOME, crop_weights=weights, pixels=torch.tensor(2 * pixels))
    assert halved.item() == pytest.approx(total / pixels / 2)
