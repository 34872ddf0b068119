"""Summary of an archive: its contents, gaps and problems."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr

from stormcell.data import cleaning, rain_index, schema
from stormcell.data.grid import Spacing, crs_name
from stormcell.data.parallel import THIS_PROCESS, Workers, in_worker
from stormcell.data.time_axis import TimeAxis, in_minutes
from stormcell.errors import WorkerError

# The smallest rate that a gauge measures.
WET = 0.1
_BLOCK_PIXELS = 2**24
_SHOWN_RATE_ATTRIBUTES = (
    "source_quantity",
    "accumulation_minutes",
    "zr_a",
    "zr_b",
    "highest_rate_kept",
    "smallest_group_kept",
    "clutter_mask",
    "regridding",
)
_SAME: set[int] = set()  # arrays of this worker process that were found to be those of the first process


@dataclass(frozen=True)
class Summary:
    """Summary of an archive.

    Attributes:
        start: Time of the first frame, UTC.
        end: Time of the last frame.
        step: Time step; None for a single frame.
        frames: Number of frames.
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
            ("frames", f"{self.frames}{unobserved}"),
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


@dataclass(frozen=True)
class _Counts:
    """Numbers of pixels and frames, and the highest rate, in some frames."""

    observed: int
    wet: int
    unobserved_frames: int
    highest: float
    problems: tuple[str, ...]


def describe(ds: xr.Dataset, *, workers: Workers = THIS_PROCESS) -> Summary:
    """Summarize an archive. All frames are read, a few at a time.

    Args:
        ds: The archive.
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
    block = max(1, _BLOCK_PIXELS // (rows * columns))
    blocks = [slice(start, start + block) for start in range(0, frames, block)]
    counts = [_count(rate, blocks[0])]
    counting = partial(_count_same, rate, blocks[0], counts[0])
    counts += [done.result() for done in workers.run(counting, blocks[1:])]
    observed, wet = sum(each.observed for each in counts), sum(each.wet for each in counts)
    highest = float(np.fmax.reduce([each.highest for each in counts]))
    wrong = dict.fromkeys(problem for each in counts for problem in each.problems)
    problems += wrong
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
        missing_steps=ds["missing_times"].size,
        longest_run=axis.longest_run,
        missing_fraction=1 - observed / rate.size,
        wet_fraction=wet / observed if observed else np.nan,
        highest=highest,
        unobserved_frames=sum(each.unobserved_frames for each in counts),
        grid=(rows, columns),
        spacing=Spacing.of(rate),
        crs=crs_name(str(ds["crs"].attrs.get("crs_wkt", ""))),
        attributes={
            name: str(attributes[name])
            for attributes, names in ((ds.attrs, schema.ORIGIN), (rate.attrs, _SHOWN_RATE_ATTRIBUTES))
            for name in names
            if name in attributes
        },
        cleaned=_cleaned(ds),
        problems=tuple(problems),
    )


def _cleaned(ds: xr.Dataset) -> str:
    """Return what was changed before the frames were archived, as text; empty for other stores."""
    index = rain_index.stored(ds)
    if index is None:
        return ""
    columns = [rain_index.FRAME_STATISTICS.index(name) for name in rain_index.CLEANED]
    return cleaning.describe(index.frames[:, columns].astype(np.int64))


def _count(rate: xr.DataArray, block: slice) -> _Counts:
    values = rate[block].values
    observed = (~np.isnan(values)).sum(axis=(1, 2))
    return _Counts(
        observed=int(observed.sum()),
        wet=int((values >= WET).sum()),
        unobserved_frames=int((observed == 0).sum()),
        highest=float(np.fmax.reduce(values, axis=None)),
        problems=tuple(schema.value_problems(values)),
    )


def _count_same(rate: xr.DataArray, first: slice, expected: _Counts, block: slice) -> _Counts:
    """Count, perhaps in another process, which must read the first block as this one did."""
    if in_worker() and id(rate) not in _SAME:
        # Where the archive cannot be reached, Zarr would read every frame as not observed.
        if repr(_count(rate, first)) != repr(expected):
            raise WorkerError(
                "check: expected workers that read the same archive, found other rates; an archive must lie "
                "in a folder or an object store that all workers reach by the same name"
            )
        _SAME.add(id(rate))
    return _count(rate, block)
