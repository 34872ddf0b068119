import os

import pytest

from stormcell.errors import OutputError
from stormcell.live.output_lock import locked


def never(_):
    raise AssertionError("it waits")


def test_output_lock_second_loop_names_the_first_and_does_not_wait(tmp_path):
    with (
        locked(tmp_path, sleep=never),
        pytest.raises(OutputError, match=f"found process {os.getpid()}"),
        locked(tmp_path, sleep=never),
    ):
        pass


def test_output_lock_standby_waits_until_the_first_has_ended(tmp_path):
    first, waited = locked(tmp_path, sleep=never), []
    first.__enter__()

    def wait(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            first.__exit__(None, None, None)

    with locked(tmp_path, standby=True, sleep=wait):
        assert len(waited) == 3


def test_output_lock_of_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError), locked(tmp_path / "file", sleep=never):
        pass
