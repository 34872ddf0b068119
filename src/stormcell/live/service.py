"""The live loop as a service: turns follow each other until the process is stopped."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stormcell.live.archiving import CheckReading
from stormcell.live.intake import RunJob
from stormcell.live.live_loop import LiveLoop
from stormcell.live.live_settings import Settings
from stormcell.live.model_choice import Choice, ModelFile, TryForecaster
from stormcell.live.output_lock import locked
from stormcell.live.systemd import notify, standing_by
from stormcell.published.alerts import ALERTS
from stormcell.published.retention import clear_parts

if TYPE_CHECKING:
    from stormcell.live.alert_turns import AlertTurns

_TRIAL_SECONDS = 300.0  # to load a model and try it
_LOOKS = 3  # of a loop that ends: the second look finds which files are whole


def live(
    settings: Settings,
    run: RunJob,
    *,
    once: bool = False,
    standby: bool = False,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    log: Callable[[str], None],
) -> LiveLoop:
    """Take turns until the process is stopped, or, with ``once``, until nothing is left to do.

    Args:
        settings: The settings.
        run: Does jobs, such as a :class:`~stormcell.live.child.Child`.
        once: Whether to end.
        standby: Whether to wait until another loop of the same published folder has ended.
        clock: Returns the present time.
        sleep: Waits for a number of seconds.
        log: Called with a line for each thing that a person should know.

    Returns:
        The loop after its last turn.

    Raises:
        ArgumentError: The feed is not a folder, or no forecaster has that name.
        OutputError: Another loop publishes into the same folder, or it cannot be written.
        ModelFileError: The model file cannot be used, and no earlier one was kept.
    """
    with locked(settings.out, standby=standby, sleep=standing_by(sleep)):
        clear_parts(settings.out)
        run(CheckReading(settings.reading), seconds=_TRIAL_SECONDS)
        choice, watched, problem = choose(settings, run)
        alerts = _alerts(settings, run, clock, log)
        loop = LiveLoop(settings, choice, run, clock=clock, log=log, model_file=watched, alerts=alerts)
        log(f"{settings.out}: forecasts by {choice.title} from the files in {settings.feed}")
        if problem:
            loop.note("model", f"an earlier model file is used: {problem}")
        if alerts is not None:
            alerts.start()
        try:
            turns, busy = 0, True
            while not once or busy or turns < _LOOKS:
                busy = loop.turn(final=once and turns > 0)
                notify("WATCHDOG=1" if turns else "READY=1")
                turns += 1
                sleep(settings.poll)
        finally:
            notify("STOPPING=1")
            loop.stop()
            if alerts is not None:
                alerts.stop()
    return loop


def _alerts(
    settings: Settings, run: RunJob, clock: Callable[[], datetime], log: Callable[[str], None]
) -> "AlertTurns | None":
    """Return what judges the rules. Without rules, the states of earlier ones are removed."""
    if settings.rules is None:
        (settings.out / ALERTS).unlink(missing_ok=True)
        return None
    from stormcell.live.alert_turns import AlertTurns  # not without rules: its packages need memory

    return AlertTurns(settings.out, settings.rules, run, clock=clock, log=log)


def choose(settings: Settings, run: RunJob) -> tuple[Choice, ModelFile | None, str | None]:
    """Return the forecaster to begin with, what watches its file, and a problem with that file.

    Raises:
        StormcellError: It cannot be used.
    """

    def attempt(job: TryForecaster) -> Choice:
        return run(job, seconds=_TRIAL_SECONDS)

    if settings.model is None or not Path(settings.model).suffix:
        return attempt(TryForecaster(settings.model, None, settings.archive)), None, None
    watched = ModelFile(Path(settings.model), settings.archive, settings.out, attempt)
    choice, problem = watched.first()
    return choice, watched, problem
