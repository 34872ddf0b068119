"""Summary of an archive: its contents, gaps and problems."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import cleaning, rain_index, schema, shared_rates
from stormcell.data.grid import Spacing, crs_name
from stormcell.data.parallel import THIS_PROCESS, Workers
from stormcell.data.rain_index import StoredIndex
from stormcell.data.time_axis import TimeAxis, in_minutes, minute
from stormcell.errors import ArchiveChangedError

# The smallest rate that a gauge measures.
WET = rain_index.WET
_SHOWN_FRAMES = 5
_BLOCK_PIXELS = 2**24
_SHOWN_RATE_ATTRIBUTES = (*schema.MEANING, "regridding")


@dataclass(frozen=True)
class Summary:
    """Summary of an archive.

    Attributes:
        start: Time of the first frame, UTC.
        end: Time of the last frame.
        step: Time step; None for a single frame.
        frames: Number of frames.
        read: Whether the frames were read, and not only their statistics.
        missing_steps: Number of missing frames between the first and the last.
        longest_run: Number of frames in the longest run without a gap.
        missing_fraction: Share of unobserved pixels in all frames, 0 … 1.
        wet_fraction: Share of the observed pixels with at least 0.1 mm/h, 0 … 1; NaN if nothing was observed.
        highest: Highest rate in mm/h; NaN if nothing was observed.
        unobserved_frames: Number of frames without any observed pixel.
        grid: Rows and columns.
        spacing: Pixel size.
        crs: Description of the projection.
        attributes: Origin of the data and measured quantity.
        cleaned: Description of the implausible pixels that were removed; empty if unknown or none was.
        problems: Deviations from the schema and impossible values.
    """

    start: np.datetime64
    end: np.datetime64
    step: np.timedelta64 | None
    frames: int
    read: bool
    missing_steps: int
    longest_run: int
    missing_fraction: float
    wet_fraction: float
    highest: float
    unobserved_frames: int
    grid: tuple[int, int]
    spacing: Spacing
    crs: str
    attributes: dict[str, str]
    cleaned: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(f"{name:<22}{value}" for name, value in self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Return names and values as text, problems last."""
        step = "unknown, from a single frame" if self.step is None else f"{in_minutes(self.step):g} min"
        unobserved = f", {self.unobserved_frames} of them entirely unobserved" * bool(self.unobserved_frames)
        return [
            (
                "period",
                f"{np.datetime_as_string(self.start, 'm')} to {np.datetime_as_string(self.end, 'm')} UTC",
            ),
            ("time step", step),
            ("frames", f"{self.frames}{unobserved}{', all of them read' * self.read}"),
            ("missing steps", f"{self.missing_steps}; longest run without a gap: {self.longest_run} frames"),
            ("not observed", f"{self.missing_fraction:.2%} of all pixels"),
            ("wet", f"{self.wet_fraction:.2%} of the observed pixels have {WET} mm/h or more"),
            ("highest rate", f"{self.highest:.1f} mm/h"),
            ("grid", f"{self.grid[0]} × {self.grid[1]} (rows × columns), pixels of {self.spacing}"),
            ("projection", self.crs),
            *self.attributes.items(),
            *([("cleaned", self.cleaned)] if self.cleaned else []),
            *(("problem", problem) for problem in self.problems),
        ]


@dataclass(frozen=True, eq=False)
class _Counts:
    """Statistics of some frames ``(time, statistic)``, and what is wrong with them."""

    statistics: NDArray[np.float64]
    damaged: tuple[int, ...]  # positions
    problems: tuple[str, ...]


