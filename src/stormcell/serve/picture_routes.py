"""Routes of what is published as it is: ``latest.json``, manifests, pictures and files."""

import asyncio
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from stormcell.errors import NotPublishedError, PrunedError, PublicationError
from stormcell.maps import palettes, pictures
from stormcell.published.manifest import Manifest, time_name, time_of_name
from stormcell.published.reading import Shelf
from stormcell.serve.answers import NEVER, answer, current, immutable, not_changed
from stormcell.serve.problems import described
from stormcell.serve.publication import newest_time
from stormcell.serve.site import Site

PaletteName = Annotated[str, Query(description="Colours: " + ", ".join(palettes.PALETTES))]

_PICTURE = re.compile(r"(?P<valid>\d{8}T\d{4}Z)(?:-(?P<overview>[1-9]\d?))?")
_MEDIA_TYPES = {".png": pictures.MEDIA_TYPE, ".nc": "application/x-netcdf", ".tif": "image/tiff"}
PNG: dict[int | str, dict[str, Any]] = {
    200: {"description": "A picture", "content": {pictures.MEDIA_TYPE: {}}}
}


def routes(site: Site) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["Published"])
    shelf = site.watch.shelf

    @router.get("/latest.json", responses=described(503))
    async def latest(request: Request) -> Response:
        """The newest publication. This is the one address to ask again and again."""
        newest = site.watch.newest
        return answer(request, newest.text, current(site, newest.etag))

    @router.get("/{issue}-{run}/manifest.json", responses=described(404, 410, 503))
    async def manifest(issue: str, run: str, request: Request) -> Response:
        """The contents of a publication: times, products, encodings and files."""
        found = shelf.manifest(issue, run)
        text = site.pictures.get(found.folder, "manifest")
        if text is None:
            text = found.model_dump_json().encode()
            site.pictures.put(found.folder, "manifest", text)
        return answer(request, text, immutable(f'W/"{found.folder}"', found))

    @router.get("/frames/latest/{product}.png", status_code=302, responses=described(404, 503))
    async def latest_frame(product: str) -> Response:
        """The newest picture of a product: the observed frame, or the first valid time of a forecast."""
        found = site.watch.newest.publication.manifest
        valid = time_name(newest_time(found, product))
        issue, run = found.folder.split("-")
        return RedirectResponse(f"../{issue}/{run}/{product}/{valid}.png", 302, {"Cache-Control": NEVER})

    @router.get(
        "/frames/{issue}/{run}/{product}/{name}.png",
        response_class=Response,
        responses={**PNG, **described(400, 404, 410, 503)},
    )
    async def frame(
        issue: str,
        run: str,
        product: str,
        name: str,
        request: Request,
        palette: PaletteName = palettes.DEFAULT,
    ) -> Response:
        """A picture, ``{valid}.png``, or its overview that is n times coarser, ``{valid}-{n}.png``."""
        found = shelf.manifest(issue, run)
        path = f"frames/{product}/{name}.png"
        file = found.files.get(path)
        if file is None:
            raise _no_picture(shelf, found, product, name)
        etag = f'"{file.sha256}-{palettes.palette(palette).name}"'
        if palette == palettes.DEFAULT:
            etag = f'"{file.sha256}"'
        headers = immutable(etag, found)
        if not_changed(request, etag):
            return Response(status_code=304, headers=headers)
        content = site.pictures.get(found.folder, etag)
        if content is None:
            content = await asyncio.to_thread(_read, shelf.root / found.folder / path, palette)
            site.pictures.put(found.folder, etag, content)
        return Response(content, 200, headers, pictures.MEDIA_TYPE)

    @router.get(
        "/files/{issue}/{run}/{path:path}",
        response_class=FileResponse,
        responses=described(404, 410, 503),
    )
    async def file(issue: str, run: str, path: str, request: Request) -> Response:
        """A file of a publication, such as ``forecast.nc``, also in parts (``Range``)."""
        found = shelf.manifest(issue, run)
        # Only what the manifest lists: no path from outside leads out of the folder.
        listed = found.files.get(path)
        if listed is None:
            raise NotPublishedError(f"{found.folder}: expected one of its files, found {path[:80]!r}")
        whole = shelf.root / found.folder / path
        if not whole.is_file():
            raise PrunedError(f"{found.folder}: {path} is no longer kept")
        headers = immutable(f'"{listed.sha256}"', found)
        if not_changed(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        media_type = _MEDIA_TYPES.get(whole.suffix, "application/octet-stream")
        return FileResponse(whole, 200, headers, media_type, filename=f"{found.folder}-{whole.name}")

    return router


def parse_valid(name: str) -> datetime:
    """Return a valid time from its name in an address.

    Raises:
        NotPublishedError: It is not one.

    Example:
        >>> parse_valid("20261128T0325Z").isoformat()
        '2026-11-28T03:25:00+00:00'
    """
    try:
        return time_of_name(name)
    except ValueError:
        raise NotPublishedError(f"time: expected one such as 20261128T0325Z, found {name[:40]!r}") from None


def _no_picture(shelf: Shelf, manifest: Manifest, product: str, name: str) -> PublicationError:
    """Return an error that says what is wrong with the name of a picture."""
    found = _PICTURE.fullmatch(name)
    valid, overview = (found["valid"], int(found["overview"] or 1)) if found else (name, 1)
    try:
        shelf.picture(manifest, product, parse_valid(valid), overview)
    except PublicationError as error:
        return error
    return NotPublishedError(f"{manifest.folder}: expected the name of a picture, found {name[:40]!r}")


def _read(path: Path, palette: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise PrunedError(f"{path.parent.parent.parent.name}: this picture is no longer kept") from None
    if palette == palettes.DEFAULT:
        return content
    return pictures.recolour(content, palettes.palette(palette))
