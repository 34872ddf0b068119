import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import stormcell
from stormcell.data.scaling import LogScaling
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast import network
from stormcell.forecast.contract import Analysis
from stormcell.forecast.network import NetworkForecaster
from stormcell.models import model_file
from stormcell.models.model_file import TrainingData
from stormcell.models.nowcaster import Nowcaster


@pytest.fixture(params=["moving", "fixed"])
def forecaster(request, tmp_path, card_of) -> NetworkForecaster:
    torch.manual_seed(0)
    nowcaster = Nowcaster(LogScaling(), steps=6, hidden_channels=[4], kernel_size=3, patch_size=4)
    torch.nn.init.normal_(nowcaster.network.head.weight, std=0.3)
    torch.nn.init.constant_(nowcaster.network.head.bias[-16:], 0.05)
    model_file.save(tmp_path / "model.safetensors", nowcaster, card_of(nowcaster, coordinates=request.param))
    return stormcell.load(tmp_path / "model.safetensors")


def frames(count: int = 4, step: int = 5, pixel: float = 1000.0) -> xr.DataArray:
    y, x = np.mgrid[:50, :61]
    rate = np.stack([15 * np.exp(-((x - 20 - 3 * k) ** 2 + (y - 25) ** 2) / 60) for k in range(count)])
    rate = np.where(rate < 0.1, 0, rate).astype(np.float32)
    times = np.datetime64("2024-06-01T00:00", "ns") + np.arange(count) * np.timedelta64(step, "m")
    coords = {
        "time": times,
        "y": ("y", -pixel * np.arange(50), {"units": "m"}),
        "x": ("x", pixel * np.arange(61), {"units": "m"}),
    }
    return xr.DataArray(rate, coords, ("time", "y", "x"), name="rainfall_rate")


def test_network_forecaster_sets_times_grid_and_provenance(forecaster):
    forecast = forecaster(frames(), steps=5)
    assert forecast.dims == ("time", "y", "x")
    expected = frames()["time"].values[-1] + np.arange(1, 6) * np.timedelta64(5, "m")
    np.testing.assert_array_equal(forecast["time"].values, expected)
    np.testing.assert_array_equal(forecast["x"].values, frames()["x"].values)
    assert forecast.attrs["stormcell_model_sha256"] == forecaster.digest
    assert forecast.dtype == np.float32
    assert float(forecast.min()) >= 0
    assert float(forecast.max()) > 0


def test_network_forecaster_without_steps_takes_the_trained_number(forecaster):
    assert forecaster(frames()).sizes["time"] == 6


def test_network_forecaster_is_nan_only_where_newest_is_unobserved(forecaster):
    given = frames()
    given[-1, 10:20, 30:40] = np.nan
    given[0, :5] = np.nan  # unobserved pixels of older frames do not matter
    forecast = forecaster(given, steps=3)
    for lead in forecast.values:
        np.testing.assert_array_equal(np.isnan(lead), np.isnan(given.values[-1]))


def test_network_forecaster_dry_frames_forecasts_dry(forecaster):
    given = frames() * 0
    given[-1, :3] = np.nan
    forecast = forecaster(given, steps=2).values
    assert np.nanmax(forecast) == 0
    assert np.isnan(forecast[:, :3]).all()


def test_network_forecaster_nothing_observed_forecasts_nan(forecaster):
    assert np.isnan(forecaster(frames() * np.nan, steps=2).values).all()


def test_network_forecaster_uses_only_the_frames_it_needs(forecaster):
    given = frames(count=6)
    other = given.copy(deep=True)
    other[:3] = 99.0
    np.testing.assert_array_equal(forecaster(given, steps=2).values, forecaster(other, steps=2).values)


def test_network_forecaster_moving_coordinates_moves_rain(forecaster):
    forecast = forecaster(frames(), steps=4).values
    columns = np.arange(61)
    centre = [(lead[25] * columns).sum() / lead[25].sum() for lead in forecast]
    travelled = centre[3] - centre[0]
    if forecaster.card.nowcasting.coordinates == "moving":
        assert 7 < travelled < 11  # three pixels a step
    else:
        assert abs(travelled) < 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (frames(count=2), "at least 3"),
        (frames(step=10), "one every 5 min, found one every 10 min"),
        (frames(count=5).isel(time=[0, 1, 3, 4]), "gap"),
        (frames(pixel=2000.0), "expected the model's grid spacing, 1000 × 1000 m, found 2000 × 2000 m"),
    ],
)
def test_network_forecaster_unusable_frames_raises(forecaster, given, message):
    with pytest.raises(FramesError) as caught:
        forecaster(given, steps=2)
    assert message in str(caught.value)


def test_network_forecaster_zero_steps_raises(forecaster):
    with pytest.raises(ArgumentError, match="steps: expected 1 or more, found 0"):
        forecaster(frames(), steps=0)


def rough_frames() -> np.ndarray:
    """Rain in one quarter of a grid of several tiles."""
    rate = np.random.default_rng(0).gamma(0.3, 8, (3, 118, 91)).astype(np.float32)
    rate[:, 60:] = rate[:, :, 45:] = 0
    return rate


def forecast_tiles(forecaster, *, overlap=None, whole=False) -> np.ndarray:
    """Two lead times in float64, where rounding is much smaller than any effect of an overlap."""
    forecaster.nowcaster.double()
    if overlap is not None:
        forecaster.nowcaster.overlap = lambda *_: overlap
    made, rate = np.zeros((2, 118, 91)), rough_frames().astype(np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "TILE_VALUES", 2 * 200**2 if whole else 1)  # 1: tiles as small as they can be
        forecaster._forecast_tiles(lambda rows, cols: rate[:, rows, cols].copy(), made)
    return made


