import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from stormcell.errors import ArgumentError, ModelFileError, StormcellError
from stormcell.live.model_choice import FOLDER, Choice, ModelFile, TryForecaster


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    write(path, b"first")
    return path


def write(path, content):
    path.write_bytes(content)
    os.utime(path, (0, int.from_bytes(content[:3], "big")))


def attempt(job: TryForecaster) -> Choice:
    content = Path(job.by).read_bytes()
    if content.startswith(b"bad"):
        raise ModelFileError(f"{job.by}: expected a model file, found none")
    return Choice(job.by, job.name, "ConvLSTM", content.decode())


def watched(path, tmp_path):
    return ModelFile(path, "a.zarr", tmp_path / "published", attempt)


def test_model_file_is_used_as_a_copy_that_its_owner_cannot_change(path, tmp_path):
    choice, problem = watched(path, tmp_path).first()
    write(path, b"other")
    assert problem is None
    assert choice.name == "model.safetensors"
    assert Path(choice.by).read_bytes() == b"first"


def test_model_file_new_one_is_taken_when_two_looks_find_it_the_same(path, tmp_path):
    file = watched(path, tmp_path)
    file.first()
    assert file.newer() is None
    write(path, b"new")
    assert file.newer() is None
    assert file.newer().digest == "new"
    assert file.newer() is None


def test_model_file_bad_one_is_refused_once_and_the_next_good_one_taken(path, tmp_path):
    file = watched(path, tmp_path)
    file.first()
    write(path, b"bad")
    assert file.newer() is None
    with pytest.raises(StormcellError, match=r"model.safetensors: expected a model file"):
        file.newer()
    assert file.newer() is None
    write(path, b"good")
    assert file.newer() is None
    assert file.newer().digest == "good"


def test_model_file_bad_one_at_a_start_is_replaced_by_the_one_that_was_kept(path, tmp_path):
    watched(path, tmp_path).first()
    write(path, b"bad")
    choice, problem = watched(path, tmp_path).first()
    assert choice.digest == "first"
    assert "expected a model file" in problem


@pytest.mark.parametrize("content", [b"bad", None])
def test_model_file_that_cannot_be_used_at_the_first_start_is_an_error(path, tmp_path, content):
    if content is None:
        path.unlink()
    else:
        write(path, content)
    with pytest.raises(StormcellError, match=r"model.safetensors: expected a model file"):
        watched(path, tmp_path).first()


def test_model_file_keeps_the_copy_in_use_only(path, tmp_path):
    file = watched(path, tmp_path)
    file.first()
    for k in range(5):
        write(path, f"{k}new".encode())
        file.newer()
        file.newer()
    assert len(list((tmp_path / "published" / FOLDER).iterdir())) == 1


def test_try_forecaster_baseline_needs_no_archive(tmp_path):
    choice = TryForecaster("extrapolation", None, str(tmp_path / "a.zarr"))()
    assert choice == Choice("extrapolation", "extrapolation", "extrapolation", "extrapolation")


def test_try_forecaster_unknown_name_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match='found "unknown"'):
        TryForecaster("unknown", None, str(tmp_path / "a.zarr"))()


def test_live_loop_takes_a_new_model_and_makes_the_newest_forecast_again(rig):
    rig.arrive(0, 1, 2)
    first = rig.newest
    looks = iter([None, Choice("persistence", "persistence", "persistence", "persistence")])
    rig.loop._model_file = SimpleNamespace(newer=lambda: next(looks, None))
    rig.turns(5)
    assert (first.model, rig.newest.model) == ("extrapolation", "persistence")
    assert rig.newest.issue == first.issue
