"""A rehearsal: the frames of an archive are fed to a live loop with faults, and its promises are checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from stormcell.atomic import make_folder
from stormcell.data import archive
from stormcell.errors import ArgumentError
from stormcell.live.alert_turns import AlertTurns
from stormcell.live.faulty_feed import Fault, FaultyFeed
from stormcell.live.grid_rule import grid_rule
from stormcell.live.intake import RunJob
from stormcell.live.invariants import INVARIANTS, Watch
from stormcell.live.live_loop import LiveLoop
from stormcell.live.live_settings import Settings
from stormcell.live.output_lock import locked
from stormcell.live.service import choose
from stormcell.published.writing import utc

_LOOK = timedelta(seconds=1)
_MOST_LOOKS = 5  # after something arrived: two to see that it is whole, and those that publish
_MOST_WAITS = 30  # further looks, while a frame waits for one that is missing


@dataclass(frozen=True)
class Rehearsed:
    """The result of a rehearsal.

    Attributes:
        faults: Number of frames by fault.
        files: Frames and files by outcome, as the loop counted them.
        publications: Number of changes of ``latest.json``.
        broken: By invariant that was broken, the first sentence on how.
    """

    faults: Mapping[str, int]
    files: Mapping[str, int]
    publications: int
    broken: Mapping[str, str]


def rehearse(
    path: Path,
    out: Path,
    settings: Settings,
    run: RunJob,
    *,
    rates: Mapping[Fault, float],
    seed: int = 0,
    log: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Rehearsed:
    """Feed the frames of an archive to a live loop as fast as it takes them.

    Args:
        path: The archive.
        out: Folder for the feed, the archive that grows from it and the published folder. It must be empty.
        settings: The settings; their feed, archive and published folder are replaced by those in ``out``.
        run: Does jobs.
        rates: Share of frames by fault; see :data:`~stormcell.live.faulty_feed.RATES`.
        seed: Seed of the faults.
        log: Called with the lines of the loop's log.
        progress: Called with the number of arrivals that are done and of all.

    Raises:
        ArgumentError: ``out`` is not empty, or the archive has fewer than two frames.
        ArchiveError: The archive cannot be opened.
    """
    rain = archive.rain(archive.open(path))
    if rain.sizes["time"] < 2:
        raise ArgumentError(
            f"{path}: expected at least 2 frames to rehearse with, found {rain.sizes['time']}"
        )
    if out.exists() and any(out.iterdir()):
        raise ArgumentError(f"{out}: expected an empty folder for the rehearsal, found files")
    folder = out / "feed"
    make_folder(folder)
    feed = FaultyFeed.of(rain, rates, seed)
    clock = _Clock(utc(rain["time"].values[0]))
    settings = replace(
        settings, feed=str(folder), archive=str(out / "archive.zarr"), out=out / "published", least_free=0
    )
    watch = Watch(settings.out)
    with locked(settings.out, sleep=clock.sleep):
        choice, _, _ = choose(settings, run)
        alerts = AlertTurns(settings.out, grid_rule(rain), run, clock=clock, log=lambda _: None)
        loop = LiveLoop(settings, choice, run, clock=clock, log=log, alerts=alerts)
        for done, arrival in enumerate(feed.arrivals, start=1):
            clock.now = max(clock.now, arrival.at)
            feed.write(arrival, folder)
            for look in range(_MOST_LOOKS + _MOST_WAITS):
                busy = loop.turn()
                watch.look()
                clock.now += _LOOK
                if look > 0 and not loop.holds and (not busy or look >= _MOST_LOOKS):
                    break
            progress(done, len(feed.arrivals))
        clock.now += timedelta(minutes=2)  # until nothing is tried again
        for _ in range(2):
            loop.turn(final=True)
            watch.look()
        loop.stop()
        alerts.stop()
    kept = archive.rain(archive.open(settings.archive))
    watch.check_archive(kept, rain, feed.blind)
    watch.check_blindness(kept)
    broken = {name: watch.found[name] for name in INVARIANTS if name in watch.found}
    return Rehearsed(feed.faults, dict(loop.intake.counts), watch.publications, broken)


class _Clock:
    """A clock that is set by hand."""

    def __init__(self, start: datetime) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
