"""``/area``: the rain on polygons, posted or of the site, as GeoJSON or CSV."""

import asyncio
import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from stormcell.errors import ArgumentError, NotPublishedError, TooLargeError
from stormcell.maps.areas import Area, areas_of, covered
from stormcell.published.manifest import time_text
from stormcell.serve.answers import GEOJSON, GEOJSON_ANSWER, NEVER, answer, current, json_text
from stormcell.serve.area_series import WINDOWS, Amount, AreaStep, Statistics, amounts, area_series
from stormcell.serve.problems import described
from stormcell.serve.site import Site
from stormcell.serve.watch import Newest

Form = Annotated[Literal["json", "csv"], Query(description="GeoJSON or CSV")]
AmountAbove = Annotated[
    float | None,
    Query(
        gt=0, le=1000, description="Amount in mm; its exceedance probability is given if there are members"
    ),
]

_CSV = "text/csv; charset=utf-8"
_SQUARE = {
    "type": "Polygon",
    "coordinates": [[[24.8, 60.1], [25.2, 60.1], [25.2, 60.3], [24.8, 60.3], [24.8, 60.1]]],
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}, "example": _SQUARE}},
    }
}
_LARGEST_BODY = 2**21  # bytes
_BOTH: dict[int | str, dict[str, Any]] = {
    200: {"description": "The rain on each area", "content": {GEOJSON: {}, "text/csv": {}}}
}


@dataclass(frozen=True)
class AreaRain:
    """The rain on an area.

    Attributes:
        area: The area.
        cells: Number of cells that it covers, also in part.
        grid_share: Share of the area inside of the grid.
        series: Values by time.
        amounts: Amounts by window and end.
    """

    area: Area
    cells: int
    grid_share: float
    series: Sequence[AreaStep]
    amounts: Sequence[Amount]


def routes(site: Site) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["Areas"])

    @router.post("/area", openapi_extra=_BODY, responses={**_BOTH, **described(400, 404, 413, 503)})
    async def area(request: Request, f: Form = "json", amount_above: AmountAbove = None) -> Response:
        """The rain on posted polygons: mean, maximum, probabilities, and amounts over windows."""
        newest, stale = site.watch.newest, site.watch.is_stale
        areas = areas_of(await _posted(request))
        found = await asyncio.to_thread(_rain, newest, areas)
        content, media_type = _written(newest, found, f, amount_above, stale=stale)
        headers = {**current(site, newest.etag), "Cache-Control": NEVER}
        del headers["ETag"]
        return Response(content, 200, headers, media_type)

    @router.get("/areas.json", responses=GEOJSON_ANSWER)
    async def areas() -> Response:
        """The areas of this site, as GeoJSON."""
        features = [_feature(area, {}) for area in site.areas.values()]
        content = json_text({"type": "FeatureCollection", "features": features})
        return Response(content, 200, {"Cache-Control": "public, max-age=60"}, GEOJSON)

    @router.get("/areas/{name}", responses={**_BOTH, **described(400, 404, 413, 503)})
    async def area_of_site(
        name: str, request: Request, f: Form = "json", amount_above: AmountAbove = None
    ) -> Response:
        """The rain on an area of this site."""
        asked = site.areas.get(name)
        if asked is None:
            offered = ", ".join(site.areas) or "nothing: this site has no areas"
            raise NotPublishedError(f"area: expected {offered}, found {name[:40]!r}")
        newest, stale = site.watch.newest, site.watch.is_stale
        found = await asyncio.to_thread(_rain, newest, [asked])
        content, media_type = _written(newest, found, f, amount_above, stale=stale)
        etag = f'W/"{newest.etag[3:-1]}-{f}-{amount_above}{"-stale" if stale else ""}"'
        return answer(request, content, current(site, etag), media_type)

    return router


