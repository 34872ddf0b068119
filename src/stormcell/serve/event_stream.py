"""``/events``: server-sent events, one for each new issue and for each change of the loop's state."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from stormcell.published.manifest import Status
from stormcell.serve.site import Site
from stormcell.serve.watch import Watch

_ALIVE = 15.0  # seconds without news after which a comment is sent, so that proxies keep the connection
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events", "content": {"text/event-stream": {}}}
}
_RETRY = 3000  # milliseconds after which browsers connect again


def routes(site: Site) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["Published"])

    @router.get("/events", response_class=StreamingResponse, responses=_EVENTS)
    async def events() -> StreamingResponse:
        """Event ``issue`` has the text of ``latest.json``, event ``status`` that of ``status.json``."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream(site.watch), 200, headers, "text/event-stream")

    return router


async def stream(watch: Watch, alive: float = _ALIVE) -> AsyncIterator[bytes]:
    """Yield the present state, then each change of it.

    Args:
        watch: The published folder.
        alive: Seconds without news after which a comment is sent.
    """
    changed = watch.subscribe()
    sent_issue = sent_status = None
    yield f"retry: {_RETRY}\n\n".encode()
    try:
        while True:
            changed.clear()
            if watch.is_ready and watch.newest.etag != sent_issue:
                newest, sent_issue = watch.newest, watch.newest.etag
                yield b"event: issue\nid: %b\ndata: %b\n\n" % (newest.latest.folder.encode(), newest.text)
            if watch.status is not None and (state := _state(watch.status)) != sent_status:
                sent_status = state
                yield b"event: status\ndata: %b\n\n" % watch.status.model_dump_json().encode()
            try:
                await asyncio.wait_for(changed.wait(), alive)
            except TimeoutError:
                yield b":\n\n"
    finally:
        watch.unsubscribe(changed)


def _state(status: Status) -> bytes:
    """Return a digest of the state, without the time at which it was written: that changes at every turn."""
    text = status.model_dump_json(exclude={"updated"})
    return hashlib.sha256(text.encode()).digest()
