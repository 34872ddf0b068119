"""Training on some networks of radars and validating on another, on the command line."""

import json

import pytest
import torch
from typer.testing import CliRunner

from stormcell.cli.main import app
from stormcell.data import synthetic
from stormcell.models.model_file import load, read_card

TINY = [
    "inputs=3", "lead_minutes=15", "channels=4", "detail_channels=4", "crop=32", "batch_size=2",
    "windows_per_batch=2", "max_updates=2", "validate_every=2", "validation_crops=2",
]  # fmt: skip


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Two archives, whose sources differ by the seed of the generated rain."""
    folder = tmp_path_factory.mktemp("archives")
    for name, seed in (("one", 3), ("two", 4)):
        synthetic.write(folder / name, seed=seed, events=1, steps=10, shape=(40, 48))
        assert run("archive", folder / name, "--out", folder / f"{name}.zarr").exit_code == 0
    return folder / "one.zarr", folder / "two.zarr"


def test_train_validate_on_another_archive_trains_on_all_frames(archives, tmp_path):
    one, two = archives
    done = run("train", one, "--validate-on", two, "--out", tmp_path / "run", "keep=last", *TINY)
    assert done.exit_code == 0, done.output
    assert f"{two}: every 5 min" in done.stderr
    assert "validating on" in done.stderr
    state = json.loads((tmp_path / "run" / "run.json").read_text())
    assert len(state["archives"]) == 2
    card = read_card(tmp_path / "run" / "model.safetensors")
    assert len(card.nowcasting.archives) == 1  # of the training
    assert set(card.nowcasting.archives[0].blocks) == {"train"}


def test_train_leave_one_out_trains_without_each_network_and_resumes(archives, tmp_path):
    words = ["train", *archives, "--leave-one-out", "--out", tmp_path / "folds", *TINY]
    done = run(*words)
    assert done.exit_code == 0, done.output
    models = sorted((tmp_path / "folds").glob("without-*/model.safetensors"))
    assert len(models) == 2
    before = [model.read_bytes() for model in models]
    trained_on = [read_card(model).data_hash for model in models]
    assert len(set(trained_on)) == 2
    again = run(*words)
    assert again.exit_code == 0
    assert again.stderr.count("this run is finished") == 2
    assert [model.read_bytes() for model in models] == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["keep=best"], 'leave one out: expected keep=last, found keep="best", chosen by what is left out'),
        (["--validate-on", "{two}"], "train --leave-one-out: expected no --validate-on"),
    ],
)
def test_train_leave_one_out_with_what_contradicts_it_is_refused(archives, tmp_path, options, message):
    options = [option.format(two=archives[1]) for option in options]
    done = run("train", *archives, "--leave-one-out", "--out", tmp_path / "folds", *options, *TINY)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    "words", [["{one}", "{folder}/./one.zarr"], ["{one}", "{two}", "--validate-on", "{one}"]]
)
def test_train_on_an_archive_that_is_given_twice_is_refused(archives, tmp_path, words):
    one, two = archives
    given = [word.format(one=one, two=two, folder=one.parent) for word in words]
    done = run("train", *given, "--out", tmp_path / "run", *TINY)
    assert done.exit_code == 2
    assert f"train: expected each archive once, found {one} 2 times" in done.stderr.replace("\n", "")
    assert not (tmp_path / "run").exists()


def test_train_leave_one_out_of_one_network_is_refused(archives, tmp_path):
    done = run("train", archives[0], "--leave-one-out", "--out", tmp_path / "folds", *TINY)
    assert done.exit_code == 2
    assert "leave one out: expected two networks or more, found" in done.stderr


def test_train_from_a_model_starts_with_its_weights_and_names_its_data(archives, tmp_path):
    one, two = archives
    first = run("train", one, "--out", tmp_path / "first", "keep=last", "validation=0%", *TINY)
    assert first.exit_code == 0, first.output
    tiny = [word for word in TINY if not word.startswith(("inputs", "channels", "detail_channels"))]
    words = ["train", two, "--from", tmp_path / "first", "--out", tmp_path / "second", "validation=0%", *tiny]
    done = run(*words, "keep=last", "learning_rate=1e-9")
    assert done.exit_code == 0, done.output
    before, card, _ = load(tmp_path / "first")
    after, tuned, _ = load(tmp_path / "second")
    for name, tensor in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], tensor, rtol=0, atol=1e-6)
    assert tuned.settings["start"] == str(tmp_path / "first")
    assert tuned.nowcasting.archives[:1] == card.nowcasting.archives
    assert len(tuned.nowcasting.archives) == 2
    assert tuned.data_hash != card.data_hash
    for source in (archive.data_source["source"] for archive in tuned.nowcasting.archives):
        assert source in tuned.data_source["source"]
    again = run(*words, "keep=last", "learning_rate=1e-9")
    assert "this run is finished" in again.stderr


def test_train_from_another_architecture_or_no_model_is_refused(archives, tmp_path):
    done = run("train", archives[0], "--from", tmp_path / "none", "--out", tmp_path / "run", *TINY)
    assert done.exit_code == 2
    assert "expected a model file" in done.stderr
