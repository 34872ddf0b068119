"""The loop's part in alerts: rules are measured by the child process, and judged by this one."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path

from stormcell.alerts.alerting import STORE, Alerting
from stormcell.alerts.measuring import MeasureRules
from stormcell.alerts.rules import Rules
from stormcell.alerts.sender import Senders
from stormcell.errors import StormcellError
from stormcell.live.intake import RunJob
from stormcell.published.manifest import Manifest
from stormcell.published.staleness import stale_after

_SECONDS = 60.0  # to measure all rules
_AFTER_FAILURE = timedelta(seconds=30)  # before it is tried again


class AlertTurns:
    """Judges rules at each turn of the loop, and sends messages in threads.

    Args:
        out: The published folder.
        rules: The rules.
        run: Does jobs.
        clock: Returns the present time.
        log: Called with a line for each thing that a person should know.

    Raises:
        OutputError: The folder cannot be written.
    """

    def __init__(
        self,
        out: Path,
        rules: Rules,
        run: RunJob,
        *,
        clock: Callable[[], datetime],
        log: Callable[[str], None],
    ) -> None:
        self._run, self._clock = run, clock
        self._job = MeasureRules(out, rules.rules)
        self._alerting = Alerting(out, rules, log=log)
        self._senders = Senders(out / STORE, rules.webhooks, log=log)
        self._failed: datetime | None = None
        self._problem = ""

    def start(self) -> None:
        """Start sending messages."""
        self._senders.start()

    def stop(self) -> None:
        """Stop sending; what is not sent is sent after the next start."""
        self._senders.stop()
        self._alerting.close()

    @property
    def open_publications(self) -> Collection[str]:
        """Folders of the publications that open alerts name."""
        return self._alerting.open_publications

    def turn(self, newest: Manifest | None) -> str:
        """Judge the newest publication, if it has not been judged, and look at the time.

        Returns:
            A problem; empty if there is no problem.
        """
        now = self._clock()
        longest = stale_after(None if newest is None else newest.step_seconds)
        waits = self._failed is not None and timedelta(0) <= now - self._failed < _AFTER_FAILURE
        try:
            if newest is not None and not waits and self._alerting.is_due(newest, now, longest):
                self._failed = now
                self._alerting.judge(self._run(self._job, seconds=_SECONDS), now)
                self._failed, self._problem = None, ""
        except StormcellError as error:
            self._problem = f"rules were not judged: {error}"
        judging = self._problem
        try:
            self._alerting.look(now, longest)
        except StormcellError as error:
            judging = str(error)
        return "; ".join(problem for problem in (judging, self._senders.problem) if problem)
