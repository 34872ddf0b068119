import subprocess
import sys
import weakref
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import stormcell
from stormcell.data.grid import pixel_km
from stormcell.data.synthetic import generate
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast import cell_forecast, network_probabilities
from stormcell.forecast.contract import Analysis, make_forecast
from stormcell.forecast.network import NetworkForecaster
from stormcell.forecast.probabilistic import DistributionForecaster, EnsembleForecaster
from stormcell.forecast.rain_distribution import LARGEST, RainDistribution
from stormcell.forecast.tail_slope import tail_slope
from stormcell.models import model_file
from stormcell.models.model_file import TrainingData
from stormcell.models.nowcaster import Nowcaster
from stormcell.motion.coordinates import rain_to_moving

HEIGHT, WIDTH = 50, 61


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("model") / "model.safetensors"


@pytest.fixture
def forecaster(path, card_of) -> NetworkForecaster:
    """A small network with a random last layer."""
    torch.manual_seed(0)
    nowcaster = Nowcaster(channels=4, detail_channels=4)
    torch.nn.init.normal_(nowcaster.correction.weight, std=0.2)
    model_file.save(path, nowcaster, card_of(nowcaster))
    return stormcell.load(path)


def placed(rate: np.ndarray, step: int = 5, pixel: float = 1000.0, unit: str = "m") -> xr.DataArray:
    """Rates ``(time, y, x)`` with coordinates."""
    times = np.datetime64("2024-06-01T00:00", "ns") + np.arange(len(rate)) * np.timedelta64(step, "m")
    coords = {
        "time": times,
        "y": ("y", (50 if unit != "m" else 0) - pixel * np.arange(rate.shape[1]), {"units": unit}),
        "x": ("x", pixel * np.arange(rate.shape[2]), {"units": unit}),
    }
    return xr.DataArray(rate.astype(np.float32), coords, ("time", "y", "x"), name="rainfall_rate")


def frames(count: int = 5, **options) -> xr.DataArray:
    """A shower that moves by three pixels a step to the right."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rate = np.stack([15 * np.exp(-((x - 20 - 3 * k) ** 2 + (y - 25) ** 2) / 60) for k in range(count)])
    return placed(np.where(rate < 0.1, 0, rate), **options)


def rough(count: int = 4, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> xr.DataArray:
    """Rough rain in most of the grid that hardly moves, and changes from frame to frame."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    whole = sum(
        size * np.exp(-((x - b) ** 2 + (y - a) ** 2) / (20 * size))
        for a, b, size in zip(
            rng.uniform(0, height, 20), rng.uniform(0, width, 20), rng.uniform(0.3, 6, 20), strict=True
        )
    )
    return placed(np.where(whole < 0.05, 0, whole) * rng.gamma(4, 1 / 4, (count, height, width)))


def still(given: xr.DataArray) -> Analysis:
    """An analysis whose motion is zero."""
    return moving(given, 0, 0)


def moving(given: xr.DataArray, dx: float, dy: float) -> Analysis:
    analysis = Analysis(given)
    shape = given.shape[1:]
    analysis._motions[3] = np.stack([np.full(shape, dx), np.full(shape, dy)]).astype(np.float32)
    return analysis


def products(forecaster: NetworkForecaster, given: xr.DataArray, steps: int = 2) -> dict[str, xr.DataArray]:
    return {
        "forecast": forecaster(given, steps),
        "probability": forecaster.probability(given, steps, thresholds=[0.1, 1.0, 7.0]),
        "quantile": forecaster.quantile(given, steps, levels=[0.5, 0.9]),
        "ensemble": forecaster.ensemble(given, steps, members=3),
    }


def test_network_forecaster_sets_times_grid_and_provenance(forecaster):
    for name, made in products(forecaster, frames(), steps=5).items():
        first = {"forecast": (), "ensemble": ("realization",), "probability": ("threshold",)}
        assert made.dims == (*first.get(name, ("quantile",)), "time", "y", "x")
        expected = frames()["time"].values[-1] + np.arange(1, 6) * np.timedelta64(5, "m")
        np.testing.assert_array_equal(made["time"].values, expected)
        np.testing.assert_array_equal(made["x"].values, frames()["x"].values)
        np.testing.assert_array_equal(made["y"].values, frames()["y"].values)
        assert made["forecast_reference_time"].values == frames()["time"].values[-1]
        assert made.dtype == np.float32
        assert float(made.min()) >= 0
        assert float(made.max()) > 0
        assert made.attrs["stormcell_model_sha256"] == forecaster.digest
        assert made.attrs["source"] == f"{forecaster.title}, Stormcell {stormcell.__version__}"


