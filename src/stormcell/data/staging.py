"""Staging: frames become files beside an archive, which the writing process only has to rename.

Any number of processes may stage frames, because they touch nothing of the archive. Files that no process
places are removed by the next writer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import archive_files, rain_index, schema
from stormcell.data.archive_files import Metadata
from stormcell.data.archive_folder import ArchiveFiles
from stormcell.data.grid import Grid
from stormcell.errors import InputError

# Conversions of the same file by different library versions may differ in the last bits.
SAME_TO = 1e-5
# A kilometre of rain in an hour. Larger numbers, such as 1e20 or 9.97e36, are codes and not clutter.
_MOST_RATE = 1e6


@dataclass(frozen=True)
class StagedFrame:
    """A frame that is not part of the archive yet.

    Attributes:
        time: Its time, ``datetime64[s]``.
        frame_hash: From :func:`~stormcell.data.rain_index.frame_hash`.
        statistics: From :func:`~stormcell.data.rain_index.frame_statistics`.
        files: The staged file of each array with a file per frame; empty if the archive has the frame.
    """

    time: np.datetime64
    frame_hash: int
    statistics: tuple[float, ...]
    files: Mapping[str, str]

    @property
    def cleaned(self) -> tuple[int, ...]:
        """Number of pixels that each rule of :mod:`stormcell.data.cleaning` changed."""
        return tuple(int(number) for number in self.statistics[-len(rain_index.CLEANED) :])


@dataclass(frozen=True)
class Staged:
    """The result of staging a block of frames.

    Attributes:
        frames: The frames before the first with impossible rates.
        problem: Description of the impossible rates; None if all frames are staged.
    """

    frames: tuple[StagedFrame, ...]
    problem: str | None = None


def stage(
    folder: ArchiveFiles,
    frames: xr.Dataset,
    arrays: Mapping[str, Metadata] | None = None,
    present: Mapping[np.datetime64, int] | None = None,
) -> Staged:
    """Check and encode frames, and write them to files that are not part of the archive yet.

    Args:
        folder: The archive, which need not exist.
        frames: Frames of the schema, on the archive's grid; with ``cleaned_pixels (time, rule)`` if
            :class:`~stormcell.data.processing.Processing` has counted them.
        arrays: Metadata of the archive's arrays; None for a new archive.
        present: Hashes of frames that the archive has; a frame with the same time and hash is not written.

    Raises:
        OSError: They cannot be written.

    Example:
        >>> import pyproj
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from stormcell.data.archive_folder import ArchiveFolder
        >>> from stormcell.data.grid import Grid
        >>> grid = Grid.from_centres(pyproj.CRS(3067), [0, 1000], [6_601_000, 6_600_000])
        >>> frames = schema.build(np.ones((1, 2, 2)), ["2016-09-28T14:45"], grid, measured={}, attributes={})
        >>> with TemporaryDirectory() as folder:
        ...     staged = stage(ArchiveFolder(Path(folder)), frames)
        >>> staged.frames[0].statistics
        (4.0, 4.0, 4.0, 1.0, 1.02, 0.0, 0.0, 0.0)
    """
    arrays = arrays or archive_files.new_arrays(frames)
    present = present or {}
    staged: list[StagedFrame] = []
    nothing = np.zeros((frames.sizes["time"], len(rain_index.CLEANED)), np.int64)
    cleaned = frames["cleaned_pixels"].values if "cleaned_pixels" in frames else nothing
    times = frames["time"].values.astype("datetime64[s]")
    for time, rate, changed in zip(times, frames[schema.RATE], cleaned, strict=True):
        values = rate.values
        if problems := schema.value_problems(values) or _codes_among(values):
            return Staged(tuple(staged), "; ".join(problems))
        frame_hash = int(rain_index.frame_hash(values))
        tiles = rain_index.tile_statistics(values)
        statistics = tuple(rain_index.frame_statistics(tiles, changed.tolist()).tolist())
        files: dict[str, str] = {}
        if present.get(time) != frame_hash:
            for name, content in ((schema.RATE, values), (archive_files.TILES, tiles)):
                files[name] = folder.stage(archive_files.encode_chunk(arrays[name], content[None]))
        staged.append(StagedFrame(time, frame_hash, statistics, files))
    return Staged(tuple(staged))


def without_frames(frames: xr.Dataset) -> xr.Dataset:
    """Return a dataset with the grid and the attributes of frames, which does not keep them in memory."""
    empty = frames.drop_vars(["lat", "lon", "missing_times"], errors="ignore").isel(time=slice(0))
    return empty.copy(deep=True)


def expect_same(reference: xr.Dataset, frames: xr.Dataset) -> None:
    """Refuse frames whose grid or measured quantity differs from the archive's.

    Args:
        reference: A dataset with the archive's grid and attributes.
        frames: Frames of the schema.

    Raises:
        InputError: They differ; the message has both.
    """
    if differs := Grid.of(reference).difference(Grid.of(frames)):
        raise InputError(differs)
    of_archive, of_file = reference[schema.RATE].attrs, frames[schema.RATE].attrs
    for name in schema.MEANING:
        expected, found = of_archive.get(name), of_file.get(name)
        if not _agree(expected, found):
            raise InputError(f"{name}: expected the archive's {expected}, found {found}")


def _agree(expected: object, found: object) -> bool:
    """Whether two attributes are equal; numbers, except for rounding."""
    if isinstance(expected, float) and isinstance(found, float):
        return isclose(expected, found, rel_tol=SAME_TO)
    return expected == found


def _codes_among(rates: NDArray[np.floating]) -> list[str]:
    """Describe a number among the rates that is a code for missing values, because it cannot be a rate."""
    highest = np.fmax.reduce(rates, axis=None, initial=0)
    if highest <= _MOST_RATE:
        return []
    return [
        f"{schema.RATE}: expected at most {_MOST_RATE:g} mm/h, found {highest:g}; is it a code for missing "
        "values that the metadata does not list?"
    ]
