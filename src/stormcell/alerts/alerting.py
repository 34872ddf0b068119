"""Alerts of a published folder: after each publication, the states of all rules and what is sent of them."""

import hashlib
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path

from stormcell.alerts.alert_store import Message, Store
from stormcell.alerts.condition import Condition
from stormcell.alerts.measuring import Measurement
from stormcell.alerts.messages import alert_of, message
from stormcell.alerts.rules import Rule, Rules
from stormcell.published.alerts import Alerts
from stormcell.published.manifest import Manifest, time_name
from stormcell.published.staleness import timeliness
from stormcell.published.writing import write_alerts

STORE = ".alerts.sqlite"  # in the published folder


class Alerting:
    """The states of all rules.

    Args:
        root: The published folder.
        rules: The rules.
        log: Called with a line for each thing that a person should know.

    Raises:
        OutputError: The folder cannot be written.
    """

    def __init__(self, root: Path, rules: Rules, *, log: Callable[[str], None]) -> None:
        self._root, self._rules, self._log = root, rules.rules, log
        self._receivers = tuple(webhook.url for webhook in rules.webhooks)
        self._store = Store(root / STORE)
        self._judged = self._store.judged()
        self._definitions = {rule.name: _digest(rule) for rule in rules.rules}
        self._conditions = self._restored()
        self._written: Alerts | None = None

    def close(self) -> None:
        """Close the SQLite file."""
        self._store.close()

    def is_due(self, newest: Manifest, now: datetime, stale_after: timedelta) -> bool:
        """Whether a publication is to be judged.

        A preliminary one is replaced within seconds, and one that is too old, or dated ahead of the clock,
        says nothing of the present.
        """
        if newest.preliminary or timeliness(newest.issue, now, stale_after) != "current":
            return False
        return newest.folder != self._judged or any(one.issue is None for one in self._conditions.values())

    def judge(self, measurement: Measurement, now: datetime) -> None:
        """Take over the values of a publication.

        Raises:
            OutputError: They cannot be written.
        """
        values = {one.rule: one for one in measurement.values}
        after = {
            rule.name: self._conditions[rule.name].judged(
                rule, values[rule.name], measurement.issue, measurement.run
            )
            for rule in self._rules
        }
        self._take(after, f"{time_name(measurement.issue)}-{measurement.run}", now)

    def look(self, now: datetime, stale_after: timedelta) -> None:
        """Look at the time: whether the last publication is current, and whether quiet hours have ended.

        Raises:
            OutputError: A change cannot be written.
        """
        after = {name: _aged(one, now, stale_after) for name, one in self._conditions.items()}
        # If a wrong clock is set right, the same publication is current again, and is judged again.
        self._take(after, self._judged if after == self._conditions else None, now)

    @property
    def open_publications(self) -> Collection[str]:
        """Folders of the publications by which open alerts were judged last."""
        return {
            f"{time_name(one.issue)}-{one.run}"
            for one in self._conditions.values()
            if one.is_open and one.issue is not None
        }

    def _restored(self) -> dict[str, Condition]:
        stored = self._store.conditions()
        for name in stored.keys() - self._definitions.keys():
            if stored[name][1].is_open:
                self._log(f"{name}: the rule is no longer there; its alert is open, and is not cleared")
        found = {}
        for name, definition in self._definitions.items():
            before, condition = stored.get(name, ("", Condition(rule=name)))
            found[name] = condition if before == definition else condition.anew()
        return found

    def _take(self, after: dict[str, Condition], judged: str | None, now: datetime) -> None:
        messages: list[Message] = []
        for rule in self._rules:
            condition = after[rule.name]
            transition = condition.transition
            if transition is None or (rule.quiet is not None and rule.quiet.includes(now)):
                continue
            messages.append(message(rule, condition, transition, now))
            after[rule.name] = condition.after_sending(transition)
        for name, condition in after.items():
            before = self._conditions[name]
            if not condition.known and (before.known or before.issue is None) and condition.issue is not None:
                self._log(f"{name}: its state is unknown: {condition.reason}")
        if after != self._conditions or judged != self._judged:
            rows = {name: (self._definitions[name], one) for name, one in after.items()}
            self._store.save(rows, judged, messages, self._receivers)
            self._conditions, self._judged = after, judged
            for one in messages:
                self._log(f"alert {one.id}")
        self._write(now)

    def _write(self, now: datetime) -> None:
        """Write ``alerts.json``, if it is not as it should be."""
        newest = max((one for one in self._conditions.values() if one.issue), key=_issue, default=None)
        alerts = Alerts(
            updated=now,
            issue=newest and newest.issue,
            run=newest and newest.run,
            alerts=tuple(alert_of(rule, self._conditions[rule.name]) for rule in self._rules),
        )
        before = self._written
        if before is None or alerts.model_copy(update={"updated": before.updated}) != before:
            write_alerts(self._root, alerts)
            self._written = alerts


def _issue(condition: Condition) -> datetime:
    assert condition.issue is not None
    return condition.issue


def _aged(condition: Condition, now: datetime, stale_after: timedelta) -> Condition:
    if condition.issue is None or not condition.known:
        return condition
    found = timeliness(condition.issue, now, stale_after)
    if found == "current":
        return condition
    ahead = ", ahead of the clock" if found == "ahead" else ""
    return condition.blind(f"the newest frame is of {condition.issue:%Y-%m-%d %H:%M} UTC{ahead}")


def _digest(rule: Rule) -> str:
    """Return a digest of all that decides on the state of a rule."""
    text = rule.model_dump_json(exclude={"title", "quiet", "severity"})
    return hashlib.sha256(text.encode()).hexdigest()
