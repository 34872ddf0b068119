"""Radar rain as the Hong Kong papers see it: grey pixels, cut into windows of an archive."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import archive, synthetic
from stormcell.data.splits import Window, split, windows
from stormcell.data.time_axis import TimeAxis
from stormcell.errors import ArchiveError
from stormcell.experiments.epochs import Epochs
from stormcell.experiments.experiment import Batch
from stormcell.experiments.moving_mnist.counter_rng import shuffled
from stormcell.experiments.options import Options
from stormcell.experiments.processes import rank
from stormcell.experiments.protocols.reflectivity import Pixels, Reflectivity

_SEED = 7  # of generated radar: the same for every run
_EVENTS = 30
_AT_ONCE = 64  # frames read from an archive

Counts = Callable[[Pixels], NDArray[np.bool_]]


@dataclass(frozen=True)
class Windows:
    """Windows of an archive, in an order that was drawn once: the first few of them are of all times.

    Attributes:
        frames: Pixels 0 … 1, NaN where not observed, ``(time, H, W)``.
        places: Positions of each window's frames.
        inputs: Frames that are given.
        counts: Which of the pixels that are asked for count.
    """

    frames: Pixels
    places: NDArray[np.int64]
    inputs: int
    counts: Counts

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, first: int, count: int) -> Batch:
        """See :class:`~stormcell.experiments.experiment.Examples`."""
        return self.some(range(first, first + count))

    def some(self, which: Sequence[int]) -> Batch:
        """The windows of some numbers; what was not observed is given as dry, and does not count."""
        frames = self.frames[self.places[list(which)]]
        given, asked = frames[:, : self.inputs], frames[:, self.inputs :]
        return Batch(
            torch.from_numpy(np.nan_to_num(given)).unsqueeze(2),
            torch.from_numpy(np.nan_to_num(asked)).unsqueeze(2),
            torch.from_numpy(self.counts(asked)).unsqueeze(2),
        )


@dataclass(frozen=True)
class Rain:
    """An archive made ready.

    Attributes:
        title: What it is, in words that change with the frames.
        training: Windows to learn from, without end.
        validation: Windows to validate on.
        test: Windows of the newest frames.
        size: Rows and columns.
    """

    title: str
    training: Epochs
    validation: Windows
    test: Windows
    size: tuple[int, int]


def rain(
    options: Options,
    reflectivity: Reflectivity,
    *,
    inputs: int,
    steps: int,
    side: int,
    counts: Counts = np.isfinite,
) -> Rain:
    """The archive a user gives, or one of generated radar, as pixels in whole windows.

    Frames are averaged over blocks of pixels until their shorter side is less than twice ``side``, and the
    central square of that side is taken. Blocks of time are those of :func:`stormcell.data.splits.split`.

    Args:
        options: What a user says.
        reflectivity: What a pixel stands for.
        inputs: Frames that are given.
        steps: Frames that are asked for.
        side: Of the square in pixels, at most.
        counts: Which of the pixels that are asked for count, NaN not observed; those that were.

    Raises:
        ArchiveError: There is no archive, or no whole window in one of its three parts.
        ArgumentError: It is too short.
    """
    path = options.data or _generated(options)
    found = archive.rain(archive.open(path))
    frames = _pixels(found, reflectivity, side, options)
    axis = TimeAxis(found["time"].values)
    parts = split(axis, inputs=inputs)
    made = {}
    for name in ("train", "validation", "test"):
        cut = windows(axis, getattr(parts, name), inputs=inputs, steps=steps)
        whole = [window for window in cut if len(window.targets) == steps]
        if not whole:
            raise ArchiveError(
                f"{path}, {name} block {getattr(parts, name)}: expected {inputs + steps} frames without a "
                "hole, found none"
            )
        made[name] = Windows(frames, _places(whole), inputs, counts)
    digest = hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()
    training = Epochs(made["train"].some, len(made["train"]), options.seed)
    title = f"{found.attrs.get('title', path.name)}, frames {digest[:16]}"
    height, width = frames.shape[1:]
    return Rain(title, training, made["validation"], made["test"], (height, width))


def some(windows: Windows, count: int) -> Windows:
    """The first so many of them, or all."""
    return replace(windows, places=windows.places[:count])


def _places(whole: Sequence[Window]) -> NDArray[np.int64]:
    order = shuffled(0, 0, len(whole))
    return np.array([whole[k].inputs + whole[k].targets for k in order], np.int64)


def _generated(options: Options) -> Path:
    """An archive of generated radar in the run's folder; what is there already is left as it is."""
    path = options.out / "rain.zarr"
    if rank() > 0:
        return path  # the first process has been here
    with options.console.status("generating radar"):
        files = synthetic.write(options.out / "radar", seed=_SEED, events=_EVENTS)
        archive.append(path, files)
    return path


def _pixels(found: xr.DataArray, reflectivity: Reflectivity, side: int, options: Options) -> Pixels:
    """All frames as pixels; a block's rate is the mean of what was observed of it."""
    total, *sizes = found.shape
    by = max(1, min(sizes) // side)
    pieces = []
    with options.console.status("") as status:
        for first in range(0, total, _AT_ONCE):
            rates = found[first : first + _AT_ONCE].values
            pieces.append(reflectivity.pixel(_central(_averaged(rates, by), side)))
            status.update(f"reading frames: {min(first + _AT_ONCE, total)} of {total}")
    return np.concatenate(pieces)


def _central(rates: NDArray[np.floating], side: int) -> NDArray[np.floating]:
    rows, columns = (
        slice(max(0, (size - side) // 2), (size + min(side, size)) // 2) for size in rates.shape[1:]
    )
    return rates[:, rows, columns]


def _averaged(rates: NDArray[np.floating], by: int) -> NDArray[np.floating]:
    if by == 1:
        return rates
    rows, columns = (size // by for size in rates.shape[1:])
    blocks = rates[:, : rows * by, : columns * by].reshape(len(rates), rows, by, columns, by)
    known = np.isfinite(blocks)
    seen = known.sum(axis=(2, 4))
    sums = np.where(known, blocks, 0).sum(axis=(2, 4))
    return np.asarray(np.divide(sums, seen, where=seen > 0, out=np.full(sums.shape, np.nan, np.float64)))
