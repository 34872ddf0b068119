"""One of the archives of a training: its blocks, windows and index."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from stormcell.data import archive
from stormcell.data.grid import Spacing, pixel_km
from stormcell.data.splits import Positions, Split, steps_between
from stormcell.data.time_axis import TimeAxis, in_minutes
from stormcell.errors import ArchiveError, ArgumentError, RecipeError
from stormcell.training import sampling_index
from stormcell.training.crop_reader import CropReader
from stormcell.training.recipes import Recipe
from stormcell.training.sampler import Pool
from stormcell.training.sampling_index import SamplingIndex
from stormcell.training.windows import blocks_of, window_tables


@dataclass(frozen=True, eq=False)
class Rain:
    """Rain to train on.

    Attributes:
        name: Name for messages, such as the archive's path.
        rates: Rain rates in mm/h ``(time, y, x)``, lazy.
        index: The index that the archive has of its frames; None if they must be read to find it.
        path: Path or address of the archive; None for an array.
    """

    name: str
    rates: xr.DataArray
    index: SamplingIndex | None = None
    path: str | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Rain":
        """Open the archive at a path or an address.

        Raises:
            ArchiveError: It does not exist, or is not an archive.
        """
        return replace(cls.of(archive.open(path), str(path)), path=str(path))

    @classmethod
    def of(cls, data: xr.Dataset | xr.DataArray, name: str | None = None) -> "Rain":
        """Return the rain of an archive, or of an array of rates, which has no index.

        Raises:
            ArchiveError: The archive does not follow the schema.
        """
        name = str(data.attrs.get("title", "archive")) if name is None else name
        if isinstance(data, xr.DataArray):
            return cls(name, data)
        return cls(name, archive.rain(data), sampling_index.stored_index(data))


@dataclass(frozen=True)
class ArchiveState:
    """The part of a run's state that belongs to one archive.

    Attributes:
        split: Its blocks.
        data_hash: SHA-256 of the frames that are used.
    """

    split: Split
    data_hash: str


@dataclass(frozen=True, eq=False)
class TrainingArchive:
    """An archive that is ready to train on.

    Attributes:
        name: Name for messages.
        rates: Rain rates in mm/h ``(time, y, x)``, lazy.
        split: Its blocks.
        every: Time steps of the archive from one frame of a window to the next.
        step: Time between the frames of a window.
        data_hash: SHA-256 of the frames that are used.
        used: Positions of these frames.
        training: Windows of the training block.
        validation: Windows of the validation block; of an archive that is not split, those of all frames.
        path: Path or address of the archive; None for an array.
    """

    name: str
    rates: xr.DataArray
    split: Split
    every: int
    step: np.timedelta64
    data_hash: str
    used: Positions
    training: Pool
    validation: Pool
    path: str | None = None

    def expect_unchanged(self) -> None:
        """Refuse an archive in which frames were inserted, replaced or dropped among those that are used.

        A frame that a second such change replaced or moved raises an error when it is read, and is not
        mistaken for another; but the frames in memory, and those of the first change, are old. New frames at
        the end do not matter. A store without an index is not checked.

        Raises:
            ArchiveError: The archive was changed, or is gone.
        """
        if self.path is None:
            return
        now = Rain.open(self.path)
        if now.index is None:
            return
        if self.used[-1] >= now.rates.sizes["time"] or self.data_hash != now.index.data_hash(
            now.rates, self.used
        ):
            raise ArchiveError(
                f"{self.name}: expected the frames that this run was begun with, found others: it changed "
                "during training; train on a copy of an archive to which late frames are added"
            )

    @property
    def spacing(self) -> Spacing:
        """Spacing of its pixels."""
        return Spacing.of(self.rates)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """First and last pixel centre along y, and along x."""
        y, x = (self.rates[axis].values for axis in ("y", "x"))
        return float(y[0]), float(y[-1]), float(x[0]), float(x[-1])

    def source(self) -> dict[str, str]:
        """Return title, source, license and credit, as far as its attributes give them."""
        return data_source(self.rates)


def prepare(
    rain: Rain,
    reader: CropReader,
    recipe: Recipe,
    *,
    thinning: int = 1,
    whole: bool = False,
    before: ArchiveState | None,
    scans: Path,
    show: Callable[[str], None],
) -> tuple[TrainingArchive, Callable[[], None]]:
    """Split an archive, find its windows and take or find its index.

    Args:
        rain: The archive.
        reader: Its reader of crops.
        recipe: Settings of the training.
        thinning: Use every n-th frame of those that the recipe's time step leaves.
        whole: Use all frames, to train on them or to validate on them, instead of splitting them.
        before: State with which the run was begun; None for a new run.
        scans: Folder of kept scans, for archives without an index.
        show: Called with a line on the progress of reading.

    Returns:
        The archive, and a function that writes what the next call need not find again.

    Raises:
        ArgumentError: The archive is too short, or its time step does not fit the recipe's.
        RecipeError: It does not have the frames with which the run was begun.
        ArchiveError: The training block or the validation block has no window.
    """
    axis = TimeAxis(rain.rates["time"].values)
    if len(axis) < 2:
        raise ArgumentError(f"{rain.name}: expected at least 2 frames, found {len(axis)}")
    every = thinning * steps_between(axis, recipe.time_step_minutes, rain.name)
    step = every * axis.step
    blocks = blocks_of(rain.name, axis, recipe, every, whole=whole) if before is None else before.split
    tables = window_tables(rain.name, axis, recipe, every, blocks)
    for name, table in tables.items():
        if not len(table):
            _expect_as_before(rain.name, before, "")
            block = blocks.validation if name == "validation" and blocks.validation else blocks.train
            raise ArchiveError(
                f"{rain.name}: {name} block {block}: expected windows of {recipe.inputs} inputs and a target "
                "without a gap, found none"
            )
    used = np.union1d(*(table.frames() for table in tables.values()))
    index, keep = rain.index, _nothing
    if index is None:
        index, keep = _scanned(rain, used, scans, show)
    data_hash = index.data_hash(rain.rates, used)
    _expect_as_before(rain.name, before, data_hash)
    sides = pixel_km(rain.rates)
    training, validation = (
        Pool(reader, index, tables[name], in_minutes(step), sides) for name in ("training", "validation")
    )
    found = TrainingArchive(
        rain.name,
        rain.rates,
        blocks,
        every,
        step,
        data_hash,
        used,
        training,
        validation,
        rain.path if rain.index is not None else None,
    )
    return found, keep


def expect_rain(archives: Sequence[TrainingArchive], left_out: Sequence[TrainingArchive]) -> None:
    """Raise an error if nothing can be learned or validated, because all of it is dry.

    Args:
        archives: Those to train on, and to validate on if none are left out.
        left_out: Those to validate on.

    Raises:
        ArchiveError: There is no rain in any training block, or in any validation block.
    """
    blocks = {
        "training": [(one.name, one.training) for one in archives],
        "validation": [(one.name, one.validation) for one in left_out or archives],
    }
    for block, pools in blocks.items():
        if not any(pool.wet_pixels() for _, pool in pools):
            names = ", ".join(dict.fromkeys(name for name, _ in pools))
            raise ArchiveError(
                f"{names}: {block} block: expected rain at one issue time at least, found none"
            )


def data_source(rain: xr.DataArray) -> dict[str, str]:
    """Return title, source, license and credit of an archive, as far as its attributes give them."""
    return {k: str(rain.attrs[k]) for k in ("title", "source", "license", "credit") if k in rain.attrs}


def archive_shares(archives: Sequence[TrainingArchive], recipe: Recipe) -> list[float]:
    """Return the share of each archive in the crops; the shares add up to 1.

    In proportion to its rain, an archive of a continent would leave almost no crops of a single radar. With
    equal shares, the few frames of a short archive would be repeated until the network knows them. The root
    of the rain, the default, lies between the two. The rain of an archive is the number of wet pixels at the
    issue times of its training block.

    Raises:
        RecipeError: The recipe has shares for another number of archives.
    """
    chosen = recipe.archive_shares
    if isinstance(chosen, list):
        if len(chosen) != len(archives):
            raise RecipeError(
                f"recipe: archive_shares: expected {len(archives)} numbers, one for each archive, "
                f"found {len(chosen)}"
            )
        parts = np.array(chosen)
    else:
        rain = np.array([archive.training.wet_pixels() for archive in archives])
        parts = {"root": np.sqrt(rain), "rain": rain, "equal": np.ones(len(rain))}[chosen]
    shares: list[float] = (parts / parts.sum()).tolist()
    return shares


def _expect_as_before(name: str, before: ArchiveState | None, data_hash: str) -> None:
    if before is not None and before.data_hash != data_hash:
        raise RecipeError(f"{name}: expected the frames that this run was begun with, found others")


def _scanned(
    rain: Rain, used: Positions, scans: Path, show: Callable[[str], None]
) -> tuple[SamplingIndex, Callable[[], None]]:
    """Return the index of an archive that has none, and a function that keeps it."""
    found, file = sampling_index.scan(
        rain.rates,
        used,
        scans,
        lambda done: show(f"{rain.name}: reading frame {done} of {len(used)}, because it has no index"),
    )
    return found.index(rain.rates.sizes["time"]), lambda: sampling_index.keep(found, file)


def _nothing() -> None:
    """Write nothing, because the archive has an index."""
