"""Errors as answers: ``application/problem+json`` (RFC 9457), with the one line of the error."""

import json
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from stormcell.errors import (
    ArgumentError,
    InputError,
    NotPublishedError,
    OutsideGridError,
    PrunedError,
    PublicationError,
    StormcellError,
    TooLargeError,
)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 10

# The first class that an error belongs to gives its status.
_STATUS: tuple[tuple[type[StormcellError], int], ...] = (
    (PrunedError, 410),
    (NotPublishedError, 404),
    (PublicationError, 503),
    (OutsideGridError, 404),
    (TooLargeError, 413),
    (ArgumentError, 400),
    (InputError, 400),
    (StormcellError, 500),
)
_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
    },
}


class Problem(Exception):
    """A request that cannot be answered.

    Args:
        status: Of the answer.
        detail: One line that names the thing, what was expected and what was found.
        headers: Further headers of the answer.
        **members: Further members of the JSON.
    """

    def __init__(
        self, status: int, detail: str, headers: dict[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.members = members

    def answer(self) -> Response:
        """Return the answer."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }
        headers = {"Cache-Control": "no-store", **(self.headers or {})}
        content = json.dumps(body, ensure_ascii=False).encode()
        return Response(content, self.status, headers, MEDIA_TYPE)


def nothing_yet() -> Problem:
    """Return the problem of a request before the first forecast."""
    return Problem(503, "no forecast has been published yet", {"Retry-After": str(RETRY_SECONDS)})


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI describes the problems of a route."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": _SCHEMA}}}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Make an application answer every error as a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(StormcellError, _stormcell)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.answer()


async def _stormcell(_: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None
    members = {"bbox": error.bounds} if isinstance(error, OutsideGridError) else {}
    return Problem(status, " ".join(str(error).split()), headers, **members).answer()


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1]) if first["loc"] else "request"
    found = first.get("input")
    shown = "nothing" if first["type"] == "missing" else f'"{str(found)[:40]}"'
    return Problem(400, f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}, found {shown}").answer()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = {
        404: f"{request.url.path[:80]}: expected an address of this server, see /docs, found an unknown one",
        405: f"{request.url.path[:80]}: expected another method, found {request.method[:10]}",
    }.get(error.status_code, str(error.detail))
    return Problem(error.status_code, detail, dict(error.headers or {})).answer()


async def _unexpected(_: Request, __: Exception) -> Response:
    return Problem(500, "the server failed on this request; its log has the reason").answer()
