"""Tiles for every web map: XYZ addresses, and TileJSON documents that describe them."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath

from stormcell.maps import map_tiles, palettes, pictures
from stormcell.maps.places import Extent, outside
from stormcell.published.manifest import Manifest, time_name
from stormcell.published.reading import product_of
from stormcell.serve.answers import answer, current, immutable, json_text, not_changed
from stormcell.serve.picture_routes import PNG, PaletteName, parse_valid
from stormcell.serve.problems import described
from stormcell.serve.publication import newest_time
from stormcell.serve.site import Site
from stormcell.serve.tile_maker import TileAsked

Zoom = Annotated[int, InPath(ge=0, le=map_tiles.HIGHEST_ZOOM)]
Place = Annotated[int, InPath(ge=0, lt=2**map_tiles.HIGHEST_ZOOM)]


def routes(site: Site) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["Tiles"])
    problems = described(400, 404, 410, 503)

    @router.get(
        "/tiles/{issue}/{run}/{product}/{valid}/{z}/{x}/{y}.png",
        response_class=Response,
        responses={**PNG, **problems},
    )
    async def tile(
        issue: str,
        run: str,
        product: str,
        valid: str,
        z: Zoom,
        x: Place,
        y: Place,
        request: Request,
        palette: PaletteName = palettes.DEFAULT,
        size: Annotated[int, Query(description="Side in pixels: 256 or 512")] = 256,
    ) -> Response:
        """A tile of a picture, transparent where it is dry; 404 if all of it is beyond the picture."""
        found = site.watch.shelf.manifest(issue, run)
        bounds = map_tiles.tile_bounds(z, x, y)
        if not map_tiles.meet(found.raster.bounds, bounds):
            raise outside(Extent(*found.grid.bounds))
        asked = TileAsked(found, product, parse_valid(valid), bounds, z, size, palette)
        return await tile_answer(site, request, asked)

    @router.get("/tilejson/{issue}/{run}/{product}/{valid}.json", responses=problems)
    async def tilejson(issue: str, run: str, product: str, valid: str, request: Request) -> Response:
        """The TileJSON document of a picture."""
        found = site.watch.shelf.manifest(issue, run)
        text = json_text(_tilejson(found, product, parse_valid(valid), str(request.base_url)))
        return answer(request, text, immutable(f'W/"{found.folder}-{product}-{valid}"', found))

    @router.get("/tilejson/latest/{product}.json", responses=described(404, 503))
    async def latest(product: str, request: Request) -> Response:
        """The TileJSON document of the newest picture of a product."""
        newest = site.watch.newest
        valid = newest_time(newest.publication.manifest, product)
        text = json_text(_tilejson(newest.publication.manifest, product, valid, str(request.base_url)))
        return answer(request, text, current(site, f'W/"{newest.etag[3:-1]}-{product}"'))

    return router


async def tile_answer(site: Site, request: Request, asked: TileAsked) -> Response:
    """Return a tile, cut in another thread if it is not kept."""
    headers = immutable(site.tiles.etag(asked), asked.manifest)
    if not_changed(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    content = await asyncio.to_thread(site.tiles.tile, asked)
    return Response(content, 200, headers, pictures.MEDIA_TYPE)


def _tilejson(manifest: Manifest, product: str, valid: datetime, base: str) -> dict[str, Any]:
    found = product_of(manifest, product)
    issue, run = manifest.folder.split("-")
    west, south, east, north = manifest.grid.bounds
    address = f"{base}tiles/{issue}/{run}/{product}/{time_name(valid)}"
    return {
        "tilejson": "3.0.0",
        "name": found.title,
        "description": f"{found.title} at {time_name(valid)}, forecast of {issue}",
        "tiles": [f"{address}/{{z}}/{{x}}/{{y}}.png"],
        "bounds": [west, south, east, north],
        "minzoom": 0,
        "maxzoom": map_tiles.HIGHEST_ZOOM,
        "attribution": manifest.attributes.get("source", ""),
    }
