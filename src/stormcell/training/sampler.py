"""What a network is shown: crops of windows, rainy ones more often, as a function of seed and update."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.splits import Window
from stormcell.motion.coordinates import inputs_to_moving, truths_to_moving
from stormcell.motion.optical_flow import estimate

Field = NDArray[np.float32]
TILE = 32  # pixels: rain is looked up, and crops are centred, on squares of this side
WET = 0.1  # mm/h
DRY_SHARE = 0.02  # a tile without rain weighs as much as one with this share of wet pixels
CACHE_BYTES = 2**30  # of frames, and half as much again of motions


class Frames:
    """An archive's frames, the recent ones kept in memory.

    Args:
        rain: Rain rates in mm/h, ``(time, y, x)``, lazily loaded.
        motion_count: Frames that a motion is estimated from; 0 for no motion at all.
    """

    def __init__(self, rain: xr.DataArray, motion_count: int) -> None:
        height, width = self.shape = (rain.sizes["y"], rain.sizes["x"])
        room = max(32, CACHE_BYTES // (4 * height * width))

        @lru_cache(maxsize=room)
        def frame(position: int) -> Field:
            return np.asarray(rain[position].values, np.float32)

        @lru_cache(maxsize=max(8, room // 4))
        def motion(issue: int) -> Field:
            if motion_count < 2:
                return np.zeros((2, height, width), np.float32)
            return estimate(np.stack([frame(k) for k in range(issue - motion_count + 1, issue + 1)]))

        self.frame: Callable[[int], Field] = frame
        self.motion: Callable[[int], Field] = motion


@dataclass(frozen=True)
class RainIndex:
    """Where it rains: the share of wet pixels in every tile of every frame scanned.

    Attributes:
        wet: ``{position: (tile rows, tile columns)}`` shares in 0 … 1, NaN where nothing is observed.
        data_hash: SHA-256 of times, coordinates and rates of the frames scanned.
    """

    wet: dict[int, Field]
    data_hash: str


def scan(
    frames: Frames, rain: xr.DataArray, positions: Sequence[int], progress: Callable[[int], None]
) -> RainIndex:
    """Look at every frame once; ``progress`` is called with the number done."""
    digest = hashlib.sha256()
    for axis in ("y", "x"):
        digest.update(np.ascontiguousarray(rain[axis].values, np.float64).tobytes())
    wet = {}
    for done, position in enumerate(positions, 1):
        values = frames.frame(position)
        digest.update(rain["time"].values[position].astype("datetime64[s]").astype(np.int64).tobytes())
        digest.update(np.ascontiguousarray(values).tobytes())
        observed = np.isfinite(values)
        with np.errstate(invalid="ignore"):  # a tile where nothing is observed is 0/0: NaN is right
            wet[position] = _tile_sums(values >= WET) / _tile_sums(observed)
        progress(done)
    return RainIndex(wet, digest.hexdigest())


def _tile_sums(mask: NDArray[np.bool_]) -> Field:
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % TILE), (0, -width % TILE)))
    tiles = padded.reshape(padded.shape[0] // TILE, TILE, padded.shape[1] // TILE, TILE)
    sums: Field = tiles.sum(axis=(1, 3), dtype=np.float32)
    return sums


@dataclass(frozen=True)
class Batch:
    """Crops in the coordinates of training.

    Attributes:
        rate: Input frames ``(B, T, h, w)`` in mm/h, NaN where not observed.
        truth: What followed ``(B, S, h, w)`` in mm/h, NaN where not observed or not there.
    """

    rate: Field
    truth: Field


class Sampler:
    """Draws batches; the n-th of a seed is always the same, whatever was drawn before.

    Args:
        frames: Where frames and motions come from.
        windows: What may be drawn.
        index: Where it rains.
        steps: Lead times; windows with fewer targets are filled with NaN.
        crop: Side of a crop in pixels; smaller frames are taken whole.
    """

    def __init__(
        self, frames: Frames, windows: Sequence[Window], index: RainIndex, *, steps: int, crop: int
    ) -> None:
        self.frames, self.windows, self.index, self.steps = frames, windows, index, steps
        self.height, self.width = (min(crop, side) for side in frames.shape)
        self.by_window = np.array([self._weights(window).sum() for window in windows])
        self.by_window /= self.by_window.sum()

    def favour(self) -> tuple[float, float]:
        """Mean share of wet pixels in a tile: as the data have it, and as it is drawn."""
        tiles, wet, weight, drawn = 0.0, 0.0, 0.0, 0.0
        for window in self.windows:
            shares, weights = self.index.wet[window.issue], self._weights(window)
            tiles += float(np.count_nonzero(weights))
            wet += float(np.nansum(shares))
            weight += float(weights.sum())
            drawn += float(np.nansum(weights * shares))
        return wet / tiles, drawn / weight

    def _weights(self, window: Window) -> NDArray[np.float64]:
        """How much each tile of a window weighs; nothing where nothing is observed."""
        shares = self.index.wet[window.issue].astype(np.float64)
        return np.nan_to_num(shares + DRY_SHARE)

    def batch(self, seed: int, update: int, *, size: int, windows: int, augment: bool) -> Batch:
        """The batch of ``size`` crops that belongs to an update, from ``windows`` issue times."""
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, update], np.uint64)))
        chosen = rng.choice(len(self.windows), size=min(windows, size), p=self.by_window)
        crops = [self._crop(self.windows[chosen[k % len(chosen)]], rng, augment) for k in range(size)]
        return Batch(*(np.stack(part) for part in zip(*crops, strict=True)))

    def _crop(self, window: Window, rng: np.random.Generator, augment: bool) -> tuple[Field, Field]:
        weights = self._weights(window)
        tile = rng.choice(weights.size, p=weights.ravel() / weights.sum())
        tile_row, tile_column = divmod(int(tile), weights.shape[1])
        rows = self._slice(tile_row, self.height, self.frames.shape[0], rng)
        cols = self._slice(tile_column, self.width, self.frames.shape[1], rng)
        motion = self.frames.motion(window.issue)
        past = np.stack([self.frames.frame(k) for k in window.inputs])
        future = np.stack([self.frames.frame(k) for k in window.targets])
        rate = inputs_to_moving(past, motion, rows, cols)
        truth = np.full((self.steps, self.height, self.width), np.nan, np.float32)
        truth[: len(window.targets)] = truths_to_moving(future, motion, rows, cols)
        if augment:
            rate, truth = _turn(rate, truth, rng)
        return rate, truth

    @staticmethod
    def _slice(tile: int, length: int, total: int, rng: np.random.Generator) -> slice:
        jitter = int(rng.integers(-length // 4, length // 4 + 1))
        first = tile * TILE + TILE // 2 - length // 2 + jitter
        first = min(max(first, 0), total - length)
        return slice(first, first + length)


def _turn(rate: Field, truth: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    """One of the eight flips and turns of a square; of the four flips where it is not square."""
    up, left, swap = rng.integers(0, 2, size=3)
    parts = []
    for part in (rate, truth):
        if up:
            part = part[:, ::-1]
        if left:
            part = part[:, :, ::-1]
        if swap and part.shape[1] == part.shape[2]:
            part = part.swapaxes(1, 2)
        parts.append(part)
    return parts[0], parts[1]
