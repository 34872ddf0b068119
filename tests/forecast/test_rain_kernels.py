"""The C kernels of distributions compute what NumPy, OpenCV and PyTorch compute without them."""

import numpy as np
import pytest
import torch

from stormcell.forecast import (
    cascade_mean,
    cell_forecast,
    cell_thresholds,
    network_probabilities,
    pareto_pieces,
)
from stormcell.forecast.anchored_logits import Correction
from stormcell.forecast.cell_forecast import CellForecast
from stormcell.forecast.rain_distribution import RainDistribution
from stormcell.forecast.rain_kernels import in_groups, rain_kernels
from stormcell.models.exceedance import THRESHOLDS
from stormcell.models.nowcaster import Nowcaster
from stormcell.models.rain_cascade import BandProcess, decompose, fit_process
from stormcell.models.rain_pyramid import from_afar
from stormcell.motion.coordinates import Carrier

pytestmark = pytest.mark.skipif(rain_kernels() is None, reason="no C kernels on this machine")

# Logarithms of probabilities of 1e-35 and more are below 81, whose rounding error is 4e-6 in float32. It is
# divided by a slope, so that rates between thresholds are off by the same share; in the kernels and in NumPy.
RELATIVE = 2e-5


@pytest.fixture
def without_kernels(monkeypatch):
    """Return a function that computes something without the kernels."""

    def compute(function):
        with monkeypatch.context() as patch:
            for module in (cascade_mean, cell_forecast, cell_thresholds, pareto_pieces):
                patch.setattr(module, "rain_kernels", lambda: None)
            return function()

    return compute


def exceedance(shape):
    """Probabilities with what is hard: zeros from some threshold on, ones, small ones, NaN."""
    rng, thresholds = np.random.default_rng(7), len(THRESHOLDS)
    found = np.sort(rng.random((thresholds, *shape)) ** 3, axis=0)[::-1].astype(np.float32)
    found *= (10.0 ** -rng.integers(0, 12, shape)).astype(np.float32)
    last = rng.integers(0, 2 * thresholds, shape)
    found[np.arange(thresholds)[:, None, None] >= last] = 0
    found[:, rng.random(shape) < 0.05] = 1
    found[:, rng.random(shape) < 0.05] = np.nan
    return np.ascontiguousarray(found)


@pytest.mark.parametrize("slope", [2.0, 3.5])
@pytest.mark.parametrize("shape", [(1, 1), (3, 61), (40, 64), (70, 500)])
def test_rates_of_kernels_are_those_of_numpy(without_kernels, shape, slope):
    rain = RainDistribution(THRESHOLDS, exceedance(shape), tail_slope=slope)
    levels = np.random.default_rng(1).random((3, *shape)).astype(np.float32)
    levels[0, :1, :1], levels[1, -1:, -1:] = np.nan, 1.0
    cuts = np.linspace(0.5, 0.05, len(THRESHOLDS), dtype=np.float32)
    for compute in (
        lambda: rain.quantile_at(levels),
        lambda: rain.quantile([0.1, 0.5, 0.999]),
        lambda: rain.rates_at_cuts(cuts),
        lambda: rain.rates_at_cuts([1e-3] * len(THRESHOLDS)),
    ):
        np.testing.assert_allclose(compute(), without_kernels(compute), rtol=RELATIVE, atol=0)


def test_rates_of_kernels_end_below_the_threshold_that_is_not_reached():
    rain = RainDistribution(THRESHOLDS, exceedance((50, 50)))
    cuts = np.full(len(THRESHOLDS), 0.2, np.float32)
    rates = rain.rates_at_cuts(cuts)
    reached = np.maximum.accumulate(rain.exceedance[::-1] >= 0.2, axis=0)[::-1]  # this or a higher one
    for threshold, expected in zip(THRESHOLDS, reached, strict=True):
        np.testing.assert_array_equal(rates >= np.float32(threshold), expected)


def test_every_second_pixel_of_a_distribution_needs_no_contiguous_memory():
    whole = RainDistribution(THRESHOLDS, exceedance((20, 30)))
    nth = slice(None, None, 2)
    cuts = [0.3] * len(THRESHOLDS)
    np.testing.assert_allclose(
        whole.part(nth, nth).rates_at_cuts(cuts), whole.rates_at_cuts(cuts)[nth, nth], rtol=RELATIVE
    )


