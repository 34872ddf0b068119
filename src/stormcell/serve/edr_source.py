"""The two collections of OGC API-EDR: what was observed, and a forecast; their parameters are products."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from stormcell.data.grid import Grid
from stormcell.published.manifest import OBSERVED, Encoding, Manifest, Product
from stormcell.published.observed_frames import SeenFrame
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
        read: Returns its levels ``(time, y, x)`` in rows and columns, at times by their index.
    """

    product: Product
    encoding: Encoding
    times: tuple[datetime, ...]
    read: Callable[[slice, slice, list[int]], NDArray[np.uint8]]


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
        assert product.layers is not None
        layers = publication.cells[..., product.layers]
        meaning = publication.manifest.encodings[product.kind]
        found[product.name] = Parameter(product, meaning, product.times, partial(_forecast, layers))
    return Source(FORECAST, publication.manifest, publication.grid, found)


def observed_source(newest: Newest) -> Source:
    """Return the observed frames of the last hours."""
    publication = newest.publication
    product = publication.products[OBSERVED]
    seen = Parameter(
        product,
        publication.manifest.encodings[product.kind],
        tuple(frame.time for frame in newest.observed),
        partial(_observed, newest.observed),
    )
    return Source(OBSERVED, publication.manifest, publication.grid, {OBSERVED: seen})


def _forecast(layers: NDArray[np.uint8], rows: slice, columns: slice, times: list[int]) -> NDArray[np.uint8]:
    return np.moveaxis(layers[rows, columns][..., times], -1, 0)


def _observed(
    frames: Sequence[SeenFrame], rows: slice, columns: slice, times: list[int]
) -> NDArray[np.uint8]:
    return np.stack([frames[time].levels[rows, columns] for time in times])
