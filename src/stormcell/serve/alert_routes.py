"""``/alerts.json`` and ``/alerts.geojson``: the state of every rule.

If no new frame has come for too long, every state is unknown: a loop that has ended gives no all-clear.
"""

import hashlib

from fastapi import APIRouter, Request, Response

from stormcell.errors import NotPublishedError
from stormcell.published.alerts import Alerts
from stormcell.serve.answers import answer, json_text
from stormcell.serve.problems import described
from stormcell.serve.site import Site

_STALE = "no new frame has come for too long"


def routes(site: Site) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["Alerts"])

    @router.get("/alerts.json", responses=described(404, 503))
    def alerts(request: Request) -> Response:
        """State of every alert rule: idle, pending, raised, or unknown."""
        return _answer(request, _alerts(site).model_dump_json().encode(), "application/json")

    @router.get("/alerts.geojson", responses=described(404, 503))
    def features(request: Request) -> Response:
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
        PublicationError: The file is damaged.
    """
    found = site.watch.shelf.alerts()
    if found is None:
        raise NotPublishedError("alerts: expected a loop with rules, found one without")
    if not site.watch.is_stale:
        return found
    unknown = tuple(alert.as_unknown(_STALE) for alert in found.alerts)
    return found.model_copy(update={"alerts": unknown})


def _answer(request: Request, content: bytes, media_type: str) -> Response:
    etag = f'W/"{hashlib.sha256(content).hexdigest()[:16]}"'
    return answer(request, content, {"ETag": etag, "Cache-Control": "public, max-age=2"}, media_type)
