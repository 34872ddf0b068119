"""The two collections of OGC API-EDR: what was observed, and a forecast; their parameters are products."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stormcell.data.grid import Grid
from stormcell.published.manifest import OBSERVED, Encoding, Manifest, Product
from stormcell.serve.publication import Publication
from stormcell.serve.watch import Newest

FORECAST = "forecast"


@dataclass(frozen=True, eq=False)
class Parameter:
    """A product as a parameter.

    Attributes:
        product: The product.
        encoding: Meaning of its levels.
        times: Its times, ascending.
        levels: Its levels ``(y, x)`` at each time.
    """

    product: Product
    encoding: Encoding
    times: tuple[datetime, ...]
    levels: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, eq=False)
class Source:
    """A collection, or an instance of it.

    Attributes:
        collection: ``observed`` or ``forecast``.
        manifest: Of the publication.
        grid: The radar's grid.
        parameters: Its parameters by name.
    """

    collection: str
    manifest: Manifest
    grid: Grid
    parameters: Mapping[str, Parameter]

    @property
    def times(self) -> list[datetime]:
        """Times of all parameters, ascending; the issue time if it has no parameters."""
        found = {time for parameter in self.parameters.values() for time in parameter.times}
        return sorted(found) or [self.manifest.issue]


@lru_cache(maxsize=16)
def forecast_source(publication: Publication) -> Source:
    """Return the forecast of a publication."""
    found = {}
    for product in publication.forecasts:
        assert product.first_layer is not None
        layers = range(product.first_layer, product.first_layer + len(product.times))
        levels = tuple(publication.cells[..., layer] for layer in layers)
        meaning = publication.manifest.encodings[product.kind]
        found[product.name] = Parameter(product, meaning, product.times, levels)
    return Source(FORECAST, publication.manifest, publication.grid, found)


def observed_source(newest: Newest) -> Source:
    """Return the observed frames of the last hours."""
    publication = newest.publication
    product = publication.products[OBSERVED]
    seen = Parameter(
        product,
        publication.manifest.encodings[product.kind],
        tuple(frame.time for frame in newest.observed),
        tuple(frame.levels for frame in newest.observed),
    )
    return Source(OBSERVED, publication.manifest, publication.grid, {OBSERVED: seen})
