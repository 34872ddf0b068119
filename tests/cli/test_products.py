"""Members, probabilities and quantiles on the command line."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

import stormcell
from stormcell.cli.main import app
from stormcell.data import archive, synthetic
from stormcell.models import model_file
from stormcell.models.nowcaster import Nowcaster

THRESHOLDS, LEVELS = [0.2, 1.0, 5.0], [0.1, 0.5, 0.9]


@pytest.fixture(scope="module")
def rain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rain")
    synthetic.write(folder / "radar", seed=3, events=1, steps=8, shape=(40, 48))
    assert run("archive", folder / "radar", "--out", folder / "a.zarr").exit_code == 0
    return folder / "a.zarr"


@pytest.fixture
def model(tmp_path, card_of):
    torch.manual_seed(0)
    nowcaster = Nowcaster(channels=4, detail_channels=4)
    torch.nn.init.normal_(nowcaster.correction.weight, std=0.2)
    model_file.save(tmp_path / "model.safetensors", nowcaster, card_of(nowcaster))
    return tmp_path / "model.safetensors"


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def forecast(rain, model, out, *options):
    done = run("forecast", rain, "--model", model, "--out", out, "--steps", 3, *options)
    assert done.exit_code == 0, done.output
    with xr.open_dataset(out, decode_timedelta=True) as found:
        return found.load()


def test_forecast_quantiles_are_in_ascending_order_and_each_once(rain, model, tmp_path):
    found = forecast(rain, model, tmp_path / "f.nc", "--quantiles", ".9,.1,.9")
    assert found["quantile"].values.tolist() == [0.1, 0.9]


def test_forecast_probabilities_and_quantiles_are_those_of_the_model(rain, model, tmp_path):
    options = ["--probabilities", "0.2,1,5", "--quantiles", ".1,.5,.9"]
    found = forecast(rain, model, tmp_path / "f.nc", *options)
    loaded, frames = stormcell.load(model), archive.rain(archive.open(rain))
    expected = {
        "rainfall_rate": loaded(frames, 3),
        "rainfall_rate_probability": loaded.probability(frames, 3, thresholds=THRESHOLDS),
        "rainfall_rate_quantile": loaded.quantile(frames, 3, levels=LEVELS),
    }
    for name, product in expected.items():
        assert found[name].dims == product.dims
        np.testing.assert_array_equal(found[name].values, product.values)
        assert product.max() > 0
    assert found["threshold"].values.tolist() == THRESHOLDS
    assert found["quantile"].values.tolist() == LEVELS
    assert found["rainfall_rate_probability"].attrs["units"] == "1"


def test_forecast_members_come_beside_probabilities_in_the_place_of_the_single_forecast(
    rain, model, tmp_path
):
    options = ["--members", 3, "--seed", 7]
    found = forecast(rain, model, tmp_path / "f.nc", *options, "--probabilities", "0.2,1,5")
    loaded, frames = stormcell.load(model), archive.rain(archive.open(rain))
    members = loaded.ensemble(frames, 3, members=3, seed=7)
    assert found["rainfall_rate"].dims == ("realization", "time", "y", "x")
    np.testing.assert_array_equal(found["rainfall_rate"].values, members.values)
    assert found.attrs["ensemble_seed"] == 7
    probability = loaded.probability(frames, 3, thresholds=THRESHOLDS)
    np.testing.assert_array_equal(found["rainfall_rate_probability"].values, probability.values)
    alone = forecast(rain, model, tmp_path / "alone.nc", *options)
    np.testing.assert_array_equal(alone["rainfall_rate"].values, members.values)
    assert "rainfall_rate_probability" not in alone
    other = forecast(rain, model, tmp_path / "other.nc", "--members", 3, "--seed", 8)
    assert not np.array_equal(other["rainfall_rate"].values, members.values)


def test_forecast_several_products_run_the_network_once(rain, model, tmp_path, monkeypatch):
    calls, read = [], Nowcaster.read
    monkeypatch.setattr(Nowcaster, "read", lambda *given: calls.append(given[-1]) or read(*given))
    forecast(rain, model, tmp_path / "f.nc", "--probabilities", "1", "--quantiles", ".5", "--members", 2)
    assert calls == [2, 3]  # lead times: of the newest frame, as a test, and of the forecast


def test_forecast_several_products_as_zarr(rain, model, tmp_path):
    options = ["--steps", 2, "--probabilities", "1,5", "--members", 2]
    done = run("forecast", rain, "--model", model, "--out", tmp_path / "f.zarr", *options)
    assert done.exit_code == 0, done.output
    found = xr.open_zarr(tmp_path / "f.zarr", decode_timedelta=True)
    assert found["rainfall_rate_probability"].shape == (2, 2, 40, 48)
    assert found["rainfall_rate"].shape == (2, 2, 40, 48)


def test_forecast_without_a_model_is_by_the_shipped_one(rain, tmp_path):
    done = run("forecast", rain, "--out", tmp_path / "f.nc", "--steps", 3)
    assert done.exit_code == 0, done.output
    name, card = next(iter(stormcell.models.shipped().items()))
    expected = stormcell.load(name)(archive.rain(archive.open(rain)), 3)
    with xr.open_dataset(tmp_path / "f.nc") as found:
        np.testing.assert_array_equal(found["rainfall_rate"].values, expected.values)
        assert found.attrs["stormcell_training_data_sha256"] == card.data_hash
    assert (expected >= 0.1).any()


def test_verify_without_forecasters_compares_the_shipped_model_with_baselines(rain, tmp_path):
    done = run("verify", rain, "--out", tmp_path / "report", "--every", 15, "--steps", 2)
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / "report" / "scores.json").read_text())
    assert list(scores) == [next(iter(stormcell.models.shipped())), "persistence", "extrapolation", "sprog"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sprog", ["--members", "3"], "--members: expected a forecaster that offers ensembles, found sprog"),
        ("sprog", ["--quantiles", ".5"], "--probabilities and --quantiles: expected a forecaster"),
        (None, ["--quantiles", "50"], "--quantiles: expected probabilities above 0 and below 1"),
        (None, ["--probabilities", "0,1"], "--probabilities: expected rain rates above 0 mm/h"),
        (None, ["--probabilities", "1;2"], "--probabilities: expected rain rates above 0 mm/h"),
        (None, ["--members", "0"], "members"),
    ],
)  # fmt: skip
def test_forecast_what_is_not_offered_or_impossible_is_refused(rain, model, tmp_path, name, options, message):
    done = run("forecast", rain, "--model", name or model, "--out", tmp_path / "f.nc", *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "f.nc").exists()


def test_forecast_layout_is_that_of_the_option(rain, model, tmp_path):
    found = forecast(rain, model, tmp_path / "f.nc", "--layout", "fews")
    assert [name for name in found.data_vars if found[name].ndim == 3] == ["rainfall_amount"]


def test_forecast_unknown_layout_is_refused_before_anything_is_forecast(rain, tmp_path):
    done = run("forecast", rain, "--model", "persistence", "--out", tmp_path / "f.nc", "--layout", "grib")
    assert done.exit_code == 2
    assert 'layout: expected cf, fews, pysteps, found "grib"' in done.output
