"""``serve``: the map, and the data behind it."""

from pathlib import Path

from stormcell.cli.exit_status import ALL_DONE
from stormcell.cli.extras import needing_serve
from stormcell.errors import ArgumentError


def serve(
    published: Path,
    host: str,
    port: int,
    *,
    areas: Path | None = None,
    basemap: str | None = None,
    credit: str | None = None,
) -> int:
    """Serve a published folder until interrupted.

    Raises:
        ArgumentError: The path is not a folder, the basemap's address is not one, or it has only a credit.
        InputError: The file of areas cannot be used.
        MissingExtraError: The packages of the server are not installed.
    """
    if published.exists() and not published.is_dir():
        raise ArgumentError(f"{published}: expected a folder, found a file")
    with needing_serve("serve"):
        from stormcell.serve import server
        from stormcell.serve.basemap import Basemap
    if credit and basemap is None:
        raise ArgumentError("basemap-credit: expected together with --basemap, found alone")
    shown = None if basemap is None else Basemap(basemap, credit or "")
    print(f"http://{host}:{port}/ serves {published}; /docs lists the addresses", flush=True)
    server.run(published, host, port, areas=areas, basemap=shown)
    return ALL_DONE
