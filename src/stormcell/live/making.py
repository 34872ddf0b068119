"""The job of the child process that makes a forecast and publishes it."""

import hashlib
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from stormcell.published.manifest import MANIFEST, Degraded, time_name
from stormcell.published.runs import run_hash

SHOWN = timedelta(hours=3)  # observed frames are published, and listed as the newest, if they are not older

Rung = Literal["extrapolation", "persistence", "observation"]
RUNGS: tuple[Rung, ...] = ("extrapolation", "persistence", "observation")


@dataclass(frozen=True)
class Wanted:
    """The products that are wanted of a forecaster that offers them.

    Attributes:
        steps: Number of lead times; None for that of the forecaster.
        probabilities: Rates in mm/h whose probabilities are wanted.
        quantiles: Levels of the quantiles that are wanted.
        members: Number of members; None for no ensemble.
        seed: Seed of the members.
        layouts: Layouts in which the forecast is written as well, each into a file of its own.
    """

    steps: int | None = None
    probabilities: tuple[float, ...] = (0.1, 0.5, 1.0, 5.0, 10.0)
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    members: int | None = None
    seed: int = 0
    layouts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Forecast:
    """Make a forecast, and publish it, unless it is published already.

    Attributes:
        archive: The archive.
        out: The published folder.
        issue: Issue time.
        by: Name of a baseline or a shipped model, path of a model file, or ``observation`` for no forecast.
        name: Name of the forecaster for people and scores.
        digest: SHA-256 of the model file; the name of a baseline.
        wanted: Products.
        now: The present time.
        preliminary: Whether a better forecast follows.
        degraded: Why it is not what was wanted.
    """

    archive: str
    out: Path
    issue: datetime
    by: str
    name: str
    digest: str
    wanted: Wanted
    now: datetime
    preliminary: bool = False
    degraded: Degraded | None = None

    def run(self, frames: str) -> str:
        """Return the run of the publication.

        Args:
            frames: Digest of the frames; see :func:`~stormcell.live.archiving.frames_digest`.
        """
        how = self.degraded and self.degraded.model_dump_json()
        text = repr((self.digest, self.wanted, self.preliminary, how))
        return run_hash(frames, hashlib.sha256(text.encode()).hexdigest())

    def instead(self, rung: Rung, reason: str) -> "Forecast":
        """Return what is made instead when the forecast that was wanted fails."""
        degraded = Degraded(used=rung, instead_of=self.name, reason=reason)
        return replace(self, by=rung, name=rung, digest=rung, degraded=degraded)

    def __call__(self) -> "Made":
        """Do it.

        Raises:
            FramesError: The frames do not meet the forecaster's needs, or its forecast cannot be rain.
            ModelFileError: The model file cannot be used.
            OutputError: The publication cannot be written.
        """
        from stormcell.data import archive
        from stormcell.live.archiving import frames_digest, moment
        from stormcell.live.contents import content
        from stormcell.published.writing import publish

        ds = archive.open(self.archive)
        frames = frames_digest(ds, moment(self.issue))
        run = self.run(frames)
        if (self.out / f"{time_name(self.issue)}-{run}" / MANIFEST).is_file():
            return Made(self.issue, run)
        began = time.monotonic()
        found = content(self, archive.rain(ds), frames)
        forecast = time.monotonic()
        publish(self.out, found)
        return Made(self.issue, run, forecast - began, time.monotonic() - forecast)


@dataclass(frozen=True)
class Made:
    """A publication.

    Attributes:
        issue: Its issue time.
        run: Its run.
        forecast_seconds: Time that the forecast took; None if it was there already.
        publish_seconds: Time that drawing and writing took; None if it was there already.
    """

    issue: datetime
    run: str
    forecast_seconds: float | None = None
    publish_seconds: float | None = None
