"""``/alerts.json`` and ``/alerts.geojson``: the state of every rule."""

from fastapi import APIRouter, Request, Response

from stormcell.errors import NotPublishedError
from stormcell.published.alerts import Alerts
from stormcell.serve.answers import answer, json_text
from stormcell.serve.entity_tags import weak_tag
from stormcell.serve.problems import described
from stormcell.serve.site import Site


def routes(site: Site) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["Alerts"])

    @router.get("/alerts.json", responses=described(404, 503))
    async def alerts(request: Request) -> Response:
        """State of every alert rule: idle, pending, raised, or unknown."""
        return _answer(request, _alerts(site).model_dump_json().encode(), "application/json")

    @router.get("/alerts.geojson", responses=described(404, 503))
    async def features(request: Request) -> Response:
        """The same as GeoJSON, a feature for each rule."""
        found = _alerts(site)
        features = []
        for alert in found.alerts:
            properties = alert.model_dump(mode="json", exclude={"geometry"})
            features.append(
                {
                    "type": "Feature",
                    "id": alert.rule,
                    "geometry": alert.geometry,
                    "properties": properties,
                }
            )
        content = json_text({"type": "FeatureCollection", "features": features})
        return _answer(request, content, "application/geo+json")

    return router


def _alerts(site: Site) -> Alerts:
    """Return the states as they are now.

    Raises:
        NotPublishedError: The loop has no rules.
    """
    found = site.watch.alerts
    if found is None:
        raise NotPublishedError("alerts: expected a loop with rules, found one without")
    return found


def _answer(request: Request, content: bytes, media_type: str) -> Response:
    headers = {"ETag": weak_tag(content), "Cache-Control": "public, max-age=2"}
    return answer(request, content, headers, media_type)
