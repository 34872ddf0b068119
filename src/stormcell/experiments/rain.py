"""Windows of a radar archive as grey pixels, as in the Hong Kong papers."""

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
from stormcell.experiments.catalogue import Options
from stormcell.experiments.experiment import Batch, DataDescription
from stormcell.experiments.moving_mnist.counter_rng import shuffled
from stormcell.experiments.protocols.reflectivity import Pixels, Reflectivity
from stormcell.experiments.streams import Epochs
from stormcell.training.processes import rank
from stormcell.training.training_archive import data_source

_SEED = 7  # seed of the generated radar, the same for every run
_EVENTS = 30
_CHUNK = 64  # frames read from an archive at once

Counts = Callable[[Pixels], NDArray[np.bool_]]


@dataclass(frozen=True)
class Windows:
    """Windows of an archive in a fixed random order, so that the first few cover the whole period.

    Attributes:
        frames: Pixels 0 to 1, ``(time, H, W)``; NaN if not observed.
        places: Indices of each window's frames, ``(window, frame)``.
        inputs: Number of input frames.
        counts: Function that returns whether each target pixel counts.
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
        """Return the windows of given indices. Pixels that were not observed are dry, and do not count."""
        frames = self.frames[self.places[list(which)]]
        inputs, targets = frames[:, : self.inputs], frames[:, self.inputs :]
        return Batch(
            torch.from_numpy(np.nan_to_num(inputs)).unsqueeze(2),
            torch.from_numpy(np.nan_to_num(targets)).unsqueeze(2),
            torch.from_numpy(self.counts(targets)).unsqueeze(2),
        )


@dataclass(frozen=True)
class RadarExamples:
    """Training, validation and test examples of an archive.

    Attributes:
        description: Description of the archive.
        training: Endless stream of windows to train on.
        validation: Windows to validate on.
        test: Windows of the newest frames.
        size: Rows and columns of a frame.
    """

    description: DataDescription
    training: Epochs
    validation: Windows
    test: Windows
    size: tuple[int, int]


def radar_examples(
    options: Options,
    reflectivity: Reflectivity,
    *,
    inputs: int,
    steps: int,
    side: int,
    counts: Counts = np.isfinite,
) -> RadarExamples:
    """Load the user's archive, or one of generated radar, as complete windows of pixels.

    Frames are averaged over blocks of pixels until their shorter side is less than twice ``side``, and the
    central square of that side is used. :func:`stormcell.data.splits.split` chooses the three periods.

    Args:
        options: The user's choices.
        reflectivity: Conversion from rain rate to pixels.
        inputs: Number of input frames.
        steps: Number of target frames.
        side: Largest side of the square in pixels.
        counts: Function that returns whether each target pixel counts. NaN is a pixel that was not observed.
            By default all observed pixels count.

    Raises:
        ArchiveError: The archive does not exist, or one of its three periods has no complete window.
        ArgumentError: The archive is too short.
    """
    path = options.data or _generated(options)
    found = archive.rain(archive.open(path))
    frames = _pixels(found, reflectivity, side, options)
    axis = TimeAxis(found["time"].values)
    parts = split(axis, inputs=inputs)
    made = {}
    for name in ("train", "validation", "test"):
        every = windows(axis, getattr(parts, name), inputs=inputs, steps=steps)
        whole = [window for window in every if len(window.targets) == steps]
        if not whole:
            raise ArchiveError(
                f"{path}, {name} block {getattr(parts, name)}: expected {inputs + steps} frames without a "
                "gap, found none"
            )
        made[name] = Windows(frames, _places(whole), inputs, counts)
    digest = hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()
    training = Epochs(made["train"].some, len(made["train"]), options.seed)
    summary = f"{found.attrs.get('title', path.name)}, frames {digest[:16]}"
    description = DataDescription(summary, digest, data_source(found))
    height, width = frames.shape[1:]
    return RadarExamples(description, training, made["validation"], made["test"], (height, width))


def first_windows(windows: Windows, count: int) -> Windows:
    """Return the first ``count`` windows, or all if there are fewer."""
    return replace(windows, places=windows.places[:count])


def _places(whole: Sequence[Window]) -> NDArray[np.int64]:
    order = shuffled(0, 0, len(whole))
    return np.array([whole[k].inputs + whole[k].targets for k in order], np.int64)


def _generated(options: Options) -> Path:
    """Return the archive of generated radar in the run's folder; create it if it does not exist."""
    path = options.out / "rain.zarr"
    if rank() > 0:
        return path  # the first process has already created it
    with options.console.status("generating radar"):
        files = synthetic.write(options.out / "radar", seed=_SEED, events=_EVENTS)
        archive.append(path, files)
    return path


def _pixels(found: xr.DataArray, reflectivity: Reflectivity, side: int, options: Options) -> Pixels:
    """Return all frames as pixels; a block's rate is the mean of its observed pixels."""
    total, *sizes = found.shape
    by = max(1, min(sizes) // side)
    chunks = []
    with options.console.status("") as status:
        for first in range(0, total, _CHUNK):
            rates = found[first : first + _CHUNK].values
            chunks.append(reflectivity.pixel(_central(_averaged(rates, by), side)))
            status.update(f"reading frames: {min(first + _CHUNK, total)} of {total}")
    return np.concatenate(chunks)


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
    observed = known.sum(axis=(2, 4))
    sums = np.where(known, blocks, 0).sum(axis=(2, 4))
    return np.asarray(
        np.divide(sums, observed, where=observed > 0, out=np.full(sums.shape, np.nan, np.float64))
    )
