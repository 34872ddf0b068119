"""The local cascade: beside a second implementation in numpy, and on rain from a known process."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from stormcell.models.rain_pyramid import (
    DRY,
    ENERGY_SIDE,
    LEVELS,
    SIDE,
    correlations,
    decompose,
    deviation,
    expectation,
    fit_process,
    log_rain,
    padding,
    upsample,
)

FIVE = torch.tensor([5.0], dtype=torch.float64)


def noise_by_scale(rng: np.random.Generator, height: int, width: int, levels: int = LEVELS + 1) -> np.ndarray:
    """Noise whose every band has about the same variance, up to a level."""
    total = np.zeros((height, width))
    for level in range(levels):
        cells = rng.normal(size=(height >> level, width >> level))
        total += doubled(cells, level)
    return total


def process(
    height: int,
    width: int,
    first: float,
    second: float,
    count: int,
    *,
    seed: int = 0,
    levels: int = LEVELS + 1,
) -> np.ndarray:
    """Noise that follows an AR(2) process with the correlations ρ₁ and ρ₂ at every scale."""
    rng = np.random.default_rng(seed)
    phi_1, phi_2 = first * (1 - second) / (1 - first**2), (second - first**2) / (1 - first**2)
    innovation = np.sqrt(1 - phi_1 * first - phi_2 * second)
    size = height, width, levels
    fields = [noise_by_scale(rng, *size)]
    fields.append(first * fields[0] + np.sqrt(1 - first**2) * noise_by_scale(rng, *size))
    while len(fields) < count:
        new = innovation * noise_by_scale(rng, *size)
        fields.append(phi_1 * fields[-1] + phi_2 * fields[-2] + new)
    return np.stack(fields[:count])


def rates(noise: np.ndarray) -> torch.Tensor:
    """Rates whose logarithm is the noise about 10, so that it rains everywhere."""
    return torch.from_numpy(10.0 ** (10 + noise))[None]


def halved(field: np.ndarray) -> np.ndarray:
    """Sums with the weights 1, 3, 3, 1 over 8, of every second group of four pixels."""
    weights = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    padded = np.pad(field, 1)
    return sum(
        weights[row, col] * padded[row : row + 2 * (field.shape[0] // 2) : 2, col : col + field.shape[1] : 2]
        for row in range(4)
        for col in range(4)
    )


def doubled(field: np.ndarray, times: int = 1) -> np.ndarray:
    """Bilinear interpolation to twice the resolution, ``times`` times: pixel centres at quarters."""
    for _ in range(times):
        for axis in (0, 1):
            field = np.moveaxis(field, axis, 0)
            padded = np.concatenate([field[:1], field, field[-1:]])
            low = 0.75 * padded[1:-1] + 0.25 * padded[:-2]
            high = 0.75 * padded[1:-1] + 0.25 * padded[2:]
            field = np.moveaxis(np.stack([low, high], axis=1).reshape(-1, *field.shape[1:]), 0, axis)
    return field


def enlarged(field: np.ndarray, factor: int) -> np.ndarray:
    """Bilinear interpolation to ``factor`` times the resolution, at once."""

    def places(length):
        at = np.clip((np.arange(length * factor) + 0.5) / factor - 0.5, 0, length - 1)
        low = np.minimum(at.astype(int), max(length - 2, 0))
        return low, np.minimum(low + 1, length - 1), at - low

    above, below, row = places(field.shape[0])
    left, right, col = places(field.shape[1])
    rows = field[above] * (1 - row)[:, None] + field[below] * row[:, None]
    return rows[:, left] * (1 - col) + rows[:, right] * col


def blocks(field: np.ndarray, side: int) -> np.ndarray:
    """Means over squares."""
    height, width = field.shape
    return field.reshape(height // side, side, width // side, side).mean(axis=(1, 3))


def oracle(rate: np.ndarray, step: float, leads: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Expectation by lead time, and deviations in cells of 8 × 8 pixels, for frames ``(3, H, W)``."""
    logarithms = np.where(rate >= 0.1, np.log10(np.maximum(rate, 0.1)), DRY)[::-1]
    seen = np.isfinite(rate)[::-1]
    frames, low = [], []
    for field, known in zip(logarithms, seen, strict=True):
        total, weight = np.where(known, field, 0), known.astype(float)
        levels, weights = [total], [weight]
        for _ in range(LEVELS):
            total, weight = halved(total), halved(weight)
            levels.append(np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 0))
            weights.append(weight)
        frames.append([(levels[k] - doubled(levels[k + 1])) * (weights[k] > 0.5) for k in range(LEVELS)])
        low.append((levels[-1], [weight > 0.5 for weight in weights]))
    smooth = np.outer([1, 2, 1], [1, 2, 1]) / 16
    forecasts = [low[0][0]] * leads
    variance = [0.0] * leads
    for level in range(LEVELS - 1, -1, -1):
        everywhere = low[0][1][level] & low[1][1][level] & low[2][1][level]
        bands = [frame[level] * everywhere for frame in frames]

        def mean(a, b, bands=bands, level=level):
            means = blocks(bands[a] * bands[b], 2 ** (LEVELS - level))
            return convolve(convolve(means, smooth, mode="nearest"), smooth, mode="nearest")

        typical = np.exp(-step / (6 * 2**level))
        size = np.sqrt((mean(0, 0) + mean(1, 1)) * (mean(1, 1) + mean(2, 2))) / 2
        first = ((mean(0, 1) + mean(1, 2)) / 2 + 2e-3 * typical) / (size + 2e-3)
        first = np.clip(first, 0, 0.995)
        second = (mean(0, 2) + 2e-3 * typical**2) / (np.sqrt(mean(0, 0) * mean(2, 2)) + 2e-3)
        second = np.minimum(np.maximum(second, 2 * first**2 - 1 + 1e-3), first)
        coefficients = np.zeros((leads, 2, *first.shape))
        error = np.zeros((leads, *first.shape))
        for place in np.ndindex(first.shape):
            one, two = first[place], second[place]
            # The best linear forecast from two frames solves the normal equations; correlations of higher
            # lags follow from the process.
            inverse = np.linalg.inv([[1, one], [one, 1]])
            phi = inverse @ [one, two]
            known = [1, one, two]
            while len(known) < leads + 2:
                known.append(phi @ [known[-1], known[-2]])
            for lead in range(1, leads + 1):
                towards = np.array([known[lead], known[lead + 1]])
                coefficients[(lead - 1, slice(None), *place)] = inverse @ towards
                error[(lead - 1, *place)] = 1 - towards @ inverse @ towards
        newest, before = frames[0][level], frames[1][level]
        energy = newest**2
        energy = (
            blocks(energy, ENERGY_SIDE >> level)
            if 2**level < ENERGY_SIDE
            else enlarged(energy, 2**level // ENERGY_SIDE)
        )
        factor = SIDE >> level
        for k in range(leads):
            forecasts[k] = (
                doubled(forecasts[k])
                + enlarged(coefficients[k, 0], factor) * newest
                + enlarged(coefficients[k, 1], factor) * before
            )
            variance[k] = variance[k] + enlarged(error[k], SIDE // ENERGY_SIDE) * energy
    return forecasts, np.sqrt(variance)


def forecast(rate: torch.Tensor, leads: int, step: torch.Tensor = FIVE):
    """Expectation and deviation of every lead time, ``(leads, B, 1, …)``."""
    cascade = decompose(rate)
    fitted = fit_process(cascade.moments, step.expand(len(rate)), leads)
    each = [fitted.at(torch.full((len(rate),), lead)) for lead in range(1, leads + 1)]
    return (
        torch.stack([expectation(cascade, one) for one in each]),
        torch.stack([deviation(cascade, one) for one in each]),
    )


@pytest.mark.parametrize("gaps", [False, True])
def test_local_cascade_equals_an_implementation_in_numpy(gaps):
    """The oracle solves the normal equations of every band; here, the recursion is used."""
    rng = np.random.default_rng(3)
    rate = np.exp(process(128, 192, 0.8, 0.5, 3) - 1) * (rng.random((3, 128, 192)) < 0.9)
    if gaps:
        rate[:, :40, 100:] = np.nan
        rate[0, 90:, :60] = np.nan
    found = forecast(torch.from_numpy(rate)[None], 3)
    expected = oracle(rate, 5.0, 3)
    for lead in range(3):
        # Sums of some hundred terms near 1 in float64. The recursion multiplies rounding by up to
        # 1 / (1 - ρ₁²) = 100.
        np.testing.assert_allclose(found[0][lead, 0, 0], expected[0][lead], atol=1e-10)
        np.testing.assert_allclose(found[1][lead, 0, 0], expected[1][lead], atol=1e-7)


@pytest.mark.parametrize(("first", "second"), [(0.9, 0.7), (0.5, 0.2)])
def test_correlations_of_a_known_process_are_found(first, second):
    rate = rates(process(256, 512, first, second, 3))
    found = [value.mean(dim=(0, 2, 3)) for value in correlations(decompose(rate).moments, FIVE)]
    # The coarsest band has 8 × 16 pixels, of which neighbours are alike: some fifty independent ones, so that
    # the standard error of a correlation is about 0.14 · (1 - ρ²). Each finer band has four times as many.
    for values, truth in zip(found, (first, second), strict=True):
        allowed = np.array([0.02, 0.02, 0.03, 0.05, 0.1, 0.2])
        assert ((values.numpy() - truth) ** 2 < allowed**2).all()


def test_forecast_of_a_known_process_has_about_the_error_that_it_states():
    """Its error is hardly larger than that of the best forecast, which knows the process.

    Neighbouring bands of a Laplacian pyramid are correlated. So the variance of their sum is larger than the
    sum of their variances, which is stated: here by a fifth.
    """
    first, second = 0.9, 0.7
    truth = process(256, 256, first, second, 6, levels=4)
    found, spread = forecast(rates(truth[:3]), 3)
    phi_1, phi_2 = first * (1 - second) / (1 - first**2), (second - first**2) / (1 - first**2)
    best = [truth[1], truth[2]]
    for lead in range(3):
        best.append(phi_1 * best[-1] + phi_2 * best[-2])
        error = np.mean((found[lead, 0, 0].numpy() - 10 - truth[3 + lead]) ** 2)
        assert error < 1.1 * np.mean((best[-1] - truth[3 + lead]) ** 2), lead
        assert 1 < error / float(spread[lead].square().mean()) < 1.35, lead


def test_forecast_of_unchanged_rain_is_the_newest_frame():
    still = process(128, 128, 0.5, 0.2, 1)
    found, spread = forecast(rates(still.repeat(3, axis=0)), 6)
    anomaly = still[0] - still.mean()
    for lead in range(6):
        # Correlations are at most 0.995: a band loses up to half a percent in each time step. Where it varies
        # little, it counts for little.
        assert np.abs(found[lead, 0, 0].numpy() - 10 - still[0]).max() < 0.03 * np.abs(anomaly).max(), lead
        assert spread[lead].max() < 0.25 * anomaly.std()


def test_forecast_of_rain_without_memory_is_its_large_scales():
    rng = np.random.default_rng(0)
    white = np.stack([noise_by_scale(rng, 128, 192) for _ in range(3)])
    cascade = decompose(rates(white))
    found, spread = forecast(rates(white), 12)
    large = upsample(cascade.lows[-1][:, :1], 2)
    for _ in range(LEVELS - 1):
        large = upsample(large, 2)
    # By chance, some correlations are as high as a half or so; after twelve steps nothing is left of them.
    torch.testing.assert_close(found[-1], large, rtol=0, atol=0.05)
    energy = cascade.energy.sum(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(spread[-1], energy, rtol=0.01, atol=0)
    assert (found[0] - large).abs().mean() < 0.3 * (log_rain(rates(white)[:, -1:]) - large).abs().mean()


def test_decompose_dry_frames_are_dry_at_every_scale():
    found, spread = forecast(torch.zeros(1, 3, 64, 128, dtype=torch.float64), 2)
    torch.testing.assert_close(found, torch.full_like(found, DRY))
    assert not spread.any()


def test_decompose_of_nothing_observed_is_finite():
    found, spread = forecast(torch.full((1, 3, 64, 64), np.nan, dtype=torch.float64), 2)
    assert found.isfinite().all()
    assert not spread.any()


def test_forecast_far_from_unobserved_pixels_does_not_know_of_them():
    """The coarsest pixels reach 128 pixels, moments are blurred over 128 more, and all are interpolated."""
    rate = rates(process(64, 640, 0.8, 0.6, 3))
    holes = rate.clone()
    holes[..., :30] = np.nan
    holes[:, 1, 20:, :60] = np.nan
    for whole, open_ in zip(forecast(rate, 3), forecast(holes, 3), strict=True):
        far = 448 * whole.shape[-1] // 640
        torch.testing.assert_close(open_[..., far:], whole[..., far:], rtol=0, atol=1e-12)
        assert not torch.equal(open_[..., : far // 8], whole[..., : far // 8])


def test_forecast_of_unobserved_older_frames_relies_on_typical_lifetimes():
    """Without a second frame there are no correlations: the finest band has its lifetime of 6 minutes."""
    rate = rates(process(128, 128, 0.9, 0.8, 3))
    rate[:, :2] = np.nan
    first, second = correlations(decompose(rate).moments, FIVE)
    for level in range(LEVELS):
        typical = np.exp(-5 / (6 * 2**level))
        torch.testing.assert_close(first[:, level], torch.full_like(first[:, level], typical))
        torch.testing.assert_close(second[:, level], torch.full_like(second[:, level], typical**2))


def test_forecast_of_an_example_does_not_depend_on_the_others():
    one, two = rates(process(64, 128, 0.8, 0.6, 3)), rates(process(64, 128, 0.5, 0.3, 3, seed=1) * 2)
    step = torch.tensor([5.0, 2.0], dtype=torch.float64)
    together = forecast(torch.cat([one, two]), 3, step)
    for number, alone in enumerate((one, two)):
        for all_, single in zip(together, forecast(alone, 3, step[number : number + 1]), strict=True):
            torch.testing.assert_close(all_[:, number], single[:, 0], rtol=0, atol=1e-12)


def test_process_at_takes_the_lead_time_of_each_example():
    moments = decompose(rates(process(64, 64, 0.8, 0.6, 3)).expand(2, -1, -1, -1)).moments
    fitted = fit_process(moments, FIVE.expand(2), 4)
    picked = fitted.at(torch.tensor([3, 1]))
    assert torch.equal(picked.newest[0], fitted.newest[2, 0])
    assert torch.equal(picked.newest[1], fitted.newest[0, 1])
    assert torch.equal(picked.error[0], fitted.error[2, 0])


def test_process_error_grows_from_lead_to_lead_and_ends_at_one():
    moments = decompose(rates(process(64, 64, 0.9, 0.75, 3))).moments
    error = fit_process(moments, FIVE, 400).error
    assert (error.diff(dim=0) > -1e-9).all()
    assert (error[0] > 0).all()
    assert (error[-1, :, 0] > 0.98).all()


def test_log_rain_below_the_least_rain_is_dry():
    found = log_rain(torch.tensor([0.0, 0.099, 0.1, 1.0, 100.0]))
    torch.testing.assert_close(found, torch.tensor([DRY, DRY, -1.0, 0.0, 2.0]))


@pytest.mark.parametrize(("length", "missing"), [(1, 63), (64, 0), (65, 63), (760, 8)])
def test_padding_leads_to_the_next_multiple(length, missing):
    assert padding(length) == missing


def test_forecast_has_gradients_where_nothing_rains():
    rate = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    rate[:, :, 30:33, 30:33] = 2.0
    rate[:, 0, :, :20] = np.nan
    rate.requires_grad_()
    found, spread = forecast(rate, 2)
    (found.sum() + (spread.square() + 1e-4).sqrt().sum()).backward()
    assert rate.grad.isfinite().all()
