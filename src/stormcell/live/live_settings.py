"""The settings of a live loop."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from stormcell.live.archiving import Reading
from stormcell.live.making import Wanted

if TYPE_CHECKING:
    from stormcell.alerts.rules import Rules


@dataclass(frozen=True)
class Settings:
    """The settings of a live loop.

    Attributes:
        feed: Folder or address that radar files arrive in.
        archive: The archive, which is created by the first frame.
        out: The published folder.
        reading: How files are read.
        model: Name of a baseline or a shipped model, or a model file; None for the first shipped model.
        wanted: Products.
        ignored: Patterns of names to ignore.
        done: Folder into which files are moved whose frames are in the archive; None leaves them.
        backfill: Whether forecasts of earlier issues are published, too: those that would still be kept, at
            most of the last seven days.
        grace: The longest wait for a missing frame when the next one has come; never longer than a tenth of a
            time step.
        poll: Seconds between two looks at the feed.
        forecast_seconds: The most time that a forecast may take, with its publication.
        memory: The most memory of the child process, in bytes.
        keep_pictures: Age from which pictures and the values of cells are dropped.
        keep_forecasts: Age from which the whole publication is dropped.
        least_free: Free space in bytes below which publications are dropped, the oldest first, and nothing is
            published if that is not enough.
        rules: Rules of alerts; None for no alerts.
    """

    feed: str
    archive: str
    out: Path
    reading: Reading
    model: str | None = None
    wanted: Wanted = field(default_factory=Wanted)
    ignored: tuple[str, ...] = ()
    done: Path | None = None
    backfill: bool = False
    grace: timedelta = timedelta(seconds=20)
    poll: float = 1.0
    forecast_seconds: float = 60.0
    memory: int = 4_000_000_000
    keep_pictures: timedelta = timedelta(hours=24)
    keep_forecasts: timedelta = timedelta(days=7)
    least_free: int = 500_000_000
    rules: "Rules | None" = None
