import numpy as np
import pytest
import torch

from stormcell.forecast import anchored_logits
from stormcell.forecast.anchored_logits import area_bounds, shift_, shifts


def scene(size: int = 150) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that fall from threshold to threshold, and a sector that is not observed."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 1, 12, 12, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size))
    logits = 2 * smooth[0, 0] - torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    observed = torch.ones(size, size, dtype=torch.bool)
    observed[:, : size // 3] = False
    return logits, observed


def parts(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers)


def expected_parts(logits: torch.Tensor, observed: torch.Tensor, by: torch.Tensor) -> np.ndarray:
    return torch.sigmoid(shift_(logits.clone(), by))[:, observed].mean(dim=1).numpy()


def test_shifts_raise_too_small_areas_to_the_lower_bounds_and_lower_too_large_ones():
    logits, observed = scene()
    before = expected_parts(logits, observed, torch.zeros(3))
    least, most = parts(*before * [1.5, 0.9, 0.1]), parts(*before * [1.6, 1.1, 0.3])
    by = shifts(logits, observed, least, most)
    np.testing.assert_allclose(expected_parts(logits, observed, by), before * [1.5, 1.0, 0.3], rtol=1e-4)
    assert by[1].abs() < 1e-4


def test_shifts_ignore_what_was_not_observed():
    logits, observed = scene()
    least, most = parts(0.2, 0.1, 0.05), parts(0.25, 0.15, 0.1)
    elsewhere = torch.where(observed, logits, 30.0)
    assert torch.equal(shifts(logits, observed, least, most), shifts(elsewhere, observed, least, most))


def test_shifts_of_a_certainly_dry_forecast_are_zero():
    logits, observed = scene()
    bounds = parts(0.2, 0.1, 0.05), parts(0.3, 0.2, 0.1)
    assert shifts(torch.full_like(logits, -torch.inf), observed, *bounds).tolist() == [0, 0, 0]
    assert shifts(logits, torch.zeros_like(observed), *bounds).tolist() == [0, 0, 0]


def test_shifts_are_limited():
    logits, observed = scene()
    by = shifts(logits - 20, observed, parts(0.2, 0.1, 0.05), parts(0.3, 0.2, 0.1))
    assert by.max() == anchored_logits._LARGEST_SHIFT


def test_bounds_of_large_areas_widen_with_the_rate_up_to_1_mm():
    rates = [0.05, 0.1, 10**-0.5, 1.0, 30.0]
    areas = np.full(5, 1e8)
    least, most = area_bounds(areas, rates, shower=10)
    np.testing.assert_allclose(most / areas - 1, [0.02, 0.02, 0.06, 0.1, 0.1])
    np.testing.assert_allclose(1 - least / areas, [0.02, 0.02, 0.06, 0.1, 0.1])


def test_bounds_of_small_areas_allow_for_the_number_of_showers():
    """Nine showers may become 9 ± (3 + 1); none may become one; one may go."""
    least, most = area_bounds(np.array([90.0, 10.0, 0.0]), [5.0, 8.0, 12.0], shower=10)
    assert least.tolist() == pytest.approx([50, 0, 0])
    assert most.tolist() == pytest.approx([130, 30, 10])


def test_shifted_logits_still_fall():
    logits, _ = scene()
    shifted = shift_(logits.clone(), torch.tensor([0.0, 1.7, 2.5]))
    assert (shifted.diff(dim=0) <= 0).all()
    assert torch.equal(shifted[0], logits[0])
