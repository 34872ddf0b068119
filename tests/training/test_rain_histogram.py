import numpy as np
import torch

from stormcell.models.calibration import Calibration
from stormcell.training.rain_histogram import RainHistogram

BINS = 64


def fields(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Truth, and a forecast of it that is too dry: lead 1 by a half, lead 2 by three quarters."""
    rng = np.random.default_rng(seed)
    truth = np.clip(rng.normal(-0.1, 0.35, (4, 2, 64, 64)), 0, 1).astype(np.float32)
    forecast = truth * np.array([0.5, 0.25], np.float32)[:, None, None]
    return torch.from_numpy(forecast), torch.from_numpy(truth)


def fitted(forecast: torch.Tensor, truth: torch.Tensor) -> Calibration:
    frequencies = RainHistogram(2, BINS)
    frequencies.add(forecast, truth)
    calibration = Calibration(2, BINS)
    calibration.levels.copy_(frequencies.levels())
    return calibration


def test_levels_make_forecasts_as_frequent_as_observations():
    forecast, truth = fields()
    calibration = fitted(forecast, truth)
    other_forecast, other_truth = fields(seed=1)
    mapped = calibration(other_forecast)
    for threshold in (0.1, 0.2, 0.4, 0.6):
        for lead in range(2):
            said = (mapped[:, lead] >= threshold).float().mean().item()
            fell = (other_truth[:, lead] >= threshold).float().mean().item()
            assert abs(said / fell - 1) < 0.1
            assert (other_forecast[:, lead] >= threshold).float().mean().item() < 0.85 * fell


def test_levels_rise_from_zero():
    levels = fitted(*fields()).levels
    assert (levels[:, 0] == 0).all()
    assert (levels.diff(dim=1) >= 0).all()


def test_levels_of_rare_rates_have_slope_one():
    levels = fitted(*fields()).levels
    np.testing.assert_allclose(levels[1, -10:].diff(), 1 / BINS, rtol=1e-3)


def test_levels_ignore_unobserved_pixels():
    forecast, truth = fields()
    holed_truth, holed_forecast = truth.clone(), forecast.clone()
    holed_truth[:, :, :20] = float("nan")
    holed_forecast[:, :, :20] = 0.9
    torch.testing.assert_close(
        fitted(holed_forecast, holed_truth).levels, fitted(forecast[:, :, 20:], truth[:, :, 20:]).levels
    )


def test_levels_of_a_lead_time_without_counts_equal_those_before():
    assert torch.equal(RainHistogram(2, BINS).levels(), Calibration(2, BINS).levels)
    forecast, truth = fields()
    truth[:, 1] = float("nan")
    levels = fitted(forecast, truth).levels
    assert torch.equal(levels[0], levels[1])
    assert not torch.equal(levels, Calibration(2, BINS).levels)


def test_levels_of_a_perfect_forecast_are_the_identity():
    _, truth = fields()
    levels = fitted(truth, truth).levels
    # A class that nothing fell into has no place of its own, and may move by its width.
    assert (levels - Calibration(2, BINS).levels).abs().max() < 1.01 / BINS


def test_add_lets_old_counts_fade():
    forecast, truth = fields()
    with_past, without = RainHistogram(2, BINS), RainHistogram(2, BINS)
    with_past.add(truth, truth)
    past = with_past.counts.clone()
    for _ in range(100):
        with_past.add(forecast, truth)
        without.add(forecast, truth)
    torch.testing.assert_close(with_past.counts - without.counts, 0.98**100 * past, rtol=0, atol=1e-6)
