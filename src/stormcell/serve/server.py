"""Run the application as one process, until it is interrupted."""

from pathlib import Path

import uvicorn

from stormcell.serve.app import create_app

_GRACE = 5  # seconds that open answers have at the end: event streams never end by themselves


def run(
    published: Path, host: str, port: int, *, areas: Path | None = None, basemap: str | None = None
) -> None:
    """Serve a published folder.

    Args:
        published: The published folder.
        host: Address to listen at.
        port: Port to listen at.
        areas: GeoJSON file of polygons whose rain is served by name.
        basemap: Address of the tiles of another basemap.

    Raises:
        ArgumentError: The basemap's address is not one, or the file of areas has something else.
        InputError: The file of areas cannot be read.
    """
    config = uvicorn.Config(
        create_app(published, areas=areas, basemap=basemap),
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    uvicorn.Server(config).run()
