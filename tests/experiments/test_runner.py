"""Whole experiments on moving blobs: what they write, that they go on after a kill, what they refuse."""

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from tests.experiments import tiny

import stormcell
from stormcell.errors import ArgumentError, ModelFileError, RecipeError
from stormcell.experiments import runner
from stormcell.experiments.contender_task import TrainedContender, read_network
from stormcell.experiments.experiment import Experiment
from stormcell.experiments.reporting import report
from stormcell.experiments.runner import Settings, only, slug, train_all
from stormcell.training.budget import Budget
from stormcell.training.curve_files import read_curve

UPDATES = 12
SETTINGS = Settings(Budget.parse(f"{UPDATES}u"), precision="float32")
SEARCHED = replace(SETTINGS, search=True)
ROOT = str(Path(__file__).resolve().parents[2])
CONVLSTM = "convlstm-3x3"


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def whole(folder: Path, settings: Settings = SETTINGS, experiment: Experiment | None = None):
    experiment = experiment or tiny.experiment()
    return report(experiment, folder, settings, train_all(experiment, folder, settings, quiet()), quiet())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    whole(folder)
    return folder


def losses(folder: Path, contender: str = CONVLSTM) -> list[float]:
    return read_curve(folder / contender / "losses.csv")["loss"]


def weights(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("model.safetensors")}


def test_report_of_a_finished_run_writes_table_and_pictures(finished):
    told = json.loads((finished / "results.json").read_text())
    assert [line["model"] for line in told["results"]] == [
        "ConvLSTM 3×3",
        "FC-LSTM",
        "next frame",
        "last frame",
    ]
    assert {line.get("updates") for line in told["results"]} == {UPDATES, None}
    page = (finished / "results.md").read_text()
    assert "| theirs (published) | 1 234 | – | – | – | – | 12.35 | – |" in page
    assert "A remark." in page
    assert "published: a paper" in page
    for name in ("forecasts-1.png", "forecasts-2.png", "curves.png", "forecasts.gif"):
        with Image.open(finished / name) as picture:
            assert min(picture.size) > 100
            assert getattr(picture, "n_frames", 1) == (6 if name.endswith("gif") else 1)
    assert not list(finished.rglob("*.ckpt"))  # of what is finished nothing is kept twice
    for name in (CONVLSTM, "fc-lstm", "next-frame"):
        assert len(losses(finished, name)) == UPDATES
        # Of ten validations the k-th is due when k tenths of twelve updates are over.
        due = [math.ceil(k * UPDATES / 10) for k in range(1, 11)]
        assert read_curve(finished / name / "validations.csv")["update"] == due


def test_report_scores_equal_those_of_the_network_on_disk(finished):
    """The table's numbers, worked out again from the weights on disk, sequence by sequence."""
    made = tiny.experiment()
    net, _ = read_network(made.contenders[0], finished / CONVLSTM)
    for test, count in (("", 5), ("more", 2)):
        nats, squares = [], []
        for k in range(count):
            batch = made.tests[test].batch(k, 1)
            with torch.no_grad():
                p = torch.sigmoid(net(batch.x, tiny.STEPS).double())
            y = batch.y.double()
            nats.append(-(y * p.log() + (1 - y) * (1 - p).log()).sum().item())
            squares.append((p - y).square().sum(dim=(2, 3, 4)).mean().item())
        scores = json.loads((finished / "results.json").read_text())["results"][0]["scores"]
        # Convolutions in float32, cut into batches otherwise: 2^-24 a term, thousands of them, alike in sign.
        assert scores[f"cross_entropy {test}".strip()] == pytest.approx(np.mean(nats), rel=1e-5)
        assert scores[f"mse {test}".strip()] == pytest.approx(np.mean(squares), rel=1e-4)


def test_model_file_of_a_contender_opens_with_load_and_names_its_data(finished):
    made = tiny.experiment()
    for contender, name in zip(made.contenders, (CONVLSTM, "fc-lstm", "next-frame"), strict=True):
        model = stormcell.load(finished / name / "model.safetensors")
        assert (model.card.title, model.card.steps) == (contender.name, tiny.STEPS)
        assert model.card.data_source == {"title": "blobs", "license": "CC0-1.0"}
        assert model.card.scores["updates"] == UPDATES
        x = made.validation.batch(0, 1).x
        with torch.no_grad():
            assert torch.equal(model(x, tiny.STEPS), contender.predict(model.network, x))


