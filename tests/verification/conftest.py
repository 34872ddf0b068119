from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from stormcell.forecast.contract import forecast_array
from stormcell.verification import report
from stormcell.verification.evaluate import evaluate
from stormcell.verification.evaluation import Description

STEP = np.timedelta64(5, "m")
START = np.datetime64("2024-06-01T00:00", "ns")


def _rain() -> xr.DataArray:
    """Twelve frames, 24 × 20 km, showers everywhere, a corner and specks unobserved."""
    generator = np.random.default_rng(3)
    rate = generator.gamma(0.3, 4.0, (12, 24, 20)).astype(np.float32)
    rate[rate < 0.1] = 0
    rate[:, :5, :4] = np.nan
    rate[generator.random(rate.shape) < 0.02] = np.nan
    coords = {
        "time": START + STEP * np.arange(12),
        "y": 1000.0 * np.arange(24)[::-1],
        "x": 1000.0 * np.arange(20),
    }
    return xr.DataArray(rate, coords, ("time", "y", "x"), name="rainfall_rate")


def _persistence(frames: xr.DataArray, steps: int) -> xr.DataArray:
    return forecast_array(frames.values[-1:].repeat(steps, axis=0), frames)


def _drifting(frames: xr.DataArray, steps: int) -> xr.DataArray:
    """All rain moves by a column per step; the forecast of rain from outside is undefined."""
    newest = frames.values[-1]
    fields = np.full((steps, *newest.shape), np.nan, np.float32)
    for k in range(steps):
        fields[k, :, k + 1 :] = newest[:, : -(k + 1)]
    return forecast_array(fields, frames)


class Clairvoyant:
    """Forecasts the observation, and any value where there will be none."""

    def __init__(self, rain: xr.DataArray, elsewhere: float = 7.0) -> None:
        self.rain, self.elsewhere = rain, elsewhere

    def __call__(self, frames: xr.DataArray, steps: int) -> xr.DataArray:
        times = frames.time.values[-1] + STEP * np.arange(1, steps + 1)
        values = self.rain.reindex(time=times).values
        return forecast_array(np.where(np.isnan(values), self.elsewhere, values).astype(np.float32), frames)


def _forecasters(rain):
    return {"seer": Clairvoyant(rain), "persistence": _persistence, "runs/a/model.safetensors": _drifting}


@pytest.fixture
def rain() -> xr.DataArray:
    return _rain()


@pytest.fixture
def forecasters(rain):
    """Three forecasters that are defined at different pixels."""
    return _forecasters(rain)


@pytest.fixture(scope="session")
def rain_of():
    """The function that makes ``rain``."""
    return _rain


@pytest.fixture(scope="session")
def forecasters_of():
    """The function that makes ``forecasters``."""
    return _forecasters


@pytest.fixture
def clairvoyant():
    return Clairvoyant


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A report's folder and its evaluation; one of the names has the form of markup."""
    folder = tmp_path_factory.mktemp("verification") / "deep" / "report"
    rain = _rain()
    rain.attrs |= {"source": "Somebody's radar", "license": "CC BY 4.0"}
    compared = {"<b>seer</b>": Clairvoyant(rain)} | _forecasters(rain)
    evaluation = evaluate(rain, compared, issue_times=rain.time.values[2:6], steps=3)
    start, end = map(str, rain.time.values[[0, 4]])
    trained = Description("The seer", "c0ffee", ({"train": (start, end)},))
    described = {**evaluation.described, "seer": trained}
    evaluation = replace(evaluation, described=described, notes=("Everything is scored.",))
    report.write(folder, evaluation)
    return folder, evaluation
