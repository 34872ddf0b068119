"""The command line on terminals and pipes that are ASCII, and with text that is no text."""

import json
import os
import subprocess
import sys

import pytest

from stormcell.cli import main
from stormcell.data import archive, synthetic

VERBS = sorted(command.name or command.callback.__name__ for command in main.app.registered_commands)
# An ASCII pipe that refuses other characters, and a C locale without Python's own change to UTF-8.
ASCII = [
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"PYTHONIOENCODING": "ascii:strict", "FORCE_COLOR": "1"},
]


def stormcell(*words: object, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "stormcell", *map(str, words)],
        capture_output=True,
        check=False,
        env=os.environ | env,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """An archive whose attributes have characters beyond ASCII, and a byte that was not decoded."""
    folder = tmp_path_factory.mktemp("ascii")
    files = synthetic.write(folder / "radar", seed=3, events=1, steps=6, shape=(40, 48))
    archive.append(folder / "a.zarr", files)
    root = folder / "a.zarr" / "zarr.json"
    content = json.loads(root.read_text("utf-8"))
    content["attributes"] |= {"title": "Météo → ≥ 1 km", "source": "caf\udce9"}
    root.write_text(json.dumps(content), "utf-8")
    return folder / "a.zarr"


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_output_help_on_ascii_is_ascii(verb):
    done = stormcell(*[verb] * bool(verb), "--help", env=ASCII[0])
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")
    assert b"Usage" in done.stdout


@pytest.mark.parametrize("env", ASCII, ids=str)
def test_output_check_and_forecast_on_ascii_spell_characters(store, tmp_path, env):
    done = stormcell("check", store, env=env)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode("ascii").splitlines()
    assert any(line.startswith("grid") and "40 x 48" in line for line in lines)
    assert "title                 Meteo -> >= 1 km" in lines
    assert "source                caf?" in lines
    done = stormcell("check", store, "--mlcast", env=env)
    assert done.returncode == 1, done.stderr
    assert "3.3" in done.stdout.decode("ascii")
    out = tmp_path / "Météo.nc"
    done = stormcell("forecast", store, "--model", "persistence", "--out", out, env=env)
    assert done.returncode == 0, done.stderr
    assert out.is_file()
    done.stdout.decode("ascii")


@pytest.mark.parametrize("env", ASCII[:2], ids=str)
def test_output_refusal_of_a_file_named_in_bytes_on_ascii_is_printed(tmp_path, env):
    path = os.fsencode(tmp_path) + b"/caf\xe9\xc3\xa9.pgm"
    with open(path, "wb") as file:
        file.write(b"P5 nonsense")
    words = [sys.executable, "-m", "stormcell", "archive", path, "--out", tmp_path / "a.zarr"]
    done = subprocess.run(words, capture_output=True, check=False, env=os.environ | env)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"refused " in done.stderr
    done.stderr.decode("ascii")


def test_output_utf8_keeps_characters_but_replaces_what_is_not_one(store):
    done = stormcell("check", store, env={"PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("utf-8")
    assert "Météo → ≥ 1 km" in text
    assert "caf\N{REPLACEMENT CHARACTER}" in text