def test_report_of_a_baseline_has_no_cross_entropy(finished):
    last = json.loads((finished / "results.json").read_text())["results"][-1]
    assert set(last["scores"]) == {
        f"{name}{test}" for name in ("mse", "mae", "ssim", "psnr") for test in ("", " more")
    }


def test_train_all_lowers_every_loss(finished):
    for name in (CONVLSTM, "fc-lstm", "next-frame"):
        assert losses(finished, name)[-1] < losses(finished, name)[0]


def test_train_all_of_a_finished_experiment_changes_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("*/*")}
    again = whole(finished)
    assert before == {path: path.stat().st_mtime_ns for path in finished.glob("*/*")}
    assert [line.updates for line in again.lines] == [UPDATES] * 3 + [None]


@pytest.mark.parametrize(
    ("settings", "made", "told"),
    [
        (Settings(Budget.parse("9u"), precision="float32"), {}, r"budget \(was 12u, now 9u\)"),
        (Settings(Budget.parse("12u"), seed=1, precision="float32"), {}, r"seed \(was 0, now 1\)"),
        (SETTINGS, {"batch_size": 3}, r"examples per update \(was 2, now 3\)"),
    ],
)
def test_train_all_in_the_folder_of_another_experiment_is_refused(finished, settings, made, told):
    with pytest.raises(RecipeError, match=told):
        train_all(tiny.experiment(**made), finished, settings, quiet())


def test_train_all_with_a_damaged_state_names_the_file(tmp_path):
    (tmp_path / "experiment.json").write_text("[3")
    with pytest.raises(RecipeError, match=r"experiment\.json: expected the state of an experiment"):
        train_all(tiny.experiment(), tmp_path, SETTINGS, quiet())


def test_read_network_of_another_contender_is_refused(finished):
    with pytest.raises(ModelFileError, match=r"model\.safetensors: expected the network of FC-LSTM"):
        read_network(tiny.experiment().contenders[1], finished / CONVLSTM)


def test_only_with_names_selects_contenders():
    chosen = only(tiny.experiment(), ["fc-lstm"])
    assert [contender.name for contender in chosen.contenders] == ["FC-LSTM"]
    with pytest.raises(
        ArgumentError, match='--only: expected one of convlstm-3x3, fc-lstm, next-frame, found "gru"'
    ):
        only(tiny.experiment(), ["gru"])


