import os

import pytest

from stormcell.errors import OutputError
from stormcell.writing import write_whole


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
