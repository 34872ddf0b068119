"""The local cascade: beside a second implementation in numpy, and on rain from a known process."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from torch.nn.functional import avg_pool2d

from stormcell.models.rain_bands import LEVELS, STRIDES
from stormcell.models.rain_cascade import (
    ENERGY_SIDE,
    RainCascade,
    correlations,
    decompose,
    deviation,
    expectation,
    expectation_in_cells,
    fit_process,
)
from stormcell.models.rain_pyramid import DRY, SIDE, from_afar
from stormcell.motion.autoregression import Autoregression, lowest_lag2
from stormcell.motion.cascade import decompose as whole_cascade

FIVE = torch.tensor([5.0], dtype=torch.float64)
MARGIN = 32
WAVELENGTHS = 2.8 * 2.24 ** np.arange(6)


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Periodic noise in which all octaves of wavelengths up to 128 pixels have the same variance."""
    wave = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    amplitude = np.where(wave > 1 / 128, 1 / np.maximum(wave, 1e-9), 0)
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) * amplitude, s=(height, width))
    return field / field.std()


def process(height: int, width: int, first: float, second: float, count: int, seed: int = 0) -> np.ndarray:
    """Noise that follows an AR(2) process with the correlations ρ₁ and ρ₂ at every scale."""
    rng = np.random.default_rng(seed)
    phi_1, phi_2 = first * (1 - second) / (1 - first**2), (second - first**2) / (1 - first**2)
    innovation = np.sqrt(1 - phi_1 * first - phi_2 * second)
    fields = [noise(rng, height, width)]
    fields.append(first * fields[0] + np.sqrt(1 - first**2) * noise(rng, height, width))
    while len(fields) < count:
        fields.append(phi_1 * fields[-1] + phi_2 * fields[-2] + innovation * noise(rng, height, width))
    return np.stack(fields[:count])


def rates(levels: np.ndarray) -> torch.Tensor:
    """Rates whose logarithm is the noise about 10, so that it rains everywhere."""
    return torch.from_numpy(10.0 ** (10 + levels))[None]


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


def oracle_bands(field: np.ndarray) -> list[np.ndarray]:
    """All bands at full resolution: waves of the frame with mirrored margins, weighted one by one."""
    mirrored = np.pad(field, MARGIN, mode="reflect")
    height, width = mirrored.shape
    wave = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    wave[0, 0] = 1e-12
    log = np.log(wave)
    weights = np.exp(-0.5 * ((log + np.log(WAVELENGTHS)[:, None, None]) / (0.5 * np.log(2.24))) ** 2)
    weights[:, 0, 0] = np.arange(len(WAVELENGTHS)) == len(WAVELENGTHS) - 1
    weights /= weights.sum(axis=0)
    spectrum = np.fft.fft2(mirrored)
    inner = slice(MARGIN, -MARGIN)
    return [np.fft.ifft2(spectrum * weight).real[inner, inner] for weight in weights]


