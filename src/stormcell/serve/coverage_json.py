"""CoverageJSON: answers of EDR as series at a place, at the cells of a polygon, or as blocks of the grid."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import numpy as np
import pyproj
from covjson_pydantic.coverage import Coverage, CoverageCollection, NdArrayTypes
from covjson_pydantic.domain import Axes, Domain, DomainType, ValuesAxis
from covjson_pydantic.ndarray import NdArrayFloat, TiledNdArray
from covjson_pydantic.observed_property import ObservedProperty
from covjson_pydantic.parameter import Parameter, Parameters
from covjson_pydantic.reference_system import ReferenceSystem, ReferenceSystemConnectionObject
from covjson_pydantic.unit import Symbol, Unit
from pydantic import AnyUrl, AwareDatetime

from stormcell.data.grid import Grid
from stormcell.maps.levels import Levels
from stormcell.maps.places import centre_of
from stormcell.published.manifest import Encoding, Product
from stormcell.serve import edr_source
from stormcell.serve.edr_query import CRS84
from stormcell.serve.edr_selection import Block, Group
from stormcell.serve.edr_source import Source
from stormcell.serve.publication import rounded

MEDIA_TYPE = "application/prs.coverage+json"
UCUM = "http://www.opengis.net/def/uom/UCUM/"

# These models, and those that are cached below, are the same in all answers: making them takes long.
_TIME = ReferenceSystemConnectionObject(
    coordinates=["t"], system=ReferenceSystem(type="TemporalRS", calendar="Gregorian")
)
_DEGREES = ReferenceSystemConnectionObject(
    coordinates=["x", "y"], system=ReferenceSystem(type="GeographicCRS", id=CRS84)
)


def point_series(source: Source, block: Block, groups: Sequence[Group]) -> bytes:
    """Return the series at one cell; the coordinates are those of its centre."""
    lon, lat = centre_of(source.grid, block.rows.start, block.columns.start)
    place = {"x": ValuesAxis[float](values=[round(lon, 6)]), "y": ValuesAxis[float](values=[round(lat, 6)])}
    return _written(groups, DomainType.point_series, place, _DEGREES, ["t"])


def cell_series(source: Source, block: Block, groups: Sequence[Group]) -> bytes:
    """Return the series at the cells of a polygon; the coordinates are those of their centres."""
    assert block.inside is not None
    rows, columns = np.nonzero(block.inside)
    places = [
        tuple(round(degrees, 6) for degrees in centre_of(source.grid, int(row), int(column)))
        for row, column in zip(rows + block.rows.start, columns + block.columns.start, strict=True)
    ]
    axis = ValuesAxis[tuple[float, float]](dataType="tuple", coordinates=["x", "y"], values=places)
    inside = [
        Group(group.times, group.parameters, tuple(levels[:, rows, columns] for levels in group.levels))
        for group in groups
    ]
    kind = DomainType.multi_point_series
    return _written(inside, kind, {"composite": axis}, _DEGREES, ["t", "composite"])


def grid_series(source: Source, block: Block, groups: Sequence[Group]) -> bytes:
    """Return a block of the radar's grid, in its own coordinates."""
    grid = source.grid
    place = {
        "x": ValuesAxis[float](values=grid.x[block.columns].tolist()),
        "y": ValuesAxis[float](values=grid.y[block.rows].tolist()),
    }
    system = _DEGREES if grid.degrees else _projected(grid)
    return _written(groups, DomainType.grid, place, system, ["t", "y", "x"])


def _written(
    groups: Sequence[Group],
    kind: DomainType,
    place: dict[str, ValuesAxis[float]] | dict[str, ValuesAxis[tuple[float, float]]],
    system: ReferenceSystemConnectionObject,
    axes: list[str],
) -> bytes:
    coverages = []
    for group in groups:
        axes_of = Axes(t=_instants(group.times), **place)
        domain = Domain(domainType=kind, axes=axes_of, referencing=[system, _TIME])
        parameters = {one.product.name: _parameter(one.product, one.encoding) for one in group.parameters}
        ranges: dict[str, NdArrayTypes | TiledNdArray | AnyUrl] = {
            one.product.name: _range(one, levels, axes)
            for one, levels in zip(group.parameters, group.levels, strict=True)
        }
        coverages.append(Coverage(domain=domain, parameters=Parameters(root=parameters), ranges=ranges))
    if len(coverages) == 1:
        return coverages[0].model_dump_json(exclude_none=True).encode()
    return (
        CoverageCollection(domainType=kind, coverages=coverages).model_dump_json(exclude_none=True).encode()
    )


def _range(parameter: edr_source.Parameter, levels: Levels, axes: list[str]) -> NdArrayFloat:
    values_of = rounded(parameter.encoding)
    values = [values_of[level] for level in levels.ravel().tolist()]
    shape = [levels.shape[0]] if axes == ["t"] else list(levels.shape)
    return NdArrayFloat(axisNames=axes, shape=shape, values=values)


@lru_cache(maxsize=16)
def _instants(times: tuple[datetime, ...]) -> ValuesAxis[AwareDatetime]:
    return ValuesAxis[AwareDatetime](values=list(times))


@lru_cache(maxsize=256)
def _parameter(product: Product, encoding: Encoding) -> Parameter:
    label = "Rain rate" if product.kind == "rate" else "Probability"
    return Parameter(
        id=product.name,
        label={"en": product.title},
        observedProperty=ObservedProperty(label={"en": label}),
        unit=Unit(symbol=Symbol(value=encoding.units, type=UCUM)),
    )


@lru_cache(maxsize=16)
def _projected(grid: Grid) -> ReferenceSystemConnectionObject:
    # Most radars' projections have no code. WKT is not in the standard, but says all.
    code = pyproj.CRS.from_wkt(grid.crs_wkt).to_epsg()
    address = None if code is None else f"http://www.opengis.net/def/crs/EPSG/0/{code}"
    system = ReferenceSystem.model_validate({"type": "ProjectedCRS", "id": address, "wkt": grid.crs_wkt})
    return ReferenceSystemConnectionObject(coordinates=["x", "y"], system=system)
