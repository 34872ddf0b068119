"""Static clutter: pixels that are wet far more often than the pixels around them.

Mountains, towers and wind turbines return echoes at the same place, whatever the weather. Rain moves, and
even rain that stands is as frequent in the pixels around it. The rule compares the wet frequency of a pixel,
the share of its observed frames with at least 0.1 mm/h, with that of the pixels in a square around it:

    clutter  ⇔  frequency > median + excess  and  frequency > median + spread · σ

σ is 1.4826 times the distance from the median to the upper quartile: the standard deviation of a normal
distribution, estimated in a way that clutter in up to a quarter of the square cannot change. It protects the
edges of rain in short archives, where frequencies differ strongly from pixel to pixel. Clutter that fills
most of the square is not found.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.atomic import write_file
from stormcell.data import schema, shared_rates
from stormcell.data.grid import MOST_PIXELS, Grid, pixel_km
from stormcell.data.parallel import THIS_PROCESS, Workers
from stormcell.data.rain_index import WET
from stormcell.data.readers.hdf5 import open_hdf5
from stormcell.data.readers.source import Source
from stormcell.errors import ArgumentError, InputError

Frequency = NDArray[np.float32]

EXCESS = 0.3  # of the wet frequency: with this, moving rain of a few hours is left alone
SPREAD = 4.0  # standard deviations
AROUND_KM = 10.0  # from a pixel to the sides of the square around it
_BLOCK = 64  # frames that are counted by one task, at most 255: their number is a byte
_FEWEST_PIXELS = 5  # from a pixel to the sides
_MOST_PIXELS_AROUND = 100
FEWEST_FRAMES = 20  # observed at a pixel; with fewer, its frequency says nothing
_LEVELS = 100  # the frequencies are compared in steps of 1 %
_SIGMA = 1.4826  # standard deviation of a normal distribution by its distance from median to quartile
MASK, FREQUENCY, NEARBY = "clutter", "wet_frequency", "wet_frequency_nearby"


@dataclass(frozen=True)
class ClutterMask:
    """A mask of static clutter.

    Attributes:
        grid: Positions of the pixels.
        clutter: Whether a pixel is clutter ``(y, x)``.
        digest: The first 16 hexadecimal digits of the SHA-256 of the mask.
    """

    grid: Grid
    clutter: NDArray[np.bool_]
    digest: str


def find(
    archive: xr.Dataset,
    *,
    excess: float = EXCESS,
    spread: float = SPREAD,
    workers: Workers = THIS_PROCESS,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Find the static clutter of an archive. Each process reads its frames one at a time.

    Args:
        archive: Frames of the schema, possibly lazy.
        excess: Difference from the median of the pixels around, 0 … 1.
        spread: The same, in standard deviations of the pixels around, ≥ 0.
        workers: What reads the frames; see :func:`stormcell.data.parallel.workers`.
        progress: Called with the number of finished frames and the number of all frames.

    Returns:
        ``clutter (y, x)`` as 0 and 1, ``wet_frequency`` and ``wet_frequency_nearby`` 0 … 1, NaN where fewer
        than 20 frames were observed; the period, the rule and the number of frames are attributes.

    Raises:
        ArgumentError: A threshold is out of range.
        ArchiveError: The dataset does not follow the schema.
        InputError: No pixel was observed in 20 frames.
    """
    if not 0 < excess < 1 or not 0 <= spread < 100:
        raise ArgumentError(
            f"clutter: expected an excess of 0 to 1 and a spread of 0 to 100, found {excess:g}, {spread:g}"
        )
    schema.check(archive)
    rate = archive[schema.RATE]
    observed = np.zeros(rate.shape[1:], np.int32)
    wet = np.zeros(rate.shape[1:], np.int32)
    length = rate.sizes["time"]
    blocks = [range(start, min(start + _BLOCK, length)) for start in range(0, length, _BLOCK)]
    for done in workers.run(partial(_frequencies, rate, shared_rates.digest(rate)), blocks):
        counts = done.result()
        observed += counts[0]
        wet += counts[1]
        if progress:
            progress(done.task.stop, length)
    enough = observed >= FEWEST_FRAMES
    if not enough.any():
        raise InputError(
            f"clutter: expected pixels that were observed in {FEWEST_FRAMES} frames or more, "
            f"found at most {observed.max()}"
        )
    frequency = np.full(wet.shape, np.nan, np.float32)
    np.divide(wet, observed, out=frequency, where=enough, casting="unsafe")
    around = _pixels_around(rate)
    nearby, quartile = quantiles_around(frequency, around, (0.5, 0.75))
    sigma = _SIGMA * (quartile - nearby)
    clutter = (frequency - nearby > excess) & (frequency - nearby > spread * sigma)
    times = rate["time"].values
    return _dataset(
        archive,
        clutter,
        frequency,
        nearby,
        {
            "title": "Static clutter by its wet frequency",
            "period_start": str(np.datetime_as_string(times[0], "s")),
            "period_end": str(np.datetime_as_string(times[-1], "s")),
            "frames": rate.sizes["time"],
            "wet_threshold": WET,
            "excess": excess,
            "spread": spread,
            "pixels_around": around,
            "rule": f"{FREQUENCY} exceeds {NEARBY} by more than {excess:g} and by more than {spread:g} "
            f"standard deviations of the {2 * around + 1} x {2 * around + 1} pixels around",
        },
    )


