"""``/events``: server-sent events, one for each new issue and each change of the state or the alerts."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from stormcell.published.alerts import Alerts
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
        """Events ``issue``, ``status`` and ``alerts`` have the text of ``latest.json`` and so on."""
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
    sent_issue = None
    sent: dict[str, bytes] = {}  # digest of each state by the name of its event
    yield f"retry: {_RETRY}\n\n".encode()
    try:
        while True:
            changed.clear()
            if watch.is_ready and watch.newest.etag != sent_issue:
                newest, sent_issue = watch.newest, watch.newest.etag
                yield b"event: issue\nid: %b\ndata: %b\n\n" % (newest.latest.folder.encode(), newest.text)
            for name, found in (("status", watch.status), ("alerts", watch.alerts)):
                if found is not None and (state := _state(found)) != sent.get(name):
                    sent[name] = state
                    yield f"event: {name}\ndata: {found.model_dump_json()}\n\n".encode()
            try:
                await asyncio.wait_for(changed.wait(), alive)
            except TimeoutError:
                yield b":\n\n"
    finally:
        watch.unsubscribe(changed)


def _state(found: Status | Alerts) -> bytes:
    """Return a digest of the state, without the time at which it was written: that changes at every turn."""
    text = found.model_dump_json(exclude={"updated"})
    return hashlib.sha256(text.encode()).digest()
