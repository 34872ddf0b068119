"""The pieces of an experiment, each against what can be said of it without it."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from rich.console import Console
from tests.experiments import tiny

from stormcell.data import archive, synthetic
from stormcell.data.splits import split
from stormcell.data.time_axis import TimeAxis
from stormcell.errors import ArchiveError, ArgumentError, RecipeError
from stormcell.experiments import rain, scoring
from stormcell.experiments.catalogue import Options
from stormcell.experiments.contenders import fed
from stormcell.experiments.experiment import Batch
from stormcell.experiments.mnist import Digits
from stormcell.experiments.papers import mnist_patches
from stormcell.experiments.protocols import OpenSTL, PaperRadar
from stormcell.experiments.protocols.accuracy import Accuracy
from stormcell.experiments.protocols.protocol import Column
from stormcell.experiments.scoring import TestState, score
from stormcell.experiments.streams import Epochs
from stormcell.experiments.table import Line, Results
from stormcell.models import NextFrameForecaster, ScheduledSampling
from stormcell.training.budget import Budget
from stormcell.training.curve_files import CurveFile
from stormcell.training.task import Moment


@pytest.mark.parametrize("text", ["", "2", "m", "0m", "0u", "1.5u", "-2m", "2h", "2m ", "nanm", "1e3m"])
def test_budget_malformed_text_raises(text):
    with pytest.raises(ArgumentError, match="--budget: expected minutes or updates above zero"):
        Budget.parse(text)


def test_budget_is_shared_and_divided():
    assert Budget.parse("0.5m").progress(updates=10**9, seconds=15.0) == 0.5
    assert Budget.parse("10u").progress(updates=5, seconds=1e9) == 0.5
    assert Budget.parse("10u").progress(updates=11, seconds=0) == 1.0
    assert str(Budget.parse("10u").part(0.01)) == "1u"
    assert str(Budget.parse("3m").each(3)) == "1m"


def test_curve_file_begin_retains_rows_up_to_a_checkpoint(tmp_path):
    path = tmp_path / "a.csv"
    rows = CurveFile(path, ("update", "loss"))
    rows.truncate(0)
    values = [1 / 3, 1e-30, math.nan, 2.0]
    for update, value in enumerate(values, 1):
        rows.append(update, value)
    with path.open("a") as file:
        file.write("5,1")  # truncated by a kill
    CurveFile(path, ("update", "loss")).truncate(4)
    assert path.read_text() == f"update,loss\n1,{1 / 3!r}\n2,1e-30\n3,nan\n4,2.0\n"
    CurveFile(path, ("update", "loss")).truncate(2)
    assert path.read_text() == f"update,loss\n1,{1 / 3!r}\n2,1e-30\n"


def test_epochs_contain_every_example_once_in_another_order():
    stream = Epochs(lambda places: Batch(torch.tensor(places), torch.empty(0)), 7, seed=3)
    row = torch.cat([stream.batch(first, 4).x for first in range(0, 28, 4)]).tolist()
    epochs = [row[first : first + 7] for first in range(0, 28, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_scheduled_sampling_processes_share_one_draw():
    given = []

    class Spy(NextFrameForecaster):
        def forward(self, x, steps, **told):
            given.append(told["schedule"])
            return super().forward(x, steps, **told)

    sampling = fed("n", Spy, 1.0, tiny.nats, "logits", 3, lambda _: ScheduledSampling(0.5))
    net = Spy(1, [2], 3, feedback="sigmoid")
    frames = torch.rand(8, 4, 1, 8, 8), torch.rand(8, 3, 1, 8, 8)
    sampling.loss(net, Batch(*frames), Moment(5, 3, 0.1))
    for rank in range(2):
        sampling.loss(net, Batch(*(part[:4] for part in frames)), Moment(5, 3, 0.1, rank, 2))
    alone, first, second = given
    assert torch.equal(alone, torch.cat([first, second]))
    assert not torch.equal(first, second)  # 8 random bits, which differ for this seed
    sampling.loss(net, Batch(*frames), Moment(5, 4, 0.1))
    assert not torch.equal(alone, given[-1])


def predictors(**more):
    flat = {"zero": lambda x: np.zeros((len(x), tiny.STEPS, 1, 32, 32), np.float32)}
    base = tiny.experiment().baselines[0]
    return {"last": (base, base.predict)} | {name: (base, predict) for name, predict in (flat | more).items()}


MARKS = {"last": "", "zero": "abc"}


def test_scoring_after_a_stop_continues(tmp_path):
    examples, protocols = tiny.experiment().tests[""], (OpenSTL(tiny.STEPS),)
    told: list[int] = []

    def until(count: int, path: Path, size: int = 2, seconds: float | None = None) -> TestState:
        return score(
            predictors(),
            MARKS,
            examples,
            protocols,
            path,
            count_limit=count,
            seconds=seconds,
            batch_size=size,
            progress=told.append,
        )

    at_once = until(9, tmp_path / "a.npz", size=9)
    assert at_once.examples == 5  # all that exist
    until(2, tmp_path / "b.npz")
    told.clear()
    pieces = until(9, tmp_path / "b.npz")
    assert told == [4, 5]
    for who in ("last", "zero"):
        ours, theirs = (scoring.scores(found.tallies[who], protocols) for found in (pieces, at_once))
        assert ours == theirs
    assert until(9, tmp_path / "c.npz", seconds=0.0).examples == 2  # one batch, however long it takes


def test_scoring_of_other_models_starts_over_and_a_damaged_file_raises(tmp_path):
    examples, protocols = tiny.experiment().tests[""], (OpenSTL(tiny.STEPS),)
    rest = {"count_limit": 2, "seconds": None, "batch_size": 2, "progress": lambda _: None}
    score(predictors(), MARKS, examples, protocols, tmp_path / "a.npz", **rest)
    assert TestState.read(tmp_path / "a.npz", MARKS).examples == 2
    for other in ({"last": ""}, {"zero": "abc", "last": ""}, MARKS | {"zero": "abd"}):
        assert TestState.read(tmp_path / "a.npz", other).examples == 0
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(RecipeError, match=r"a\.npz: expected tallies"):
        TestState.read(tmp_path / "a.npz", MARKS)


def test_scoring_of_nan_predictions_stops(tmp_path):
    def astray(x):
        return np.full((len(x), tiny.STEPS, 1, 32, 32), np.inf, np.float32)

    marks = MARKS | {"astray": ""}
    scored = score(
        predictors(astray=astray),
        marks,
        tiny.experiment().tests[""],
        (OpenSTL(tiny.STEPS),),
        tmp_path / "a.npz",
        count_limit=4,
        seconds=None,
        batch_size=2,
        progress=lambda _: None,
    )
    assert scored.lost == ["astray"]
    assert scored.tallies["astray"] == {}
    assert scored.tallies["last"]["0"].sequences == 4
    assert TestState.read(tmp_path / "a.npz", marks).lost == ["astray"]


def test_pixels_of_large_logits_do_not_overflow():
    logits = np.array([-1e4, -2.0, 0.0, 2.0, 1e4])
    expected = [0.0, 1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-2)), 1.0]
    np.testing.assert_allclose(scoring.pixels(logits, "logits"), expected, rtol=1e-14)
    assert scoring.pixels(logits, "pixels") is logits


def test_accuracy_tallies_add_up():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(50, 4)), rng.integers(0, 4, 50)
    accuracy = Accuracy()
    tally = accuracy.zero()
    for part in (slice(0, 7), slice(7, 50)):
        tally = tally + accuracy.count(logits[part], truth[part])
    right = sum(max(range(4), key=row.__getitem__) == label for row, label in zip(logits, truth, strict=True))
    assert accuracy.scores(tally) == {"accuracy": pytest.approx(100 * right / 50, rel=1e-15)}


def test_table_marks_unknown_values():
    columns = {"mse": Column("MSE", 2, "lowest"), "csi": Column("CSI", 3, "highest")}
    lines = [
        Line("a", {"mse": 1.005, "csi": math.nan}, 1234567, 1e-3, 10, 90.0, 123.4),
        Line("b", {"csi": 0.5}),
    ]
    made = Results("T", ["About."], columns, ["csi"], lines, [{"model": "c", "source": "s", "mse": 3.0}])
    rows = [line for line in made.markdown().splitlines() if line.startswith("|")][2:]
    assert rows == [
        "| a | 1 234 567 | 0.001 | 10 | 1.5 | 123 | 1.00 | – |",
        "| b | – | – | – | – | – | – | 0.500 |",
        "| c (published) | – | – | – | – | – | 3.00 | – |",
    ]
    told = json.loads(json.dumps(made.json(), allow_nan=False))
    assert told["results"][0]["scores"] == {"mse": 1.005, "csi": None}
    assert told["results"][1] == {"model": "b", "scores": {"csi": 0.5}}
    shown = io.StringIO()
    Console(file=shown, width=100).print(made.screen())
    assert "CSI" in shown.getvalue()
    assert "MSE" not in shown.getvalue()


REFLECTIVITY = PaperRadar().reflectivity


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rain")
    synthetic.write(folder / "radar", seed=3, events=6, steps=14, shape=(40, 52))
    archive.append(folder / "a.zarr", [folder / "radar"])
    return folder / "a.zarr"


def found(store: Path, **changes) -> rain.RadarExamples:
    options = Options(store.parent, Console(file=io.StringIO()), store)
    told = {"inputs": 3, "steps": 5, "side": 16} | changes
    return rain.radar_examples(options, REFLECTIVITY, **told)


def test_radar_examples_windows_are_those_of_the_archive(store):
    """Frames are averaged and cropped by loops here, and windows are searched in the blocks of the split."""
    ds = archive.rain(archive.open(store))
    rates, times = ds.values.astype(np.float64), ds["time"].values
    made = found(store)
    assert made.size == (16, 16)
    pixels = np.full((len(rates), 16, 16), np.nan)
    for t in range(len(rates)):
        for row in range(16):
            for column in range(16):
                top, left = 2 * (row + 2), 2 * (column + 5)  # the middle 16 × 16 of 20 × 26 blocks
                block = rates[t, top : top + 2, left : left + 2]
                if np.isfinite(block).any():
                    pixels[t, row, column] = REFLECTIVITY.pixel(np.nanmean(block))
    parts = split(TimeAxis(times), inputs=3)
    step = np.timedelta64(5, "m")
    for windows, block in ((made.validation, parts.validation), (made.test, parts.test)):
        first, last = np.datetime64(block.start), np.datetime64(block.end)
        expected = {
            k
            for k in range(len(times) - 7)
            if (np.diff(times[k : k + 8]) == step).all() and times[k + 3] >= first and times[k + 7] <= last
        }
        assert {int(places[0]) for places in windows.places} == expected
        for n, places in enumerate(windows.places):
            batch = windows.batch(n, 1)
            k = int(places[0])
            np.testing.assert_allclose(batch.x[0, :, 0], np.nan_to_num(pixels[k : k + 3]), atol=1e-6)
            truth = pixels[k + 3 : k + 8]
            np.testing.assert_array_equal(batch.mask[0, :, 0], np.isfinite(truth))
            np.testing.assert_allclose(batch.y[0, :, 0], np.nan_to_num(truth), atol=1e-6)


def test_radar_examples_small_frames_are_whole_and_titles_differ_by_data(store, tmp_path):
    assert found(store, side=64).size == (40, 52)
    assert found(store, side=45).size == (40, 45)
    synthetic.write(tmp_path / "radar", seed=4, events=6, steps=14, shape=(40, 52))
    archive.append(tmp_path / "a.zarr", [tmp_path / "radar"])
    assert found(store).description != found(tmp_path / "a.zarr").description
    assert found(store).description == found(store).description


def test_radar_examples_archive_without_whole_windows_raises(store):
    with pytest.raises(ArchiveError, match="expected 33 frames without a gap, found none"):
        found(store, steps=30)


def test_generated_rain_is_generated_once(tmp_path, monkeypatch):
    monkeypatch.setattr(rain, "_EVENTS", 5)
    options = Options(tmp_path, Console(file=io.StringIO()))
    told = {"inputs": 2, "steps": 3, "side": 16}
    first = rain.radar_examples(options, REFLECTIVITY, **told)
    before = xr.open_zarr(tmp_path / "rain.zarr")["time"].values
    assert rain.radar_examples(options, REFLECTIVITY, **told).description == first.description
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "rain.zarr")["time"].values, before)


def test_generated_rain_is_generated_by_the_first_process_only(tmp_path, monkeypatch):
    monkeypatch.setattr(rain, "rank", lambda: 1)
    with pytest.raises(ArchiveError, match=r"rain\.zarr"):
        rain.radar_examples(
            Options(tmp_path, Console(file=io.StringIO())), REFLECTIVITY, inputs=2, steps=3, side=16
        )
    assert not list(tmp_path.iterdir())


def test_radar_examples_mask_can_be_chosen(store):
    every, some = found(store), found(store, counts=lambda asked: asked > 0.1)
    one, other = (made.training.batch(0, 2 * len(made.validation)) for made in (every, some))
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.y, other.y)
    assert torch.equal(other.mask, one.y > 0.1)
    assert 0 < other.mask.sum() < one.mask.sum()
    for name in ("validation", "test"):
        batch = getattr(some, name).batch(0, 3)
        assert torch.equal(batch.mask, batch.y > 0.1)


def test_mnist_patches_training_digits_are_shifted():
    """Shifts are whole pixels, differ between epochs, and depend on the seed; nothing else changes."""
    images = np.zeros((3, 28, 28), np.uint8)
    images[np.arange(3), 13, 14] = 10, 20, 30
    stream = mnist_patches._Shifted(Digits(images, np.array([1, 2, 3], np.uint8)), seed=4)
    batch = stream.batch(0, 300)
    whole = batch.x.view(300, 4, 4, 7, 7).transpose(2, 3).reshape(300, 28, 28)
    counts, rows, columns = whole.nonzero().unbind(1)
    assert counts.tolist() == list(range(300))  # one pixel each
    assert set(rows.tolist()) == {11, 12, 13, 14, 15}
    assert set(columns.tolist()) == {12, 13, 14, 15, 16}
    assert (whole.amax(dim=(1, 2)) * 255).round().tolist() == (10 * batch.y).tolist()
    assert sorted(batch.y[:3].tolist()) == [1, 2, 3]
    torch.testing.assert_close(stream.batch(100, 50).x, batch.x[100:150])
