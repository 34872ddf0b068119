import numpy as np
import pytest
import torch

from stormcell.models.rain_pyramid import DRY, LEVELS, from_afar, log_rain, padding


def halved(field: np.ndarray) -> np.ndarray:
    """Sums with the weights 1, 3, 3, 1 over 8, of every second group of four pixels."""
    weights = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    padded = np.pad(field, 1)
    return sum(
        weights[row, col] * padded[row : row + 2 * (field.shape[0] // 2) : 2, col : col + field.shape[1] : 2]
        for row in range(4)
        for col in range(4)
    )


def test_from_afar_equals_an_implementation_in_numpy():
    rng = np.random.default_rng(3)
    rate = np.exp(rng.normal(size=(3, 128, 192))) * (rng.random((3, 128, 192)) < 0.7)
    rate[:, :40, 100:] = np.nan
    rate[1, 90:, :60] = np.nan
    found = from_afar(torch.from_numpy(rate)[None])
    for number, field in enumerate(rate[:0:-1]):
        known = np.isfinite(field)
        logarithm = np.where(field >= 0.1, np.log10(np.maximum(field, 0.1)), DRY)
        total, weight = np.where(known, logarithm - DRY, 0), known.astype(float)
        for level in range(LEVELS):
            total, weight = halved(total), halved(weight)
            expected = DRY + np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 0)
            np.testing.assert_allclose(found.lows[level][0, number], expected, atol=1e-12)
    np.testing.assert_array_equal(found.seen[0, 0], halved(np.isfinite(rate[1]).astype(float)) > 0)


def test_from_afar_of_nothing_observed_is_dry():
    found = from_afar(torch.full((1, 2, 64, 64), torch.nan))
    assert all((low == DRY).all() for low in found.lows)
    assert not found.seen.any()


def test_from_afar_fills_what_was_not_observed_with_the_rain_around_it():
    rate = torch.full((1, 2, 128, 128), 10.0)
    rate[..., 30:50, 20:90] = torch.nan
    assert torch.allclose(from_afar(rate).around, torch.ones(1))
    rate[..., :, 64:] = 0.0
    rate[..., 30:50, 60:90] = torch.nan
    around = from_afar(rate).around[0, 0]
    assert around[20, 12] > 0.9  # 36 pixels from where it is dry
    assert around[20, 40] < -1.2
    assert DRY < around[20, 32] < 1


def test_log_rain_below_the_least_rain_is_dry():
    found = log_rain(torch.tensor([0.0, 0.099, 0.1, 1.0, 100.0]))
    torch.testing.assert_close(found, torch.tensor([DRY, DRY, -1.0, 0.0, 2.0]))


@pytest.mark.parametrize(("length", "missing"), [(1, 63), (64, 0), (65, 63), (760, 8)])
def test_padding_leads_to_the_next_multiple(length, missing):
    assert padding(length) == missing
