import os

import pytest

from stormcell.nn.ops import machine_cache


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The directory of the folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


NEEDS_USERS = pytest.mark.skipif(not hasattr(os, "getuid"), reason="no users as POSIX has them")


@NEEDS_USERS
def test_folder_is_made_for_this_user_alone(home):
    found = machine_cache.folder()
    assert found == home / "stormcell"
    assert found.stat().st_mode & 0o777 == 0o700


@NEEDS_USERS
@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_folder_that_others_can_write_to_is_refused(home, mode):
    path = home / "stormcell"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(PermissionError, match="expected a folder which only this user can write to"):
        machine_cache.folder()


@NEEDS_USERS
@pytest.mark.usefixtures("home")
def test_folder_of_another_user_is_refused(monkeypatch):
    machine_cache.folder()
    another = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: another)
    with pytest.raises(PermissionError, match="expected a folder which only this user can write to"):
        machine_cache.folder()


def test_folder_of_a_user_without_home_is_refused(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(machine_cache.Path, "home", home)
    with pytest.raises(OSError, match="XDG_CACHE_HOME can name a folder instead"):
        machine_cache.folder()
