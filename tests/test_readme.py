"""The README's Python is run, its commands are the ones there are."""

import re
import shlex
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from stormcell.cli.main import app
from stormcell.data import archive, synthetic
from stormcell.training.recipes import Recipe, override
from stormcell.training.run import train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


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


def test_the_layer_code_does_what_its_comments_say():
    names: dict = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), names)
    assert names["output"].shape == (10, 2, 32, 48, 37)
    assert [len(state) for state in (names["h_n"], names["c_n"])] == [2, 2]
    assert names["h"].shape == (2, 64, 48, 37)
    assert sum(p.numel() for p in names["model"].parameters()) == 7_585_296
    assert names["frames"].shape == (2, 10, 1, 64, 64)


def test_the_nowcasting_code_does_what_its_comments_say(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(compile(blocks("python")[1], "README.md", "exec"), names)
    forecast = names["forecast"]
    assert forecast.sizes["time"] == 12
    assert forecast.attrs["units"] == "kg m-2 h-1"
    assert {"crs", "lat", "lon"} <= set(forecast.coords)
    assert str(forecast["time"].values[-1]) in capsys.readouterr().out


def test_every_link_into_the_project_leads_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_commands_and_options_exist():
    commands = [
        line for block in blocks("sh") for line in block.splitlines() if line.startswith("stormcell ")
    ]
    assert len(commands) == 6
    for command in commands:
        _, verb, *words = shlex.split(command)
        shown = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
        for word in words:
            if word.startswith("--"):
                assert word in shown
        override(Recipe(), [word for word in words if "=" in word])