def test_network_forecaster_is_one_of_distributions_and_ensembles(forecaster):
    assert isinstance(forecaster, DistributionForecaster)
    assert isinstance(forecaster, EnsembleForecaster)


def test_network_forecaster_without_steps_forecasts_twelve(forecaster):
    assert forecaster(frames()).sizes["time"] == 12
    assert forecaster.default_steps is None


def test_network_forecaster_products_agree_with_each_other(forecaster):
    """A quantile is where the probability is 1 - level; probabilities are those that the network computed."""
    given = rough()
    thresholds = forecaster.nowcaster.thresholds
    probability = forecaster.probability(given, 2, thresholds=thresholds)
    assert (np.diff(probability.values, axis=0) <= 1e-6).all()
    assert probability["threshold"].values.tolist() == list(thresholds)
    for lead, rain in enumerate(forecaster.distributions_from(Analysis(given), 2)):
        by_network = rain.exceedance[-len(thresholds) :]  # and that of light rain
        np.testing.assert_allclose(probability.values[:, lead], by_network, rtol=0, atol=1e-6)
    levels = [0.2, 0.5, 0.9]
    quantile = forecaster.quantile(given, 2, levels=levels)
    assert quantile["quantile"].values.tolist() == levels
    for level, rates in zip(levels, quantile.values, strict=True):
        wet = probability.values[0] > 1 - level
        np.testing.assert_array_equal(rates >= thresholds[0], wet)
        lower = np.stack([rates >= threshold for threshold in thresholds])
        # Within float32 at the border between two thresholds.
        assert (lower == (probability.values >= 1 - level))[:, wet].mean() > 0.999


def test_network_forecaster_members_have_the_probabilities_of_the_distribution(forecaster):
    given, members = rough(), 60
    ensemble = forecaster.ensemble(given, 2, members=members)
    assert ensemble.sizes["realization"] == members
    probability = forecaster.probability(given, 2, thresholds=[0.1, 1.0])
    for field, threshold in zip(probability.values, (0.1, 1.0), strict=True):
        share = (ensemble.values >= threshold).mean(axis=0)
        # Members are draws, which are correlated in space: the mean over the grid is off by less than the
        # standard error of a single pixel, 0.5 / √60.
        assert abs(share.mean() - field.mean()) < 0.5 / np.sqrt(members)
        assert np.corrcoef(share.ravel(), field.ravel())[0, 1] > 0.8


def test_network_forecaster_member_does_not_depend_on_their_number(forecaster):
    given = rough()
    few, many = (forecaster.ensemble(given, 2, members=count, seed=7) for count in (2, 5))
    np.testing.assert_array_equal(few.values, many.values[:2])
    other = forecaster.ensemble(given, 2, members=2, seed=8)
    assert not np.array_equal(few.values, other.values, equal_nan=True)
    np.testing.assert_array_equal(few.values, forecaster.ensemble_from(Analysis(given), 2, 2, 7).values)


def test_network_forecaster_placed_members_are_quantiles_in_some_order(forecaster):
    given = rough()
    placed_members = forecaster.ensemble(given, 1, members=4, placed=True)
    quantiles = forecaster.quantile(given, 1, levels=[1 / 8, 3 / 8, 5 / 8, 7 / 8])
    np.testing.assert_allclose(np.sort(placed_members.values, axis=0), quantiles.values, rtol=1e-4, atol=1e-5)
    assert "quantiles" in placed_members.attrs["ensemble_method"]
    assert "member k is the same" in forecaster.ensemble(given, 1, members=2).attrs["ensemble_method"]


def test_network_forecaster_is_nan_only_where_newest_is_unobserved(forecaster):
    given = frames()
    given[-1, 10:20, 30:40] = np.nan
    given[0, :5] = np.nan  # unobserved pixels of older frames do not matter
    given[-2, 30:35] = np.nan
    for name, made in products(forecaster, given).items():
        gaps = np.isnan(made.values).reshape(-1, HEIGHT, WIDTH)
        for field in gaps:
            np.testing.assert_array_equal(field, np.isnan(given.values[-1]), err_msg=name)


def test_network_forecaster_dry_frames_forecasts_dry(forecaster):
    given = frames() * 0
    given[-1, :3] = np.nan
    for made in products(forecaster, given).values():
        assert np.nanmax(made.values) == 0
        assert np.isnan(made.values[..., :3, :]).all()
        assert np.isfinite(made.values[..., 3:, :]).all()


