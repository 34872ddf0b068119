"""The application: what is served at which address."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from stormcell.maps.areas import read_areas
from stormcell.serve import (
    alert_routes,
    area,
    edr,
    event_stream,
    pages,
    picture_routes,
    point,
    problems,
    rainviewer,
    state_routes,
    tile_routes,
)
from stormcell.serve.basemap import Basemap
from stormcell.serve.headers import Headers
from stormcell.serve.metrics import Counted, Metrics
from stormcell.serve.site import Site
from stormcell.serve.tile_maker import TileMaker
from stormcell.serve.watch import Clock, Watch, utc_now

# What is asked for most is looked for first.
_PARTS = (
    picture_routes,
    point,
    edr,
    pages,
    area,
    alert_routes,
    event_stream,
    state_routes,
    tile_routes,
    rainviewer,
)
# Files are packed already, or are asked for in parts.
_NOT_PACKED = ("image/*", "application/x-netcdf", "application/octet-stream")


def create_app(
    published: Path, *, areas: Path | None = None, basemap: Basemap | None = None, clock: Clock = utc_now
) -> FastAPI:
    """Return the application that serves a published folder.

    It reads the folder and never writes. The folder need not exist yet.

    Args:
        published: The published folder.
        areas: GeoJSON file of polygons whose rain is served by name.
        basemap: Another basemap than the map's own.
        clock: Returns the time.

    Raises:
        ArgumentError: The file of areas has something else.
        InputError: The file of areas cannot be read.

    Example:
        >>> app = create_app(Path("nowhere"))
        >>> app.title
        'Stormcell'
    """
    watch = Watch(published, clock)
    site = Site(watch, Metrics(watch), TileMaker(watch.shelf), basemap, read_areas(areas) if areas else {})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(watch.look)  # so that the first request after a restart is answered
        watching = asyncio.create_task(watch.run())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching

    app = FastAPI(
        title="Stormcell",
        summary="Observed rain and its forecast for the next hours",
        version=version("stormcell"),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.site = site
    problems.install(app)
    for part in _PARTS:
        app.include_router(part.routes(site))
    app.mount("/viewer", pages.ViewerFiles(pages.security_policy(basemap)), name="viewer")
    # The last is the outermost.
    app.add_middleware(
        GZipMiddleware,
        minimum_size=1000,
        compresslevel=5,
        exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, *_NOT_PACKED),
    )
    app.add_middleware(Counted, metrics=site.metrics)
    app.add_middleware(Headers, clock=clock)
    return app
