"""Messages to systemd: that the loop is ready, that it lives, and that it stops."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

_SECONDS = 10.0  # between two signs of life


def notify(state: str) -> None:
    """Send a state such as ``READY=1`` to systemd, if it started this process with ``Type=notify``."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


class Watchdog:
    """Signs of life, at most one every ten seconds."""

    def __init__(self) -> None:
        self._last = -_SECONDS

    def __call__(self) -> None:
        """Send a sign of life, unless the last one is recent."""
        if time.monotonic() - self._last >= _SECONDS:
            self._last = time.monotonic()
            notify("WATCHDOG=1")


def standing_by(sleep: Callable[[float], None]) -> Callable[[float], None]:
    """Return a sleep for a process that waits to take over: systemd takes it as started and alive.

    Args:
        sleep: Waits for a number of seconds.
    """
    watchdog = Watchdog()

    def wait(seconds: float) -> None:
        notify("READY=1")  # nothing new after the first time
        watchdog()
        sleep(seconds)

    return wait
