import numpy as np
import pytest
import torch
import xarray as xr

import stormcell
from stormcell.data.scaling import LogScaling
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast.network import NetworkForecaster
from stormcell.models import model_file
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
