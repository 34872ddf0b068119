"""Write publications into a published folder, each completely or not at all."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.atomic import make_folder, replacing, write_file
from stormcell.data.grid import Grid
from stormcell.errors import ArgumentError
from stormcell.maps.levels import LAST, MISSING, PROBABILITY, RATE, Levels, Scale
from stormcell.maps.mercator import Warp
from stormcell.published.alerts import ALERTS, Alerts
from stormcell.published.manifest import (
    CELLS,
    COVERAGE,
    FORECAST,
    LATEST,
    MANIFEST,
    OBSERVED,
    SCORES,
    STATUS,
    Degraded,
    Encoding,
    Latest,
    Manifest,
    ObservedFrame,
    Product,
    Scores,
    Status,
    time_name,
)
from stormcell.published.publication_files import (
    describe_files,
    describe_grid,
    describe_raster,
    write_cells,
    write_pictures,
)
from stormcell.published.reading import RUN, Shelf

SCALES: dict[str, Scale] = {"rate": RATE, "probability": PROBABILITY}


@dataclass(frozen=True)
class Content:
    """All that a publication is made from.

    Attributes:
        issue: Issue time.
        run: Its hash, from :func:`~stormcell.published.runs.run_hash`.
        created: When the forecast was made.
        model: Name of the forecaster.
        model_title: For people.
        step_seconds: Time step of the frames.
        observed: Observed rates in mm/h ``(time, y, x)`` with the coordinates of an archive; the newest last.
        products: Fields ``(time, y, x)`` on the same grid, in the order in which people are shown them. Their
            times are those of the fields.
        often_observed: Where the radar usually observes, ``(y, x)``.
        preliminary: Whether a better forecast of the same issue is on its way.
        degraded: Why the forecast is not what was wanted.
        attributes: Source, licence and credits.
        write_forecast: Writes ``forecast.nc`` to a path; None publishes without.
    """

    issue: datetime
    run: str
    created: datetime
    model: str
    model_title: str
    step_seconds: int
    observed: xr.DataArray
    products: Sequence[tuple[Product, xr.DataArray]]
    often_observed: NDArray[np.bool_]
    preliminary: bool = False
    degraded: Degraded | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    write_forecast: Callable[[Path], None] | None = None

    @property
    def folder(self) -> str:
        """Name of the publication's folder."""
        return f"{time_name(self.issue)}-{self.run}"


def publish(root: Path, content: Content) -> Manifest:
    """Write a publication; if it is there already, nothing is written.

    Returns:
        The manifest of the publication that is there then.

    Raises:
        ArgumentError: A field is not on the grid of the observed frames, or has impossible values.
        OutputError: It cannot be written; nothing of it remains.
    """
    if not RUN.fullmatch(content.run):
        raise ArgumentError(f"run: expected 8 hexadecimal digits, found {content.run!r}")
    if content.often_observed.shape != content.observed.shape[1:]:
        raise ArgumentError(
            f"often_observed: expected {content.observed.shape[1:]}, found {content.often_observed.shape}"
        )
    make_folder(root)
    if (root / content.folder / MANIFEST).is_file():
        return Shelf(root).manifest(time_name(content.issue), content.run)
    grid = Grid.of(content.observed.coords.to_dataset())
    fields = list(_fields(content, (grid.rows, grid.columns)))
    warp = Warp.of(grid)
    with replacing(root / content.folder) as part, ThreadPoolExecutor(1) as beside:
        part.mkdir()
        forecast: Future[None] | None = None
        if content.write_forecast is not None:
            # Beside the pictures, because each takes about as long, and neither holds Python up.
            forecast = beside.submit(content.write_forecast, part / FORECAST)
        layers: list[Levels] = []
        for product, values in fields:
            levels = [SCALES[product.kind].encode(frame) for frame in values.values]
            write_pictures(part, product, levels, warp)
            layers += levels
        write_cells(part / CELLS, layers)
        np.save(part / COVERAGE, content.often_observed.astype(bool), allow_pickle=False)
        if forecast is not None:
            forecast.result()
        manifest = _manifest(part, content, grid, tuple(product for product, _ in fields))
        (part / MANIFEST).write_bytes(_json(manifest))
    return manifest