def test_network_forecaster_has_light_rain_if_the_newest_frame_has_it(forecaster):
    given = frames()
    assert len(next(forecaster.distributions_from(Analysis(given), 1)).thresholds) == 14
    given.values[-1, 40:, :5] = np.nan
    light = given.copy()
    light.values[:, :, :10] = np.maximum(light.values[:, :, :10], 0.06)
    plain, found = (next(forecaster.distributions_from(Analysis(one), 1)) for one in (given, light))
    assert found.thresholds[:2].tolist() == [0.03, 0.1]
    np.testing.assert_array_equal(np.isnan(found.exceedance[0]), np.isnan(found.exceedance[1]))
    seen = np.isfinite(found.exceedance[0])
    np.testing.assert_array_equal(found.exceedance[1:, seen], plain.exceedance[:, seen])
    chances = found.probability([0.03])[0]
    assert chances[:4, 2].min() > 0.9
    assert chances[:4, 40].max() < 0.1
    single, members = found.single(), forecaster.ensemble(light, 1, members=4)[:, 0].values
    for rates in (single, *members):
        assert ((rates[:4, :6] >= 0.03) & (rates[:4, :6] < 0.1)).mean() > 0.8
    assert not ((single[:, 20:] > 0) & (single[:, 20:] < 0.03)).any()


def test_network_forecaster_has_the_tail_of_the_newest_frame(forecaster):
    given = frames()
    given.values[:, 10:30, 10:30] = 60.0
    expected = tail_slope(given.values[-1], 30.0, LARGEST, network_probabilities.pixel_width(given))
    assert (
        expected
        < tail_slope(0 * given.values[-1], 30.0, LARGEST, network_probabilities.pixel_width(given)) - 0.5
    )
    for rain in forecaster.distributions_from(Analysis(given), 2):
        assert rain.tail_slope == pytest.approx(expected, rel=1e-5)  # rates are kept as decibels
        assert rain.part(slice(8)).tail_slope == rain.tail_slope


def test_network_forecaster_nothing_observed_forecasts_nan(forecaster):
    for made in products(forecaster, frames() * np.nan).values():
        assert np.isnan(made.values).all()


def test_network_forecaster_one_lonely_shower_stays_one(forecaster):
    """Four wet pixels in a wide dry grid: it may rain there, and nowhere far away."""
    rate = np.zeros((4, 140, 150))
    rate[:, 70:72, 80:82] = 6.0
    for name, made in products(forecaster, placed(rate)).items():
        assert np.isfinite(made.values).all(), name
        assert float(made[..., 60:80, 70:90].max()) > 0, name
    forecast = forecaster(placed(rate), 1)
    assert 0 < int((forecast >= 1.0).sum()) <= 8


def test_network_forecaster_whole_frame_of_rain_stays_wet(forecaster):
    rate = np.full((4, HEIGHT, WIDTH), 3.0) * np.random.default_rng(0).gamma(50, 1 / 50, (4, 1, 1))
    made = products(forecaster, placed(rate))
    assert (made["probability"].sel(threshold=0.1) > 0.9).all()
    assert (made["forecast"] > 0.3).mean() > 0.9
    assert np.isfinite(made["ensemble"].values).all()


@pytest.mark.parametrize("given", [rough(height=130, width=40), rough(height=20, width=150)])
def test_network_forecaster_takes_frames_that_are_not_square(forecaster, given):
    for made in products(forecaster, given).values():
        assert made.shape[-2:] == given.shape[1:]
        assert np.isfinite(made.values).all()


def test_network_forecaster_on_degrees_is_that_on_kilometres_of_the_same_width(forecaster):
    """The width of a pixel is an input, not its unit."""
    given = rough().values
    degrees = placed(given, pixel=0.01, unit="degrees")
    degrees["y"].attrs["units"], degrees["x"].attrs["units"] = "degrees_north", "degrees_east"
    width = float(np.mean(pixel_km(degrees)))
    assert 0.7 < width < 1.1  # 1.11 km along a meridian, less along a parallel
    metres = placed(given, pixel=1000 * width)
    np.testing.assert_allclose(
        forecaster(degrees, 2).values, forecaster(metres, 2).values, rtol=1e-3, atol=1e-3
    )


