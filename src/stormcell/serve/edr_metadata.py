"""The documents of OGC API-EDR that say what there is: landing page, conformance, collections, instances."""

from collections.abc import Sequence
from typing import Any

from edr_pydantic.capabilities import ConformanceModel, LandingPageModel
from edr_pydantic.collections import Collection, Collections, Instance, Instances
from edr_pydantic.data_queries import DataQueries, EDRQuery
from edr_pydantic.extent import Extent, Spatial, Temporal
from edr_pydantic.link import EDRQueryLink, Link
from edr_pydantic.observed_property import ObservedProperty
from edr_pydantic.parameter import Parameter, Parameters
from edr_pydantic.unit import Symbol, Unit
from edr_pydantic.variables import CubeVariables, Variables

from stormcell.maps.places import extent
from stormcell.published.manifest import time_text
from stormcell.serve.coverage_json import UCUM
from stormcell.serve.edr_query import CRS84
from stormcell.serve.edr_source import FORECAST, Source

COVERAGE_JSON = "CoverageJSON"
NETCDF = "NetCDF4"
FORMS = (COVERAGE_JSON, NETCDF)
_TIME = 'TIMECRS["DateTime",TDATUM["Gregorian Calendar"],CS[TemporalOrdinal,1],AXIS["Time",future]]'
_CONFORMANCE = (
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/core",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/collections",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/json",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/covjson",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/instances",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/position",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/area",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/cube",
)
_TITLES = {"observed": "Observed rain of the last hours", FORECAST: "Rain forecast"}
_JSON = "application/json"


def landing_page(base: str) -> LandingPageModel:
    """Return the landing page; ``base`` ends in a slash."""
    return LandingPageModel(
        title="Stormcell",
        description="Observed rain and its forecast for the next hours",
        links=[
            Link(href=f"{base}?f=json", rel="self", type=_JSON),
            Link(href=f"{base}conformance", rel="conformance", type=_JSON),
            Link(href=f"{base}collections", rel="data", type=_JSON),
            Link(
                href=f"{base}openapi.json",
                rel="service-desc",
                type="application/vnd.oai.openapi+json;version=3.1",
            ),
            Link(href=f"{base}docs", rel="service-doc", type="text/html"),
        ],
    )


def conformance() -> ConformanceModel:
    """Return which parts of the standards are followed."""
    return ConformanceModel(conformsTo=list(_CONFORMANCE))


def collections(base: str, sources: Sequence[Source]) -> Collections:
    """Return the list of collections."""
    return Collections(
        links=[Link(href=f"{base}collections", rel="self", type=_JSON)],
        collections=[collection(base, source) for source in sources],
    )


def collection(base: str, source: Source) -> Collection:
    """Return what a collection has."""
    name = source.collection
    address = f"{base}collections/{name}"
    more = {}
    if name == FORECAST:
        link = EDRQueryLink(
            href=f"{address}/instances", rel="data", variables=Variables(query_type="instances")
        )
        more["instances"] = EDRQuery(link=link)
    return Collection(
        id=name,
        title=_TITLES[name],
        description=f"{_TITLES[name]}. Rates in mm/h; values that are null were not observed.",
        links=[Link(href=address, rel="self", type=_JSON)],
        extent=_extent(source),
        data_queries=DataQueries(**_queries(address), **more),
        crs=["CRS84"],
        output_formats=list(FORMS),
        parameter_names=_parameters(source),
    )


def instances(base: str, sources: Sequence[Source]) -> Instances:
    """Return the list of instances of the forecast, one for each publication."""
    return Instances(
        links=[Link(href=f"{base}collections/{FORECAST}/instances", rel="self", type=_JSON)],
        instances=[instance(base, source) for source in sources],
    )


def instance(base: str, source: Source) -> Instance:
    """Return what the forecast of a publication has."""
    name = source.manifest.folder
    address = f"{base}collections/{FORECAST}/instances/{name}"
    return Instance(
        id=name,
        title=f"Forecast of {time_text(source.manifest.issue)} by {source.manifest.model_title}",
        links=[Link(href=address, rel="self", type=_JSON)],
        extent=_extent(source),
        data_queries=DataQueries(**_queries(address)),
        crs=["CRS84"],
        output_formats=list(FORMS),
        parameter_names=_parameters(source),
    )


def _queries(address: str) -> dict[str, EDRQuery]:
    forms: dict[str, Any] = {"output_formats": list(FORMS), "default_output_format": COVERAGE_JSON}
    variables = {
        "position": Variables(query_type="position", **forms),
        "area": Variables(query_type="area", **forms),
        "cube": CubeVariables(query_type="cube", height_units=[], **forms),
    }
    return {
        name: EDRQuery(link=EDRQueryLink(href=f"{address}/{name}", rel="data", variables=variable))
        for name, variable in variables.items()
    }


def _extent(source: Source) -> Extent:
    around, times = extent(source.grid), source.times
    bbox = [around.west, around.south, around.east, around.north]
    interval = [[times[0], times[-1]]]
    return Extent(
        spatial=Spatial(bbox=[[round(edge, 6) for edge in bbox]], crs=CRS84),
        temporal=Temporal(interval=interval, values=[time_text(time) for time in times], trs=_TIME),
    )


def _parameters(source: Source) -> Parameters:
    return Parameters(
        {
            name: _parameter(one.product.title, one.encoding.units, one.product.kind)
            for name, one in source.parameters.items()
        }
    )


def _parameter(title: str, units: str, kind: str) -> Parameter:
    label = "Rain rate" if kind == "rate" else "Probability"
    return Parameter(
        description=title,
        observedProperty=ObservedProperty(label=label),
        unit=Unit(symbol=Symbol(value=units, type=UCUM)),
    )
