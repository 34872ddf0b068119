"""A publication in memory: its manifest, its grid, and the levels of its cells as memory maps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from stormcell.data.grid import Grid
from stormcell.maps.levels import Scale
from stormcell.maps.places import Extent, cell_at, extent, outside
from stormcell.published.manifest import OBSERVED, Encoding, Manifest, Product
from stormcell.published.reading import Shelf, product_of, radar_grid

_DIGITS = 4  # of values in answers; a step between levels is 3 %


@dataclass(frozen=True, eq=False)
class Publication:
    """A publication whose values can be asked for.

    Attributes:
        manifest: What it holds.
        grid: The radar's grid.
        cells: Levels ``(y, x, layer)``.
        often_observed: Where the radar usually observes, ``(y, x)``.
    """

    manifest: Manifest
    grid: Grid
    cells: NDArray[np.uint8]
    often_observed: NDArray[np.bool_]

    @classmethod
    def load(cls, shelf: Shelf, issue: str, run: str) -> "Publication":
        """Open a publication.

        Raises:
            NotPublishedError: There is no such publication.
            PrunedError: It or its cells are no longer kept.
            PublicationError: A file of it is damaged.
        """
        manifest = shelf.manifest(issue, run)
        # As plain arrays: those of the class memmap take longer to index.
        cells, often = np.asarray(shelf.cells(manifest)), np.asarray(shelf.often_observed(manifest))
        return cls(manifest, radar_grid(manifest.grid), cells, often)

    @cached_property
    def products(self) -> Mapping[str, Product]:
        """Products that have cells, by name."""
        return {
            product.name: product for product in self.manifest.products if product.first_layer is not None
        }

    @cached_property
    def forecasts(self) -> tuple[Product, ...]:
        """Products that have cells, without the observed frames."""
        return tuple(product for name, product in self.products.items() if name != OBSERVED)

    @cached_property
    def times(self) -> tuple[datetime, ...]:
        """Valid times of the forecast, ascending; empty if only observed frames are published."""
        return tuple(sorted({time for product in self.forecasts for time in product.times}))

    @cached_property
    def bounds(self) -> Extent:
        """Bounds of the grid in degrees."""
        return extent(self.grid)

    @cached_property
    def values(self) -> Mapping[str, tuple[float | None, ...]]:
        """The value of each level, rounded, by kind of product; None for what was not observed."""
        return {kind: rounded(encoding) for kind, encoding in self.manifest.encodings.items()}

    def cell(self, lat: float, lon: float) -> tuple[int, int]:
        """Return row and column of the cell at a place.

        Raises:
            OutsideGridError: It is outside of the grid.
        """
        found = cell_at(self.grid, lon, lat)
        if found is None:
            raise outside(self.bounds)
        return found


def newest_time(manifest: Manifest, product: str) -> datetime:
    """Return the time of a product that is nearest to now: the last observed one, or the first forecast.

    Raises:
        NotPublishedError: The publication does not have the product.
    """
    times = product_of(manifest, product).times
    return times[-1] if product == OBSERVED else times[0]


@lru_cache(maxsize=16)
def scale(encoding: Encoding) -> Scale:
    """Return the scale that an encoding of a manifest describes."""
    return Scale("value", encoding.scale, encoding.minimum, encoding.maximum, encoding.units, limited=False)


@lru_cache(maxsize=16)
def rounded(encoding: Encoding) -> tuple[float | None, ...]:
    """Return the value of each level, rounded; None for what was not observed."""
    values = scale(encoding).values.tolist()
    return tuple(None if np.isnan(value) else float(f"{value:.{_DIGITS}g}") for value in values)