def test_network_forecaster_lead_times_in_minutes_and_pixels_matter(forecaster):
    base = forecaster.probability(rough(), 2, thresholds=[1.0]).values
    slow = forecaster.probability(placed(rough().values, step=10), 2, thresholds=[1.0]).values
    coarse = forecaster.probability(placed(rough().values, pixel=2000.0), 2, thresholds=[1.0]).values
    assert np.abs(slow - base).max() > 1e-3
    assert np.abs(coarse - base).max() > 1e-3


@pytest.mark.parametrize(("count", "same"), [(6, True), (5, False), (3, False)])
def test_network_forecaster_uses_only_the_frames_it_reads(forecaster, count, same):
    """The card says four frames; of these and two more, the newest one is forecast as a test."""
    given = frames(count=8)
    other = given.copy(deep=True)
    other[: 8 - count] *= 3
    assert np.array_equal(forecaster(given, 2).values, forecaster(other, 2).values) == same


def test_network_forecaster_given_fewer_frames_than_it_can_read_uses_them(forecaster):
    three = frames(count=6).isel(time=slice(3, None))
    assert forecaster.needs.frames == 3
    with_unknown = frames(count=6).isel(time=slice(2, None)).copy(deep=True)
    with_unknown[0] = np.nan
    np.testing.assert_allclose(
        forecaster(three, 2).values, forecaster(with_unknown, 2).values, rtol=1e-5, atol=1e-5
    )


def test_network_forecaster_moves_rain(forecaster):
    columns = np.arange(WIDTH)
    for made in (
        forecaster(frames(), steps=4),
        forecaster.probability(frames(), 4, thresholds=[1.0])[0],
        forecaster.ensemble(frames(), 4, members=20).mean("realization"),
    ):
        centre = [(lead[25] * columns).sum() / lead[25].sum() for lead in made.values]
        assert 7 < centre[3] - centre[0] < 11  # three pixels a step


def test_network_forecaster_area_is_within_the_bounds_of_the_newest_frame(forecaster):
    """Whatever a network's bias: its field reaches each threshold on 0.9 to 1.2 times the area of now."""
    given = rough(height=100, width=90)
    with torch.no_grad():
        forecaster.nowcaster.correction.bias[0] = 2.0  # thresholds a hundred times lower
    newest = given.values[-1]
    biased = forecaster.probability(given, 3, thresholds=[0.5]).sum(("y", "x")).values
    assert (np.abs(biased / (newest >= 0.5).sum() - 1) > 0.2).any()
    made = make_forecast(forecaster, still(given), 3).values
    for threshold in (0.1, 0.5, 1.0, 2.0, 5.0):
        for field in made:
            # A cut is a probability in float32, and a rate at a threshold is rounded.
            area = (field >= np.float32(threshold) * (1 - 1e-6)).sum()
            expected = (newest >= threshold).sum()
            assert 0.9 * expected - 1 <= area <= 1.2 * expected + 1, threshold


def test_network_forecaster_a_call_and_an_analysis_give_the_same(forecaster):
    given = frames()
    np.testing.assert_array_equal(
        make_forecast(forecaster, Analysis(given), 2).values, forecaster(given, 2).values
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (frames(count=2), "at least 3"),
        (frames(step=1), "frames: expected one every 2 to 15 min, found one every 1 min"),
        (frames(step=20), "frames: expected one every 2 to 15 min, found one every 20 min"),
        (frames(count=5).isel(time=[0, 1, 3, 4]), "gap"),
        (frames(pixel=4000.0), "frames: expected pixels of 0.5 to 2 km, found 4 km"),
        (frames(pixel=250.0), "frames: expected pixels of 0.5 to 2 km, found 0.25 km"),
    ],
)
def test_network_forecaster_unusable_frames_raises(forecaster, given, message):
    for call in (
        lambda: forecaster(given, steps=2),
        lambda: forecaster.probability(given, 2, thresholds=[1.0]),
        lambda: forecaster.quantile(given, 2, levels=[0.5]),
        lambda: forecaster.ensemble(given, 2, members=1),
    ):
        with pytest.raises(FramesError) as caught:
            call()
        assert message in str(caught.value)


def test_network_forecaster_of_a_few_rainy_pixels_forecasts_rain(forecaster):
    given = frames(count=4).isel(y=slice(0, 5), x=slice(0, 5))
    given = given.copy(data=np.full(given.shape, 20, np.float32))
    assert (forecaster.probability(given, 1, thresholds=[0.1]) > 0).all()


def test_network_forecaster_uses_the_frames_after_a_gap(forecaster):
    whole = frames(count=6)
    gap = whole.isel(time=[0, 1, 3, 4, 5])
    xr.testing.assert_identical(forecaster(gap, 2), forecaster(whole.isel(time=slice(3, None)), 2))