async def _posted(request: Request) -> Any:
    """Return the posted JSON, reading no more of it than allowed."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > _LARGEST_BODY:
            raise TooLargeError(f"area: expected at most {_LARGEST_BODY} bytes, found more")
    try:
        return json.loads(content)
    except ValueError as error:
        raise ArgumentError(f"area: expected GeoJSON, found something else: {error}") from None
    except RecursionError:
        raise ArgumentError("area: expected GeoJSON, found brackets in too many brackets") from None


def _rain(newest: Newest, areas: Sequence[Area]) -> list[AreaRain]:
    found = []
    for area in areas:
        cells = covered(newest.publication.grid, area.geometry)
        series = area_series(newest, cells)
        found.append(
            AreaRain(area, len(cells.weights), cells.grid_share, series, amounts(series, newest.latest.issue))
        )
    return found


def _written(
    newest: Newest, found: Sequence[AreaRain], form: str, above: float | None, *, stale: bool
) -> tuple[bytes, str]:
    if form == "csv":
        return _csv(found), _CSV
    manifest = newest.publication.manifest
    meta = {
        "issue": time_text(manifest.issue),
        "run": manifest.run,
        "model": manifest.model,
        "expected": time_text(newest.latest.expected),
        "stale": stale,
        "preliminary": manifest.preliminary,
        "degraded": None if manifest.degraded is None else manifest.degraded.model_dump(),
        "units": {"mean": "mm/h", "maximum": "mm/h", "probabilities": "1", "amount": "mm"},
    }
    features = [_feature(rain.area, {"meta": meta, **_properties(rain, above)}) for rain in found]
    return json_text({"type": "FeatureCollection", "features": features}), GEOJSON


def _feature(area: Area, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": area.name,
        "geometry": json.loads(area.geometry),
        "properties": {**area.properties, **properties},
    }


def _properties(rain: AreaRain, above: float | None) -> dict[str, Any]:
    return {
        "cells": rain.cells,
        "grid_share": rain.grid_share,
        "timeseries": [
            {
                "time": time_text(one.sample.time),
                "observed": one.observed,
                **_members(one.rate),
                "quantiles": {level: _members(value) for level, value in one.quantiles.items()},
                "probabilities": {rate: _members(value) for rate, value in one.probabilities.items()},
            }
            for one in rain.series
        ],
        "amounts": [
            {
                "minutes": minutes,
                "timeseries": [_amount(one, above) for one in rain.amounts if one.minutes == minutes],
            }
            for minutes in WINDOWS
        ],
    }


def _members(value: Statistics) -> dict[str, Any]:
    return {"mean": value.mean, "maximum": value.maximum, "observed_share": value.observed_share}


def _amount(one: Amount, above: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "end": time_text(one.end),
        "amount": one.amount,
        "observed_minutes": one.observed_minutes,
    }
    if one.members:
        found["members"] = list(one.members)
    if above is not None:
        known = [amount for amount in one.members if amount is not None]
        found["probability"] = round(sum(a >= above for a in known) / len(known), 3) if known else None
    return found


def _csv(found: Sequence[AreaRain]) -> bytes:
    thresholds = list(dict.fromkeys(t for rain in found for one in rain.series for t in one.probabilities))
    file = io.StringIO()
    table = csv.writer(file)
    table.writerow(
        [
            *("area", "time", "kind", "mean_mm_per_h", "maximum_mm_per_h", "observed_share"),
            *(f"amount_{minutes}min_mm" for minutes in WINDOWS),
            *(f"probability_above_{threshold}_mean" for threshold in thresholds),
            *(f"probability_above_{threshold}_maximum" for threshold in thresholds),
        ]
    )
    for rain in found:
        table.writerows(_rows(rain, thresholds))
    return file.getvalue().encode()


def _rows(rain: AreaRain, thresholds: Sequence[str]) -> Iterator[list[Any]]:
    ending = {(one.minutes, one.end): one.amount for one in rain.amounts}
    nothing = Statistics(None, None, 0.0)
    for one in rain.series:
        shares = [one.probabilities.get(threshold, nothing) for threshold in thresholds]
        yield [
            rain.area.name,
            time_text(one.sample.time),
            "observed" if one.observed else "forecast",
            one.rate.mean,
            one.rate.maximum,
            one.rate.observed_share,
            *(ending.get((minutes, one.sample.time)) for minutes in WINDOWS),
            *(share.mean for share in shares),
            *(share.maximum for share in shares),
        ]
