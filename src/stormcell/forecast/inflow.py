"""Rain from where nothing was observed: from outside the grid, or from a gap in it.

Nothing is known of such rain but what is near. So its probabilities are means of those around, over an area
that widens with the distance from what is known. Close to it, the forecast continues the rain of the nearest
known pixel; far from it, the forecast approaches the mean of all that is known. The means are those of a
Gaussian pyramid (Burt & Adelson 1983, doi:10.1109/TCOM.1983.1095851) in which each cell counts as far as it
is known.
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
# nearer to what is known. So the former needs a larger area at the same distance.
_IN_GAP = 2.0

_AT_ONCE = 2**14  # places that are filled in at once, so that temporary arrays fit into the cache


@dataclass(frozen=True)
class UnknownPlaces:
    """Observed pixels whose rain comes from where nothing was observed, ``n`` of them.

    Attributes:
        pixels: Their numbers, row by row ``(n,)``.
        columns: Columns that it comes from ``(n,)``; from outside the grid, the nearest at its edge.
        rows: Rows that it comes from, likewise.
        distance: How far from what is known it comes, in pixels ``(n,)``, > 0: twice the distance in a gap,
            and that beyond the edge of the grid.
    """

    pixels: NDArray[np.intp]
    columns: Field
    rows: Field
    distance: Field


class UnknownRain:
    """Fills in rain from where nothing was observed.

    Args:
        known: Pixels whose rain is known at the issue time ``(y, x)``.
        observed: Pixels that are forecast: those that were observed in the newest frame ``(y, x)``.
        inflow: ``"mean"`` of the probabilities around, or ``"nan"``.
        cell: Side in pixels of the cells whose probabilities are known.

    Example:
        >>> from stormcell.motion.coordinates import carriers
        >>> everywhere = np.ones((8, 16), bool)
        >>> east = np.stack([np.full((8, 16), 4.0), np.zeros((8, 16))]).astype(np.float32)  # pixels a step
        >>> carry, unknown = next(carriers(east, 1)), UnknownRain(everywhere, everywhere, "mean", cell=8)
        >>> places, moved = unknown.redirect(carry), np.zeros((1, 8, 16), np.float32)
        >>> around = np.array([[[0.5, 0.0]]], np.float32)  # in two cells
        >>> unknown.fill(moved, around, places)
        >>> moved[0, 0, :6].tolist()  # from 4, 3, 2 and 1 pixels beyond the edge
        [0.25, 0.1875, 0.125, 0.0625, 0.0, 0.0]
    """

    def __init__(
        self, known: NDArray[np.bool_], observed: NDArray[np.bool_], inflow: Inflow, cell: int
    ) -> None:
        self._known, self._observed, self._inflow, self._cell = known, observed, inflow, cell
        self._nearest = None if known.all() or not known.any() else _nearest_known(known)
        parts = avg_pool2d(torch.from_numpy(known)[None].float(), cell, ceil_mode=True)
        self._parts: Field = parts[0].numpy()  # of the cells, that are known

    def redirect(self, carry: Carrier) -> UnknownPlaces:
        """Return where unknown rain comes from, and let it come from the nearest known pixel instead."""
        unknown, beyond = carry.outside.copy(), np.zeros(carry.shape, np.float32)
        beyond[carry.outside] = carry.beyond
        if self._nearest is not None:
            unknown |= carry.nearest(self._known.view(np.uint8)) == 0
        pixels = np.flatnonzero(unknown & self._observed)
        columns, rows = (place.ravel()[pixels] for place in carry.places)
        distance, width = beyond.ravel()[pixels], carry.shape[1]
        if self._nearest is not None:
            here = np.rint(rows).astype(np.intp) * width + np.rint(columns).astype(np.intp)
            gap = ~self._known.ravel()[here]
            y, x = (one.astype(np.float32) for one in divmod(self._nearest[here[gap]], width))
            distance[gap] += np.float32(_IN_GAP) * np.hypot(x - columns[gap], y - rows[gap])
            carry.redirect(pixels[gap], x, y)
        return UnknownPlaces(pixels, columns, rows, distance)

    def fill(
        self,
        moved: Probabilities,
        around: Field,
        places: UnknownPlaces,
        run: Callable[..., Iterable[None]] = map,
    ) -> None:
        """Replace probabilities at places.

        Args:
            moved: Probabilities of each threshold at their valid time ``(threshold, y, x)``.
            around: Those before they were moved, in cells ``(threshold, y, x)``, finite.
            places: Places of :meth:`redirect`.
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
        collections.deque(run(partial(self._fill_some, flat, means, places), first), maxlen=0)

    def _fill_some(self, flat: Probabilities, means: "_Means", places: UnknownPlaces, first: int) -> None:
        some = slice(first, first + _AT_ONCE)
        pixels, cells = places.pixels[some], places.distance[some] / np.float32(self._cell)
        x, y = (in_cells(place[some], self._cell) for place in (places.columns, places.rows))
        found = means.at(x, y, cells)
        # Within a cell, from the nearest known pixel to the mean of the cell.
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


def _nearest_known(known: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the number of the nearest known pixel of each pixel ``(y · x,)``, if there is one."""
    _, labels = cv2.distanceTransformWithLabels(
        (~known).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    pixels = np.flatnonzero(known).astype(np.int32)
    numbers = np.zeros(len(pixels) + 1, np.int32)
    numbers[labels.ravel()[pixels]] = pixels
    nearest: NDArray[np.int32] = numbers[labels.ravel()]
    return nearest


def _between(
    place: Field, level: NDArray[np.intp], lengths: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], Field]:
    """Return the cells of a level before and after places, and how far they are from the former, 0 to 1."""
    last = lengths[level] - 1
    scaled = np.clip(place / (1 << level), 0, last).astype(np.float32)
    before = scaled.astype(np.intp)
    return before, np.minimum(before + 1, last), scaled - before.astype(np.float32)
