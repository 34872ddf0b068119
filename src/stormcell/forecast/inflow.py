"""Rain from where nothing was observed: from outside the grid, or from a gap in it.

Nothing is known of such rain but what is around. So its probabilities are means of those around, over an area
that widens with the distance from what was observed. Close to it, the forecast continues the rain there; far
from it, the forecast approaches the mean of all that was observed. The means are those of a Gaussian pyramid
(Burt & Adelson 1983, doi:10.1109/TCOM.1983.1095851) in which each cell counts as far as it was observed.
"""

import collections
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d

from stormcell.forecast.contract import Field
from stormcell.forecast.rain_distribution import Probabilities
from stormcell.motion.coordinates import Carrier, in_cells

Inflow = Literal["mean", "nan"]

# A place in a gap is itself the centre of its mean, and one outside the grid has it at the edge, which is
# nearer to what was observed. So the former needs a larger area at the same distance.
_IN_GAP = 2.0

_AT_ONCE = 2**14  # places that are filled in at once, so that temporary arrays fit into the cache


@dataclass(frozen=True)
class UnknownPlaces:
    """Observed pixels whose rain comes from where nothing was observed, ``n`` of them.

    Attributes:
        pixels: Their numbers, row by row ``(n,)``.
        distance: How far from what was observed it comes, in pixels ``(n,)``, > 0: twice the distance in a
            gap, and that beyond the edge of the grid.
    """

    pixels: NDArray[np.intp]
    distance: Field


class UnknownRain:
    """Fills in rain from where nothing was observed.

    Args:
        observed: Pixels that were observed in the newest frame ``(y, x)``.
        inflow: ``"mean"`` of the probabilities around, or ``"nan"``.
        cell: Side in pixels of the cells whose probabilities are known.

    Example:
        >>> from stormcell.motion.coordinates import carriers
        >>> observed = np.ones((8, 16), bool)
        >>> east = np.stack([np.full((8, 16), 4.0), np.zeros((8, 16))]).astype(np.float32)  # pixels a step
        >>> carry, unknown = next(carriers(east, 1)), UnknownRain(observed, "mean", cell=8)
        >>> places, moved = unknown.places(carry), np.zeros((1, 8, 16), np.float32)
        >>> around = np.array([[[0.5, 0.0]]], np.float32)  # in two cells
        >>> unknown.fill(moved, around, carry, places)
        >>> moved[0, 0, :6].tolist()  # from 4, 3, 2 and 1 pixels beyond the edge
        [0.25, 0.1875, 0.125, 0.0625, 0.0, 0.0]
    """

    def __init__(self, observed: NDArray[np.bool_], inflow: Inflow, cell: int) -> None:
        self._observed, self._inflow, self._cell = observed, inflow, cell
        self._away: Field | None = None
        if observed.any() and not observed.all():
            gaps = (~observed).view(np.uint8)
            self._away = np.asarray(cv2.distanceTransform(gaps, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)
        parts = avg_pool2d(torch.from_numpy(observed)[None].float(), cell, ceil_mode=True)
        self._parts: Field = parts[0].numpy()  # of the cells, that were observed

    def places(self, carry: Carrier) -> UnknownPlaces:
        """Return the observed pixels whose rain comes from where nothing was observed."""
        if self._away is None:
            distance = np.zeros(carry.shape, np.float32)
        else:
            distance = carry.nearest(self._away)
            distance *= _IN_GAP
        distance[carry.outside] += carry.beyond
        pixels = np.flatnonzero((distance > 0) & self._observed)
        return UnknownPlaces(pixels, distance.ravel()[pixels])

    def fill(
        self,
        moved: Probabilities,
        around: Field,
        carry: Carrier,
        places: UnknownPlaces,
        run: Callable[..., Iterable[None]] = map,
    ) -> None:
        """Replace probabilities at places.

        Args:
            moved: Probabilities of each threshold at their valid time ``(threshold, y, x)``.
            around: Those before they were moved, in cells ``(threshold, y, x)``, finite.
            carry: What moved them.
            places: Places of :meth:`places`.
            run: Applies a function to the members of a sequence.
        """
        flat = moved.reshape(len(moved), -1)
        if self._inflow == "nan":
            flat[:, places.pixels] = np.nan
            return
        if not len(places.pixels):
            return
        means = _Means(around, self._parts)
        first = range(0, len(places.pixels), _AT_ONCE)
        collections.deque(run(partial(self._fill_some, flat, means, carry, places), first), maxlen=0)

    def _fill_some(
        self, flat: Probabilities, means: "_Means", carry: Carrier, places: UnknownPlaces, first: int
    ) -> None:
        some = slice(first, first + _AT_ONCE)
        pixels, cells = places.pixels[some], places.distance[some] / np.float32(self._cell)
        x, y = (in_cells(place.ravel()[pixels], self._cell) for place in carry.places)
        found = means.at(x, y, cells)
        # Within a cell, from what the network says of the place to the mean of the cell.
        share = np.minimum(cells, 1)[:, None]
        own = flat[:, pixels].T
        flat[:, pixels] = (own + share * (found - own)).T


class _Means:
    """Means of fields over areas of any size, in which each cell counts as far as it was observed.

    Args:
        fields: In cells ``(field, y, x)``.
        weights: Of the cells ``(y, x)``, 0 to 1, not all of them 0.
    """

    def __init__(self, fields: Field, weights: Field) -> None:
        weighted = np.concatenate([fields * weights, weights[None]])
        levels = [np.ascontiguousarray(weighted.transpose(1, 2, 0))]
        while max(levels[-1].shape[:2]) > 1:
            levels.append(np.asarray(cv2.pyrDown(levels[-1]), np.float32))
        self._rows, self._cols = (np.array([level.shape[axis] for level in levels]) for axis in (0, 1))
        self._starts = np.cumsum([0, *(self._rows * self._cols)[:-1]])
        self._table = np.concatenate([level.reshape(-1, level.shape[2]) for level in levels])

    def at(self, x: Field, y: Field, size: Field) -> Field:
        """Return the means at some places.

        Args:
            x: Their columns, in cells ``(n,)``.
            y: Their rows.
            size: Size of the area, in cells: 1 or less for one cell.

        Returns:
            ``(n, field)``.
        """
        last = len(self._rows) - 1
        level = np.minimum(np.log2(np.maximum(size, 1)), last).astype(np.float32)
        lower = np.minimum(level.astype(np.intp), max(last - 1, 0))
        upper, above = np.minimum(lower + 1, last), level - lower.astype(np.float32)
        total = np.zeros((len(x), self._table.shape[1]), np.float32)
        for number, part in ((lower, 1 - above), (upper, above)):
            tops, bottoms, down = _between(y, number, self._rows)
            lefts, rights, right = _between(x, number, self._cols)
            for rows, share in ((tops, part * (1 - down)), (bottoms, part * down)):
                start = self._starts[number] + rows * self._cols[number]
                total += (share * (1 - right))[:, None] * self._table.take(start + lefts, axis=0)
                total += (share * right)[:, None] * self._table.take(start + rights, axis=0)
        found, weights = total[:, :-1], total[:, -1:]
        found /= np.maximum(weights, np.float32(1e-30))
        return found


def _between(
    place: Field, level: NDArray[np.intp], lengths: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], Field]:
    """Return the cells of a level before and after places, and how far they are from the former, 0 to 1."""
    last = lengths[level] - 1
    scaled = np.clip(place / (1 << level), 0, last).astype(np.float32)
    before = scaled.astype(np.intp)
    return before, np.minimum(before + 1, last), scaled - before.astype(np.float32)
