import numpy as np
import pytest
import torch

from stormcell.forecast.logit_slopes import BOUNDS, joined_slopes, regression_slope, slopes_at

THRESHOLDS = [0.1, 1.0, 5.0]


def observed(logits: torch.Tensor, slope: float, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    """Events that happen with other probabilities than those of the logits."""
    drawn = torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (drawn < torch.sigmoid(slope * logits + shift)).double()


def some_logits(pixels: int, mean: float = -1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.randn(pixels, generator=generator, dtype=torch.float64) + mean


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (1.4, 0.0), (0.7, 1.0), (1.8, -2.0)])
def test_regression_finds_the_slope_whatever_the_shift(slope, shift):
    logits = some_logits(40_000)
    found = regression_slope(logits, observed(logits, slope, shift))
    chances = torch.sigmoid(slope * logits + shift)
    weights = chances * (1 - chances)
    middle = (weights * logits).sum() / weights.sum()
    error = float((weights * (logits - middle).square()).sum() ** -0.5)  # by the Fisher information
    assert abs(found - slope) < 4 * error < 0.2


def test_regression_agrees_with_a_search_by_hand():
    logits = some_logits(500)
    reached = observed(logits, 1.5, 0.5)
    slopes, shifts = torch.meshgrid(
        torch.arange(0.8, 2.2, 0.01, dtype=torch.float64),
        torch.arange(-0.5, 1.5, 0.02, dtype=torch.float64),
        indexing="ij",
    )
    tried = slopes[..., None] * logits + shifts[..., None]
    likelihood = (reached * tried - torch.nn.functional.softplus(tried)).sum(dim=-1)
    best = slopes.flatten()[likelihood.argmax()].item()
    assert regression_slope(logits, reached) == pytest.approx(best, abs=0.02)


def test_regression_of_separated_events_or_equal_logits_ends():
    logits = some_logits(1000)
    assert np.isfinite(regression_slope(logits, (logits > 0).double()))
    assert regression_slope(torch.zeros_like(logits), observed(logits, 1.0)) == pytest.approx(1.0)


def rates_of(logits: torch.Tensor, slopes: list[float]) -> torch.Tensor:
    """Rain that reaches each threshold where the same number is drawn below its probability."""
    drawn = torch.rand(logits.shape[1], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    reached = torch.stack(
        [drawn < torch.sigmoid(slope * one) for slope, one in zip(slopes, logits, strict=True)]
    )
    return torch.tensor([0.0, *THRESHOLDS])[reached.cumprod(dim=0).sum(dim=0)]


def test_slopes_of_many_pixels_are_those_of_each_threshold():
    logits = torch.stack([some_logits(60_000, mean) for mean in (0.0, -1.0, -3.0)])
    found = joined_slopes(logits.float(), rates_of(logits, [1.0, 1.3, 1.3]), THRESHOLDS)
    assert found.tolist() == pytest.approx([1.0, 1.3, 1.3], abs=0.08)


def test_slopes_of_few_pixels_are_near_those_of_all_thresholds():
    logits = torch.stack([some_logits(60_000, mean) for mean in (0.0, -1.0, -13.0)])
    found = joined_slopes(logits.float(), rates_of(logits, [1.3, 1.3, 1.0]), THRESHOLDS)
    assert found.tolist() == pytest.approx([1.3, 1.3, 1.3], abs=0.08)


def test_slopes_are_bounded_and_one_without_rain():
    logits = torch.stack([some_logits(20_000, mean) for mean in (0.0, -1.0, -2.0)])
    steep = joined_slopes(logits.float(), rates_of(logits, [5.0, 5.0, 5.0]), THRESHOLDS)
    assert steep.tolist() == pytest.approx([BOUNDS[1]] * 3)
    assert joined_slopes(logits.float(), torch.zeros(20_000), THRESHOLDS).tolist() == [1, 1, 1]
    assert joined_slopes(logits.float()[:, :0], torch.zeros(0), THRESHOLDS).tolist() == [1, 1, 1]


def test_slopes_come_nearer_to_one_with_the_lead_time():
    found = [slopes_at(torch.tensor([1.4, 0.8]), minutes).tolist() for minutes in (2, 10, 40, 70)]
    expected = [[1.4, 0.8], [1.4, 0.8], [1.2, 0.9], [1.1, 0.95]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
