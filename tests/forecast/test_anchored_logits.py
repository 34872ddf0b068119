import numpy as np
import pytest
import torch

from stormcell.forecast import anchored_logits
from stormcell.forecast.anchored_logits import BOUNDS, shift_, shifts

THRESHOLDS = [0.5, 1.0, 2.0]


def scene(size: int = 300, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that fall from threshold to threshold, and a newest frame with a sector that is not observed."""
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.nn.functional.interpolate(
        torch.randn(1, 1, 12, 12, generator=generator), size=(size, size)
    )
    logits = 2 * smooth[0, 0] - torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    newest = -1.3 * torch.log(torch.rand(size, size, generator=generator))
    newest[:, : size // 3] = torch.nan
    return logits, newest


def areas(newest: torch.Tensor) -> np.ndarray:
    return np.array([int((newest >= threshold).sum()) for threshold in THRESHOLDS])


@pytest.mark.parametrize("size", [300, 90])
def test_shifted_probabilities_add_up_to_the_area_of_the_newest_frame(size):
    logits, newest = scene(size)
    observed = newest.isfinite()
    before = torch.sigmoid(logits)[:, observed].sum(dim=1).numpy()
    assert (before < BOUNDS[0] * areas(newest)).all()
    after = torch.sigmoid(shift_(logits.clone(), shifts(logits, newest, THRESHOLDS)))[:, observed].sum(dim=1)
    # The shifts are found from a sample of 2^15 pixels at most: a few per cent.
    np.testing.assert_allclose(after.numpy() / areas(newest), BOUNDS[0], rtol=0.03)


def test_shifts_lower_probabilities_of_too_large_an_area():
    logits, newest = scene()
    newest = torch.where(newest.isfinite(), 0.0, newest)
    newest[:100, 200:] = 0.7
    by = shifts(logits, newest, THRESHOLDS)
    assert by[0] < 0
    observed = newest.isfinite()
    after = torch.sigmoid(logits + by[:, None, None])[0, observed].sum()
    assert float(after) / areas(newest)[0] == pytest.approx(BOUNDS[1], rel=0.05)


def test_shifts_are_zero_within_the_bounds_and_where_there_is_hardly_rain():
    logits, newest = scene()
    newest = torch.where(torch.rand(newest.shape) < torch.sigmoid(logits[0]), 0.7, 0.0)
    newest[0, 0] = 9.0
    by = shifts(logits, newest, THRESHOLDS)
    # The first is within the bounds; of the others there is a pixel, which says nothing.
    assert by.abs().max() < 1e-3


def test_shifts_of_a_certainly_dry_forecast_are_finite():
    logits, newest = scene()
    by = shifts(torch.full_like(logits, -torch.inf), newest, THRESHOLDS)
    assert by.tolist() == [0, 0, 0]
    nothing = torch.full_like(newest, torch.nan)
    assert shifts(logits, nothing, THRESHOLDS).tolist() == [0, 0, 0]


def test_shifts_are_limited():
    logits, newest = scene()
    by = shifts(logits - 20, newest, THRESHOLDS)
    assert by.max() == anchored_logits._LARGEST_SHIFT


def test_shifted_logits_still_fall():
    logits, _ = scene()
    shifted = shift_(logits.clone(), torch.tensor([0.0, 1.7, 2.5]))
    assert (shifted.diff(dim=0) <= 0).all()
    assert torch.equal(shifted[0], logits[0])
