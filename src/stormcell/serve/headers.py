"""Headers that every answer has, requests for headers alone, and what browsers ask before they ask."""

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stormcell.serve.answers import http_date
from stormcell.serve.watch import Clock

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

    ``HEAD`` is answered as ``GET`` without the body. ``Date`` is the time by which forecasts are stale or
    not, so that the map judges them by the same clock.

    Args:
        app: What answers.
        clock: Returns the time.
    """

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app, self._clock = app, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and _has(scope["headers"], b"access-control-request-method"):
            headers = [*_PREFLIGHT, self._date()]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body"})
            return
        head = scope["method"] == "HEAD"

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_EVERY, self._date()]
            elif head:
                message["body"] = b""
            await send(message)

        await self._app({**scope, "method": "GET"} if head else scope, receive, send_more)

    def _date(self) -> tuple[bytes, bytes]:
        return b"date", http_date(self._clock().replace(microsecond=0)).encode()


def _has(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bool:
    return any(key == name for key, _ in headers)