def test_network_forecaster_in_tiles_equals_whole(forecaster):
    assert forecaster.nowcaster.overlap(3, 2) == 4 * (1 + 2 + 2)  # one layer, 3 inputs, 2 lead times
    whole = forecast_tiles(forecaster, whole=True)
    assert whole[:, 90:].max() > 0  # tiles without rain are not made dry
    tiled = forecast_tiles(forecaster)
    # A value is a sum of some 1000 products with rounding errors of 1e-16.
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-13 * whole.max())
    narrower = forecast_tiles(forecaster, overlap=4 * (1 + 2 + 2 - 1))
    assert np.abs(narrower - whole).max() > 1e-9 * whole.max()


def test_network_forecaster_whole_path_in_tiles_equals_whole(forecaster, monkeypatch):
    given = frames(count=3)
    rate = np.random.default_rng(1).gamma(0.3, 8, given.shape).astype(np.float32)
    given = given + np.where(given > 0, rate, 0)
    whole = forecaster(given, steps=1)
    monkeypatch.setattr(network, "TILE_VALUES", 1)
    tiled = forecaster(given, steps=1)
    # The same 1000 products with rounding errors of 6e-8.
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-4 * float(whole.max()))


def test_network_forecaster_rain_left_the_grid_forecasts_dry(forecaster):
    given = frames(count=3)
    given[1:] = 0
    analysis = Analysis(given)
    analysis._motions[3] = np.stack([np.full((50, 61), -30), np.zeros((50, 61))]).astype(np.float32)
    wet = (forecaster.forecast_from(analysis, 2) > 0).any()
    assert wet == (forecaster.card.nowcasting.coordinates == "fixed")


def test_network_forecaster_runs_on_the_device_of_its_network(forecaster, monkeypatch):
    """Tensors on the device "meta" have no values, so those that come back are replaced by zeros."""
    devices = []
    monkeypatch.setattr(
        torch.Tensor, "cpu", lambda result: devices.append(result.device.type) or torch.zeros(result.shape)
    )
    forecast = replace(forecaster, nowcaster=forecaster.nowcaster.to("meta"))(frames(), steps=2)
    assert devices == ["meta"]
    assert not forecast.any()


def test_network_forecaster_inflow_nan_is_nan_where_rain_flows_in(forecaster):
    open_edges = replace(forecaster, inflow="nan")(frames(), steps=4)
    filled = forecaster(frames(), steps=4)
    unknown = np.isnan(open_edges.values)
    assert unknown.any() == (forecaster.card.nowcasting.coordinates == "moving")
    np.testing.assert_array_equal(open_edges.values[~unknown], filled.values[~unknown])
    assert np.isfinite(filled).all()


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


@pytest.mark.parametrize(
    ("step", "pixel", "accepted"), [(5, 1000, True), (10, 2000, True), (10, 1000, False)]
)
def test_network_forecaster_of_several_archives_takes_the_resolution_of_each(
    forecaster, step, pixel, accepted
):
    coarse = archive_of("2024-06-02", time_step_seconds=600, pixel_size=(2000.0, 2000.0))
    model = trained_on(forecaster, archive_of("2024-06-01"), coarse)
    given = frames(step=step, pixel=pixel)
    if accepted:
        assert model(given, steps=2).sizes["time"] == 2
    else:
        with pytest.raises(FramesError, match="grid spacing, 2000 × 2000 m, found 1000 × 1000 m"):
            model(given, steps=2)


def test_network_forecaster_large_grid_needs_bounded_memory():
    """Peak memory in float32 numbers per pixel, beyond input and output.

    With tiles and bands it is 6; without bands of rows 27; without tiles 130.
    """
    code = """
import resource
import numpy as np
import torch
import xarray as xr
from stormcell.data.scaling import LogScaling
from stormcell.forecast import network
from stormcell.models.model_file import Nowcasting, TrainingData
from stormcell.models.nowcaster import Nowcaster
from stormcell.motion import advection
from types import SimpleNamespace

advection.BAND_PIXELS, network.TILE_VALUES = 2**15, 6 * 2**15
nowcaster = Nowcaster(LogScaling(), steps=6, hidden_channels=[16, 16], kernel_size=1, patch_size=4)
card = SimpleNamespace(
    inputs=2, steps=6, model="network", versions={"stormcell": "0"}, data_hash="",
    nowcasting=Nowcasting(
        coordinates="moving",
        archives=(TrainingData(time_step_seconds=300, pixel_size=(1000, 1000), pixel_unit="m"),),
    ),
)
forecaster = network.NetworkForecaster(nowcaster, card, "")

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def forecast(side):
    rate = np.random.default_rng(0).gamma(0.3, 3, (2, side, side)).astype(np.float32)
    times = np.datetime64("2024-06-01", "ns") + np.arange(2) * np.timedelta64(300, "s")
    coords = {"time": times, "y": -1000.0 * np.arange(side), "x": 1000.0 * np.arange(side)}
    frames = xr.DataArray(rate, coords, ("time", "y", "x"))
    before = peak()
    forecaster(frames, 6)
    return before

forecast(400)  # whatever is allocated once
before = forecast(1000)
print((peak() - before) / 4 / 1000**2 - 6)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(found.stdout) < 15
