"""The JSON files of the published folder: what they hold, and their checks.

One file, because it is one contract between those who write the folder and those who read it.

A published folder has one folder for each publication, ``{issue}-{run}``, and a few files that change::

    published/
      latest.json                              which publication is the newest; its replacement is the commit
      status.json                              how the loop is; written at each turn
      scores.json                              how good the forecasts have been; written after each frame
      alerts.json                              states of the rules; see :mod:`stormcell.published.alerts`
      {issue}-{run}/
        manifest.json                          what the publication holds
        coverage.npy                           where the radar usually observes (y, x) bool
        forecast.nc                            the forecast as CF NetCDF, on the radar's grid;
                                               not of preliminary publications
        forecast.tif                           its rates as a cloud-optimized GeoTIFF, lead time by lead time
        cells.npy                              levels (y, x, layer) uint8, for values at a point
        frames/{product}/{valid}.png           indexed pictures on the Web Mercator raster
        frames/{product}/{valid}-{n}.png       the same, n times coarser, for n in ``raster.overviews``

A publication never changes once its folder has its name. Times in names are ``20261128T0325Z``, those in JSON
are ISO 8601 with ``Z``. The run is made of 8 hexadecimal digits: a hash of the frames and the model.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

VERSION = 1
NAME_OF_TIME = "%Y%m%dT%H%MZ"

MANIFEST = "manifest.json"
LATEST = "latest.json"
STATUS = "status.json"
SCORES = "scores.json"
FORECAST = "forecast.nc"
CELLS = "cells.npy"
COVERAGE = "coverage.npy"


# Names of products.
OBSERVED, RATE, EXTRAPOLATION = "observed", "rate", "extrapolation"


@lru_cache(maxsize=4096)
def time_text(time: datetime) -> str:
    """Return a time as it stands in JSON.

    Example:
        >>> time_text(datetime(2026, 11, 28, 3, 25, tzinfo=UTC))
        '2026-11-28T03:25:00Z'
    """
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[AwareDatetime, PlainSerializer(time_text, return_type=str)]
Run = Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
ProductName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9.-]*$")]
# Neither absolute nor with a part that begins with a dot: it cannot lead out of a folder.
_FilePath = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")]


def time_name(time: datetime) -> str:
    """Return a time as it stands in paths and in addresses.

    Example:
        >>> time_name(datetime(2026, 11, 28, 3, 25, tzinfo=UTC))
        '20261128T0325Z'
    """
    return time.astimezone(UTC).strftime(NAME_OF_TIME)


def time_of_name(name: str) -> datetime:
    """Return the time that stands in a path or an address.

    Raises:
        ValueError: It is not a time.

    Example:
        >>> time_of_name("20261128T0325Z").isoformat()
        '2026-11-28T03:25:00+00:00'
    """
    return datetime.strptime(name, NAME_OF_TIME).replace(tzinfo=UTC)


def picture_name(product: str, valid: datetime, overview: int = 1) -> str:
    """Return the path of a picture in a publication's folder.

    Example:
        >>> picture_name("rate", datetime(2026, 11, 28, 3, 25, tzinfo=UTC), 2)
        'frames/rate/20261128T0325Z-2.png'
    """
    suffix = "" if overview == 1 else f"-{overview}"
    return f"frames/{product}/{time_name(valid)}{suffix}.png"


class _Part(BaseModel):
    """A part of a JSON file. Unknown keys are refused, because a wrong name would be a lost value."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Grid(_Part):
    """The radar's grid.

    Attributes:
        crs_wkt: Its coordinate reference system.
        units: Unit of ``y`` and ``x``.
        y: Coordinate of the centres of the first and the last row; the first is the northernmost.
        x: Coordinate of the centres of the first and the last column.
        shape: Rows and columns.
        bounds: West, south, east and north of the pixels' outer edges, in degrees; east is beyond 180 if the
            grid crosses that meridian.
        outline: Longitude and latitude along the outer edges, once around: pixels of a picture beyond it are
            outside of the grid. They have the level of what is not observed.
    """

    crs_wkt: str
    units: Literal["m", "degree"]
    y: tuple[float, float]
    x: tuple[float, float]
    shape: tuple[int, int]
    bounds: tuple[float, float, float, float]
    outline: tuple[tuple[float, float], ...] = ()


