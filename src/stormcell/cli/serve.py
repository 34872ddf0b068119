"""``serve``: the map, and the data behind it."""

from pathlib import Path

from stormcell.cli.exit_status import ALL_DONE
from stormcell.errors import ArgumentError, MissingExtraError


def serve(
    published: Path, host: str, port: int, *, areas: Path | None = None, basemap: str | None = None
) -> int:
    """Serve a published folder until interrupted.

    Raises:
        ArgumentError: The path is not a folder, or the basemap's address is not one.
        InputError: The file of areas cannot be used.
        MissingExtraError: The packages of the server are not installed.
    """
    if published.exists() and not published.is_dir():
        raise ArgumentError(f"{published}: expected a folder, found a file")
    try:
        from stormcell.serve import server
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("stormcell"):
            raise
        raise MissingExtraError(
            f'serve: {missing.name} is not installed: pip install "stormcell[serve]"'
        ) from None
    print(f"http://{host}:{port}/ serves {published}; /docs lists the addresses", flush=True)
    server.run(published, host, port, areas=areas, basemap=basemap)
    return ALL_DONE
