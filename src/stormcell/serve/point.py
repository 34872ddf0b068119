"""``/point``: the rain at a place, in the shape of MET Norway's nowcast."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from stormcell.maps.places import centre_of
from stormcell.published.manifest import time_text
from stormcell.serve.answers import (
    GEOJSON,
    GEOJSON_ANSWER,
    answer,
    current,
    http_date,
    json_text,
    not_changed,
)
from stormcell.serve.place_levels import around
from stormcell.serve.problems import described
from stormcell.serve.rain_events import RainEvent, rain_events
from stormcell.serve.series import Series, coverage, series
from stormcell.serve.site import Site
from stormcell.serve.watch import Newest

WET = 0.1  # mm/h
_GAP = 10  # minutes
_PLACES = 4  # decimals of degrees that count: 11 m
_UNITS = {
    "precipitation_rate": "mm/h",
    "precipitation_amount": "mm",
    "extrapolation": "mm/h",
    "quantiles": "mm/h",
    "members": "mm/h",
    "probabilities": "1",
}

Lat = Annotated[float, Query(ge=-90, le=90, description="Degrees north", examples=[60.17])]
Lon = Annotated[float, Query(ge=-180, le=360, description="Degrees east", examples=[24.94])]


def routes(site: Site) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["Places"])

    @router.get("/point", responses={**GEOJSON_ANSWER, **described(400, 404, 413, 503)})
    async def point(
        request: Request,
        lat: Lat,
        lon: Lon,
        threshold: Annotated[
            float, Query(gt=0, le=150, description="Rate in mm/h from which it counts as rain")
        ] = WET,
        gap: Annotated[
            float, Query(ge=0, le=120, description="Dry minutes that do not end an event, if fewer")
        ] = _GAP,
        search_radius: Annotated[
            float, Query(ge=0, le=50, description="In km; above 0, values are the highest within it")
        ] = 0,
    ) -> Response:
        """Observed rain, the forecast, and when rain starts and stops at a place."""
        newest, stale = site.watch.newest, site.watch.is_stale
        lat, lon = round(lat, _PLACES), round(lon, _PLACES)
        row, column = newest.publication.cell(lat, lon)
        asked = f"{row}-{column}-{threshold:g}-{gap:g}-{search_radius:g}"
        headers = current(site, f'W/"{newest.etag[3:-1]}-{asked}{"-stale" if stale else ""}"')
        expires = site.watch.clock() + timedelta(seconds=site.watch.max_age())
        headers["Expires"] = http_date(expires.replace(microsecond=0))
        if not_changed(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        cells = around(newest.publication.grid, row, column, search_radius, lat) if search_radius else None
        if cells is None:
            found = series(newest, row, column)
        else:
            found = await asyncio.to_thread(series, newest, row, column, cells)
        properties = {
            "meta": _meta(newest, row, column, found, stale=stale),
            "stale": stale,
            **_now(found, threshold, stale=stale),
            **_events(newest, found, threshold, timedelta(minutes=gap), stale=stale),
            "observations": _observations(found),
            "timeseries": _timeseries(found),
        }
        feature = {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [lon, lat]},
            "properties": properties,
        }
        return answer(request, json_text(feature), headers, GEOJSON)

    return router


def _meta(newest: Newest, row: int, column: int, found: Series, *, stale: bool) -> dict[str, Any]:
    manifest, last = newest.publication.manifest, found.last_observed
    lon, lat = centre_of(newest.publication.grid, row, column)
    return {
        "updated_at": time_text(newest.latest.published),
        "units": _UNITS,
        "radar_coverage": coverage(newest, row, column, stale=stale),
        "last_observed": None if last is None else time_text(last),
        "issue": time_text(manifest.issue),
        "run": manifest.run,
        "model": manifest.model,
        "preliminary": manifest.preliminary,
        "degraded": None if manifest.degraded is None else manifest.degraded.model_dump(),
        "expected": time_text(newest.latest.expected),
        "cell": {"row": row, "column": column, "lat": round(lat, 5), "lon": round(lon, 5)},
    }


def _now(found: Series, threshold: float, *, stale: bool) -> dict[str, Any]:
    last = found.observed[-1]
    known = last.rate is not None and not stale
    return {
        "observed": {"time": time_text(last.time), "rate": last.rate},
        "raining_now": (last.rate or 0.0) >= threshold if known else None,
    }


def _events(
    newest: Newest, found: Series, threshold: float, gap: timedelta, *, stale: bool
) -> dict[str, Any]:
    """Return the events that are not over, and whether an empty list means dry."""
    samples = [*found.observed, *found.forecast]
    known = (
        not stale
        and bool(found.forecast)
        and all(sample.rate is not None for sample in (found.observed[-1], *found.forecast))
    )
    if stale:
        return {"events": [], "events_known": False}
    issue = newest.latest.issue
    events = [
        _event(event, found, threshold)
        for event in rain_events(samples, threshold, gap)
        if event.end > issue or (event.end == issue and not event.end_known)
    ]
    return {"events": events, "events_known": known}


def _event(event: RainEvent, found: Series, threshold: float) -> dict[str, Any]:
    return {
        "start": time_text(event.start),
        "end": time_text(event.end),
        "start_known": event.start_known,
        "end_known": event.end_known,
        "peak_rate": event.peak_rate,
        "peak_time": time_text(event.peak_time),
        "amount": event.amount,
        "probability": _probability(event, found, threshold),
    }


def _probability(event: RainEvent, found: Series, threshold: float) -> float | None:
    """Return the highest probability of rain during an event; None if nothing published tells it."""
    during = [
        details
        for sample, details in zip(found.forecast, found.details, strict=True)
        if event.start <= sample.time <= event.end
    ]
    shares = [details.get("probabilities", {}).get(str(threshold)) for details in during]
    if not any(share is not None for share in shares):
        members = [[rate for rate in details.get("members", ()) if rate is not None] for details in during]
        shares = [sum(rate >= threshold for rate in rates) / len(rates) for rates in members if rates]
    return max((round(share, 3) for share in shares if share is not None), default=None)


def _observations(found: Series) -> list[dict[str, Any]]:
    return [{"time": time_text(sample.time), "precipitation_rate": sample.rate} for sample in found.observed]


def _timeseries(found: Series) -> list[dict[str, Any]]:
    """Return the observed rate at the issue time, then the forecast."""
    now = found.observed[-1]
    first: dict[str, Any] = {"instant": {"details": {"precipitation_rate": now.rate}}}
    hour = [sample for sample in found.forecast if sample.time <= now.time + timedelta(hours=1)]
    known = sum((sample.step for sample in hour if sample.rate is not None), timedelta(0))
    if known == timedelta(hours=1):
        amount = round(sum(sample.amount for sample in hour), 2)
        first["next_1_hours"] = {"details": {"precipitation_amount": amount}}
    return [
        {"time": time_text(now.time), "data": first},
        *(
            {"time": time_text(sample.time), "data": {"instant": {"details": details}}}
            for sample, details in zip(found.forecast, found.details, strict=True)
        ),
    ]
