"""The benchmark that builds the shipped model, on two small networks of generated radar."""

import importlib.util
import itertools
import json
import sys

import numpy as np
import pytest
import xarray as xr
from benchmarks import model, model_tables, resolutions
from benchmarks.model import Event
from benchmarks.pages import fill
from typer.testing import CliRunner

from stormcell.cli.main import app
from stormcell.data import synthetic
from stormcell.models import shipped_models
from stormcell.models.model_file import read_card

EVENTS = (
    Event("north-1", ("north/one",), every=60, ensemble_every=60),
    Event("north-2", ("north/two",)),
    Event("south", ("south",), every=60, ensemble_every=60, thinning=2),
)
TINY = (
    "keep=last", "inputs=3", "lead_minutes=15", "channels=4", "detail_channels=4", "crop=32", "batch_size=2",
    "windows_per_batch=2", "max_updates=2", "validate_every=2", "validation_crops=2",
)  # fmt: skip
PLACES = ("scores", "ensembles", "comparisons", "fine-tuning", "data", "resolutions")  # of tables in the page


def test_wettest_square_has_the_most_rain(monkeypatch):
    monkeypatch.setattr(model, "CUT", 8)
    rate = np.zeros((3, 30, 40), np.float32)
    rate[1, 8:16, 24:32] = 1.0
    rate[0, 2, 2] = rate[1, 5, 5] = 1.0  # another frame, and less rain
    rate[1, 20] = np.nan
    found = model.wettest(xr.DataArray(rate, dims=("time", "y", "x")))
    assert found == {"y": slice(8, 16), "x": slice(24, 32)}  # no other in steps of 2 has all of it


@pytest.mark.parametrize("name", PLACES)
def test_benchmark_model_page_has_a_place_for_every_table(name):
    fill(model.PAGE, name, None)


@pytest.mark.skipif(importlib.util.find_spec("pysteps") is None, reason="STEPS needs pysteps")
def test_benchmark_model_trains_without_each_network_and_ships_the_model_of_all(
    tmp_path, monkeypatch, capsys
):
    data, page, commands = tmp_path / "data", tmp_path / "model.md", []
    for name, seed, events in (("north/one", 1, 1), ("north/two", 1, 1), ("south", 2, 2)):
        *others, _ = synthetic.write(data / name, seed=seed, events=events, steps=16, shape=(72, 80))
        for file in others:  # the south has rain at another time
            file.unlink()
    readme = tmp_path / "README.md"
    readme.write_text("<!-- mean of the events -->\n<!-- /mean of the events -->\n")
    page.write_text("".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in PLACES))

    def run(work, *words, log=None):  # noqa: ARG001
        commands.append([str(word) for word in words])
        done = CliRunner().invoke(app, commands[-1])
        assert done.exit_code == 0, done.output

    monkeypatch.setattr(model.Work, "run", run)
    for name, value in {
        "EVENTS": EVENTS, "SETTINGS": TINY, "SHIPPED_SETTINGS": ("validation=0%",), "PAGE": page,
        "README": readme, "LARGEST": 72, "CUT": 64, "MEMBERS": 2, "NAME": "tiny",
        "BASELINES": ("extrapolation", "sprog"), "FINE_TUNED": (("south", "north-1"),),
        "FINE_TUNING": ("max_updates=1", "validate_every=1", "crop=32", "validation_crops=1"),
    }.items():  # fmt: skip
        monkeypatch.setattr(model, name, value)
    monkeypatch.setattr(shipped_models, "FOLDER", tmp_path / "shipped")
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # a training in this process is not two at once
    monkeypatch.setenv("STORMCELL_DATA", str(data))
    monkeypatch.setattr(sys, "argv", ["model", "--work", str(tmp_path / "work"), "--ship", "--docs"])
    assert model.main() == 0

    trained = {words[-1]: words for words in commands if words[0] == "train"}
    assert len(trained) == 3
    for folder, words in trained.items():
        validated = [after for word, after in itertools.pairwise(words) if word == "--validate-on"]
        trained_on = [word for word in words[1:] if word.endswith(".zarr") and word not in validated]
        networks = [{"north" in path for path in paths} for paths in (trained_on, validated)]
        assert networks == [{True, False}, set()] if folder.endswith("all") else networks[0] != networks[1]
    verified = [words for words in commands if words[0] == "verify"]
    assert len(verified) == 4
    for words in verified:  # by the model that did not see the network
        names = [after for word, after in itertools.pairwise(words) if word == "--forecaster"]
        left_out = read_card(names[0]).nowcasting.archives
        assert all(one.data_source["source"] != _source(words[1]) for one in left_out)
    cut = xr.open_zarr(tmp_path / "work" / "verified" / "south.zarr")
    assert cut.sizes["y"] == cut.sizes["x"] == 64
    assert cut.sizes["time"] == 8

    assert list(shipped_models.names()) == ["tiny"]
    assert len(read_card("tiny").nowcasting.archives) == 3
    text = page.read_text()
    assert "| north-1 | Stormcell, network left out |" in text
    assert "| mean of the events | S-PROG |" in text
    assert "| S-PROG |" in readme.read_text()
    assert "| mean of the events |" in text.partition("<!-- ensembles -->")[2]
    assert "CC0" in text.partition("<!-- data -->")[2]
    before = len(commands)
    assert model.main() == 0  # what is done is not done again; a finished training says so
    assert {words[0] for words in commands[before:]} == {"train"}

    before = len(commands)
    monkeypatch.setattr(model, "trainings_of", lambda *_, **__: [])
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--comparisons"])
    assert model.main() == 0
    (tuning,) = (words for words in commands[before:] if words[0] == "train")
    assert tuning[1].endswith("south.zarr")
    start = tuning[tuning.index("--from") + 1]
    assert all(
        one.data_source["source"] != _source(tuning[1]) for one in read_card(start).nowcasting.archives
    )
    assert "| south | north-1 | fine-tuned |" in page.read_text().partition("<!-- fine-tuning -->")[2]
    capsys.readouterr()


