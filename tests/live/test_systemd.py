import socket
from contextlib import contextmanager

import pytest

from stormcell.live.output_lock import locked
from stormcell.live.service import live
from stormcell.live.systemd import Watchdog, notify


@contextmanager
def systemd(tmp_path, monkeypatch):
    """A socket such as that of systemd; yields what returns the messages since the last call."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(address)
        there.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)

        def messages():
            found = []
            try:
                while True:
                    found.append(there.recv(100).decode())
            except BlockingIOError:
                return found

        yield messages


def test_systemd_states_reach_the_socket_and_signs_of_life_are_rare(tmp_path, monkeypatch):
    with systemd(tmp_path, monkeypatch) as messages:
        notify("READY=1")
        watchdog = Watchdog()
        for _ in range(100):
            watchdog()
        notify("STOPPING=1")
        assert messages() == ["READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_systemd_loop_that_stands_by_is_ready_and_alive(rig, tmp_path, monkeypatch):
    class EndedError(Exception):
        pass

    def sleep(_):
        raise EndedError

    with systemd(tmp_path, monkeypatch) as messages:
        with locked(rig.out, sleep=sleep), pytest.raises(EndedError):
            live(rig.settings, rig, standby=True, clock=lambda: rig.now, sleep=sleep, log=print)
        assert messages() == ["READY=1", "WATCHDOG=1"]


def test_systemd_without_a_socket_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
