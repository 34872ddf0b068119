"""Routes about the service: whether it is alive and ready, how the loop is, scores and metrics."""

from fastapi import APIRouter, Response

from stormcell.serve.answers import NEVER, http_date, json_text
from stormcell.serve.problems import RETRY_SECONDS, Problem, described
from stormcell.serve.site import Site

_HEADERS = {"Cache-Control": NEVER}


def routes(site: Site) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["Service"])
    watch = site.watch

    @router.get("/healthz")
    async def health() -> Response:
        """Say that the server runs."""
        return Response(json_text({"status": "ok"}), 200, _HEADERS, "application/json")

    @router.get("/readyz", responses=described(503))
    async def ready() -> Response:
        """Say whether there is a forecast that describes the present rain."""
        folder = watch.newest.latest.folder
        why = watch.why_stale
        if why is not None:
            detail = f"expected a forecast of the present rain, found {folder}: {why}"
            raise Problem(503, detail, {"Retry-After": str(RETRY_SECONDS)})
        state = {"status": "ok", "publication": folder}
        if watch.problem is not None:
            state["problem"] = watch.problem
        return Response(json_text(state), 200, _HEADERS, "application/json")

    @router.get("/status.json", responses=described(503))
    async def status() -> Response:
        """State of the loop that writes the forecasts."""
        if watch.status is None:
            raise Problem(503, "the loop has not reported yet", {"Retry-After": str(RETRY_SECONDS)})
        headers = {
            "Cache-Control": "public, max-age=2",
            "Last-Modified": http_date(watch.status.updated),
        }
        return Response(watch.status.model_dump_json(), 200, headers, "application/json")

    @router.get("/scores.json", responses=described(503))
    def scores() -> Response:
        """Scores of the forecasts of the last day and week, by forecaster and lead time."""
        found = [score.model_dump_json() for score in watch.shelf.scores()]
        headers = {"Cache-Control": "public, max-age=30"}
        return Response(f"[{','.join(found)}]", 200, headers, "application/json")

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(site.metrics.text(), 200, _HEADERS, site.metrics.MEDIA_TYPE)

    return router
