"""RainViewer's dialect: viewers made for its weather maps work with another host name.

Written from the public description of its interface. Colour schemes are numbers there; ours are in their
place, and smoothing is not offered, because it would show rain where there is not any.
"""

import asyncio
import hashlib
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath

from stormcell.errors import ArgumentError
from stormcell.maps import map_tiles, palettes, pictures
from stormcell.maps.mercator import Bounds
from stormcell.published.manifest import OBSERVED, RATE, ObservedFrame, time_name
from stormcell.serve.answers import answer, current, json_text
from stormcell.serve.picture_routes import PNG, parse_valid
from stormcell.serve.problems import described
from stormcell.serve.site import Site
from stormcell.serve.tile_maker import TileAsked, around
from stormcell.serve.tile_routes import Zoom, tile_answer
from stormcell.serve.watch import Newest

_BLACK_AND_WHITE = 0  # its scheme for programs and dark maps

Color = Annotated[int, InPath(ge=0, le=255)]
Options = Annotated[str, InPath(pattern=r"^[01]_[01]$", description="Smoothing and snow; neither is offered")]


def routes(site: Site) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["RainViewer"])
    unseen: dict[str, Any] = {"response_class": Response, "responses": {**PNG, **described(400, 503)}}

    @router.get("/public/weather-maps.json", responses=described(503))
    async def weather_maps(request: Request) -> Response:
        """Frames of the past and of the forecast, as RainViewer lists them."""
        newest = site.watch.newest
        text = json_text(_weather_maps(newest, str(request.base_url).rstrip("/")))
        return answer(request, text, current(site, f'W/"{newest.etag[3:-1]}-maps"'))

    @router.get(
        "/v2/radar/{publication}/{product}/{valid}/{size}/{z}/{x}/{y}/{color}/{options}.png",
        response_class=Response,
        responses={**PNG, **described(400, 404, 410, 503)},
    )
    async def tile(
        publication: str,
        product: str,
        valid: str,
        size: int,
        z: Zoom,
        x: str,
        y: str,
        color: Color,
        options: Options,  # noqa: ARG001 - part of their address
        request: Request,
    ) -> Response:
        """A tile by column and row, or a square around latitude and longitude, if these have a point."""
        issue, _, run = publication.partition("-")
        found = site.watch.shelf.manifest(issue, run)
        name = "dark" if color == _BLACK_AND_WHITE else palettes.DEFAULT
        bounds = _bounds(z, x, y)
        return await tile_answer(
            site, request, TileAsked(found, product, parse_valid(valid), bounds, z, size, name)
        )

    @router.get("/v2/coverage/0/{size}/{z}/{x}/{y}/{color}/{options}.png", **unseen)
    async def coverage(
        size: int,
        z: Zoom,
        x: str,
        y: str,
        color: Color,  # noqa: ARG001 - part of their address
        options: Options,  # noqa: ARG001
        request: Request,
    ) -> Response:
        """A tile that is black where the radar does not observe, and transparent where it does."""
        return await _coverage(site, request, _bounds(z, x, y), size)

    @router.get("/v2/coverage/0/{size}/{z}/{x}/{y}.png", **unseen)
    async def coverage_alone(size: int, z: Zoom, x: str, y: str, request: Request) -> Response:
        """The same: viewers ask for it with and without colours."""
        return await _coverage(site, request, _bounds(z, x, y), size)

    return router


async def _coverage(site: Site, request: Request, bounds: Bounds, size: int) -> Response:
    publication = site.watch.newest.publication
    content = await asyncio.to_thread(site.tiles.unseen, publication, bounds, size)
    etag = hashlib.sha256(content).hexdigest()[:32]
    return answer(request, content, current(site, f'"{etag}"'), pictures.MEDIA_TYPE)


def _weather_maps(newest: Newest, host: str) -> dict[str, Any]:
    manifest = newest.publication.manifest
    past = [_frame(frame.folder, OBSERVED, frame.time) for frame in _observed(newest)]
    ahead = newest.publication.products.get(RATE)
    nowcast = [_frame(manifest.folder, RATE, time) for time in (ahead.times if ahead else ())]
    return {
        "version": "2.0",
        "generated": int(newest.latest.published.timestamp()),
        "host": host,
        "radar": {"past": past, "nowcast": nowcast},
        "satellite": {"infrared": []},
    }


def _observed(newest: Newest) -> tuple[ObservedFrame, ...]:
    latest = newest.latest
    return latest.observed or (ObservedFrame(time=latest.issue, issue=latest.issue, run=latest.run),)


def _frame(folder: str, product: str, time: datetime) -> dict[str, Any]:
    # Issue, run and product are in the path: a forecast and the later observation have different ones.
    return {"time": int(time.timestamp()), "path": f"/v2/radar/{folder}/{product}/{time_name(time)}"}


def _bounds(zoom: int, x: str, y: str) -> Bounds:
    try:
        if "." in x or "." in y:
            lat, lon = float(x), float(y)
            if not (-90 <= lat <= 90 and -180 <= lon <= 180):
                raise ValueError
            return around(lat, lon, zoom)
        column, row = int(x), int(y)
    except ValueError:
        raise ArgumentError(
            f"tile: expected column and row, or latitude and longitude with a point, "
            f"found {x[:20]!r} and {y[:20]!r}",
        ) from None
    return map_tiles.tile_bounds(zoom, column, row)