def _frequencies(rate: xr.DataArray, digest: str, block: range) -> NDArray[np.uint8]:
    """Return in how many frames of a block each pixel was observed, and in how many it was wet."""
    shared_rates.expect_same(rate, digest)
    counts = np.zeros((2, *rate.shape[1:]), np.uint8)
    for position in block:
        frame = rate[position].values
        counts[0] += ~np.isnan(frame)
        counts[1] += frame >= WET
    return counts


def quantiles_around(
    frequency: Frequency, around: int, quantiles: tuple[float, ...]
) -> tuple[Frequency, ...]:
    """Return quantiles of the frequencies in the square around every pixel, in steps of 1 %.

    Args:
        frequency: Shares ``(y, x)``, 0 … 1; NaN where unknown, which the quantiles disregard.
        around: Pixels from the centre to the sides of the square, ≥ 1.
        quantiles: Which quantiles, 0 … 1.

    Returns:
        For every quantile the lowest level with at least that share of the known frequencies at or below it,
        ``(y, x)``; NaN where the frequency is unknown.

    Example:
        >>> row = np.float32([[0.25, 0.5, 0.75, 0.25, np.nan]])
        >>> quantiles_around(row, 1, (0.5,))[0].tolist()
        [[0.25, 0.5, 0.5, 0.25, nan]]
    """
    known = ~np.isnan(frequency)
    levels = np.full(frequency.shape, _LEVELS + 1, np.uint8)
    levels[known] = np.rint(frequency[known] * _LEVELS).astype(np.uint8)
    total = _count(known, around)
    found = tuple(np.full(frequency.shape, np.nan, np.float32) for _ in quantiles)
    for level in range(_LEVELS + 1):
        below = _count(levels <= level, around)
        for share, result in zip(quantiles, found, strict=True):
            # Counts are whole numbers, so this covers the rounding of share · total.
            reached = known & np.isnan(result) & (below > share * total - 1e-3)
            result[reached] = level / _LEVELS
    return found


def write(found: xr.Dataset, path: Path) -> None:
    """Write a dataset of :func:`find` as CF NetCDF.

    Raises:
        OutputError: It cannot be written; an older file is intact.
    """
    encoding = {name: {"zlib": True, "complevel": 4} for name in (MASK, FREQUENCY, NEARBY)}
    content = found.to_netcdf(engine="h5netcdf", encoding=encoding)
    write_file(path, bytes(content))


def read_mask(path: Path) -> ClutterMask:
    """Read the mask of a file that :func:`write` wrote.

    Raises:
        InputError: It is missing or damaged, or is another file.
    """
    try:
        with open_hdf5(Source(path)) as file:  # checks the sizes that the file claims
            if MASK not in file:
                raise InputError(f"expected a mask of stormcell clutter, found no variable {MASK}")
            shape = file[MASK].shape
            if len(shape) != 2 or not 0 < int(np.prod(shape, dtype=object)) <= MOST_PIXELS:
                raise InputError(f"{path}: expected a mask (y, x), found {shape}")
        with xr.open_dataset(path, engine="h5netcdf") as ds:
            clutter = ds[MASK].values == 1
            grid = Grid.of(ds)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except Exception as error:  # the libraries raise any error for a damaged file
        raise InputError(f"{path}: expected a mask of stormcell clutter: {error}") from None
    if clutter.shape != (grid.rows, grid.columns):
        raise InputError(
            f"{path}: expected a mask of {grid.rows} × {grid.columns} pixels, found {clutter.shape}"
        )
    digest = hashlib.sha256(np.packbits(clutter).tobytes()).hexdigest()[:16]
    return ClutterMask(grid, clutter, digest)


def _count(mask: NDArray[np.bool_], around: int) -> NDArray[np.float32]:
    """Count the pixels of a mask in the square around every pixel; exact, because counts are small."""
    side = 2 * around + 1
    counts = cv2.boxFilter(
        mask.astype(np.float32), -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    return np.asarray(counts, np.float32)


def _pixels_around(rate: xr.DataArray) -> int:
    return int(np.clip(round(AROUND_KM / max(pixel_km(rate))), _FEWEST_PIXELS, _MOST_PIXELS_AROUND))


def _dataset(
    archive: xr.Dataset,
    clutter: NDArray[np.bool_],
    frequency: Frequency,
    nearby: Frequency,
    attributes: dict[str, Any],
) -> xr.Dataset:
    dims, mapping = ("y", "x"), {"grid_mapping": "crs"}
    flags = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "no_clutter clutter"}
    share = {"units": "1", "comment": f"share of the observed frames with at least {WET} mm/h"}
    coords = {name: archive[name].reset_coords(drop=True) for name in ("y", "x", "lat", "lon", "crs")}
    return xr.Dataset(
        {
            MASK: (dims, clutter.astype(np.int8), {"long_name": "static clutter", **flags, **mapping}),
            FREQUENCY: (dims, frequency, {"long_name": "wet frequency", **share, **mapping}),
            NEARBY: (dims, nearby, {"long_name": "median wet frequency nearby", **share, **mapping}),
        },
        coords=coords,
        attrs={
            "Conventions": "CF-1.11",
            **{name: archive.attrs[name] for name in schema.ORIGIN if name in archive.attrs},
            **attributes,
            "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} found by stormcell {version('stormcell')}",
        },
    )