def test_train_all_with_a_budget_in_updates_ignores_the_clock(finished, tmp_path, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr(time, "monotonic", lambda: 7.0 * next(ticks))
    train_all(tiny.experiment(), tmp_path, SETTINGS, quiet())
    assert weights(tmp_path) == weights(finished)


def test_train_all_with_a_budget_in_minutes_shares_them(tmp_path):
    trained = train_all(
        tiny.experiment(), tmp_path, Settings(Budget.parse("0.05m"), precision="float32"), quiet()
    )
    for name, one in trained.items():
        assert one.updates >= 1
        seconds = read_curve(tmp_path / slug(name) / "losses.csv")["seconds"]
        # A second each; the update in which it runs out is done to its end.
        assert seconds[-1] >= 1.0
        assert len(seconds) == 1 or seconds[-2] < 1.0


CHILD = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from stormcell.training import callbacks, task
from tests.experiments import tiny
from tests.experiments.test_runner import SETTINGS, quiet
from stormcell.experiments.runner import train_all

task.Pace.__init__.__defaults__ = (None, 10, 1e-9, False)
noted = callbacks.Validation.on_train_epoch_end
seen = []

def note_and_die(self, trainer, module):
    noted(self, trainer, module)
    seen.append(trainer.global_step)
    if len(seen) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

callbacks.Validation.on_train_epoch_end = note_and_die
train_all(tiny.experiment(), Path(sys.argv[1]), SETTINGS, quiet())
"""


# A contender has 11 rounds: one for each validation, and the first update, which tells how long updates are.
# The seventh of them goes from update 6 to 8, and after a resume is cut in two.
@pytest.mark.parametrize(
    ("rounds", "killed", "updates"),
    [(7, CONVLSTM, 8), (2 * 11 + 5, "next-frame", 5)],
    ids=["first contender", "third"],
)
def test_train_all_after_a_kill_resumes_to_the_bit(finished, tmp_path, rounds, killed, updates):
    words = [sys.executable, "-c", CHILD, str(tmp_path), ROOT, str(rounds)]
    assert subprocess.run(words, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert len(losses(tmp_path, killed)) == updates
    assert (tmp_path / killed / "last.ckpt").exists()

    train_all(tiny.experiment(), tmp_path, SETTINGS, quiet())
    assert weights(tmp_path) == weights(finished)
    for name in (CONVLSTM, "fc-lstm", "next-frame"):
        assert losses(tmp_path, name) == losses(finished, name)
        ours, theirs = (read_curve(folder / name / "validations.csv") for folder in (tmp_path, finished))
        assert ours["update"] == theirs["update"]
        assert ours["cross_entropy"] == theirs["cross_entropy"]


def test_train_all_with_search_takes_the_best_learning_rate(tmp_path):
    settings = Settings(Budget.parse("20u"), search=True, precision="float32")
    trained = train_all(tiny.experiment(), tmp_path, settings, quiet())
    for name, one in trained.items():
        place = tmp_path / slug(name)
        told = json.loads((place / "search" / "choice.json").read_text())
        tried = told["cross_entropy"]
        assert list(tried) == ["0.001", "0.01"]
        assert one.learning_rate == told["chosen"] == float(min(tried, key=tried.get))
        # Three tenths of twenty updates, shared by two trials; then the rest.
        assert [len(read_curve(place / "search" / rate / "losses.csv")["loss"]) for rate in tried] == [3, 3]
        assert one.updates == 14
        assert not list((place / "search").rglob("model.safetensors"))


def test_report_names_contenders_that_diverged(tmp_path):
    results = whole(tmp_path, experiment=only(tiny.experiment(learning_rate=1e38), [CONVLSTM, "fc-lstm"]))
    assert any("predicted NaN or infinity" in sentence for sentence in results.about)
    assert math.isnan(read_curve(tmp_path / CONVLSTM / "validations.csv")["cross_entropy"][-1])
    assert json.loads((tmp_path / "results.json").read_text())["results"][0]["scores"] == {}


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_train_all_in_two_processes_learns_what_one_learns_with_twice_the_batch(tmp_path):
    """The search for a learning rate included: they must agree on one."""
    code = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from stormcell.training import processes
from stormcell.experiments.runner import train_all
from tests.experiments import tiny
from tests.experiments.test_runner import SEARCHED, quiet

with processes.joined_processes():
    train_all(tiny.experiment(batch_size=int(sys.argv[3])), Path(sys.argv[1]), SEARCHED, quiet())
"""
    script = tmp_path / "run.py"
    script.write_text(code)
    # Of all network devices the loopback is always there. Threads would only be in each other's way.
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for launcher, name, size in ((torchrun, "two", "2"), ([], "one", "4")):
        words = [
            sys.executable,
            *launcher,
            str(script),
            str(tmp_path / name),
            ROOT,
            size,
        ]
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
    for name in (CONVLSTM, "fc-lstm", "next-frame"):
        # RMSProp divides by the gradient's size, and so passes on what rounding does to gradients near
        # zero: not 2^-24 remains of it, but after eight updates still a small part of a loss.
        np.testing.assert_allclose(losses(tmp_path / "two", name), losses(tmp_path / "one", name), rtol=2e-5)
        ours, theirs = (read_curve(tmp_path / run / name / "validations.csv") for run in ("two", "one"))
        np.testing.assert_allclose(ours["cross_entropy"], theirs["cross_entropy"], rtol=2e-5)
    made = tiny.experiment()
    trained = {one.name: TrainedContender.read(tmp_path / "two" / slug(one.name)) for one in made.contenders}
    assert {one.learning_rate for one in trained.values()} != {made.learning_rates[0]}
    told = report(made, tmp_path / "two", SEARCHED, trained, quiet())
    assert any("4 examples an update, with seed 0 on 2 processes, each on " in words for words in told.about)


def test_train_all_in_processes_without_a_shared_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "rank", lambda: 1)
    with pytest.raises(RecipeError, match="expected a folder that all processes share, found nothing"):
        train_all(tiny.experiment(), tmp_path, SETTINGS, quiet())
