"""Crops of archives' windows for training: rainy ones more often, as a function of seed and update.

A crop is drawn in four steps, each from statistics alone: an archive by its share, a window by the weight of
the frame at its issue time, a tile of that frame by its weight, and lead times of the window. Frames are read
last, and only where the crop needs them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stormcell.data.rain_index import DRY_SHARE, TILE
from stormcell.data.splits import Window, WindowTable
from stormcell.training.augmentation import NO_CHANGE, Augmentation, draw
from stormcell.training.crop_reader import CropReader, Field
from stormcell.training.sampling_index import SamplingIndex

_SQUARE = 0.05  # pixels whose sides differ by a larger share are not square


@dataclass(frozen=True)
class Crops:
    """Crops in the coordinates of training.

    Attributes:
        inputs: Input frames ``(B, T, h, w)`` in mm/h, NaN where not observed.
        targets: Frames to be forecast ``(B, L, h, w)`` in mm/h, NaN where not observed.
        leads: Lead times of the targets in time steps, ≥ 1, ``(B, L)``.
        step_minutes: Time step ``(B,)``.
        pixel_km: Width of a pixel ``(B,)``.
        importance_weights: ``(B,)``: the probability of a crop in a uniform choice among all windows and all
            their tiles that were observed, divided by the probability with which it was drawn. A mean with
            these weights is one over uniformly drawn crops. They are about 1 on average.
    """

    inputs: Field
    targets: Field
    leads: NDArray[np.int64]
    step_minutes: Field
    pixel_km: Field
    importance_weights: Field


@dataclass(frozen=True, eq=False)
class Pool:
    """The windows of one archive that crops are drawn from.

    Attributes:
        reader: Reader of crops.
        index: Rain by frame and tile.
        windows: The windows.
        step_minutes: Time between the frames of a window.
        pixel_sides: Height and width of a pixel in km.
    """

    reader: CropReader
    index: SamplingIndex
    windows: WindowTable
    step_minutes: float = 5.0
    pixel_sides: tuple[float, float] = (1.0, 1.0)

    @property
    def transposable(self) -> bool:
        """Whether pixels are square, so that a transposed crop could have been observed."""
        height, width = self.pixel_sides
        return abs(height - width) <= _SQUARE * max(height, width)

    def wet_pixels(self) -> float:
        """Return the number of wet pixels at the issue times."""
        return float(self.index.wet[self.windows.issues].sum())

    def observed_pixels(self) -> float:
        """Return the number of observed pixels at the issue times."""
        return float(self.index.observed[self.windows.issues].sum())


@dataclass(frozen=True)
class Place:
    """The random choices of one crop.

    Attributes:
        pool: Number of the archive's pool.
        window: The window.
        rows: Rows of the crop.
        cols: Columns of the crop.
        leads: Lead times of the targets in time steps.
        change: Random change of the crop.
        importance_weight: See :class:`Crops`.
    """

    pool: int
    window: Window
    rows: slice
    cols: slice
    leads: tuple[int, ...]
    change: Augmentation
    importance_weight: float


class Sampler:
    """Draws crops: those of an update are a function of the seed and the update.

    Args:
        pools: Windows to draw from, of one or more archives.
        shares: Share of each pool in the crops; only their ratios matter.
        leads: Lead times of a crop, drawn from those of its window.
        crop: Side of a crop in pixels. If all grids are smaller, crops are as large as the largest of them,
            and pixels outside a smaller grid are NaN.
    """

    def __init__(self, pools: Sequence[Pool], shares: Sequence[float], *, leads: int, crop: int) -> None:
        self.pools, self.leads = tuple(pools), leads
        self.height, self.width = (
            min(crop, max(pool.reader.shape[axis] for pool in pools)) for axis in (0, 1)
        )
        self._shares = np.asarray(shares, np.float64) / np.sum(shares)
        self._by_window = [pool.index.weight[pool.windows.issues] for pool in pools]
        self._totals = [float(weights.sum()) for weights in self._by_window]
        self._up_to_window = [_cumulative(weights) for weights in self._by_window]
        # A tile that is observed in part counts by that part.
        self._tiles = sum(pool.observed_pixels() for pool in pools) / TILE**2

    def places(self, seed: int, update: int, *, size: int, windows: int, augment: bool) -> list[Place]:
        """Draw the places of an update's crops; see :meth:`crops`."""
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, update], np.uint64)))
        chosen = []
        for _ in range(min(windows, size)):
            pool = _draw(_cumulative(self._shares), rng)
            chosen.append((pool, _draw(self._up_to_window[pool], rng)))
        return [self._place(*chosen[k % len(chosen)], rng, augment) for k in range(size)]

    def crops(
        self, seed: int, update: int, *, size: int, windows: int, augment: bool, part: slice | None = None
    ) -> Crops:
        """Return the crops of an update.

        Args:
            seed: Seed of the run.
            update: Number of updates before.
            size: Number of crops in all processes.
            windows: Number of issue times that they are taken from.
            augment: Whether to change crops at random; see :mod:`~stormcell.training.augmentation`.
            part: Crops to return; None for all. All are drawn, so that a process's part is a slice of the
                crops that a single process would use.
        """
        places = self.places(seed, update, size=size, windows=windows, augment=augment)
        places = places[part] if part else places
        crops = [self._crop(place) for place in places]
        return Crops(
            np.stack([inputs for inputs, _ in crops]),
            np.stack([targets for _, targets in crops]),
            np.array([place.leads for place in places], np.int64),
            np.array([self.pools[place.pool].step_minutes for place in places], np.float32),
            np.array([self._pixel_km(place) for place in places], np.float32),
            np.array([place.importance_weight for place in places], np.float32),
        )

    def wet_shares(self, windows: int = 32) -> tuple[float, float]:
        """Return the share of wet pixels in the data, and an estimate of it for drawn tiles.

        Args:
            windows: Number of drawn windows from which the second is estimated.
        """
        rng = np.random.Generator(np.random.Philox(key=0))
        drawn = []
        for _ in range(windows):
            pool = _draw(_cumulative(self._shares), rng)
            issue = int(self.pools[pool].windows.issues[_draw(self._up_to_window[pool], rng)])
            weights = self.pools[pool].index.tile_weights(issue)
            shares = np.where(weights > 0, weights - DRY_SHARE, 0)
            drawn.append(float((weights * shares).sum() / weights.sum()))
        wet = sum(pool.wet_pixels() for pool in self.pools)
        return wet / sum(pool.observed_pixels() for pool in self.pools), float(np.mean(drawn))

    def _place(self, number: int, window: int, rng: np.random.Generator, augment: bool) -> Place:
        pool = self.pools[number]
        issue = int(pool.windows.issues[window])
        weights = pool.index.tile_weights(issue)
        tile = _draw(_cumulative(weights.ravel()), rng)
        rows, cols = (
            self._slice(at, length, total, rng)
            for at, length, total in zip(
                divmod(tile, weights.shape[1]), (self.height, self.width), pool.reader.shape, strict=True
            )
        )
        probability = (
            self._shares[number]
            * (self._by_window[number][window] / self._totals[number])
            * (weights.ravel()[tile] / weights.sum())
        )
        chosen = pool.windows[window]
        targets = len(chosen.targets)
        leads = np.sort(rng.choice(targets, self.leads, replace=targets < self.leads)) + 1
        square = pool.transposable and self.height == self.width
        change = draw(rng, inputs=len(chosen.inputs), square=square) if augment else NO_CHANGE
        return Place(
            number, chosen, rows, cols, tuple(leads.tolist()), change, 1 / (self._tiles * probability)
        )

    def _pixel_km(self, place: Place) -> float:
        return float(np.mean(self.pools[place.pool].pixel_sides)) * place.change.coarser

    @staticmethod
    def _slice(tile: int, length: int, total: int, rng: np.random.Generator) -> slice:
        jitter = int(rng.integers(-length // 4, length // 4 + 1))
        first = tile * TILE + TILE // 2 - length // 2 + jitter
        first = min(max(first, 0), max(total - length, 0))
        return slice(first, min(first + length, total))

    def _crop(self, place: Place) -> tuple[Field, Field]:
        inputs, targets = self.pools[place.pool].reader.crop(
            place.window, place.rows, place.cols, place.leads, place.change.jittered
        )
        return place.change.apply(self._filled(inputs), self._filled(targets))

    def _filled(self, frames: Field) -> Field:
        """Return frames with NaN for pixels beyond a grid smaller than the crop."""
        filled = np.full((len(frames), self.height, self.width), np.nan, np.float32)
        filled[:, : frames.shape[1], : frames.shape[2]] = frames
        return filled


def _cumulative(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cumulative shares of weights; at least one is above zero."""
    sums = np.cumsum(weights)
    shares: NDArray[np.float64] = sums / sums[-1]
    return shares


def _draw(cumulative: NDArray[np.float64], rng: np.random.Generator) -> int:
    """Return a number with the probability of its share; one without weight is never drawn."""
    return int(np.searchsorted(cumulative, rng.random(), side="right"))
