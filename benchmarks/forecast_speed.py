"""``python -m benchmarks.forecast_speed [MODEL]``: seconds of a forecast, beside pysteps.

The frames are six of the Finnish event of 2016-09-28, 1226 × 760 pixels, and there are 12 lead times. Motion
is estimated once, outside the measurement, because all share it. Each forecaster forecasts once before it is
timed, and then as often as asked; the fastest is reported, on all cores.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import stormcell
from benchmarks.layers import machine
from stormcell.data import archive
from stormcell.forecast.baselines import BASELINES, EnsembleBaseline, baseline
from stormcell.forecast.contract import Analysis
from stormcell.forecast.network import NetworkForecaster

FILES, STEPS, MEMBERS = 6, 12, 20  # with six files, the newest frame is forecast first


def main() -> int:
    """Measure, print the table, and return the exit status: 2 without the data, else 0."""
    parser = argparse.ArgumentParser(prog="benchmarks.forecast_speed", description=__doc__)
    parser.add_argument("model", nargs="?", help="model file; default: the shipped model")
    parser.add_argument("--repeat", type=int, default=2, help="number of measurements of each forecaster")
    arguments = parser.parse_args()
    data = machine.data_folder()
    files = sorted((data / "fmi_pgm_20160928").glob("*"))[16 : 16 + FILES]
    if len(files) < FILES:
        print(f"{data / 'fmi_pgm_20160928'}: not there; set STORMCELL_DATA", file=sys.stderr)
        return 2
    name = arguments.model or next(iter(stormcell.models.shipped()))
    analysis = analysis_of(files)
    rows = [
        (title, *measured(function, arguments.repeat))
        for title, function in forecasts(name, analysis).items()
    ]
    shape = " × ".join(map(str, analysis.frames.shape[1:]))
    lines = [
        f"{shape} pixels, {STEPS} lead times; {machine.where('benchmarks.forecast_speed')}",
        "",
        "| forecast | seconds | seconds of processor |",
        "| --- | --- | --- |",
        *(f"| {title} | {clock:.2f} | {processor:.2f} |" for title, clock, processor in rows),
    ]
    print("\n".join(lines))
    return 0


def analysis_of(files: list[Path]) -> Analysis:
    """Return the analysis of radar files, its motion estimated."""
    with tempfile.TemporaryDirectory() as folder:
        archive.append(Path(folder) / "rain.zarr", files)
        frames = archive.rain(archive.open(Path(folder) / "rain.zarr")).load()
    analysis = Analysis(frames)
    analysis.motion()
    return analysis


def forecasts(name: str, analysis: Analysis) -> dict[str, Callable[[], object]]:
    """Return the forecasts that are measured, by their titles."""
    model = NetworkForecaster.from_file(name)

    def members() -> object:
        return model.ensemble_from(analysis, STEPS, MEMBERS, 0)

    found: dict[str, Callable[[], object]] = {
        "Stormcell, distribution and single field": lambda: model.forecast_from(analysis, STEPS),
        f"Stormcell, {MEMBERS} members": members,
    }
    for method in ("extrapolation", "sprog", "pysteps-sprog", "anvil"):
        found[method] = partial(baseline(method).forecast_from, analysis, STEPS)

    def steps() -> object:
        method = BASELINES["steps"]
        assert isinstance(method, EnsembleBaseline)
        again = Analysis(analysis.frames)  # which has computed nothing yet
        return method.ensemble_from(again, STEPS, MEMBERS, 0)

    return found | {f"steps, {MEMBERS} members, with its motion": steps}


def measured(function: Callable[[], object], count: int) -> tuple[float, float]:
    """Return the seconds of clock and processor of the fastest of some calls, after one before."""
    function()
    found = []
    for _ in range(count):
        clock, processor = time.perf_counter(), time.process_time()
        function()
        found.append((time.perf_counter() - clock, time.process_time() - processor))
    return min(found)


if __name__ == "__main__":
    sys.exit(main())
