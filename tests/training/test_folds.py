"""Leave-one-network-out: which archives each run trains on and is validated on."""

import io
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from stormcell.errors import ArgumentError
from stormcell.training import folds
from stormcell.training.folds import by_network, name_of, train_folds
from stormcell.training.recipes import Recipe
from stormcell.training.training_archive import Rain

LAST = Recipe(keep="last")


def rain(name: str, source: str | None) -> Rain:
    attributes = {} if source is None else {"source": source}
    return Rain(name, xr.DataArray(np.zeros((1, 1, 1)), dims=("time", "y", "x"), attrs=attributes))


@pytest.fixture
def runs(monkeypatch) -> list[tuple]:
    """The trainings that are begun, in place of them."""
    begun = []

    def train(archives, folder, recipe, console, *, validate_on):
        del recipe, console
        begun.append((folder.name, [one.name for one in archives], [one.name for one in validate_on]))
        return folder / "model.safetensors"

    monkeypatch.setattr(folds, "train", train)
    return begun


def test_train_folds_leaves_out_all_archives_of_one_network_at_a_time(runs):
    given = [rain("a", "KNMI"), rain("b", "FMI"), rain("c", "KNMI"), rain("d", None)]
    models = train_folds(given, Path("run"), LAST, Console(file=io.StringIO()))
    assert runs == [
        ("without-knmi", ["b", "d"], ["a", "c"]),
        ("without-fmi", ["a", "c", "d"], ["b"]),
        ("without-d", ["a", "c", "b"], ["d"]),
    ]
    assert models["FMI"] == Path("run/without-fmi/model.safetensors")


@pytest.mark.usefixtures("runs")
def test_train_folds_says_first_how_long_all_take_at_most():
    said = io.StringIO()
    given = [rain("a", "KNMI"), rain("b", "FMI"), rain("c", None)]
    train_folds(given, Path("run"), Recipe(keep="last", max_minutes=45), Console(file=said))
    assert said.getvalue().splitlines()[0] == (
        "one training for each network left out: at most 3 × 45 = 135 minutes in all"
    )


def test_train_folds_of_one_network_is_refused(runs):
    with pytest.raises(ArgumentError, match="expected two networks or more, found KNMI only"):
        train_folds([rain("a", "KNMI"), rain("b", "KNMI")], Path("run"), LAST, Console())
    assert not runs


def test_train_folds_that_would_choose_the_weights_by_what_is_left_out_is_refused(runs):
    with pytest.raises(ArgumentError, match="expected keep=last"):
        train_folds([rain("a", "KNMI"), rain("b", "FMI")], Path("run"), Recipe(), Console())
    assert not runs


def test_by_network_of_unknown_sources_are_networks_of_their_own():
    assert list(by_network([rain("a", None), rain("b", None)])) == ["a", "b"]


def test_name_of_a_network_is_a_folder_name():
    assert name_of("a/../b") == "without-a-b"
    assert name_of("气象") == "without-network"
    assert len(name_of("x" * 500)) <= 68
