"""A server in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.serving.requests import HOST, PORT, get


@contextmanager
def server(root: Path) -> Iterator[None]:
    """Serve a published folder on :data:`~benchmarks.serving.requests.PORT`."""
    command = [sys.executable, "-m", "stormcell", "serve", str(root), "--port", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait()
            yield
        finally:
            process.terminate()


def _wait() -> None:
    for _ in range(600):
        try:
            get("/latest.json")
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"http://{HOST}:{PORT}: expected the server within a minute, found none")