class Raster(_Part):
    """The pictures' raster, in Web Mercator.

    Attributes:
        crs: ``EPSG:3857``.
        bounds: Left, bottom, right and top of the outer edges, in metres.
        shape: Rows and columns.
        overviews: Each n of the smaller pictures, ascending; empty for small rasters. Each of their pixels
            has the highest level of n × n pixels, so that no rain is lost, and 255 only where all of them
            have it. They have the same bounds.
    """

    crs: Literal["EPSG:3857"] = "EPSG:3857"
    bounds: tuple[float, float, float, float]
    shape: tuple[int, int]
    overviews: tuple[int, ...] = ()


class Encoding(_Part):
    """The value of a level, 0 to 255.

    Level 0 is ``below`` (observed dry, or a probability of nearly 0), 255 is not observed. Level n from 1 to
    ``levels`` is ``minimum * (maximum / minimum) ** ((n - 1) / (levels - 1))`` on a logarithmic scale, and
    ``minimum + (maximum - minimum) * (n - 1) / (levels - 1)`` on a linear one.
    """

    scale: Literal["log", "linear"]
    minimum: float
    maximum: float
    levels: int = 254
    below: float = 0.0
    missing: int = 255
    units: str


class Product(_Part):
    """Fields of one kind, at several valid times.

    Attributes:
        name: As in the addresses: ``observed``, ``rate``, ``extrapolation``, ``p10``, ``above-1.0``,
            ``member-1``.
        title: For people.
        kind: Which encoding it has.
        quantile: Its level, for a quantile.
        threshold: In mm/h, for a probability of a rate at or above it.
        realization: Number of a member, from 1.
        times: Valid times, ascending.
        first_layer: Index in ``cells.npy`` of the first time; the others follow. None for products without
            cells.
        variable: Its variable in ``forecast.nc``; None if it is not there.
    """

    name: ProductName
    title: str
    kind: Literal["rate", "probability"]
    quantile: float | None = None
    threshold: float | None = None
    realization: int | None = None
    times: tuple[Time, ...]
    first_layer: int | None = None
    variable: str | None = None

    @property
    def layers(self) -> slice | None:
        """Indices in ``cells.npy`` of the fields at all times; None for products without cells."""
        if self.first_layer is None:
            return None
        return slice(self.first_layer, self.first_layer + len(self.times))

    def layer(self, time: datetime) -> int | None:
        """Return the index in ``cells.npy`` of the field at a time; None if there is no such field."""
        if self.first_layer is None or time not in self.times:
            return None
        return self.first_layer + self.times.index(time)


class Degraded(_Part):
    """A forecast other than the one that was wanted.

    Attributes:
        used: ``extrapolation``, ``persistence`` or ``observation``.
        instead_of: Name of the model that was wanted.
        reason: One plain sentence.
    """

    used: Literal["extrapolation", "persistence", "observation"]
    instead_of: str
    reason: str


class File(_Part):
    """Size and SHA-256 of a file of the publication."""

    bytes: int
    sha256: str


