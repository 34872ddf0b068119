"""``experiment`` as a user runs it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from stormcell.cli.main import app
from stormcell.experiments import catalogue

TINY = ("--budget", "2u", "--tests", "8", "--batch", "4", "--precision", "float32")


def stormcell(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def mnist(tmp_path_factory) -> Path:
    """Files of MNIST's form, and enough in them to cut the parts from."""
    folder = tmp_path_factory.mktemp("mnist")
    rng = np.random.default_rng(0)
    for name, count in (("train", 6_010), ("t10k", 20)):
        for kind, values in (
            ("images-idx3", rng.integers(0, 256, (count, 28, 28), np.uint8)),
            ("labels-idx1", rng.integers(0, 10, count, np.uint8)),
        ):
            sizes = np.array(values.shape, ">u4").tobytes()
            head = bytes([0, 0, 8, values.ndim]) + sizes
            (folder / f"{name}-{kind}-ubyte").write_bytes(head + values.tobytes())
    return folder


def test_experiment_writes_a_table_and_pictures(mnist, tmp_path):
    words = ("experiment", "mnist-patches", "--data", mnist, "--out", tmp_path / "run", *TINY)
    done = stormcell(*words)
    assert done.exit_code == 0, done.output
    assert "accuracy, %" in done.stdout
    assert {"results.md", "results.json", "curves.png", "answers.png", "answers.gif"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    told = json.loads((tmp_path / "run" / "results.json").read_text())
    assert told["results"][0]["updates"] == 2
    assert "Scored on the first 8 of 20 test examples." in told["about"]
    again = stormcell(*words)
    assert again.exit_code == 0
    assert again.stdout == done.stdout

    other = shutil.copytree(mnist, tmp_path / "other")
    labels = bytearray((other / "t10k-labels-idx1-ubyte").read_bytes())
    labels[-1] = (labels[-1] + 1) % 10
    (other / "t10k-labels-idx1-ubyte").write_bytes(labels)
    for changed, told in ((("--seed", "1"), "seed (was 0, now 1)"), (("--data", other), "data (was MNIST, ")):
        refused = stormcell(*words, *changed)
        assert refused.exit_code == 2
        (line,) = [line for line in refused.stderr.splitlines() if line.startswith("stormcell: ")]
        assert told in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mnist-pieces"], 'found "mnist-pieces"'),
        (["mnist-patches", "--budget", "2h"], 'found "2h"'),
        (["mnist-patches", "--only", "gru"], 'found "gru"'),
        (["paper-radar", "--data", "none.zarr"], "none.zarr"),
        (["mnist-patches", "--data", "nowhere"], "nowhere"),
    ],
)
def test_experiment_with_wrong_arguments_fails_in_one_line(words, told, mnist, tmp_path):
    data = [] if "--data" in words else ["--data", mnist]
    done = stormcell("experiment", *words, *data, "--out", tmp_path / "run")
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("stormcell: ")]
    assert told in line
    assert not (tmp_path / "run").exists()


def test_experiment_help_names_every_experiment():
    told = " ".join(stormcell("experiment", "--help").stdout.replace("│", " ").split())
    assert all(name in told for name in catalogue.NAMES)
