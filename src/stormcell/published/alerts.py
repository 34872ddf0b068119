"""``alerts.json`` in the published folder: the state of every rule, as of the newest publication.

The file is there if the loop has rules. A rule that cannot be judged is ``unknown``, which is not ``idle``.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from stormcell.published.manifest import Run, Time

ALERTS = "alerts.json"

AlertState = Literal["idle", "pending", "raised", "unknown"]
Severity = Literal["minor", "moderate", "severe", "extreme"]


class Alert(BaseModel):
    """The state of a rule.

    Attributes:
        rule: Its name.
        title: For people.
        severity: In the words of the Common Alerting Protocol.
        state: ``idle``, ``pending`` (its condition is met, but not yet in enough issues), ``raised``, or
            ``unknown`` (data are missing).
        is_open: Whether it was raised and has not been cleared; it stays so while its state is unknown.
        since: Issue time from which it has been in this state; None before the first publication.
        value: What is compared with the limit; a lower bound if the state is unknown.
        limit: At or above this, the condition is met.
        units: Of both: ``mm/h``, ``mm``, or ``1`` for a probability or a share.
        expected: First time at which the condition is met; None if it is not.
        peak: Time of the highest value.
        reason: Why the state is unknown.
        geometry: The place as GeoJSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    title: str
    severity: Severity
    state: AlertState
    is_open: bool
    since: Time | None = None
    value: float | None = None
    limit: float
    units: Literal["mm/h", "mm", "1"]
    expected: Time | None = None
    peak: Time | None = None
    reason: str | None = None
    geometry: dict[str, JsonValue]

    def as_unknown(self, reason: str) -> "Alert":
        """Return the alert when nothing is known of the present."""
        changes: dict[str, Any] = {"state": "unknown", "reason": reason}
        return self.model_copy(update=changes)


class Alerts(BaseModel):
    """The state of all rules.

    Attributes:
        updated: When this file was written.
        issue: Issue time of the publication that was judged; None before the first.
        run: Its run.
        alerts: In the order of the rules.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    updated: Time
    issue: Time | None = None
    run: Run | None = None
    alerts: tuple[Alert, ...]
