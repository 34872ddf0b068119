"""``live`` and ``status``: publish forecasts of a feed, and say how fresh they are."""

import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stormcell.cli.exit_status import ALL_DONE, NOTHING_DONE, SOME_REFUSED
from stormcell.cli.extras import needing_serve
from stormcell.cli.number_lists import numbers
from stormcell.errors import ArgumentError
from stormcell.live.child import Child
from stormcell.live.freshness import freshness
from stormcell.live.live_settings import Settings
from stormcell.live.making import Wanted
from stormcell.live.service import live as serve
from stormcell.live.systemd import Watchdog

if TYPE_CHECKING:
    from stormcell.alerts.rules import Rules
    from stormcell.data.processing import Processing
    from stormcell.data.read_options import ReadOptions

_UNITS = {"min": "minutes", "h": "hours", "d": "days"}
_LAYOUTS = ("fews", "pysteps")  # beside that of forecast.nc
_REFUSED = ("corrupt", "revised", "future")


@dataclass(frozen=True)
class Reading:
    """The options about files, which only the child process turns into settings of the archive.

    The packages that it needs for them would double the memory of the parent process.

    Attributes:
        options: Arguments of :func:`stormcell.cli.data_options.read_options`.
        processing: Arguments of :func:`stormcell.cli.data_options.processing`.
    """

    options: Mapping[str, Any]
    processing: Mapping[str, Any]

    def __call__(self) -> "tuple[ReadOptions, Processing]":
        """Return how files are read and processed.

        Raises:
            ArgumentError: An option is malformed.
        """
        from stormcell.cli import data_options

        return data_options.read_options(**self.options), data_options.processing(**self.processing)


def settings(
    feed: str,
    archive: str,
    out: Path,
    *,
    reading: Reading,
    steps: int | None,
    members: int | None,
    probabilities: str,
    quantiles: str,
    layouts: Sequence[str],
    grace: float,
    keep: str,
    keep_files: str,
    rules: Path | None,
    **others: Any,
) -> Settings:
    """Return the settings of the loop from the options of the command line.

    Raises:
        ArgumentError: An option is malformed.
        InputError: The rules file cannot be used.
        MissingExtraError: There are rules, and the packages for them are not installed.
    """
    wanted = Wanted(
        steps,
        tuple(numbers("--probabilities", probabilities, "rain rates above 0 mm/h", 0, inf)),
        tuple(numbers("--quantiles", quantiles, "probabilities above 0 and below 1", 0, 1)),
        members,
        layouts=tuple(dict.fromkeys(_layout(name) for name in layouts)),
    )
    return Settings(
        feed,
        archive,
        out,
        reading,
        wanted=wanted,
        grace=timedelta(seconds=grace),
        keep_pictures=period("--keep", keep),
        keep_forecasts=period("--keep-files", keep_files),
        rules=None if rules is None else _rules(rules),
        **others,
    )


def _layout(name: str) -> str:
    if name not in _LAYOUTS:
        raise ArgumentError(f'--layout: expected {" or ".join(_LAYOUTS)}, found "{name}"')
    return name


def _rules(path: Path) -> "Rules":
    with needing_serve("live --rules"):
        from stormcell.alerts.rules import read_rules
    return read_rules(path)


def live(settings: Settings, *, once: bool, standby: bool) -> int:
    """Publish forecasts until the process is stopped, or, with ``once``, of what is there.

    Raises:
        StormcellError: The loop cannot begin.
    """
    child = Child(settings.memory, Watchdog())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ALL_DONE))
    try:
        loop = serve(
            settings,
            child,
            once=once,
            standby=standby,
            clock=lambda: datetime.now(UTC),
            sleep=time.sleep,
            log=log,
        )
    except KeyboardInterrupt:
        return ALL_DONE
    finally:
        child.close(patience=2.0)
    if loop.publisher.newest() is None:
        log(f"{settings.out}: nothing is published, because {settings.feed} has no frames to forecast from")
        return NOTHING_DONE
    if loop.publisher.needed(loop.intake.known):
        return NOTHING_DONE
    return SOME_REFUSED if any(loop.intake.counts[name] for name in _REFUSED) else ALL_DONE


def status(out: Path, longest: str | None) -> int:
    """Print how fresh a published folder is.

    Raises:
        ArgumentError: The period is malformed.
        PublicationError: A file of the folder is damaged.
    """
    limit = None if longest is None else period("--max-age", longest)
    found = freshness(out, datetime.now(UTC), limit)
    print("\n".join(found.sentences))
    return {"fresh": ALL_DONE, "nothing": NOTHING_DONE}.get(found.state, SOME_REFUSED)


def period(option: str, text: str) -> timedelta:
    """Return the period that an option gives, such as ``15min``.

    Raises:
        ArgumentError: It is malformed.
    """
    found = re.fullmatch(r"(\d{1,5}) ?(min|m|h|d)", text)
    if found is None:
        raise ArgumentError(f'{option}: expected a period such as 15min, 24h or 7d, found "{text}"')
    return timedelta(**{_UNITS["min" if found[2] == "m" else found[2]]: int(found[1])})


def log(line: str) -> None:
    """Print a line with the time on standard error."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", file=sys.stderr, flush=True)