def point_to(
    root: Path,
    manifest: Manifest,
    *,
    expected: datetime,
    observed: Sequence[ObservedFrame] = (),
    earlier: Sequence[tuple[datetime, str]] = (),
    now: datetime | None = None,
    allow_older: bool = False,
) -> Latest:
    """Make a publication the newest: replace ``latest.json``.

    Args:
        root: The published folder.
        manifest: Of the publication.
        expected: When the next issue is expected to be published.
        observed: Observed frames whose pictures are published, ascending.
        earlier: Publications that are still there, newest first.
        now: Time of writing; None for the clock's.
        allow_older: Whether the issue time may be before that of the present newest.

    Raises:
        ArgumentError: The publication is not there, or is older than the present newest.
        OutputError: The file cannot be written; the old one is intact.
    """
    shelf = Shelf(root)
    shelf.manifest(time_name(manifest.issue), manifest.run)
    present = shelf.latest()
    if present is not None and manifest.issue < present.issue and not allow_older:
        raise ArgumentError(
            f"{root / LATEST}: expected an issue time from {time_name(present.issue)}, "
            f"found {time_name(manifest.issue)}"
        )
    latest = Latest(
        issue=manifest.issue,
        run=manifest.run,
        published=now or datetime.now(UTC),
        expected=expected,
        step_seconds=manifest.step_seconds,
        observed=tuple(observed),
        earlier=tuple(earlier),
    )
    write_file(root / LATEST, _json(latest))
    return latest


def leave_out(root: Path, folders: Collection[str]) -> None:
    """Take publications out of the lists of ``latest.json``, before they are dropped; the newest stays.

    Raises:
        PublicationError: The file is damaged.
        OutputError: It cannot be written; the old one is intact.
    """
    latest = Shelf(root).latest()
    if latest is None:
        return
    observed = tuple(frame for frame in latest.observed if frame.folder not in folders)
    earlier = tuple(one for one in latest.earlier if f"{time_name(one[0])}-{one[1]}" not in folders)
    if (observed, earlier) != (latest.observed, latest.earlier):
        write_file(root / LATEST, _json(latest.model_copy(update={"observed": observed, "earlier": earlier})))


def write_status(root: Path, status: Status) -> None:
    """Replace ``status.json``.

    Raises:
        OutputError: It cannot be written; the old one is intact.
    """
    write_file(root / STATUS, _json(status))


def write_scores(root: Path, scores: Sequence[Scores]) -> None:
    """Replace ``scores.json``, a list of the periods' scores.

    Raises:
        OutputError: It cannot be written; the old one is intact.
    """
    write_file(root / SCORES, b"[" + b",\n".join(_json(one) for one in scores) + b"]\n")


def write_alerts(root: Path, alerts: Alerts) -> None:
    """Replace ``alerts.json``.

    Raises:
        OutputError: It cannot be written; the old one is intact.
    """
    write_file(root / ALERTS, _json(alerts))


def utc(time: np.datetime64) -> datetime:
    """Return a time of a coordinate with its time zone.

    Example:
        >>> utc(np.datetime64("2026-11-28T03:25", "ns")).isoformat()
        '2026-11-28T03:25:00+00:00'
    """
    return datetime.fromtimestamp(int(time.astype("datetime64[s]").astype(np.int64)), UTC)


def _fields(content: Content, shape: tuple[int, int]) -> Iterator[tuple[Product, xr.DataArray]]:
    """Yield all products with their times and first layers, and their fields, the observed frames first."""
    seen = Product(name=OBSERVED, title="Observed rain", kind="rate", times=())
    every = [(seen, content.observed), *content.products]
    names = [product.name for product, _ in every]
    if len(set(names)) < len(names):
        raise ArgumentError(f"products: expected different names, found {', '.join(names)}")
    layer = 0
    for product, values in every:
        if values.dims != ("time", "y", "x") or values.shape[1:] != shape or not values.sizes["time"]:
            raise ArgumentError(
                f"{product.name}: expected (time, y, x) on the grid of {shape[0]} × {shape[1]} pixels, "
                f"found {dict(values.sizes)}"
            )
        times = tuple(utc(time) for time in values["time"].values)
        yield product.model_copy(update={"times": times, "first_layer": layer}), values
        layer += len(times)


def _manifest(part: Path, content: Content, grid: Grid, products: tuple[Product, ...]) -> Manifest:
    return Manifest(
        issue=content.issue,
        run=content.run,
        created=content.created,
        model=content.model,
        model_title=content.model_title,
        preliminary=content.preliminary,
        degraded=content.degraded,
        step_seconds=content.step_seconds,
        grid=describe_grid(grid),
        raster=describe_raster(grid),
        encodings={"rate": _encoding(RATE), "probability": _encoding(PROBABILITY)},
        products=products,
        observed_share=float(np.isfinite(content.observed.values[-1]).mean()),
        files=describe_files(part),
        attributes=content.attributes,
    )


def _encoding(scale: Scale) -> Encoding:
    return Encoding(
        scale=scale.spacing,
        minimum=scale.minimum,
        maximum=scale.maximum,
        levels=LAST,
        missing=MISSING,
        units=scale.units,
    )


def _json(model: Manifest | Latest | Status | Scores | Alerts) -> bytes:
    return model.model_dump_json(indent=1).encode()