@pytest.mark.parametrize("thresholds", [3, 14, 20])
def test_chances_of_kernels_are_those_of_opencv_and_pytorch(without_kernels, thresholds):
    rng = np.random.default_rng(3)
    height, width = 75, 150  # in 80 × 152 padded pixels
    path = rng.normal(0, 6, (2, height, width)).astype(np.float32)  # many places are outside the grid
    carry = Carrier(path)
    made = CellForecast(
        torch.from_numpy(rng.normal(0, 1, (80, 152)).astype(np.float32)),
        torch.from_numpy(rng.uniform(0.05, 1, (10, 19)).astype(np.float32)),
        np.sort(rng.normal(0, 1, (40, 76, in_groups(thresholds))), axis=2).astype(np.float32),
        thresholds,
    )
    made.at[1:, 10:20] = network_probabilities.NEVER
    correction = Correction(
        torch.from_numpy(rng.uniform(0.5, 2, thresholds).astype(np.float32)),
        torch.from_numpy(rng.normal(0, 1, thresholds).astype(np.float32)),
    )
    block = slice(5, 70), slice(3, 148)

    def compute():
        found = np.full((thresholds, height, width), 2, np.float32)
        cell_forecast.writer(found, made, correction, carry)(block)
        return found

    found, expected = compute(), without_kernels(compute)
    # The terms of logits are up to 2 · 1.702 · 10 / 0.05 = 680. Some eight of them are rounded, and the slope
    # of the logistic function is a quarter.
    np.testing.assert_allclose(found, expected, atol=680 * 2**-24 * 8 / 4)
    assert (found[1:, 20:30, 50:60] == 0).any()
    untouched = np.ones((height, width), bool)
    untouched[block] = False
    assert (found[:, untouched] == 2).all()


@pytest.mark.parametrize(("encoder", "thresholds"), [("convlstm", 14), ("none", 14), ("convlstm", 20)])
def test_corrected_thresholds_of_kernels_are_those_of_pytorch(without_kernels, encoder, thresholds):
    torch.manual_seed(0)
    nowcaster = Nowcaster(
        thresholds=np.geomspace(0.1, 40, thresholds), channels=16, detail_channels=32, encoder=encoder
    )
    torch.nn.init.normal_(nowcaster.correction.weight, std=0.2)
    torch.nn.init.normal_(nowcaster.correction.bias, std=0.2)
    rate = torch.from_numpy(np.random.default_rng(2).gamma(0.5, 2, (1, 4, 150, 170)).astype(np.float32))
    with torch.inference_mode():
        scene = nowcaster.read(rate, torch.tensor([5.0]), torch.tensor([1.0]), 2)
        guess = nowcaster.first_guess(scene, torch.tensor([2]))
    area = slice(8, 75), slice(16, 83)  # of 96 × 96 cells, ends that are no multiples of eight

    def compute():
        at = np.full((96, 96, in_groups(thresholds)), 7, np.float32)
        cell_thresholds.corrector(nowcaster, scene, guess, at)(area)
        return at[..., :thresholds]

    found, expected = compute(), without_kernels(compute)
    assert np.ptp(expected[area], axis=(0, 1)).min() > 0.05
    # Sums of 32 products and of up to 20 distances, in another order.
    np.testing.assert_allclose(found, expected, atol=1e-5)
    untouched = np.ones((96, 96), bool)
    untouched[area] = False
    assert (found[untouched] == 7).all()


@pytest.mark.parametrize("shape", [(64, 64), (64, 192), (256, 128)])
def test_mean_of_the_cascade_of_kernels_is_that_of_pytorch(without_kernels, shape):
    generator = torch.Generator().manual_seed(2)
    rate = torch.rand(1, 3, *shape, generator=generator) ** 8 * 20
    cascade = decompose(rate, from_afar(rate))
    fitted = fit_process(cascade.moments, torch.tensor([5.0]), 2)
    # Weights of any size, which change from cell to cell.
    newest, before = (
        torch.randn(weights[0].shape, generator=generator) for weights in (fitted.newest, fitted.before)
    )
    process = BandProcess(newest, before, fitted.error[0])
    found = cascade_mean.cascade_mean(cascade, process)
    expected = without_kernels(lambda: cascade_mean.cascade_mean(cascade, process))
    assert expected.std() > 0.5
    # Six products of numbers up to 3, and their sums, are rounded, and so are the weights.
    torch.testing.assert_close(found, expected, rtol=0, atol=6 * 4 * 2**-22)