class Manifest(_Part):
    """The contents of a publication.

    Attributes:
        issue: Issue time: the time of the newest frame.
        run: Hash of the frames and of the model.
        created: When it was made.
        model: Name of the forecaster: of the shipped model, the model file or the baseline.
        model_title: For people.
        preliminary: Whether a better forecast of the same issue is on its way.
        degraded: Why the forecast is not what was wanted; None if it is.
        step_seconds: Time step of the frames.
        grid: The radar's grid.
        raster: The pictures' raster.
        encodings: By kind of product.
        products: In the order in which people are shown them.
        observed_share: Share of the grid that the newest frame observed.
        often_observed: Name of the coverage file in the folder: ``coverage.npy``, bool ``(y, x)``, true where
            the radar usually observes (in at least 5 % of the last frames).
        files: Every file but the manifest, by path in the folder.
        attributes: Source, licence, credits and Z-R constants of the archive.
    """

    version: Literal[1] = 1
    issue: Time
    run: Run
    created: Time
    model: str
    model_title: str
    preliminary: bool = False
    degraded: Degraded | None = None
    step_seconds: int
    grid: Grid
    raster: Raster
    encodings: dict[Literal["rate", "probability"], Encoding]
    products: tuple[Product, ...]
    observed_share: float
    often_observed: str = COVERAGE
    files: dict[_FilePath, File]
    attributes: dict[str, str] = {}

    @property
    def folder(self) -> str:
        """Name of the publication's folder."""
        return f"{time_name(self.issue)}-{self.run}"


class ObservedFrame(_Part):
    """The publication with the picture of an observed frame: of its own time, or of a later one."""

    time: Time
    issue: Time
    run: Run

    @property
    def folder(self) -> str:
        """Name of the publication's folder."""
        return f"{time_name(self.issue)}-{self.run}"


class Latest(_Part):
    """The newest publication.

    Attributes:
        issue: Its issue time.
        run: Its run.
        published: When this file was written.
        expected: When the next issue is expected to be published.
        step_seconds: Time step of the frames.
        observed: Observed frames of the last hours whose pictures are published, ascending, the newest
            included.
        earlier: Publications that are still there, newest first, as (issue, run).
    """

    version: Literal[1] = 1
    issue: Time
    run: Run
    published: Time
    expected: Time
    step_seconds: int
    observed: tuple[ObservedFrame, ...] = ()
    earlier: tuple[tuple[Time, Run], ...] = ()

    @property
    def folder(self) -> str:
        """Name of the newest publication's folder."""
        return f"{time_name(self.issue)}-{self.run}"


class Scores(_Part):
    """Scores of the forecasts of a period, by forecaster.

    Attributes:
        period: ``24h`` or ``7d``.
        start: First valid time that counts.
        end: Last valid time that counts.
        lead_minutes: Lead times, ascending.
        forecasters: By name, what ``scores.json`` of ``verify`` holds: ``csi`` and ``bias`` by threshold,
            ``mae``, ``crps`` where distributions or members were published, ``n_forecasts``.
    """

    period: Literal["24h", "7d"]
    start: Time
    end: Time
    lead_minutes: tuple[float, ...]
    forecasters: dict[str, dict[str, object]]


class Status(_Part):
    """The state of the loop.

    Attributes:
        updated: When this file was written.
        state: ``waiting`` for files, ``working``, or ``stopped``.
        newest_frame: Time of the newest frame of the archive; None before the first.
        issue: Issue time of the newest publication; None before the first.
        run: Its run.
        step_seconds: Time step of the frames; None before the second frame.
        stale_after_seconds: Age of the newest frame from which forecasts are called stale.
        degraded: As in the newest publication.
        observed_share: As in the newest publication.
        missing_frames_1h: Frames that are missing in the last hour.
        files: Number of files since the start by outcome: added, present, late, future, revised, corrupt,
            partial.
        stages: Seconds that the stages of the newest frame took: append, forecast, publish.
        publications: Publications since the start.
        last_success: When something was last published.
        problems: Plain sentences on what is wrong now.
    """

    version: Literal[1] = 1
    updated: Time
    state: Literal["waiting", "working", "stopped"]
    newest_frame: Time | None = None
    issue: Time | None = None
    run: Run | None = None
    step_seconds: int | None = None
    stale_after_seconds: int = 900
    degraded: Degraded | None = None
    observed_share: float | None = None
    missing_frames_1h: int = 0
    files: dict[str, int] = {}
    stages: dict[str, float] = {}
    publications: int = 0
    last_success: Time | None = None
    problems: tuple[str, ...] = ()