@pytest.mark.parametrize(("step", "pixel"), [(2, 500.0), (15, 2000.0), (5, 1000.0), (10, 2010.0)])
def test_network_forecaster_accepts_steps_and_pixels_up_to_the_limits(forecaster, step, pixel):
    assert np.isfinite(forecaster(frames(step=step, pixel=pixel), 2)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda made: made(frames(), 0), "steps: expected 1 or more, found 0"),
        (lambda made: made.probability(frames(), 0, thresholds=[1.0]), "steps: expected 1 or more, found 0"),
        (lambda made: made.probability(frames(), 1, thresholds=[0.0]), "thresholds: expected rates > 0"),
        (lambda made: made.quantile(frames(), 1, levels=[1.0]), "levels: expected probabilities"),
        (lambda made: made.ensemble(frames(), 1, members=0), "members"),
        (lambda made: made.ensemble(frames(), 0), "steps: expected 1 or more, found 0"),
    ],
)
def test_network_forecaster_impossible_argument_names_it(forecaster, call, message):
    with pytest.raises(ArgumentError, match=message):
        call(forecaster)


@pytest.mark.parametrize("threads", [1, 2])
def test_network_forecaster_in_tiles_equals_whole(forecaster, monkeypatch, threads):
    given, forecaster = rough(height=200, width=70), replace(forecaster, threads=threads)
    whole = forecaster.probability(given, 2, thresholds=[0.5, 2.0]).values
    areas, compute = [], Nowcaster.cell_thresholds
    monkeypatch.setattr(
        Nowcaster,
        "cell_thresholds",
        lambda self, scene, guess, cells: areas.append(cells) or compute(self, scene, guess, cells),
    )
    monkeypatch.setattr(network_probabilities, "TILE", (64, 32))
    monkeypatch.setattr(network_probabilities, "BLOCK", (100, 30))
    before = torch.get_num_threads()
    tiles = forecaster.probability(given, 2, thresholds=[0.5, 2.0]).values
    assert torch.get_num_threads() == before
    rows, cols = [slice(0, 64), slice(64, 128)], [slice(0, 32), slice(32, 64)]  # of cells of 2 × 2 pixels
    assert sorted(areas, key=str) == sorted(2 * [(r, c) for r in rows for c in cols], key=str)
    np.testing.assert_allclose(tiles, whole, rtol=0, atol=1e-6)  # rounding of float32


@pytest.mark.parametrize("kernels", [True, False])
def test_network_forecaster_large_grid_has_probabilities_in_half_precision(forecaster, monkeypatch, kernels):
    given = rough(height=200, width=70)
    analysis = moving(given, 3.0, -2.0)
    if not kernels:
        monkeypatch.setattr(cell_forecast, "rain_kernels", lambda: None)
    exact = [rain.exceedance for rain in forecaster.distributions_from(analysis, 2)]
    monkeypatch.setattr(network_probabilities, "LARGE", given[0].size - 1)
    monkeypatch.setattr(network_probabilities, "BLOCK", (64, 30))
    half = [rain.exceedance for rain in forecaster.distributions_from(analysis, 2)]
    assert {rain.dtype for rain in half} == {np.dtype(np.float16)}
    # Half of the last of 11 bits; probabilities below 6e-5 have fewer bits. Rain from outside is mixed from
    # such numbers, and rounded again.
    np.testing.assert_allclose(half, exact, rtol=2 * 2**-11 + 1e-6, atol=2 * 2**-25 + 1e-6)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("large", [2**22, 0])
def test_network_forecaster_probabilities_pass_the_check_of_a_distribution(
    forecaster, monkeypatch, kernels, large
):
    """Of the network's probabilities, it is left out, because they fall by construction."""
    given = rough(height=200, width=70)
    given.values[:, 40:90, 20:50] = np.nan
    monkeypatch.setattr(network_probabilities, "LARGE", large)
    if not kernels:
        monkeypatch.setattr(cell_forecast, "rain_kernels", lambda: None)
    for inflow in ("mean", "nan"):
        from_edges = replace(forecaster, inflow=inflow)
        for rain in from_edges.distributions_from(moving(given, 3.0, -2.0), 2):
            assert 0 < np.isfinite(rain.exceedance).mean() < 1
            RainDistribution(rain.thresholds, rain.exceedance)


