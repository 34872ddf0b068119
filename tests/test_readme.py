"""The README's Python runs and prints what it shows; its commands and links exist."""

import re
import shlex
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from stormcell.cli.main import app
from stormcell.data import archive, synthetic
from stormcell.training.nowcaster_run import train
from stormcell.training.recipes import Recipe, override

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with small versions of the archive and the model that the README names."""
    folder = tmp_path_factory.mktemp("readme")
    files = synthetic.write(folder / "radar", seed=1, events=3, steps=16, shape=(32, 40))
    archive.append(folder / "rain.zarr", files)
    rain = archive.rain(archive.open(folder / "rain.zarr"))
    recipe = Recipe(max_updates=1, validate_every=1, validation_crops=1, batch_size=1, channels=4)
    train(rain, folder / "run", recipe, Console(quiet=True))
    return folder


def test_readme_layer_code_prints_what_it_shows(capsys):
    exec(compile(blocks("python")[0], "README.md", "exec"), {})
    assert capsys.readouterr().out == blocks("text")[0]


def test_readme_nowcasting_code_returns_what_its_comments_say(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(compile(blocks("python")[1], "README.md", "exec"), names)
    forecast = names["forecast"]
    assert forecast.dims == ("time", "y", "x")
    assert forecast.sizes["time"] == 12
    assert forecast.attrs["units"] == "kg m-2 h-1"
    assert {"crs", "lat", "lon", "time"} <= set(forecast.coords)
    assert str(float(forecast.max())) in capsys.readouterr().out
    assert names["chances"].dims == ("threshold", "time", "y", "x")
    assert names["members"].sizes["realization"] == 20


def test_readme_links_into_the_project_exist():
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_readme_commands_and_options_exist():
    commands = [
        line for block in blocks("sh") for line in block.splitlines() if line.startswith("stormcell ")
    ]
    assert len(commands) == 8
    for command in commands:
        _, verb, *words = shlex.split(command)
        shown = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
        for word in words:
            if word.startswith("--"):
                assert word in shown
        override(Recipe(), [word for word in words if "=" in word])