def _source(path: str) -> str:
    return xr.open_zarr(path).attrs["source"]


def test_tables_have_means_over_lead_times_and_gains(tmp_path):
    def scores(csi, crps):
        by_threshold = dict.fromkeys(("0.5", "1.0", "2.0", "5.0"), csi)
        reliable = ("0.1", "0.5", "1.0", "2.0")
        return {
            "csi": by_threshold,
            "bias": by_threshold,
            "fss": {"1.0": {"16km": csi}},
            "crps": [crps, None],
            "crps_fair": [crps / 2, None],
            "crps_distribution": [crps / 4, None],
            "spread_error": [0.8, None],
            "members_power_ratio": {"2-4km": [9.0, 9.0], "4-8km": [0.5, 0.7], "32-64km": [1.2, None]},
            "reliability_pixels": {t: {"0-1": [20_000, 0], "1": [9_000, 0]} for t in reliable},
            "reliability_probability": {t: {"0-1": [0.5, None], "1": [1.0, None]} for t in reliable},
            "reliability_frequency": {t: {"0-1": [0.4, None], "1": [0.0, None]} for t in reliable},
        }

    written = {
        "reports": {"a/model.safetensors": scores([0.6, 0.3], 1.0), "sprog": scores([0.5, 0.3], 2.0)},
        "ensembles": {"a/model.safetensors": scores([0.6, 0.3], 1.0), "steps": scores([0.5, None], 2.0)},
    }
    single = scores([0.5, None], 2.0) | {"crps_distribution": [None, None]}
    of_two = {"a/model.safetensors": scores([0.6, 0.3], 1.0), "without-it/model.safetensors": single}
    written |= {"compared-reports": of_two, "tuned-reports": of_two | {"sprog": single}}
    for kind, content in written.items():
        report = tmp_path / kind / ("day-to-event" if kind == "tuned-reports" else "event")
        report.mkdir(parents=True)
        (report / "scores.json").write_text(json.dumps(content))
    every = model_tables.tables(tmp_path, ["event"], ["day-to-event", "another"])
    assert list(every) == ["scores", "ensembles", "comparisons", "fine-tuning"]
    assert every["comparisons"].splitlines()[2:] == [
        "| event | Stormcell, network left out | 0.450 | 0.450 | 0.450 | 0.450 | 0.2500 |",
        "| event | it | 0.500 | 0.500 | 0.500 | 0.500 | 2.0000 |",
    ]
    assert every["fine-tuning"].splitlines()[2:] == [
        "| day | event | before | 0.450 | 0.450 | 0.450 | 0.450 | 0.2500 |",
        "| day | event | fine-tuned | 0.500 | 0.500 | 0.500 | 0.500 | 2.0000 |",
        "| day | event | S-PROG | 0.500 | 0.500 | 0.500 | 0.500 | 2.0000 |",
    ]
    found = "\n".join(every.values())
    assert "| event | Stormcell, network left out | 0.450 | 0.450 |" in found
    assert "| event | S-PROG | 0.400 |" in found
    assert "| event | +12.5% (+0.0% to +20.0%) |" in found
    assert (
        "| event | Stormcell, network left out | 0.10 | 0.10 | 0.10 | 0.10 | 0.80 | 0.60 to 1.20 |" in found
    )
    assert (
        model_tables.means(tmp_path / "reports", ["event"]).splitlines()[3].startswith("| S-PROG | 0.400 |")
    )
    assert "| event | 1.000 | 2.000 | 0.250 | 0.500 | 0.500 | 0.125 |" in found


def test_changed_resolutions_have_their_rain_in_its_place(monkeypatch):
    """In decibels, rain that rises by one decibel a pixel rises by half of it in half a pixel."""
    monkeypatch.setattr(resolutions, "SIDE", 8)
    y, x = 100 - 2.0 * np.arange(20), 50 + 2.0 * np.arange(24)
    rate = 10 ** (np.broadcast_to(np.arange(24.0), (4, 20, 24)) / 10)
    times = np.datetime64("2024-06-01T00:00", "ns") + np.arange(4) * np.timedelta64(5, "m")
    coords = {"time": times, "y": ("y", y, {"units": "km"}), "x": ("x", x, {"units": "km"})}
    rain = xr.DataArray(rate.astype(np.float32), coords, ("time", "y", "x"))
    assert resolutions.thinned(rain, 3)["time"].values.tolist() == times[::3].tolist()
    joined = resolutions.joined(rain)
    assert (joined.sizes["y"], joined.sizes["x"]) == (10, 12)
    np.testing.assert_allclose(joined[0, 0], rate[0, 0].reshape(12, 2).mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(joined["x"], x.reshape(12, 2).mean(axis=1))
    cut = resolutions.square(rain)
    np.testing.assert_array_equal(cut["x"], x[-8:])  # where it rains most
    halved = resolutions.halved(rain)
    assert halved["x"].attrs == {"units": "km"}
    assert (np.diff(halved["x"]) == 1).all()
    np.testing.assert_allclose(10 * np.log10(halved[0, 3]), (halved["x"] - 50) / 2, atol=1e-4)