def test_network_forecaster_expected_area_is_about_that_of_the_newest_frame(forecaster):
    """The random network forecasts too much rain here; its shifts are found from all pixels."""
    torch.nn.init.constant_(forecaster.nowcaster.correction.bias, 0.3)
    given = rough(height=100, width=120)
    newest = given.values[-1]
    for rain in forecaster.distributions_from(still(given), 2):
        for probability, threshold in list(zip(rain.exceedance, rain.thresholds, strict=True))[:6]:
            ratio = probability.sum() / (newest >= threshold).sum()
            # A shift is a last step of Newton's method, and a threshold may be kept below the one before.
            assert 0.85 < ratio < 1.12, threshold


def test_network_forecaster_rain_from_unknown_places_takes_no_area_from_the_rest(forecaster):
    """Rain may move out of a sector that is not observed; the area beside it stays that of the rain there."""
    rate = np.zeros((3, 128, 256), np.float32)
    rate[:, 20:108, 40:120] = 3.0
    rate[:, :, :30] = np.nan  # from here comes what covers the columns 30 to 60 later
    alone = placed(rate)
    covered = alone.copy()
    covered[:, :, 30:36] = 3.0  # at the border of the sector it rains
    for given in (alone, covered):
        (rain,) = forecaster.distributions_from(moving(given, 30, 0), 1)
        assert not rain.among[:, :60].any()  # outside the grid, or not observed
        assert rain.among[:, 61:].all()
        single, newest = rain.single(), given.values[-1]
        area = (single[rain.among] >= 1).sum() / (newest[:, 31:226] >= 1).sum()
        assert 0.98 < area < 1.17


def test_network_forecaster_far_from_any_rain_is_certainly_dry(forecaster):
    """Elsewhere the last layer, which is random here, forecasts rain even from dry frames."""
    torch.nn.init.constant_(forecaster.nowcaster.correction.bias, 1.0)

    def chance_of_rain(rate: np.ndarray) -> np.ndarray:
        (rain,) = forecaster.distributions_from(still(placed(rate)), 1)
        return rain.exceedance[0]

    rate = np.zeros((3, 70, 1300), np.float32)
    rate[:, 30:40, 5:20] = 4.0
    found = chance_of_rain(rate)
    assert (found[:, :256] > 0).all()
    assert not found[:, 256:].any()
    # The rain of the frame before counts as well, and that 127 pixels from a block, but no other.
    for column, frame, wet in ((1024 - 120, 1, True), (1024 - 260, 2, False)):
        rate[:] = 0
        rate[frame, 30:40, column - 9 : column] = 4.0
        assert chance_of_rain(rate)[:, 1024:].any() == wet


def test_network_forecaster_rain_left_the_grid_forecasts_dry(forecaster):
    """What is left of the grid after a step was dry; what flows in is not looked at."""
    forecaster.nowcaster.start_at_cascade()
    given, alone = frames(count=4), replace(forecaster, inflow="nan")
    assert (alone.forecast_from(still(given), 1) > 0).any()
    left = alone.forecast_from(moving(given, -50, 0), 1)
    assert np.isfinite(left).any()
    assert not (left > 0).any()


def test_network_forecaster_runs_on_the_device_of_its_network(forecaster, monkeypatch):
    """Tensors on the device "meta" have no values, so those that come back are replaced by ones."""
    devices = []
    monkeypatch.setattr(
        torch.Tensor, "cpu", lambda result: devices.append(result.device.type) or torch.ones(result.shape)
    )
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # the device "meta" has none
    on_it = replace(forecaster, nowcaster=forecaster.nowcaster.to("meta"))
    found = on_it.probability(frames(count=4), 2, thresholds=[0.5])[0]
    # Where it is wet, and for each of two lead times the thresholds, the mean and the spread.
    assert devices == ["meta"] * 7
    assert (found > 0).any()


def test_network_forecaster_inflow_nan_is_nan_where_rain_flows_in(forecaster):
    open_edges = replace(forecaster, inflow="nan").probability(frames(), 4, thresholds=[0.5])[0]
    filled = forecaster.probability(frames(), 4, thresholds=[0.5])[0]
    unknown = np.isnan(open_edges.values)
    assert unknown[:, 10:40, :2].all()
    assert not unknown[0, 10:40, 10:].any()
    np.testing.assert_array_equal(open_edges.values[~unknown], filled.values[~unknown])
    assert np.isfinite(filled).all()


