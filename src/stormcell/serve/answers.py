"""Answers with what caches need: validators, how long they may be kept, and 304 if nothing has changed."""

from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json

from stormcell.published.manifest import Degraded, Manifest
from stormcell.serve.site import Site

FOREVER = "public, max-age=31536000, immutable"
STALE_IF_ERROR = 300  # seconds
NEVER = "no-store"
_LONGEST = 200  # characters of a text in a header, whose size proxies limit
GEOJSON = "application/geo+json"
GEOJSON_ANSWER: dict[int | str, dict[str, Any]] = {200: {"description": "GeoJSON", "content": {GEOJSON: {}}}}


def json_text(content: Any) -> bytes:
    """Return JSON without spaces."""
    return to_json(content, inf_nan_mode="null")  # in half the time of the module json


@lru_cache(maxsize=64)
def http_date(time: datetime) -> str:
    """Return a time as it stands in headers."""
    return format_datetime(time, usegmt=True)


def not_changed(request: Request, etag: str) -> bool:
    """Whether the client has the content with this entity tag already."""
    known = request.headers.get("if-none-match")
    if known is None:
        return False
    # The comparison is weak: compression does not change a content.
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


def immutable(etag: str, manifest: Manifest) -> dict[str, str]:
    """Return the headers of a content of a publication that never changes at its address."""
    return {"ETag": etag, "Cache-Control": FOREVER, **_origin(manifest)}


def current(site: Site, etag: str) -> dict[str, str]:
    """Return the headers of a content that the next publication changes."""
    newest = site.watch.newest
    seconds = site.watch.max_age()
    headers = {
        "ETag": etag,
        "Cache-Control": f"public, max-age={seconds}, stale-if-error={STALE_IF_ERROR}",
        "Last-Modified": http_date(newest.latest.published),
        **_origin(newest.publication.manifest),
    }
    if site.watch.is_stale:
        headers["Stormcell-Stale"] = "true"
    return headers


def _origin(manifest: Manifest) -> dict[str, str]:
    """Return the headers that say which publication a content is from."""
    headers = {"Stormcell-Issue": manifest.folder}
    if manifest.degraded is not None:
        headers["Stormcell-Degraded"] = _degraded(manifest.degraded)
    return headers


def _degraded(degraded: Degraded) -> str:
    """Return why a forecast is degraded, as an item with parameters (RFC 9651).

    Example:
        >>> _degraded(Degraded(used="persistence", instead_of="nowcaster-1", reason="A frame is missing"))
        'persistence; instead-of="nowcaster-1"; reason="A frame is missing"'
    """
    instead_of, reason = _quoted(degraded.instead_of), _quoted(degraded.reason)
    return f"{degraded.used}; instead-of={instead_of}; reason={reason}"


def _quoted(text: str) -> str:
    # A string of a header is printable ASCII. Other characters become \xfc, \u20ac and so on.
    printable = text[:_LONGEST].encode("unicode_escape").decode("ascii")
    escaped = printable.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def answer(
    request: Request, content: bytes, headers: dict[str, str], media_type: str = "application/json"
) -> Response:
    """Return a content, or 304 without it if the client has it."""
    if not_changed(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, media_type)
