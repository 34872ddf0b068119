"""The state of a rule, from publication to publication: a state machine without clock and disk.

``idle`` → ``pending`` → ``raised`` → ``idle`` again, which is the all-clear, or ``unknown`` from any of them
when data are missing. A raised alert stays open while it is unknown: what is not known is not an all-clear.

What receivers have been sent is kept beside the state, and a message follows from the difference. So a
message that was held back in quiet hours is sent at their end, if it is still true.
"""

from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

from stormcell.alerts.measuring import Measured
from stormcell.alerts.rules import Rule
from stormcell.published.alerts import AlertState
from stormcell.published.manifest import Run, Time

Transition = Literal["raised", "updated", "cleared", "unknown"]

_WORSE = 1.25  # times the value of the last message: worth another one
_NOT_YET = "no forecast has been published since the rule exists"


class Condition(BaseModel):
    """The state of a rule.

    Attributes:
        rule: Name of the rule.
        is_open: Whether it was raised and has not been cleared.
        known: Whether the newest publication decides whether the condition is met.
        reason: Why not.
        met: Successive issues that meet the condition.
        calm_since: Issue time from which all values have been low enough to clear.
        since: Issue time from which the state has been the same.
        issue: Issue time of the publication that was judged last; None before the first.
        run: Its run.
        value: As measured.
        expected: As measured.
        peak: As measured.
        sent: What receivers were last sent about the alert.
        sent_value: The value that it was sent with.
    """

    model_config = ConfigDict(frozen=True)

    rule: str
    is_open: bool = False
    known: bool = False
    reason: str | None = _NOT_YET
    met: int = 0
    calm_since: Time | None = None
    since: Time | None = None
    issue: Time | None = None
    run: Run | None = None
    value: float | None = None
    expected: Time | None = None
    peak: Time | None = None
    sent: Literal["raised", "cleared", "unknown"] = "cleared"
    sent_value: float | None = None

    @property
    def state(self) -> AlertState:
        """The state, as in ``alerts.json``."""
        if not self.known:
            return "unknown"
        if self.is_open:
            return "raised"
        return "pending" if self.met else "idle"

    def judged(self, rule: Rule, measured: Measured, issue: datetime, run: str) -> "Condition":
        """Return the state after a publication. A second one of the same issue does not count as another."""
        value = measured.value
        met = value is not None and value >= rule.limit
        known = met or measured.known
        count, calm = 0, None
        if met:
            count = max(1, self.met if issue == self.issue else self.met + 1)
        elif known and value is not None and value < rule.clear.below * rule.limit:
            calm = self.calm_since or issue
        is_open = self.is_open or count >= rule.for_issues
        if calm is not None and issue - calm >= timedelta(minutes=rule.clear.minutes):
            is_open = False
        after = self.model_copy(
            update={
                "is_open": is_open,
                "known": known,
                "reason": None if known else measured.reason,
                "met": count,
                "calm_since": calm,
                "issue": issue,
                "run": run,
                "value": value,
                "expected": measured.expected,
                "peak": measured.peak,
            }
        )
        return after if after.state == self.state else after.model_copy(update={"since": issue})

    def blind(self, reason: str) -> "Condition":
        """Return the state when no publication has come for too long."""
        changes = {"known": False, "reason": reason, "met": 0, "calm_since": None}
        after = self.model_copy(update=changes)
        return after if after.state == self.state else after.model_copy(update={"since": self.issue})

    def anew(self) -> "Condition":
        """Return the state for a rule that was changed: nothing is known, except what receivers were sent."""
        return Condition(rule=self.rule, sent=self.sent, sent_value=self.sent_value)

    @property
    def transition(self) -> Transition | None:
        """The message that receivers must be sent; None if they know the state."""
        if not self.known:
            return "unknown" if self.sent == "raised" else None
        if not self.is_open:
            return None if self.sent == "cleared" else "cleared"
        if self.sent == "cleared":
            return "raised"
        worse = self.value is not None and self.value >= _WORSE * (self.sent_value or 0.0)
        return "updated" if worse or self.sent == "unknown" else None

    def after_sending(self, transition: Transition) -> "Condition":
        """Return the state with the message as sent."""
        sent = "raised" if transition == "updated" else transition
        return self.model_copy(update={"sent": sent, "sent_value": self.value})
