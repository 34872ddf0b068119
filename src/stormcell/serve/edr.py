"""OGC API-EDR: the part of the standard that forecasts need, as CoverageJSON and NetCDF."""

import asyncio
import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from stormcell.errors import NotPublishedError, PrunedError
from stormcell.published.manifest import OBSERVED, time_name
from stormcell.serve import coverage_json, edr_metadata, edr_query, edr_selection, netcdf
from stormcell.serve.answers import answer, current, immutable, not_changed
from stormcell.serve.edr_query import Period
from stormcell.serve.edr_source import FORECAST, Source, forecast_source, observed_source
from stormcell.serve.entity_tags import weak_tag
from stormcell.serve.problems import described
from stormcell.serve.site import Site

_MOST_INSTANCES = 48  # in the list; older ones have the same addresses
_JSON = "application/json"
_QUERY: dict[int | str, dict[str, Any]] = {
    200: {"description": "Values", "content": {coverage_json.MEDIA_TYPE: {}, netcdf.MEDIA_TYPE: {}}},
    **described(400, 404, 410, 413, 503),
}


class _Asked(BaseModel):
    """The parameters that all queries have."""

    datetime: str | None = Field(None, description="An instant, a/b, a/.. or ../b; UTC without a zone")
    parameter_name: str | None = Field(
        None, alias="parameter-name", description="Names with commas between them; default: all"
    )
    crs: str | None = Field(None, description="CRS84")
    f: Literal["CoverageJSON", "NetCDF4"] = Field("CoverageJSON", description="Form of the answer")


class _AtPlace(_Asked):
    coords: str = Field(description="WKT in degrees", examples=["POINT(24.94 60.17)"])


class _InBox(_Asked):
    bbox: str = Field(description="west,south,east,north in degrees", examples=["24.8,60.1,25.2,60.3"])


AtPlace = Annotated[_AtPlace, Query()]
InBox = Annotated[_InBox, Query()]


def routes(site: Site) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["EDR"])

    @router.get("/conformance")
    async def conformance() -> Response:
        """The parts of the standards that are followed."""
        return Response(edr_metadata.conformance().model_dump_json(), media_type=_JSON)

    @router.get("/collections", responses=described(503))
    async def collections(request: Request) -> Response:
        """The collections: observed rain and its forecast."""
        sources = [_source(site, OBSERVED), _source(site, FORECAST)]
        return _described(site, request, edr_metadata.collections(str(request.base_url), sources))

    @router.get("/collections/{collection}", responses=described(404, 503))
    async def collection(collection: str, request: Request) -> Response:
        """A collection: extent, parameters and queries."""
        found = edr_metadata.collection(str(request.base_url), _source(site, collection))
        return _described(site, request, found)

    @router.get("/collections/forecast/instances", responses=described(503))
    def instances(request: Request) -> Response:
        """The newest publications of the forecast."""
        found = edr_metadata.instances(str(request.base_url), _instances(site))
        return _described(site, request, found)

    @router.get("/collections/forecast/instances/{instance}", responses=described(404, 410, 503))
    async def instance(instance: str, request: Request) -> Response:
        """A publication of the forecast."""
        source = _instance(site, instance)
        text = edr_metadata.instance(str(request.base_url), source).model_dump_json(exclude_none=True)
        return answer(request, text.encode(), immutable(f'W/"{instance}"', source.manifest))

    @router.get("/collections/{collection}/position", responses=_QUERY)
    async def position(collection: str, asked: AtPlace, request: Request) -> Response:
        """Series at a place: those of the cell that has it."""
        return await _values(site, request, _source(site, collection), asked, "position")

    @router.get("/collections/{collection}/area", responses=_QUERY)
    async def area(collection: str, asked: AtPlace, request: Request) -> Response:
        """Series at all cells that a polygon covers, also in part."""
        return await _values(site, request, _source(site, collection), asked, "area")

    @router.get("/collections/{collection}/cube", responses=_QUERY)
    async def cube(collection: str, asked: InBox, request: Request) -> Response:
        """A block of the radar's grid that has all of a bounding box."""
        return await _values(site, request, _source(site, collection), asked, "cube")

    @router.get("/collections/forecast/instances/{instance}/position", responses=_QUERY)
    async def position_of_instance(instance: str, asked: AtPlace, request: Request) -> Response:
        """Series at a place, of one publication."""
        return await _values(site, request, _instance(site, instance), asked, "position", instance)

    @router.get("/collections/forecast/instances/{instance}/area", responses=_QUERY)
    async def area_of_instance(instance: str, asked: AtPlace, request: Request) -> Response:
        """Series at all cells that a polygon covers, of one publication."""
        return await _values(site, request, _instance(site, instance), asked, "area", instance)

    @router.get("/collections/forecast/instances/{instance}/cube", responses=_QUERY)
    async def cube_of_instance(instance: str, asked: InBox, request: Request) -> Response:
        """A block of the radar's grid, of one publication."""
        return await _values(site, request, _instance(site, instance), asked, "cube", instance)

    return router


def _source(site: Site, collection: str) -> Source:
    newest = site.watch.newest
    if collection == OBSERVED:
        return observed_source(newest)
    if collection == FORECAST:
        return forecast_source(newest.publication)
    raise NotPublishedError(f"collection: expected {OBSERVED} or {FORECAST}, found {collection[:40]!r}")


def _instance(site: Site, name: str) -> Source:
    return forecast_source(site.instance(name))


def _instances(site: Site) -> list[Source]:
    latest = site.watch.newest.latest
    found = []
    for issue, run in [(latest.issue, latest.run), *latest.earlier][:_MOST_INSTANCES]:
        try:
            found.append(forecast_source(site.publication(time_name(issue), run)))
        except PrunedError:
            continue
    return found


def _described(site: Site, request: Request, document: BaseModel) -> Response:
    text = document.model_dump_json(exclude_none=True).encode()
    return answer(request, text, current(site, weak_tag(text)))


async def _values(
    site: Site, request: Request, source: Source, asked: _Asked, query: str, instance: str | None = None
) -> Response:
    """Return the values that a query asks for."""
    address = hashlib.sha256(f"{request.url.path}?{request.url.query}".encode()).hexdigest()[:16]
    if instance is None:
        headers = current(site, f'W/"{site.watch.newest.etag[3:-1]}-{address}"')
    else:
        headers = immutable(f'W/"{instance}-{address}"', source.manifest)
    if not_changed(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if query == "position" and asked.f == edr_metadata.COVERAGE_JSON:
        content = _written(source, asked, query)  # too little for another thread
    else:
        content = await asyncio.to_thread(_written, source, asked, query)
    media_type = coverage_json.MEDIA_TYPE if asked.f == edr_metadata.COVERAGE_JSON else netcdf.MEDIA_TYPE
    return Response(content, 200, headers, media_type)


def _written(source: Source, asked: _Asked, query: str) -> bytes:
    edr_query.expect_crs(asked.crs)
    names = edr_query.parameters(asked.parameter_name, list(source.parameters))
    period = Period.parse(asked.datetime)
    if isinstance(asked, _InBox):
        block, write = edr_selection.cube(source, asked.bbox), coverage_json.grid_series
    else:
        assert isinstance(asked, _AtPlace)
        find = edr_selection.position if query == "position" else edr_selection.area
        write = coverage_json.point_series if query == "position" else coverage_json.cell_series
        block = find(source, asked.coords)
    groups = edr_selection.select(source, block, period, names)
    if asked.f == edr_metadata.NETCDF:
        return netcdf.netcdf(source, block, groups)
    return write(source, block, groups)
