import socket

from stormcell.live.systemd import Watchdog, notify


def test_systemd_states_reach_the_socket_and_signs_of_life_are_rare(tmp_path, monkeypatch):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(address)
        there.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1")
        watchdog = Watchdog()
        for _ in range(100):
            watchdog()
        notify("STOPPING=1")
        assert [there.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_systemd_without_a_socket_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
