import os

import pytest

from stormcell.errors import OutputError
from stormcell.writing import append, make_folder, write_whole


def test_a_file_is_replaced(tmp_path):
    write_whole(tmp_path / "a", b"old")
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_what_was_there_survives_a_full_disk(tmp_path, monkeypatch):
    write_whole(tmp_path / "a", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="a: could not be written: No space left on device"):
        write_whole(tmp_path / "a", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        write_whole(tmp_path / "nowhere" / "a", b"")


def test_what_cannot_be_added_to_or_made_is_named(tmp_path):
    append(tmp_path / "a", "one\n")
    append(tmp_path / "a", "two\n")
    assert (tmp_path / "a").read_text() == "one\ntwo\n"
    with pytest.raises(OutputError, match="nowhere/a: could not be written: No such file"):
        append(tmp_path / "nowhere" / "a", "")
    make_folder(tmp_path / "some" / "where")
    make_folder(tmp_path / "some" / "where")
    assert (tmp_path / "some" / "where").is_dir()
    with pytest.raises(OutputError, match="a: could not be made"):
        make_folder(tmp_path / "a")
