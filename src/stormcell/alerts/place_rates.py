"""The rain at a place by the published levels: observed frames, then the forecast and its members."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stormcell.alerts.alert_places import cells_of
from stormcell.alerts.rules import Polygon, Spot
from stormcell.errors import NotPublishedError
from stormcell.published.manifest import RATE, Product, time_name
from stormcell.published.observed_frames import observed_frames
from stormcell.published.reading import Shelf, product_of, radar_grid
from stormcell.published.writing import SCALES

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sampled:
    """Values of a time step.

    Attributes:
        time: End of the step.
        step: Its duration.
        rates: In mm/h, or probabilities, of each cell; NaN where not known.
    """

    time: datetime
    step: timedelta
    rates: Values


class PlaceRates:
    """The rain at a place by the newest publication.

    Args:
        shelf: The published folder.
        place: The place.

    Raises:
        OutsideGridError: The place is outside of the grid.
        PublicationError: Nothing is published, or it is damaged.

    Attributes:
        issue: Issue time.
        horizon: Last time of the forecast; the issue time if only the observation is published.
        weights: Of the cells, by the area of them that the place covers.
        observed: Observed frames, ascending; the last is that of the issue time.
        members: Names of the products with members.
    """

    def __init__(self, shelf: Shelf, place: Spot | Polygon) -> None:
        latest = shelf.latest()
        if latest is None:
            raise NotPublishedError(f"{shelf.root}: expected a publication, found none")
        self.issue = latest.issue
        self._shelf, self._manifest = shelf, shelf.manifest(time_name(latest.issue), latest.run)
        self._cells = cells_of(place, radar_grid(self._manifest.grid))
        self.weights = self._cells.weights.astype(np.float64)
        self.members = tuple(one.name for one in self._manifest.products if one.realization is not None)
        rates = next((one for one in self._manifest.products if one.name == RATE), None)
        self._forecast_times = () if rates is None else rates.times
        self.horizon = max(self._forecast_times, default=self.issue)
        step = timedelta(seconds=latest.step_seconds)
        self.observed = tuple(
            Sampled(seen.time, step, _decoded("rate", seen.levels[self._cells.rows, self._cells.columns]))
            for seen in observed_frames(shelf, latest)
        )

    def forecast(self) -> list[Sampled]:
        """Return the observed rates and those of the forecast, ascending."""
        return self.member(RATE) if self._forecast_times else list(self.observed)

    def member(self, name: str) -> list[Sampled]:
        """Return the observed rates and those of a product, ascending."""
        return [*self.observed, *self._ahead(product_of(self._manifest, name))]

    def probability(self, threshold: float) -> list[Sampled]:
        """Return the probability of rates at or above a threshold, ascending.

        Raises:
            NotPublishedError: It is not published.
        """
        found = [one for one in self._manifest.products if one.threshold == threshold]
        if not found:
            raise NotPublishedError(
                f"expected the probability of {threshold:g} mm/h, or members, in {self._manifest.folder}, "
                "found none"
            )
        return self._ahead(found[0])

    def _ahead(self, product: Product) -> list[Sampled]:
        if product.layers is None:
            raise NotPublishedError(f"{self._manifest.folder}: expected cells of {product.name}, found none")
        levels = self._shelf.cells(self._manifest)[self._cells.rows, self._cells.columns, product.layers]
        return [
            Sampled(time, time - earlier, _decoded(product.kind, levels[:, k]))
            for k, (earlier, time) in enumerate(pairwise((self.issue, *product.times)))
        ]


def _decoded(kind: str, levels: NDArray[np.uint8]) -> Values:
    return SCALES[kind].decode(levels).astype(np.float64)