def test_network_forecaster_fills_what_comes_from_a_gap_as_what_comes_from_outside(forecaster):
    """Rain that moves out of a sector without data is unknown; elsewhere, all is as before."""
    rate = np.zeros((3, 128, 256), np.float32)
    rate[:, 20:108, 40:120] = 3.0
    rate[:, :, 128:160] = np.nan
    analysis = moving(placed(rate), 10, 0)
    filled = list(forecaster.distributions_from(analysis, 2))
    open_edges = list(replace(forecaster, inflow="nan").distributions_from(analysis, 2))
    for lead, (mean, nan) in enumerate(zip(filled, open_edges, strict=True), start=1):
        source = np.arange(256) - 10 * lead
        known = (source >= 0) & ~((source >= 128) & (source < 160)) & np.isfinite(rate[0, 0])
        for field, without in zip(mean.exceedance, nan.exceedance, strict=True):
            np.testing.assert_array_equal(np.isfinite(without), np.broadcast_to(known, without.shape))
            np.testing.assert_array_equal(field[:, known], without[:, known])
            np.testing.assert_array_equal(np.isnan(field), np.isnan(rate[0]))


def test_network_forecaster_computes_with_its_number_of_threads(forecaster, monkeypatch):
    """Frames are read with all of them; lead times are computed beside, in threads with one each."""
    found = []

    def noting(compute):
        return lambda *given: found.append(torch.get_num_threads()) or compute(*given)

    for name in ("read", "first_guess"):
        monkeypatch.setattr(Nowcaster, name, noting(getattr(Nowcaster, name)))
    before = torch.get_num_threads()
    replace(forecaster, threads=before + 1)(frames(count=4), 1)
    assert found == [before + 1, 1]
    assert torch.get_num_threads() == before


def archive_of(day: str, rain: xr.DataArray | None = None, **changes) -> TrainingData:
    fields = {"time_step_seconds": 300, "pixel_size": (1000.0, 1000.0), "pixel_unit": "m"}
    if rain is not None:
        y, x = rain["y"].values, rain["x"].values
        fields["extent"] = (y[0], y[-1], x[0], x[-1])
    blocks = {"train": (f"{day}T00:00:00", f"{day}T05:00:00"), "test": (f"{day}T06:00:00", f"{day}T07:00:00")}
    return TrainingData(blocks=blocks, **fields | changes)


def trained_on(forecaster: NetworkForecaster, *archives: TrainingData) -> NetworkForecaster:
    nowcasting = forecaster.card.nowcasting.model_copy(update={"archives": archives})
    return replace(forecaster, card=forecaster.card.model_copy(update={"nowcasting": nowcasting}))


def days(model: NetworkForecaster) -> list[str]:
    return [blocks["train"][0][:10] for blocks in model.blocks]


def test_network_forecaster_for_an_archive_has_the_blocks_of_its_grid(forecaster):
    here, shifted = frames(), frames().assign_coords(x=frames()["x"] + 5000)
    model = trained_on(forecaster, archive_of("2024-06-01", here), archive_of("2024-06-02", shifted))
    assert days(model) == ["2024-06-01", "2024-06-02"]
    assert days(model.for_archive(here)) == ["2024-06-01"]
    assert days(model.for_archive(shifted)) == ["2024-06-02"]
    nudged = here.assign_coords(x=here["x"] + 4)  # headers round
    assert days(model.for_archive(nudged)) == ["2024-06-01"]


def test_network_forecaster_for_an_archive_of_a_shared_grid_has_the_blocks_of_its_time(forecaster):
    here = frames()
    model = trained_on(forecaster, archive_of("2023-06-01", here), archive_of("2024-06-01", here))
    assert days(model.for_archive(here)) == ["2024-06-01"]


def test_network_forecaster_for_another_archive_has_the_blocks_of_its_time_or_all(forecaster):
    """Weather of the same time may be in both archives."""
    elsewhere = frames().assign_coords(x=frames()["x"] + 9e5)
    archives = archive_of("2023-06-01", frames()), archive_of("2024-06-01", frames())
    assert days(trained_on(forecaster, *archives).for_archive(elsewhere)) == ["2024-06-01"]
    later = elsewhere.assign_coords(time=elsewhere["time"] + np.timedelta64(900, "D"))
    assert days(trained_on(forecaster, *archives).for_archive(later)) == ["2023-06-01", "2024-06-01"]
    assert days(trained_on(forecaster, archives[0]).for_archive(later)) == ["2023-06-01"]


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize("least", [0.0, 0.05])
def test_network_forecaster_keeps_one_distribution_at_a_time(forecaster, monkeypatch, members, least):
    made, alive, begin = [], [], network_probabilities.writer

    class Watched(network_probabilities.AnchoredRain):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            made.append(weakref.ref(self.exceedance))

    def writer(*arguments):
        alive.append(sum(reference() is not None for reference in made))
        return begin(*arguments)

    monkeypatch.setattr(network_probabilities, "AnchoredRain", Watched)
    monkeypatch.setattr(network_probabilities, "writer", writer)
    given = np.maximum(frames(), least)
    forecaster.products_from(Analysis(given), 3, members=members, thresholds=[1.0])
    assert alive == [0, 0, 0]


