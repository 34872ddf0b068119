import os
from pathlib import Path

import pytest

from stormcell.atomic import append, make_folder, replacing, write_file, write_files
from stormcell.errors import OutputError

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to name an open file")


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def system_calls(monkeypatch) -> list[str]:
    """The order of flushes and renames."""
    calls = []
    fsync, replace, rename = os.fsync, os.replace, Path.rename

    def logged_fsync(handle: int) -> None:
        calls.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        fsync(handle)

    def logged_replace(source: Path, target: Path) -> None:
        calls.append(f"rename {Path(target).name}")
        replace(source, target)

    def logged_rename(source: Path, target: Path) -> Path:
        calls.append(f"rename {Path(target).name}")
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "replace", logged_replace)
    monkeypatch.setattr(Path, "rename", logged_rename)
    return calls


def test_write_file_twice_replaces_the_content(tmp_path):
    write_file(tmp_path / "a", b"old")
    write_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


@needs_proc
def test_write_file_flushes_content_before_the_rename_and_the_folder_after(tmp_path, system_calls):
    write_file(tmp_path / "a", b"new")
    part = f".a.{os.getpid()}.part"
    assert system_calls == [f"fsync {part}", "rename a", f"fsync {tmp_path.name}"]


@needs_proc
def test_write_files_flushes_all_before_the_first_rename(tmp_path, system_calls):
    write_files(tmp_path, {"a": b"1", "b": b"2"})
    parts = [f"fsync .{name}.{os.getpid()}.part" for name in "ab"]
    assert system_calls == [*parts, "rename a", "rename b", f"fsync {tmp_path.name}"]


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_write_file_on_a_full_disk_leaves_the_old_content(tmp_path, monkeypatch, step):
    write_file(tmp_path / "a", b"old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OutputError, match="a: could not be written: No space left on device") as raised:
        write_file(tmp_path / "a", b"new")
    assert raised.value.strerror == "No space left on device"
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_write_file_in_a_missing_folder_raises_and_names_the_path(tmp_path):
    with pytest.raises(OutputError, match="nowhere/a: could not be written: No such file"):
        write_file(tmp_path / "nowhere" / "a", b"")


def test_replacing_folder_replaces_it(tmp_path):
    for content in ("old", "new"):
        with replacing(tmp_path / "store.zarr") as new:
            new.mkdir()
            (new / content).write_text(content)
    assert names(tmp_path) == ["store.zarr"]
    assert names(tmp_path / "store.zarr") == ["new"]


@needs_proc
def test_replacing_folder_flushes_everything_inside_before_the_rename(tmp_path, system_calls):
    with replacing(tmp_path / "store") as new:
        (new / "inner").mkdir(parents=True)
        (new / "inner" / "a").touch()
    part = f".store.{os.getpid()}.part"
    assert system_calls == [
        "fsync a",
        "fsync inner",
        f"fsync {part}",
        "rename store",
        f"fsync {tmp_path.name}",
    ]


def test_replacing_folder_with_a_failed_rename_restores_the_old_folder(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "old").touch()
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, to: full() if "part" in self.name else rename(self, to))
    failure = pytest.raises(OutputError, match="store: could not be written: No space")
    with failure, replacing(tmp_path / "store") as new:
        new.mkdir()
    assert names(tmp_path) == ["store"]
    assert names(tmp_path / "store") == ["old"]


def test_replacing_that_fails_leaves_the_old_folder(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "old").touch()

    def fail_halfway(new: Path) -> None:
        new.mkdir()
        (new / "half").touch()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "store") as new:
        fail_halfway(new)
    assert names(tmp_path) == ["store"]
    assert names(tmp_path / "store") == ["old"]


@pytest.mark.parametrize("fails", ["write", "rename"])
@pytest.mark.parametrize("old", [True, False])
def test_write_files_that_fails_at_the_third_file_restores_all(tmp_path, monkeypatch, fails, old):
    new = {f"{name}.txt": f"new {name}".encode() for name in "abcd"}
    before = {name: b"old " + name.encode() for name in new} if old else {}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    move, write = os.replace, Path.write_bytes

    def replace(source: Path, target: Path) -> None:
        if fails == "rename" and target.name == "c.txt":
            full()
        move(source, target)

    def write_bytes(path: Path, content: bytes) -> None:
        write(path, content[:3])
        if fails == "write" and path.name.startswith(".c."):
            full()

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OutputError, match=r"c.txt: could not be written: No space left on device"):
        write_files(tmp_path, new)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_write_files_replaces_old_files_and_leaves_others(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "mine").write_text("mine")
    write_files(tmp_path, {"a": b"new", "b": b"new"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a": "new",
        "b": "new",
        "mine": "mine",
    }


def test_append_adds_to_the_end_and_creates_the_file(tmp_path):
    append(tmp_path / "a", "one\n")
    append(tmp_path / "a", "two\n")
    assert (tmp_path / "a").read_text() == "one\ntwo\n"
    with pytest.raises(OutputError, match="nowhere/a: could not be written: No such file"):
        append(tmp_path / "nowhere" / "a", "")


@needs_proc
def test_append_flushes_the_file(tmp_path, system_calls):
    append(tmp_path / "a", "one\n")
    assert system_calls == ["fsync a"]


def test_make_folder_of_a_zarr_store_raises(tmp_path):
    (tmp_path / "zarr.json").touch()
    with pytest.raises(OutputError, match="expected a folder for results, found a Zarr store"):
        make_folder(tmp_path)


def test_make_folder_creates_parents_and_accepts_an_existing_folder(tmp_path):
    make_folder(tmp_path / "some" / "where")
    make_folder(tmp_path / "some" / "where")
    assert (tmp_path / "some" / "where").is_dir()
    write_file(tmp_path / "a", b"")
    with pytest.raises(OutputError, match="a: could not be created: File exists"):
        make_folder(tmp_path / "a")
