"""Crops of an archive's windows for training: rainy ones more often, as a function of seed and update."""

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
TILE = 32  # pixels: side of the squares for which rain is counted and on which crops are centred
WET = 0.1  # mm/h
DRY_SHARE = 0.02  # a tile without rain has the weight of a tile with this share of wet pixels
CACHE_BYTES = 3 * 2**29  # of frames and motion fields together


class FrameCache:
    """An archive's frames and motion fields; recently used ones stay in memory.

    The cache has at most :data:`CACHE_BYTES`, two thirds of them for frames, but always room for the frames
    of one window and for one motion field.

    Args:
        rain: Rain rates in mm/h, ``(time, y, x)``, lazily loaded.
        motion_frames: Frames that a motion field is estimated from; 0 for no motion.
        window: Frames of one window.
    """

    def __init__(self, rain: xr.DataArray, motion_frames: int, window: int) -> None:
        height, width = self.shape = (rain.sizes["y"], rain.sizes["x"])
        third = CACHE_BYTES // (3 * 4 * height * width)  # of the cache, in frames; a motion field has two

        @lru_cache(maxsize=max(window, 2 * third))
        def frame(position: int) -> Field:
            return np.asarray(rain[position].values, np.float32)

        @lru_cache(maxsize=max(1, third // 2))
        def motion(issue: int) -> Field:
            if motion_frames < 2:
                return np.zeros((2, height, width), np.float32)
            return estimate(np.stack([frame(k) for k in range(issue - motion_frames + 1, issue + 1)]))

        self.frame: Callable[[int], Field] = frame
        self.motion: Callable[[int], Field] = motion


@dataclass(frozen=True)
class RainIndex:
    """The share of wet pixels in every tile of every scanned frame.

    Attributes:
        wet: ``{position: (tile rows, tile columns)}`` shares in 0 … 1, NaN where nothing is observed.
        data_hash: SHA-256 of times, coordinates and rates of the scanned frames.
    """

    wet: dict[int, Field]
    data_hash: str


def scan(
    frames: FrameCache, rain: xr.DataArray, positions: Sequence[int], progress: Callable[[int], None]
) -> RainIndex:
    """Read every frame once; ``progress`` is called with the number of frames read."""
    digest = hashlib.sha256()
    for axis in ("y", "x"):
        digest.update(np.ascontiguousarray(rain[axis].values, np.float64).tobytes())
    wet = {}
    for done, position in enumerate(positions, 1):
        values = frames.frame(position)
        digest.update(rain["time"].values[position].astype("datetime64[s]").astype(np.int64).tobytes())
        digest.update(np.ascontiguousarray(values).tobytes())
        observed = np.isfinite(values)
        with np.errstate(invalid="ignore"):  # a tile without observed pixels is 0/0, and NaN is right
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
class Crops:
    """Crops in the coordinates of training.

    Attributes:
        inputs: Input frames ``(B, T, h, w)`` in mm/h, NaN where not observed.
        targets: Frames to be forecast ``(B, S, h, w)`` in mm/h, NaN where not observed or missing.
    """

    inputs: Field
    targets: Field


@dataclass(frozen=True)
class _Place:
    """The random choices of one crop; ``flips`` are up, left and transposed."""

    window: Window
    rows: slice
    cols: slice
    flips: tuple[bool, bool, bool]


class Sampler:
    """Draws crops: those of an update are a function of the seed and the update.

    Args:
        frames: Frames and motion fields.
        windows: Windows to draw from.
        index: Rain by tile.
        steps: Lead times; windows with fewer targets are filled with NaN.
        crop: Side of a crop in pixels; smaller frames are taken whole.
    """

    def __init__(
        self, frames: FrameCache, windows: Sequence[Window], index: RainIndex, *, steps: int, crop: int
    ) -> None:
        self.frames, self.windows, self.index, self.steps = frames, windows, index, steps
        self.height, self.width = (min(crop, side) for side in frames.shape)
        self.by_window = np.array([self._weights(window).sum() for window in windows])
        self.by_window /= self.by_window.sum()

    def wet_shares(self) -> tuple[float, float]:
        """Return the mean share of wet pixels in a tile of the data, and in a drawn tile."""
        tiles, wet, weight, drawn = 0.0, 0.0, 0.0, 0.0
        for window in self.windows:
            shares, weights = self.index.wet[window.issue], self._weights(window)
            tiles += float(np.count_nonzero(weights))
            wet += float(np.nansum(shares))
            weight += float(weights.sum())
            drawn += float(np.nansum(weights * shares))
        return wet / tiles, drawn / weight

    def _weights(self, window: Window) -> NDArray[np.float64]:
        """Return the weight of each tile of a window; zero where nothing is observed."""
        shares = self.index.wet[window.issue].astype(np.float64)
        return np.nan_to_num(shares + DRY_SHARE)

    def crops(
        self, seed: int, update: int, *, size: int, windows: int, augment: bool, part: slice | None = None
    ) -> Crops:
        """Return the crops of an update.

        Args:
            seed: Seed of the run.
            update: Number of updates before.
            size: Number of crops in all processes.
            windows: Number of issue times that they are taken from.
            augment: Whether to flip and transpose crops at random.
            part: Crops to return; None for all. All are drawn, so that a process's part is a slice of the
                crops that a single process would use.
        """
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, update], np.uint64)))
        chosen = rng.choice(len(self.windows), size=min(windows, size), p=self.by_window)
        places = [self._place(self.windows[chosen[k % len(chosen)]], rng, augment) for k in range(size)]
        crops = [self._crop(place) for place in (places[part] if part else places)]
        return Crops(*(np.stack(arrays) for arrays in zip(*crops, strict=True)))

    def _place(self, window: Window, rng: np.random.Generator, augment: bool) -> _Place:
        weights = self._weights(window)
        tile = rng.choice(weights.size, p=weights.ravel() / weights.sum())
        tile_row, tile_column = divmod(int(tile), weights.shape[1])
        rows = self._slice(tile_row, self.height, self.frames.shape[0], rng)
        cols = self._slice(tile_column, self.width, self.frames.shape[1], rng)
        up, left, transposed = rng.integers(0, 2, size=3) if augment else (0, 0, 0)
        return _Place(window, rows, cols, (bool(up), bool(left), bool(transposed)))

    @staticmethod
    def _slice(tile: int, length: int, total: int, rng: np.random.Generator) -> slice:
        jitter = int(rng.integers(-length // 4, length // 4 + 1))
        first = tile * TILE + TILE // 2 - length // 2 + jitter
        first = min(max(first, 0), total - length)
        return slice(first, first + length)

    def _crop(self, place: _Place) -> tuple[Field, Field]:
        window, rows, cols = place.window, place.rows, place.cols
        motion = self.frames.motion(window.issue)
        past = np.stack([self.frames.frame(k) for k in window.inputs])
        future = np.stack([self.frames.frame(k) for k in window.targets])
        targets = np.full((self.steps, self.height, self.width), np.nan, np.float32)
        targets[: len(window.targets)] = truths_to_moving(future, motion, rows, cols)
        inputs = inputs_to_moving(past, motion, rows, cols)
        return _flipped(inputs, place.flips), _flipped(targets, place.flips)


def _flipped(frames: Field, flips: tuple[bool, bool, bool]) -> Field:
    """Return one of the eight symmetries of a square, or of the four of a rectangle."""
    up, left, transposed = flips
    if up:
        frames = frames[:, ::-1]
    if left:
        frames = frames[:, :, ::-1]
    if transposed and frames.shape[1] == frames.shape[2]:
        frames = frames.swapaxes(1, 2)
    return frames