def test_network_forecaster_large_grid_needs_bounded_memory():
    """Peak memory in float32 numbers per pixel, beyond input and output.

    It is 50, most of all the bands of three frames and their products, and the frames as the encoder reads
    them.
    """
    code = """
import resource
import numpy as np
import torch
import xarray as xr
from types import SimpleNamespace
from stormcell.forecast import network, network_probabilities
from stormcell.models.nowcaster import Nowcaster
from stormcell.motion import advection

torch.set_num_threads(1)
advection.BAND_PIXELS, network_probabilities.TILE = 2**16, (128, 512)
nowcaster = Nowcaster(channels=8, detail_channels=64)
card = SimpleNamespace(inputs=4, model="network", title="network", data_hash="")
forecaster = network.NetworkForecaster(nowcaster, card, "")

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def forecast(side, steps):
    rate = np.random.default_rng(0).gamma(0.3, 3, (3, side, side)).astype(np.float32)
    times = np.datetime64("2024-06-01", "ns") + np.arange(3) * np.timedelta64(300, "s")
    coords = {"time": times, "y": -1000.0 * np.arange(side), "x": 1000.0 * np.arange(side)}
    frames = xr.DataArray(rate, coords, ("time", "y", "x"))
    before = peak()
    forecaster(frames, steps)
    return before

forecast(300, 1)  # whatever is allocated once
before = forecast(768, 2)
print((peak() - before) / 4 / 768**2 - 2)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(found.stdout) < 75


@pytest.mark.parametrize("missing", [1, 2])
def test_network_forecaster_uses_older_frames_where_newer_were_not_observed(forecaster, monkeypatch, missing):
    """Rain that only moves is the same in all frames, so that the forecast of it is nearly the same, too."""
    y, x = np.mgrid[:96, :160]
    rate = np.stack([8 * np.exp(-((x - 50 - 6 * k) ** 2 + (y - 48) ** 2) / 200) for k in range(3)])
    whole = placed(np.where(rate < 0.1, 0, rate))
    gap = whole.copy()
    gap[-missing:, 30:60, 58:66] = np.nan  # the middle of the shower
    observed = np.isfinite(gap.values[-1])

    def forecast(given: xr.DataArray) -> RainDistribution:
        (rain,) = forecaster.distributions_from(moving(given, 6, 0), 1)
        return rain

    expected, found = forecast(whole), forecast(gap)
    monkeypatch.setattr(network_probabilities, "known_rain", rain_to_moving)
    without = forecast(gap)
    np.testing.assert_array_equal(np.isnan(found.exceedance[0]), ~observed)
    assert found.among[30:60, 66:72].all()
    assert not without.among[30:60, 66:72].any()
    error, error_without = (
        np.abs(rain.exceedance - expected.exceedance)[:, 30:60, 66:72].mean() for rain in (found, without)
    )
    assert error < error_without / 5


def test_network_forecaster_rain_from_an_unobserved_sector_leaves_no_dry_hole(forecaster):
    rate = np.full((3, 64, 64), 5.0, np.float32)
    rate[:, :, 20:26] = np.nan
    analysis = Analysis(placed(rate))
    analysis._motions[3] = np.stack([np.full((64, 64), 4.0), np.zeros((64, 64))]).astype(np.float32)
    forecast = forecaster.forecast_from(analysis, 2).values
    np.testing.assert_array_equal(np.isnan(forecast), np.isnan(rate[:2]))
    assert np.nanmin(forecast) >= 0.1


def test_network_forecast_does_not_depend_on_the_default_type_of_torch():
    frames = generate(seed=2, shape=(64, 64), steps=8).rainfall_rate
    model = stormcell.load("nowcaster-1")
    expected = model(frames, 2)
    torch.set_default_dtype(torch.float64)
    try:
        found, members = model(frames, 2), model.ensemble(frames, 2, members=2)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == members.dtype == np.float32
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5, atol=1e-6)