def describe(ds: xr.Dataset, *, deep: bool = False, workers: Workers = THIS_PROCESS) -> Summary:
    """Summarize an archive.

    Args:
        ds: An archive.
        deep: Whether all frames are read, a few at a time, and compared with the hashes and statistics that
            the archive has of them, so that damaged frames are found. A store without them is always read.
        workers: What reads the frames; see :func:`stormcell.data.parallel.workers`.

    Raises:
        WorkerError: A worker process reads other frames.
        ArchiveError: It deviates so much from the schema that it cannot be read.

    Example:
        >>> import pyproj
        >>> from stormcell.data.grid import Grid
        >>> grid = Grid.from_centres(pyproj.CRS(3067), [0, 1000], [6_601_000, 6_600_000])
        >>> rate = [[[np.nan, 0.0], [0.5, 2.0]]]
        >>> found = describe(schema.build(rate, ["2016-09-28T14:45"], grid, measured={}, attributes={}))
        >>> found.missing_fraction, found.highest, found.problems
        (0.25, 2.0, ())
    """
    problems = schema.problems(ds)
    if any(name not in ds.variables for name in (schema.RATE, "time", "y", "x", "crs", "missing_times")):
        schema.check(ds)
    rate = ds[schema.RATE]
    if rate.dims != ("time", "y", "x") or 0 in rate.shape or ds["time"].dtype.kind != "M":
        schema.check(ds)
    frames, rows, columns = rate.shape
    index = rain_index.stored(ds)
    if index is None or deep:
        statistics, wrong = _read(ds, index, workers)
        problems += wrong
    else:
        statistics = index.frames[:, : len(rain_index.STATISTICS)]
    by_frame, wet = statistics[:, 0], statistics[:, 1].sum()
    observed = by_frame.sum()
    highest = float(np.fmax.reduce(statistics[:, 3], initial=np.nan))
    possible = cleaning.highest_possible(rate.attrs)
    if highest > possible:
        problems.append(
            f"highest rate: expected at most {possible:g} mm/h, the record, found {highest:g}: clutter or a "
            "wrong unit"
        )
    axis = TimeAxis(ds["time"].values)
    return Summary(
        start=axis.times[0],
        end=axis.times[-1],
        step=axis.step if frames > 1 else None,
        frames=frames,
        read=index is None or deep,
        missing_steps=ds["missing_times"].size,
        longest_run=axis.longest_run,
        missing_fraction=float(1 - observed / rate.size),
        wet_fraction=float(wet / observed) if observed else np.nan,
        highest=highest,
        unobserved_frames=int((by_frame == 0).sum()),
        grid=(rows, columns),
        spacing=Spacing.of(rate),
        crs=crs_name(str(ds["crs"].attrs.get("crs_wkt", ""))),
        attributes={
            name: str(attributes[name])
            for attributes, names in ((ds.attrs, schema.ORIGIN), (rate.attrs, _SHOWN_RATE_ATTRIBUTES))
            for name in names
            if name in attributes
        },
        cleaned=_cleaned(index),
        problems=tuple(problems),
    )


def _read(
    ds: xr.Dataset, index: StoredIndex | None, workers: Workers
) -> tuple[NDArray[np.float64], list[str]]:
    """Read all frames, and return their statistics ``(time, statistic)`` and the problems that they have."""
    rate = ds[schema.RATE]
    block = max(1, _BLOCK_PIXELS // rate[0].size)
    blocks = [slice(start, start + block) for start in range(0, len(rate), block)]
    counting = partial(_count, rate, index, shared_rates.digest(rate))
    counts = [done.result() for done in workers.run(counting, blocks)]
    wrong = dict.fromkeys(problem for each in counts for problem in each.problems)
    damaged = [minute(ds["time"].values[position]) for each in counts for position in each.damaged]
    if damaged:
        more = f" and {len(damaged) - _SHOWN_FRAMES} more" * (len(damaged) > _SHOWN_FRAMES)
        shown = ", ".join(damaged[:_SHOWN_FRAMES])
        wrong[f"rates: expected those that were archived, found damaged frames at {shown}{more}"] = None
    return np.concatenate([each.statistics for each in counts]), list(wrong)


def _count(rate: xr.DataArray, index: StoredIndex | None, digest: str, block: slice) -> _Counts:
    """Count, perhaps in another process, which must read the same rates as this one."""
    shared_rates.expect_same(rate, digest)
    values = _values(rate[block])
    statistics = np.full((len(values), len(rain_index.STATISTICS)), np.nan)
    statistics[:, :2] = 0
    problems: dict[str, None] = {}
    damaged = []
    for number, frame in enumerate(values):
        position = block.start + number
        if frame is None:
            damaged.append(position)
            continue
        tiles = rain_index.tile_statistics(frame)
        if index is not None and not _intact(index, position, frame, tiles):
            damaged.append(position)
        problems |= dict.fromkeys(schema.value_problems(frame))
        statistics[number] = rain_index.frame_statistics(tiles)[: statistics.shape[1]]
    return _Counts(statistics, tuple(damaged), tuple(problems))


def _values(rates: xr.DataArray) -> list[NDArray[np.float32] | None]:
    """Return the rates of some frames, and None for those that cannot be read."""
    try:
        return list(rates.values)
    except ArchiveChangedError:
        raise
    except Exception:  # codecs raise errors of many kinds
        if len(rates) == 1:
            return [None]
        return [frame for position in range(len(rates)) for frame in _values(rates[[position]])]


def _intact(
    index: StoredIndex, position: int, frame: NDArray[np.float32], tiles: NDArray[np.float32]
) -> bool:
    """Whether a frame, and the statistics of its tiles, are those that the archive has of it."""
    try:
        stored = index.tiles[position].values
    except ArchiveChangedError:
        raise
    except Exception:  # codecs raise errors of many kinds
        return False
    return bool(
        rain_index.frame_hash(frame) == index.hashes[position]
        and np.array_equal(tiles, stored, equal_nan=True)
    )


def _cleaned(index: StoredIndex | None) -> str:
    """Return what was changed before the frames were archived, as text; empty for other stores."""
    if index is None:
        return ""
    columns = [rain_index.FRAME_STATISTICS.index(name) for name in rain_index.CLEANED]
    return cleaning.describe(index.frames[:, columns].astype(np.int64))
