import numpy as np
import pytest
import torch

from stormcell.forecast import anchored_logits
from stormcell.forecast.anchored_logits import Correction, area_bounds, correction_to


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


SAME = torch.ones(3)


def expected_parts(logits: torch.Tensor, observed: torch.Tensor, correction: Correction) -> np.ndarray:
    return torch.sigmoid(correction.apply_(logits.clone()))[:, observed].mean(dim=1).numpy()


def test_correction_raises_too_small_areas_to_the_lower_bounds_and_lowers_too_large_ones():
    logits, observed = scene()
    before = torch.sigmoid(logits)[:, observed].mean(dim=1).numpy()
    least, most = parts(*before * [1.5, 0.9, 0.1]), parts(*before * [1.6, 1.1, 0.3])
    correction = correction_to(logits, observed, least, most, SAME)
    np.testing.assert_allclose(
        expected_parts(logits, observed, correction), before * [1.5, 1.0, 0.3], rtol=1e-4
    )
    assert correction.shifts[1].abs() < 1e-4


def test_correction_by_slopes_keeps_the_areas():
    logits, observed = scene()
    before = torch.sigmoid(logits)[:, observed].mean(dim=1).numpy()
    least, most = parts(*before * 0.9), parts(*before * 1.1)
    correction = correction_to(logits, observed, least, most, slopes=parts(1.5, 1.4, 0.8))
    assert (correction.shifts.abs() > 0.1).all()  # because most logits are below 0
    corrected = logits * correction.slopes[:, None, None] + correction.shifts[:, None, None]
    after = torch.sigmoid(corrected)[:, observed].mean(dim=1).numpy()
    np.testing.assert_allclose(after, before, rtol=1e-4)
    steeper = [float(torch.sigmoid(some)[0][observed].std()) for some in (logits, corrected)]
    assert steeper[1] > 1.1 * steeper[0]


def test_correction_ignores_what_was_not_observed():
    logits, observed = scene()
    bounds = parts(0.2, 0.1, 0.05), parts(0.25, 0.15, 0.1)
    elsewhere = torch.where(observed, logits, 30.0)
    found, expected = (correction_to(given, observed, *bounds, SAME) for given in (elsewhere, logits))
    assert torch.equal(found.shifts, expected.shifts)


def test_correction_of_a_certainly_dry_forecast_does_not_shift():
    logits, observed = scene()
    bounds = parts(0.2, 0.1, 0.05), parts(0.3, 0.2, 0.1)
    dry = torch.full_like(logits, -torch.inf)
    assert correction_to(dry, observed, *bounds, SAME).shifts.tolist() == [0, 0, 0]
    assert correction_to(logits, torch.zeros_like(observed), *bounds, SAME).shifts.tolist() == [0, 0, 0]


def test_shifts_are_limited():
    logits, observed = scene()
    correction = correction_to(logits - 20, observed, parts(0.2, 0.1, 0.05), parts(0.3, 0.2, 0.1), SAME)
    assert correction.shifts.max() == anchored_logits._LARGEST_SHIFT


def test_bounds_of_large_areas_are_narrow():
    least, most = area_bounds(np.array([1e8]), [1.0], shower=10)
    np.testing.assert_allclose([most / 1e8 - 1, 1 - least / 1e8], 10**-3.5, rtol=1e-3)


def test_bounds_do_not_depend_on_the_unit_of_area():
    rates = [1.0, 8.0, 12.0]
    pixels = area_bounds(np.array([900.0, 3.0, 0.0]), rates, shower=10)
    parts = area_bounds(np.array([0.09, 0.0003, 0.0]), rates, shower=0.001)
    np.testing.assert_allclose(np.array(parts) * 1e4, pixels)


def test_bounds_of_small_areas_allow_for_the_number_of_showers():
    """Nine showers may become 9 ± (3 + 1); none may become one; one may go."""
    for area, bounds in ((90.0, (50, 130)), (10.0, (0, 30)), (0.0, (0, 10))):
        assert np.ravel(area_bounds(np.array([area]), [1.0], shower=10)).tolist() == pytest.approx(bounds)


def test_bounds_of_rates_that_do_not_occur_become_smaller_from_rate_to_rate():
    """A rate that is twice as high may cover a sixteenth of the area, if neither occurs."""
    rates = [1.0, 2.0, 4.0, 8.0, 16.0]
    _, most = area_bounds(np.array([9e6, 0.0, 0.0, 0.0, 0.0]), rates, shower=16)
    assert most[1:].tolist() == [16, 1, 1 / 16, 1 / 256]
    _, most = area_bounds(np.array([9e6, 0.0, 0.0, 4.0, 0.0]), rates, shower=16)  # one that does
    assert most[3:].tolist() == [4 + 8 + 1 / 16, most[3] / 16]


def test_corrected_logits_still_fall():
    logits, _ = scene()
    corrected = Correction(parts(1.0, 0.7, 1.2), parts(0.0, 1.7, 2.5)).apply_(logits.clone())
    assert (corrected.diff(dim=0) <= 0).all()
    assert torch.equal(corrected[0], logits[0])
