"""The memory of a server over very many publications, each of which it loads and is asked about."""

import asyncio
import multiprocessing
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.serving.showers import STEP, Showers
from stormcell.live.child import memory_of
from stormcell.published.manifest import time_name
from stormcell.serve.app import create_app

SIDE, STEPS = 64, 3  # small, because only what is left behind counts


def memory(root: Path, publications: int) -> Iterator[tuple[int, float]]:
    """Yield how many publications there have been and the server's memory in MB, a hundred times."""
    showers = Showers(root, datetime(2026, 1, 1, tzinfo=UTC), side=SIDE, steps=STEPS)
    showers.publish(0)
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(showers.root, there), daemon=True)
    process.start()
    every = max(1, publications // 100)
    for number in range(1, publications + 1):
        manifest = showers.publish(number)
        here.send((manifest.folder, time_name(manifest.issue + STEP)))
        found = here.recv()
        if number % every == 0:
            yield number, found
    here.send(None)
    process.join()


def _serve(root: Path, connection: Connection) -> None:
    """Load each publication that is announced, answer requests of every kind, and tell the memory in MB."""
    app = create_app(root)
    watch = app.state.site.watch
    while (said := connection.recv()) is not None:
        folder, valid = said
        watch.look()
        newest = watch.newest.publication
        assert newest.manifest.folder == folder
        lat, lon = (newest.bounds.south + newest.bounds.north) / 2, newest.bounds.centre
        issue, run = folder.split("-")
        for path, query in (
            ("/latest.json", ""),
            (f"/{folder}/manifest.json", ""),
            (f"/frames/{issue}/{run}/rate/{valid}.png", ""),
            (f"/v2/radar/{folder}/rate/{valid}/256/7/{lat:.3f}/{lon:.3f}/2/0_0.png", ""),
            ("/point", f"lat={lat:.4f}&lon={lon:.4f}"),
            ("/collections/forecast/position", f"coords=POINT({lon:.4f}%20{lat:.4f})"),
        ):
            status = asyncio.run(_status(app, path, query))
            assert status == 200, (path, status)
        connection.send(memory_of(os.getpid()) / 1e6)


async def _status(app: Any, path: str, query: str) -> int:
    """Ask the application without a network, and return the status."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return int(sent[0]["status"])
