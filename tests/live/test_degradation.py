"""What is published instead when the wanted forecast fails, and the two stages of publication."""

import os
import signal
import time
from functools import partial

import numpy as np
import pytest
from tests.live.conftest import START, STEP, Rig
from tests.live.test_child import fail, fill_and_wait

from stormcell.errors import ArchiveError, FramesError, OutputError, WorkerError
from stormcell.live.child import Child
from stormcell.live.making import Forecast
from stormcell.published.manifest import LATEST
from stormcell.published.reading import Shelf


@pytest.fixture
def rig(tmp_path):
    """A loop whose forecaster is published in two stages, because it is no extrapolation."""
    return Rig(tmp_path, model="sprog")


def failing(rig, error, *by):
    def fail(job):
        if isinstance(job, Forecast) and job.by in by and not job.preliminary:
            raise error

    rig.before = fail


def test_degradation_forecast_that_takes_long_follows_extrapolation_as_another_run(rig):
    named = []

    def look(job):
        latest = Shelf(rig.out).latest()
        if isinstance(job, Forecast) and latest is not None:
            named.append(Shelf(rig.out).manifest(*latest.folder.split("-")))

    rig.before = look
    rig.arrive(0, 1, 2)
    (first,) = named
    assert (first.model, first.preliminary) == ("extrapolation", True)
    assert (rig.newest.model, rig.newest.preliminary) == ("sprog", False)
    assert first.issue == rig.newest.issue
    assert len(rig.folders) == 2
    assert "forecast.nc" in rig.newest.files
    assert "forecast.nc" not in first.files  # it would take a third of the time until the first map
    assert {product.variable for product in first.products} == {None}


def test_degradation_extrapolation_is_published_beside_another_forecast(rig):
    rig.arrive(0, 1, 2)
    names = {product.name: product.variable for product in rig.newest.products}
    assert names["rate"] == "rainfall_rate"
    assert names["extrapolation"] == "rainfall_rate_extrapolation"


@pytest.mark.parametrize(
    "error",
    [
        WorkerError("expected an answer within 60 s, found none"),
        FramesError("forecast: expected rain rates, found no defined pixel"),
    ],
)
def test_degradation_forecast_that_fails_is_replaced_by_extrapolation_with_the_reason(rig, error):
    failing(rig, error, "sprog")
    rig.arrive(0, 1, 2)
    degraded = rig.newest.degraded
    assert (degraded.used, degraded.instead_of, degraded.reason) == ("extrapolation", "sprog", str(error))
    assert not rig.newest.preliminary
    assert any(str(error) in line for line in rig.lines)
    rig.turns(3)
    assert len(rig.folders) == 2  # the same frames are not tried again
    failing(rig, error)
    rig.arrive(3)
    assert rig.newest.degraded is None


@pytest.mark.parametrize(
    ("accident", "seconds", "reason"),
    [
        (fail, 60, "RuntimeError: a b"),
        (partial(time.sleep, 60), 0.2, "expected an answer within 0.2 s, found none"),
        (fill_and_wait, 60, "expected at most 300 MB of memory"),
        (partial(signal.raise_signal, signal.SIGKILL), 60, "was killed by signal 9"),
    ],
    ids=["raises", "hangs", "exhausts memory", "is killed"],
)
def test_degradation_accident_of_a_child_process_is_survived(rig, accident, seconds, reason):
    """The forecast is a job of a real child process here, which has the accident."""
    child = Child(memory=300_000_000)
    child(os.getpid, seconds=60)

    def accidentally(job):
        if isinstance(job, Forecast) and job.by == "sprog":
            child(accident, seconds=seconds)

    rig.before = accidentally
    rig.arrive(0, 1, 2)
    child.close()
    assert rig.newest.degraded.used == "extrapolation"
    assert reason in rig.newest.degraded.reason


@pytest.mark.parametrize(
    ("by", "used"),
    [
        (("sprog", "extrapolation"), "persistence"),
        (("sprog", "extrapolation", "persistence"), "observation"),
    ],
)
def test_degradation_goes_down_to_the_first_that_can_be_made(rig, by, used):
    failing(rig, WorkerError("crashed"), *by)
    rig.arrive(0, 1, 2)
    assert rig.newest.degraded.used == used
    assert ("rate" in [product.name for product in rig.newest.products]) == (used != "observation")


@pytest.mark.parametrize("error", [OutputError("disk full"), ArchiveError("unreadable")])
def test_degradation_does_not_blame_the_forecast_for_a_disk(rig, error):
    failing(rig, error, "sprog")
    rig.arrive(0, 1, 2)
    assert rig.newest.preliminary
    assert str(error) in Shelf(rig.out).status().problems
    failing(rig, error)
    rig.now += STEP
    rig.turns()
    assert not rig.newest.preliminary


def test_degradation_reason_is_in_the_netcdf_file(rig):
    import xarray as xr

    failing(rig, WorkerError("crashed"), "sprog")
    rig.arrive(0, 1, 2)
    with xr.open_dataset(rig.out / rig.newest.folder / "forecast.nc", engine="h5netcdf") as ds:
        assert ds.attrs["stormcell_degraded"] == "extrapolation instead of sprog: crashed"


def test_degradation_leaves_a_geotiff_beside_the_netcdf_file(rig):
    failing(rig, WorkerError("crashed"), "sprog")
    rig.arrive(0, 1, 2)
    assert (rig.out / rig.newest.folder / "forecast.tif").is_file()
    assert "forecast.tif" in rig.newest.files


def test_degradation_restart_keeps_a_degraded_publication_of_the_same_frames(rig):
    failing(rig, WorkerError("crashed"), "sprog")
    rig.arrive(0, 1, 2)
    folder = rig.newest.folder
    rig.restart()
    rig.turns(3)
    assert rig.newest.folder == folder
    assert rig.loop.publisher.publications == 0


def test_degradation_restart_after_the_first_stage_makes_the_second(rig):
    rig.arrive(0, 1, 2)
    whole = rig.folders
    final = rig.newest.folder
    preliminary = next(name for name in whole if name != final)
    import shutil

    shutil.rmtree(rig.out / final)
    shelf = Shelf(rig.out)
    text = (rig.out / LATEST).read_text().replace(final[-8:], preliminary[-8:])
    (rig.out / LATEST).write_text(text)
    assert shelf.latest().folder == preliminary
    rig.restart()
    rig.turns(3)
    assert rig.newest.folder == final
    assert rig.folders == whole


def test_degradation_impossible_forecast_is_not_published(rig, monkeypatch):
    from stormcell.forecast import baselines

    def burst(analysis, steps):
        return np.full((steps, *analysis.frames.shape[1:]), 500, np.float32)

    changed = baselines.BASELINES | {"sprog": baselines.Baseline("sprog", baselines.SPROG_NEEDS, burst)}
    monkeypatch.setattr("stormcell.forecast.baselines.BASELINES", changed)
    monkeypatch.setattr("stormcell.live.contents._forecaster", partial(baselines.baseline))
    rig.arrive(0, 1, 2)
    assert rig.newest.issue == START + 2 * STEP
    assert rig.newest.degraded.used == "extrapolation"
    assert "found 500 mm/h" in rig.newest.degraded.reason
