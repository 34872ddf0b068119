"""``python -m benchmarks.forecast_memory 3500 7000``: peak memory of a forecast from archive frames to file.

A network of the default recipe, with random weights, forecasts generated rain and writes NetCDF. The output
is the sizes of input and forecast, and the peak memory of the process beyond both. Run one size per process.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import xarray as xr

from stormcell.forecast import export
from stormcell.forecast.baselines import baseline
from stormcell.forecast.contract import DescribedForecaster
from stormcell.forecast.network import NetworkForecaster
from stormcell.models.model_file import Card, Nowcasting, TrainingData, Units
from stormcell.training.nowcaster_task import initial_nowcaster
from stormcell.training.recipes import Recipe

GIB = 2**30


def main() -> None:
    """Forecast once and print the time and the memory it took."""
    parser = argparse.ArgumentParser(prog="benchmarks.forecast_memory", description=__doc__)
    parser.add_argument("height", type=int, help="rows of the grid")
    parser.add_argument("width", type=int, help="columns of the grid")
    parser.add_argument("--steps", type=int, default=12, help="lead times")
    parser.add_argument("--baseline", help="name of a baseline, in place of the network")
    arguments = parser.parse_args()
    forecaster = baseline(arguments.baseline) if arguments.baseline else network()
    frames = rain(forecaster.needs.frames, arguments.height, arguments.width)
    took, output = forecast(forecaster, frames, arguments.steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{arguments.height} × {arguments.width} × {arguments.steps}, {forecaster.title}: {took:.0f} s")
    print(f"input {frames.nbytes / GIB:.2f} GiB, output {output / GIB:.2f} GiB, peak {peak / GIB:.2f} GiB")
    print(f"peak beyond input and output: {(peak - frames.nbytes - output) / GIB:.2f} GiB")


def forecast(forecaster: DescribedForecaster, frames: xr.DataArray, steps: int) -> tuple[float, int]:
    """Forecast and write; return the seconds it took and the bytes of the forecast."""
    began = time.perf_counter()
    made = forecaster(frames, steps)
    with tempfile.TemporaryDirectory() as folder:
        export.write(made, Path(folder) / "forecast.nc")
    return time.perf_counter() - began, made.nbytes


def network() -> NetworkForecaster:
    """Return a network of the default recipe with random weights."""
    recipe = Recipe()
    torch.manual_seed(0)
    nowcaster = initial_nowcaster(recipe)
    torch.nn.init.normal_(nowcaster.correction.weight, std=0.05)
    card = Card(
        model="Nowcaster",
        title="ConvLSTM",
        units=Units(inputs="mm/h", outputs="mm/h"),
        arguments=nowcaster.arguments,
        inputs=recipe.inputs,
        steps=None,
        nowcasting=Nowcasting(
            lead_minutes=recipe.lead_minutes,
            archives=(TrainingData(time_step_seconds=300, pixel_size=(1000.0, 1000.0), pixel_unit="m"),),
        ),
        settings={},
        data_hash="",
        data_source={},
        scores={},
        versions={"stormcell": "0"},
    )
    return NetworkForecaster(nowcaster.eval(), card, "")


def rain(count: int, height: int, width: int) -> xr.DataArray:
    """Return frames of smoothed noise that moves four pixels to the right per step."""
    noise = np.random.default_rng(0).standard_normal((height, width + 4 * count), np.float32)
    field = np.maximum(60 * cv2.GaussianBlur(noise, (0, 0), 8) - 2, 0)
    del noise
    rate = np.stack([field[:, 4 * k : 4 * k + width] for k in range(count, 0, -1)])
    times = np.datetime64("2024-06-01", "ns") + np.arange(count) * np.timedelta64(300, "s")
    coords = {"time": times, "y": -1000.0 * np.arange(height), "x": 1000.0 * np.arange(width)}
    return xr.DataArray(rate, coords, ("time", "y", "x"), name="rainfall_rate")


if __name__ == "__main__":
    main()
