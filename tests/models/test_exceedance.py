import math

import pytest
import torch

from stormcell.models.exceedance import THRESHOLDS, exceedance_logits, log_thresholds


def random(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_exceedance_logits_without_correction_are_those_of_a_normal_distribution():
    mean = torch.linspace(-1.5, 1.5, 61, dtype=torch.float64).reshape(1, 1, 1, 61)
    at = log_thresholds(torch.zeros(1, 14, 1, 61, dtype=torch.float64))
    for deviation in (0.05, 0.3, 1.0):
        found = torch.sigmoid(exceedance_logits(mean, torch.full_like(mean, deviation), at))[0, :, 0]
        for number, threshold in enumerate(THRESHOLDS):
            above = (mean[0, 0, 0] - math.log10(threshold)) / deviation
            expected = torch.special.ndtr(above)
            # A logistic distribution whose slope is 1.702 is nowhere off by more than 0.0095.
            assert (found[number] - expected).abs().max() < 0.0095


def test_log_thresholds_without_correction_are_the_logarithms():
    found = log_thresholds(torch.zeros(1, 14, 2, 3, dtype=torch.float64))
    expected = torch.log10(torch.tensor(THRESHOLDS, dtype=torch.float64))[:, None, None].expand(14, 2, 3)
    torch.testing.assert_close(found[0], expected)


@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
def test_exceedance_logits_fall_whatever_the_correction(scale):
    mean, deviation = random(2, 1, 9, 11), random(2, 1, 9, 11).abs() + 0.05
    logits = exceedance_logits(mean, deviation, log_thresholds(random(2, 14, 9, 11, scale=scale)))
    assert (logits.diff(dim=1) < 0).all()


def test_log_thresholds_of_one_pixel_depend_on_that_pixel_only():
    correction = random(1, 14, 4, 5)
    before = log_thresholds(correction)
    correction[..., 2, 3] += 0.5
    same = (before == log_thresholds(correction)).all(dim=1)[0]
    assert not same[2, 3]
    assert same.sum() == 19


def test_log_thresholds_have_one_slope_at_a_correction_of_zero():
    """A distance's factor has two formulas, which have the same slope where they meet."""
    correction = torch.zeros(1, 3, 1, 1, dtype=torch.float64)
    above, level, below = (
        log_thresholds(correction + by, (0.1, 1.0, 100.0)).flatten() for by in (1e-6, 0, -1e-6)
    )
    # The first is shifted down; distances of 1 and 2 are stretched. The factor 1 / (1 - c) is 1 + c up to c².
    expected = 1e-6 * torch.tensor([-1.0, -1 + 1, -1 + 1 + 2], dtype=torch.float64)
    torch.testing.assert_close(above - level, expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(level - below, expected, rtol=0, atol=1e-11)


def test_log_thresholds_pass_a_gradient_to_every_correction_of_zero():
    """Training begins there: with a slope of zero, a distance between thresholds would never change."""
    correction = torch.zeros(1, 4, 1, 1, dtype=torch.float64, requires_grad=True)
    slopes = torch.autograd.functional.jacobian(
        lambda c: log_thresholds(c, (0.1, 1.0, 10.0, 1e3)), correction
    )
    expected = [[-1, 0, 0, 0], [-1, 1, 0, 0], [-1, 1, 1, 0], [-1, 1, 1, 2]]  # the distances are 1, 1 and 2
    assert slopes.reshape(4, 4).tolist() == expected
