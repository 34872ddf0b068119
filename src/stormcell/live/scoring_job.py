"""The job of the child process that scores published forecasts, in a module that needs little memory."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = ".scores"  # of the statistics, in the published folder


@dataclass(frozen=True)
class Scored:
    """The result of scoring.

    Attributes:
        frames: Number of frames that scored forecasts.
        warning: A sentence if the forecaster was worse than extrapolation lately; else empty.
    """

    frames: int = 0
    warning: str = ""


@dataclass(frozen=True)
class ScoreForecasts:
    """Score published forecasts; see :func:`stormcell.live.self_verification.score_arrived`.

    Attributes:
        archive: The archive.
        out: The published folder.
    """

    archive: str
    out: Path

    def __call__(self) -> Scored:
        """Do it."""
        from stormcell.live.self_verification import score_arrived

        return score_arrived(self.archive, self.out, self.out / FOLDER)
