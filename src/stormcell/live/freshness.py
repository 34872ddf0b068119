"""Whether a published folder is fresh, for monitoring."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from stormcell.published.manifest import time_name
from stormcell.published.reading import Shelf
from stormcell.published.staleness import stale_after, timeliness

State = Literal["fresh", "stale", "degraded", "nothing"]


@dataclass(frozen=True)
class Freshness:
    """The state of a published folder.

    Attributes:
        state: ``fresh``; ``stale`` or ``degraded``; or ``nothing`` before the first publication.
        sentences: Plain sentences on it.
    """

    state: State
    sentences: tuple[str, ...]


def freshness(out: Path, now: datetime, longest: timedelta | None = None) -> Freshness:
    """Return the state of a published folder.

    Args:
        out: The folder.
        now: The present time.
        longest: Age of the newest frame from which forecasts are stale; None for what the loop says.

    Raises:
        PublicationError: A file of the folder is damaged.

    Example:
        >>> from datetime import UTC
        >>> freshness(Path("nowhere"), datetime.now(UTC)).sentences
        ('nowhere: nothing is published',)
    """
    shelf = Shelf(out)
    latest, status = shelf.latest(), shelf.status()
    problems = () if status is None else status.problems
    if latest is None:
        return Freshness("nothing", (f"{out}: nothing is published", *problems))
    manifest = shelf.manifest(time_name(latest.issue), latest.run)
    age = now - latest.issue
    said = f"{out}: newest forecast of {latest.issue:%Y-%m-%d %H:%M} UTC by {manifest.model_title}"
    limit = longest
    if limit is None:
        limit = stale_after(latest.step_seconds)
        if status is not None:
            limit = timedelta(seconds=status.stale_after_seconds)
    found = timeliness(latest.issue, now, limit)
    ahead = found == "ahead"
    how_old = f"{_written(-age)} ahead of the clock" if ahead else f"{_written(max(age, timedelta(0)))} old"
    sentences = [f"{said}, {how_old}"]
    if manifest.degraded is not None:
        used, of = manifest.degraded.used, manifest.degraded.instead_of
        sentences.append(f"degraded: {used} instead of {of}: {manifest.degraded.reason}")
    if found == "old":
        sentences.append(f"stale: expected an age of at most {_written(limit)}")
    elif found == "ahead":
        sentences.append("stale: expected a time that has come; a clock is wrong")
    if status is not None and status.state == "stopped":
        sentences.append("the loop was stopped")
    elif status is not None and now - status.updated > limit:
        sentences.append(f"the loop has not written its status for {_written(now - status.updated)}")
    state: State = "degraded" if manifest.degraded is not None else "fresh"
    if found != "current":
        state = "stale"
    return Freshness(state, (*sentences, *problems))


def _written(period: timedelta) -> str:
    for unit, name in ((timedelta(days=1), "days"), (timedelta(hours=1), "h")):
        if period >= 2 * unit:
            return f"{period / unit:.0f} {name}"
    return f"{period / timedelta(minutes=1):.0f} min"
