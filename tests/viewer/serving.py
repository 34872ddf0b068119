"""The server in a thread, which can be stopped and started again at its address."""

import socket
import threading
import time
from pathlib import Path
from typing import Any, Self

import httpx2 as httpx
import uvicorn

from stormcell.serve.app import create_app
from stormcell.serve.server import _config
from stormcell.serve.watch import utc_now


class Server:
    """The server of a published folder, on a port of this machine.

    Attributes:
        root: The published folder.
        clock: Returns the time; another one is for the next start.
        url: Its address, with a slash at the end.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, utc_now
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and return when it answers."""
        app = create_app(self.root, clock=self.clock)
        self._server = uvicorn.Server(_config(app, port=self._port, log_level="critical", ws="none"))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server has ended"
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop at once, with all its connections."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    def point(self, lat: float, lon: float) -> dict[str, Any]:
        """Return what the server knows about a place."""
        answer = httpx.get(f"{self.url}point", params={"lat": lat, "lon": lon})
        assert answer.status_code == 200, answer.text
        return answer.json()["properties"]
