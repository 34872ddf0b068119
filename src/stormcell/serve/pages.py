"""The map, its files, and the page that describes the addresses: all from here, which a browser enforces."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from stormcell.serve.answers import json_text
from stormcell.serve.basemap import Basemap
from stormcell.serve.edr_metadata import landing_page
from stormcell.serve.site import Site

VIEWER = Path(__file__).parent / "viewer"
_DOCS = Path(__file__).parent / "addresses.html"
_STYLE = Path(__file__).parent / "addresses.css"


def security_policy(basemap: Basemap | None) -> str:
    """Return the Content-Security-Policy of the pages: nothing but from here, and a site's own basemap.

    Example:
        >>> security_policy(Basemap("https://tiles.example.org/{z}/{x}/{y}.png")).split("; ")[1]
        "img-src 'self' data: blob: https://tiles.example.org"
    """
    images = "'self' data: blob:"
    if basemap is not None:
        images += f" {basemap.origin}"
    return f"default-src 'self'; img-src {images}; object-src 'none'; base-uri 'none'; form-action 'none'"


def routes(site: Site) -> APIRouter:
    """Return the routes of the pages."""
    router = APIRouter(include_in_schema=False)
    headers = {
        "Content-Security-Policy": security_policy(site.basemap),
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }

    @router.get("/")
    async def viewer(request: Request, f: str | None = None) -> Response:
        # Browsers take HTML. Programs that follow OGC's standards find their landing page here.
        accepted = request.headers.get("accept", "")
        if f == "json" or ("json" in accepted and "html" not in accepted):
            text = landing_page(str(request.base_url)).model_dump_json(exclude_none=True)
            return Response(text, 200, {"Vary": "Accept"}, "application/json")
        return FileResponse(VIEWER / "index.html", headers={**headers, "Vary": "Accept"})

    @router.get("/docs")
    async def docs() -> Response:
        return FileResponse(_DOCS, headers=headers)

    @router.get("/docs.css")
    async def docs_style() -> Response:
        return FileResponse(_STYLE, headers=headers)

    @router.get("/site.json")
    async def options() -> Response:
        shown = site.basemap
        found = {"basemap": shown and shown.address, "credit": shown and shown.credit}
        return Response(json_text(found), 200, headers, "application/json")

    return router


class ViewerFiles(StaticFiles):
    """Files of the map. Browsers ask whether they have changed, so that an upgrade is complete at once."""

    def __init__(self, policy: str) -> None:
        super().__init__(directory=VIEWER, check_dir=False)
        self._policy = policy

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a file with the policy."""
        answer = super().file_response(*args, **kwargs)
        answer.headers["Content-Security-Policy"] = self._policy
        answer.headers["Cache-Control"] = "no-cache"
        return answer
