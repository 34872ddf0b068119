"""Jobs of the child process on the archive: adding files, and what is known of its newest frames."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from stormcell.data.object_store import Location
from stormcell.published.writing import utc

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from stormcell.data.processing import Processing
    from stormcell.data.read_options import ReadOptions

Reading = Callable[[], "tuple[ReadOptions, Processing]"]
"""How files are read and processed. Only the child calls it, because its packages need much memory."""

# Forecasts depend on no more of the newest frames than these.
_FRAMES = 24
_RECENT = timedelta(days=7)
_PART_BYTES = 2**20


@dataclass(frozen=True)
class CheckReading:
    """Check the settings for reading files before the first file arrives.

    Attributes:
        reading: How files are read.
    """

    reading: Reading

    def __call__(self) -> None:
        """Do it.

        Raises:
            ArgumentError: A setting is malformed.
        """
        self.reading()


@dataclass(frozen=True)
class Filed:
    """The outcome of adding files.

    Attributes:
        added: Times of new frames.
        present: Times of frames that the archive already had.
        refused: Files that could not be used, or only in part, and the reasons.
        revised: Refused files that have other rates than the archive at a time.
        future: Refused files that are dated in the future.
        withheld: Refused files whose contents the system does not give: no permission, or a failing disk.
    """

    added: tuple[datetime, ...]
    present: tuple[datetime, ...]
    refused: dict[Location, str]
    revised: frozenset[Location]
    future: frozenset[Location]
    withheld: frozenset[Location]


@dataclass(frozen=True)
class AddFiles:
    """Add files to an archive, by the rules of :func:`stormcell.data.archive.append`.

    Attributes:
        archive: The archive.
        files: The files.
        reading: How they are read.
        now: The present time.
    """

    archive: str
    files: tuple[Location, ...]
    reading: Reading
    now: datetime

    def __call__(self) -> Filed:
        """Do it.

        Raises:
            ArchiveError: The archive cannot be written, or another process is writing to it.
        """
        from stormcell.data import archive

        options, processing = self.reading()
        done = archive.append(
            self.archive,
            [str(file) for file in self.files],
            options=options,
            processing=processing,
            durable=True,
            now=moment(self.now),
        )
        explained = done.revised | done.future
        return Filed(
            tuple(map(utc, done.added)),
            tuple(map(utc, done.present)),
            dict(done.refused),
            done.revised,
            done.future,
            frozenset(file for file, _ in done.refused if file not in explained and _is_withheld(file)),
        )


def _is_withheld(file: Location) -> bool:
    """Whether the system does not give the contents of a file."""
    try:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                while opened.read(_PART_BYTES):
                    pass
        else:
            file.read(1)
    except OSError:
        return True
    return False


@dataclass(frozen=True)
class Known:
    """Times and a digest of an archive's newest frames.

    Attributes:
        newest: Time of the newest frame; None for no archive.
        step_seconds: Time step; None with fewer than two frames.
        frames: Digest of the newest frames; see :func:`frames_digest`.
        recent: Times of the frames of the last seven days, ascending.
    """

    newest: datetime | None = None
    step_seconds: int | None = None
    frames: str = ""
    recent: tuple[datetime, ...] = ()

    def missing(self, period: timedelta) -> int:
        """Return the number of frames that are missing in a period up to the newest frame."""
        if self.newest is None or self.step_seconds is None:
            return 0
        start = max(self.newest - period, self.recent[0] - timedelta(seconds=1))
        found = sum(time > start for time in self.recent)
        expected = ceil((self.newest - start).total_seconds() / self.step_seconds)
        return max(0, expected - found)


@dataclass(frozen=True)
class LookAtArchive:
    """Return what is known of an archive.

    Attributes:
        archive: The archive, which need not exist.
    """

    archive: str

    def __call__(self) -> Known:
        """Do it.

        Raises:
            ArchiveError: It is not an archive.
        """
        import numpy as np

        from stormcell.data import archive
        from stormcell.data.archive_files import ROOT
        from stormcell.data.archive_folder import files_of
        from stormcell.data.object_store import location
        from stormcell.data.time_axis import recent_step

        if not files_of(location(self.archive)).exists(ROOT):
            return Known()
        ds = archive.open(self.archive)
        times = ds["time"].values.astype("datetime64[s]")
        step = int(recent_step(times) / np.timedelta64(1, "s")) if len(times) > 1 else None
        recent = times[times > times[-1] - np.timedelta64(_RECENT)]
        return Known(
            utc(times[-1]),
            step,
            frames_digest(ds, times[-1]),
            tuple(map(utc, recent)),
        )


def frames_digest(ds: "xr.Dataset", issue: "np.datetime64") -> str:
    """Return a digest of the frames that a forecast at an issue time may depend on: the last 24.

    Args:
        ds: An archive that :func:`~stormcell.data.archive.append` wrote.
        issue: Time of the last frame.
    """
    known = ds[["time", "frame_hash"]].sel(time=slice(None, issue)).isel(time=slice(-_FRAMES, None))
    digest = hashlib.sha256(known["time"].values.astype("datetime64[s]").astype("<i8").tobytes())
    digest.update(known["frame_hash"].values.tobytes())
    return digest.hexdigest()


def moment(time: datetime) -> "np.datetime64":
    """Return a time as NumPy has it, in UTC."""
    import numpy as np

    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "s")
