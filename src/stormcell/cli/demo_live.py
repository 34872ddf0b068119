"""``demo --live``: generated rain, the live loop and its map, 60 times as fast as real rain."""

import signal
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from stormcell.atomic import make_folder
from stormcell.cli import live
from stormcell.cli.exit_status import ALL_DONE
from stormcell.cli.extras import needing_serve
from stormcell.errors import ArgumentError
from stormcell.live.child import Child
from stormcell.live.generated_feed import STEP, FastClock, GeneratedFeed, last_step
from stormcell.live.live_settings import Settings
from stormcell.live.service import live as take_turns

_SHAPE = (128, 128)  # small enough that two cores keep up
_SPEED = 60
_SEED = 7
_HISTORY = 18  # frames that are there at the start
_POLL = 0.25  # seconds


def run(
    out: Path | None,
    *,
    port: int,
    browser: bool,
    shape: tuple[int, int] = _SHAPE,
    model: str | None = None,
) -> int:
    """Run loop and server until they are interrupted.

    Args:
        out: Empty folder for the feed, the archive and the published folder; None for one that is deleted at
            the end.
        port: Port of the map; 0 for any that is free.
        browser: Whether the map is opened in the browser.
        shape: Rows and columns of the generated frames.
        model: As for ``stormcell live``.

    Raises:
        ArgumentError: The port is in use, or the folder is not empty.
        MissingExtraError: The packages of the server are not installed.
    """
    with needing_serve("demo --live"):
        from stormcell.serve.server import running
    with _folder(out) as folder:
        (folder / "feed").mkdir()
        newest = last_step(datetime.now(UTC))
        clock = FastClock(newest, _SPEED)
        feed = GeneratedFeed(folder / "feed", newest - (_HISTORY - 1) * STEP, shape=shape, seed=_SEED)
        feed.write_until(newest)

        def sleep(seconds: float) -> None:
            time.sleep(seconds)
            feed.write_until(clock())

        settings = Settings(
            str(folder / "feed"),
            str(folder / "archive.zarr"),
            folder / "published",
            live.Reading({}, {}),
            model=model,
            poll=_POLL,
            keep_forecasts=timedelta(hours=24),
            least_free=0,
        )
        child = Child(settings.memory)
        # So that the folder is deleted then, too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(ALL_DONE))
        try:
            with running(settings.out, "127.0.0.1", port, clock=clock) as address:
                print(f"{address} shows generated rain, {_SPEED} times as fast; Ctrl-C ends it", flush=True)
                if browser:
                    webbrowser.open(address)
                take_turns(settings, child, clock=clock, sleep=sleep, log=live.log)
        except KeyboardInterrupt:
            return ALL_DONE
        finally:
            child.close(patience=2.0)
    return ALL_DONE


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is None:
        with TemporaryDirectory(prefix="stormcell-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    make_folder(out)
    if any(out.iterdir()):  # what is there may be ahead of a clock that begins anew
        raise ArgumentError(f"{out}: expected an empty folder for the live demo, found files")
    yield out