def oracle(
    rate: np.ndarray, around: np.ndarray, step: float, leads: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Expectation by lead time, and deviations in cells of 8 × 8 pixels, for frames ``(3, H, W)``.

    ``around`` has the rain where the newest frame was not observed, in cells of 2 × 2 pixels. All bands have
    full resolution here, and the forecast is that of the process of S-PROG.
    """
    rate = rate[::-1]
    seen = np.isfinite(rate)
    newest = np.where(rate[0] >= 0.1, np.log10(np.maximum(rate[0], 0.1)), DRY)
    newest = np.where(seen[0], newest, enlarged(around, 2))
    before = np.where(seen[1], np.log10(np.maximum(rate[1], 10**DRY)), newest)
    oldest = np.where(seen[2], np.log10(np.maximum(rate[2], 10**DRY)), before)
    observed = seen.all(axis=0)
    smooth = np.outer([1, 2, 1], [1, 2, 1]) / 16
    every = list(zip(*map(oracle_bands, (newest, before, oldest)), strict=True))
    # Frames of these sizes are within 256 pixels of each of their pixels.
    means = [band.mean() for band in every[-1]]
    every[-1] = tuple(band - mean for band, mean in zip(every[-1], means, strict=True))
    forecasts = [np.full(newest.shape, means[0]) for _ in range(leads)]
    variance = [0.0] * leads
    for level, bands in enumerate(every):

        def moment(a, b, bands=bands, share=0.0):
            means = blocks(bands[a] * bands[b] * observed, SIDE)
            means = convolve(convolve(means, smooth, mode="nearest"), smooth, mode="nearest")
            return (means + share * means.mean()) / (1 + share)

        def shared(a, b, moment=moment):
            return moment(a, b, share=0.3)

        typical = np.exp(-step / (6 * 2.24**level))

        def fitted(prior, shared=shared, typical=typical):
            first = (shared(0, 1) + prior * typical) / (np.sqrt(shared(0, 0) * shared(1, 1)) + prior)
            second = (shared(0, 2) + prior * typical**2) / (np.sqrt(shared(0, 0) * shared(2, 2)) + prior)
            first = np.clip(first, 0, 0.9995)
            return Autoregression.from_correlations(first, np.clip(second, lowest_lag2(first), first))

        scale = np.sqrt((moment(0, 0) + 1e-4) / (moment(1, 1) + 1e-4))
        energy = 1.7 * blocks(bands[0] ** 2, ENERGY_SIDE)
        for lead, ((of_newest, of_before), error) in enumerate(
            zip(fitted(1e-4).forecast_weights(leads), fitted(5e-3).errors(leads), strict=True)
        ):
            forecasts[lead] += enlarged(of_newest, SIDE) * bands[0]
            forecasts[lead] += enlarged(of_before * scale, SIDE) * bands[1]
            variance[lead] = variance[lead] + enlarged(error**2, SIDE // ENERGY_SIDE) * energy
    return forecasts, np.sqrt(variance)


def divided(rate: torch.Tensor) -> RainCascade:
    return decompose(rate, from_afar(rate))


def forecast(rate: torch.Tensor, leads: int, step: torch.Tensor = FIVE):
    """Expectation and deviation of every lead time, ``(leads, B, 1, …)``."""
    cascade = divided(rate)
    fitted = fit_process(cascade.moments, step.expand(len(rate)), leads)
    each = [fitted.at(torch.full((len(rate),), lead)) for lead in range(1, leads + 1)]
    return (
        torch.stack([expectation(cascade, one) for one in each]),
        torch.stack([deviation(cascade, one) for one in each]),
    )


def recomposed(cascade: RainCascade) -> torch.Tensor:
    """The newest frame: the forecast with the weights of no time at all."""
    fitted = fit_process(cascade.moments, FIVE.expand(len(cascade.moments)), 1)
    one, zero = torch.ones_like(fitted.newest[0]), torch.zeros_like(fitted.newest[0])
    return expectation(cascade, type(fitted)(one, zero, zero))


def test_expectation_in_cells_is_the_mean_of_that_of_their_pixels():
    rate = torch.from_numpy(np.exp(2 * process(128, 192, 0.8, 0.5, 3) - 1))[None]
    cascade = divided(rate)
    whole = fit_process(cascade.whole_moments, FIVE, 3).at(torch.tensor([3]))
    expected = avg_pool2d(expectation(cascade, whole), 2)
    torch.testing.assert_close(expectation_in_cells(cascade, whole), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("gaps", [False, True])
def test_local_cascade_equals_an_implementation_in_numpy(gaps):
    rng = np.random.default_rng(3)
    rate = np.exp(2 * process(128, 192, 0.8, 0.5, 3) - 1) * (rng.random((3, 128, 192)) < 0.95)
    if gaps:
        rate[:, :40, 100:] = np.nan
        rate[0, 90:, :60] = np.nan
        rate[2, 70:80, 70:80] = np.nan
    frames = torch.from_numpy(rate)[None]
    found = forecast(frames, 3)
    expected = oracle(rate, from_afar(frames).around[0, 0].numpy(), 5.0, 3)
    for lead in range(3):
        # The bands of long waves are interpolated between cells: their waves are at least thirteen cells
        # long, and the interpolation weakens such a wave by up to (2π/13)²/8 = 3 %.
        difference = found[0][lead, 0, 0].numpy() - expected[0][lead]
        assert np.sqrt((difference**2).mean()) < 0.03 * expected[0][lead].std()
        spread, right = found[1][lead, 0, 0].numpy(), expected[1][lead]
        assert np.abs(spread - right).mean() < 0.03 * right.mean()


@pytest.mark.parametrize("shape", [(64, 64), (128, 320)])
def test_bands_of_a_frame_have_the_sum_of_the_frame(shape):
    rate = rates(process(*shape, 0.9, 0.7, 3))
    level = torch.log10(rate[:, -1:])
    difference = recomposed(divided(rate)) - level
    assert difference.square().mean().sqrt() < 0.03 * level.std()  # as above


def test_part_of_a_frame_has_the_level_that_it_has_in_the_whole():
    large = np.cos(2 * np.pi * (np.arange(640) - 384) / 640)  # the part has more rain than the rest
    whole = rates(process(512, 640, 0.9, 0.7, 3) + 2 * large)
    part = whole[..., 128:384, 256:512]
    found, own = recomposed(divided(whole))[..., 128:384, 256:512], recomposed(divided(part))
    assert (found - own).mean().abs() < 0.01 * found.std()


def test_bands_are_those_of_sprog_at_the_same_wavelengths():
    """On 512 × 512 pixels, the third and fourth bands of S-PROG have 46 and 18 pixels."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:512, :512]
    for wavelength in (4, 8, 20, 50, 120):
        angle = rng.uniform(0, np.pi)
        wave = np.sin(2 * np.pi / wavelength * (np.cos(angle) * x + np.sin(angle) * y))
        cascade = divided(rates(np.stack([wave] * 3)))
        own = cascade.energy.mean(dim=(0, 2, 3)).numpy()
        assert WAVELENGTHS[own.argmax()] == pytest.approx(wavelength, rel=0.5)
        theirs = whole_cascade(np.stack([wave] * 3).astype(np.float32))
        variances = theirs.deviations[-1] ** 2
        assert theirs.wavelengths[variances.argmax()] == pytest.approx(WAVELENGTHS[own.argmax()], rel=0.7)


@pytest.mark.parametrize(("first", "second"), [(0.9, 0.76), (0.5, 0.2)])
def test_correlations_of_a_known_process_are_found(first, second):
    rate = rates(process(256, 512, first, second, 3))
    found = [value.mean(dim=(0, 2, 3)) for value in correlations(divided(rate).moments, FIVE)]
    # A band has as many independent values as waves of its length fit on the frame, by about their length:
    # 256 · 512 / 158² = 5 for the longest, so that the standard error of a correlation is .45 · (1 - ρ²).
    # Each shorter band has five times as many.
    allowed = 3 * 0.45 / np.sqrt(2.24**2) ** np.arange(LEVELS)[::-1]
    for values, truth in zip(found, (first, second), strict=True):
        assert (np.abs(values.numpy() - truth) < np.maximum(allowed * (1 - truth**2), 0.02)).all()


def test_forecast_of_a_known_process_has_about_the_error_that_it_states():
    """Its error is hardly larger than that of the best forecast, which knows the process."""
    first, second = 0.9, 0.76
    truth = process(256, 256, first, second, 6)
    found, spread = forecast(rates(truth[:3]), 3)
    phi_1, phi_2 = first * (1 - second) / (1 - first**2), (second - first**2) / (1 - first**2)
    best = [truth[1], truth[2]]
    for lead in range(3):
        best.append(phi_1 * best[-1] + phi_2 * best[-2])
        error = np.mean((found[lead, 0, 0].numpy() - 10 - truth[3 + lead]) ** 2)
        assert error < 1.1 * np.mean((best[-1] - truth[3 + lead]) ** 2), lead
        assert 0.7 < error / float(spread[lead].square().mean()) < 1.3, lead


def test_forecast_of_unchanged_rain_is_the_newest_frame():
    still = process(128, 128, 0.5, 0.2, 1)
    found, spread = forecast(rates(still.repeat(3, axis=0)), 6)
    anomaly = still[0] - still.mean()
    for lead in range(6):
        # Correlations are at most 0.9995: a band loses up to a two-thousandth in each time step.
        assert np.abs(found[lead, 0, 0].numpy() - 10 - still[0]).max() < 0.03 * np.abs(anomaly).max(), lead
        # The error trusts typical lifetimes more: in a band with a tenth of the variance, they lower the
        # correlation 1 by up to 0.005 / 0.1.
        assert spread[lead].mean() < np.sqrt(1 - 0.95 ** (2 * lead + 2)) * anomaly.std()


def test_forecast_of_rain_without_memory_is_its_mean():
    rng = np.random.default_rng(0)
    white = np.stack([noise(rng, 256, 256) for _ in range(3)])
    found, spread = forecast(rates(white), 12)
    cascade = divided(rates(white))
    # By chance, some correlations of long waves are as high as a half; little is left of them after an hour.
    mean = cascade.mean.mean()
    assert (found[-1] - mean).std() < 0.2
    energy = (1.7 * cascade.energy.sum(dim=1, keepdim=True)).sqrt()
    assert (spread[-1] / energy).mean() > 0.95
    assert (found[0] - mean).std() < 0.7


def test_decompose_dry_frames_are_dry_at_every_scale():
    found, spread = forecast(torch.zeros(1, 3, 64, 128, dtype=torch.float64), 2)
    torch.testing.assert_close(found, torch.full_like(found, DRY))
    assert spread.max() < 1e-9


def test_decompose_of_nothing_observed_is_dry():
    found, spread = forecast(torch.full((1, 3, 64, 64), np.nan, dtype=torch.float64), 2)
    torch.testing.assert_close(found, torch.full_like(found, DRY))
    assert spread.max() < 1e-9


def test_forecast_of_unobserved_older_frames_relies_on_typical_lifetimes():
    """Without a second frame there are no correlations: the first band has its lifetime of 6 minutes."""
    rate = rates(process(128, 128, 0.9, 0.8, 3))
    rate[:, :2] = np.nan
    first, second = correlations(divided(rate).moments, FIVE)
    for level in range(LEVELS):
        typical = np.exp(-5 / (6 * 2.24**level))
        torch.testing.assert_close(first[:, level], torch.full_like(first[:, level], typical))
        lowest = float(lowest_lag2(np.array(typical)))
        expected = torch.full_like(second[:, level], max(typical**2, lowest))
        torch.testing.assert_close(second[:, level], expected)


def test_forecast_differs_between_the_halves_as_their_memory_does():
    """On the left the rain has no memory, on the right it does not change."""
    rng = np.random.default_rng(4)
    frames = np.stack([noise(rng, 128, 1024) for _ in range(3)])
    frames[:, :, 512:] = frames[2, :, 512:]
    found, _ = forecast(rates(frames), 6)
    left, right = found[5, 0, 0, :, :256].numpy() - 10, found[5, 0, 0, :, 768:].numpy() - 10
    assert left.std() < 0.5 * frames[2, :, :256].std()
    assert np.corrcoef(right.ravel(), frames[2, :, 768:].ravel())[0, 1] > 0.95


def test_forecast_of_an_example_does_not_depend_on_the_others():
    one, two = rates(process(64, 128, 0.8, 0.6, 3)), rates(process(64, 128, 0.5, 0.3, 3, seed=1) * 2)
    step = torch.tensor([5.0, 2.0], dtype=torch.float64)
    together = forecast(torch.cat([one, two]), 3, step)
    for number, alone in enumerate((one, two)):
        for all_, single in zip(together, forecast(alone, 3, step[number : number + 1]), strict=True):
            torch.testing.assert_close(all_[:, number], single[:, 0], rtol=0, atol=1e-12)


def test_process_at_takes_the_lead_time_of_each_example():
    moments = divided(rates(process(64, 64, 0.8, 0.6, 3)).expand(2, -1, -1, -1)).moments
    fitted = fit_process(moments, FIVE.expand(2), 4)
    picked = fitted.at(torch.tensor([3, 1]))
    assert torch.equal(picked.newest[0], fitted.newest[2, 0])
    assert torch.equal(picked.newest[1], fitted.newest[0, 1])
    assert torch.equal(picked.error[0], fitted.error[2, 0])


def test_process_error_grows_from_lead_to_lead_and_ends_at_one():
    moments = divided(rates(process(128, 128, 0.9, 0.75, 3))).moments
    error = fit_process(moments, FIVE, 400).error
    assert (error.diff(dim=0) > -1e-9).all()
    assert (error[0] > 0).all()
    assert (error[-1, :, 0] > 0.98).all()


def test_strides_keep_waves_long_enough_to_be_interpolated():
    assert all(
        wavelength / stride > 13
        for wavelength, stride in zip(WAVELENGTHS, STRIDES, strict=True)
        if stride > 1
    )


def test_forecast_has_gradients_where_nothing_rains():
    rate = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    rate[:, :, 30:33, 30:33] = 2.0
    rate[:, 0, :, :20] = np.nan
    rate.requires_grad_()
    found, spread = forecast(rate, 2)
    (found.sum() + (spread.square() + 1e-4).sqrt().sum()).backward()
    assert rate.grad.isfinite().all()
