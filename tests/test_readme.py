"""The README's Python is run, its commands are the ones there are."""

import re
import shlex
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from stormcell.cli import app
from stormcell.data import archive, synthetic
from stormcell.training.recipes import Recipe
from stormcell.training.run import train

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the archive and the model that the README speaks of, both very small."""
    folder = tmp_path_factory.mktemp("readme")
    files = synthetic.write(folder / "radar", seed=1, events=3, steps=16, shape=(32, 40))
    archive.append(folder / "rain.zarr", files)
    rain = archive.rain(archive.open(folder / "rain.zarr"))
    recipe = Recipe(
        max_updates=1, validate_every=1, validation_crops=1, batch_size=1, hidden_channels=[2], steps=4
    )
    train(rain, folder / "run", recipe, Console(quiet=True))
    return folder


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {})
    assert "Traceback" not in capsys.readouterr().err


def test_commands_and_options_exist():
    commands = [
        line for block in blocks("sh") for line in block.splitlines() if line.startswith("stormcell ")
    ]
    assert len(commands) == 5
    for command in commands:
        _, verb, *words = shlex.split(command)
        shown = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
        for word in words:
            if word.startswith("--"):
                assert word in shown
