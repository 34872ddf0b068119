"""Run the application as one process, or in a thread of another one."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from stormcell.errors import ArgumentError
from stormcell.serve.app import create_app
from stormcell.serve.basemap import Basemap
from stormcell.serve.watch import Clock

_GRACE = 5  # seconds that open answers have at the end: event streams never end by themselves


def run(
    published: Path, host: str, port: int, *, areas: Path | None = None, basemap: Basemap | None = None
) -> None:
    """Serve a published folder until the process is interrupted.

    Args:
        published: The published folder.
        host: Address to listen at.
        port: Port to listen at.
        areas: GeoJSON file of polygons whose rain is served by name.
        basemap: Another basemap than the map's own.

    Raises:
        ArgumentError: The file of areas has something else.
        InputError: The file of areas cannot be read.
    """
    config = _config(create_app(published, areas=areas, basemap=basemap), host=host, port=port)
    uvicorn.Server(config).run()


@contextmanager
def running(published: Path, host: str, port: int, *, clock: Clock) -> Iterator[str]:
    """Serve a published folder in a thread until the block ends, and yield the address of the map.

    Args:
        published: The published folder.
        host: Address to listen at.
        port: Port to listen at; 0 for any that is free.
        clock: Returns the time.

    Raises:
        ArgumentError: The port cannot be used.
    """
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise ArgumentError(f"port {port}: expected a free port: {error.strerror}") from None
    server = uvicorn.Server(_config(create_app(published, clock=clock), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(1)
        server.force_exit = True  # event streams do not end by themselves
        thread.join(_GRACE)


def _config(app: FastAPI, **options: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        access_log=False,
        server_header=False,
        date_header=False,  # the app has its own clock
        timeout_graceful_shutdown=_GRACE,
        **options,  # type: ignore[arg-type]
    )
