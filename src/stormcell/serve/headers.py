"""Headers that every answer has, requests for headers alone, and what browsers ask before they ask."""

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EVERY = (
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"ETag, Last-Modified, Stormcell-Issue, Stormcell-Degraded, Stormcell-Stale",
    ),
    (b"x-content-type-options", b"nosniff"),
)
_PREFLIGHT = (
    *_EVERY,
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-allow-headers", b"Content-Type, If-None-Match, If-Modified-Since, Range"),
    (b"access-control-max-age", b"86400"),
)


class Headers:
    """Answer for every origin: there is nothing secret here, and caches share answers between origins.

    ``HEAD`` is answered as ``GET`` without the body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and _has(scope["headers"], b"access-control-request-method"):
            await send({"type": "http.response.start", "status": 204, "headers": list(_PREFLIGHT)})
            await send({"type": "http.response.body"})
            return
        head = scope["method"] == "HEAD"

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_EVERY]
            elif head:
                message["body"] = b""
            await send(message)

        await self._app({**scope, "method": "GET"} if head else scope, receive, send_more)


def _has(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bool:
    return any(key == name for key, _ in headers)
