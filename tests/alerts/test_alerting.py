import json
from datetime import timedelta

import pytest
from tests.alerts.worlds import ISSUE, RUN, STEP, issue, rule

from stormcell.alerts.alert_store import opened
from stormcell.alerts.alerting import STORE, Alerting
from stormcell.alerts.measuring import MeasureRules
from stormcell.alerts.rules import Rules
from stormcell.alerts.sender import Sender
from stormcell.errors import OutputError
from stormcell.published.reading import Shelf

HOOK = "https://example.org/rain"
STALE = 3 * STEP


class Desk:
    """Alerts of a folder, and a receiver that accepts everything."""

    def __init__(self, root, **settings):
        self.root, self.lines = root, []
        self.rules = Rules.model_validate({"rules": (rule(**settings),), "webhooks": ({"url": HOOK},)})
        self.alerting = Alerting(root, self.rules, log=self.lines.append)
        self.step = -1

    def publish(self, rate, **settings):
        """Publish a forecast of a rate, and judge it."""
        self.step += 1
        at = ISSUE + self.step * STEP
        manifest = issue(self.root, ahead=[rate] * 3, at=at, **settings)
        if self.alerting.is_due(manifest, at, STALE):
            self.alerting.judge(MeasureRules(self.root, self.rules.rules)(), at)

    def look(self, time):
        self.alerting.look(time, STALE)

    def restart(self, **settings):
        """Start again, as after a kill: nothing is closed properly."""
        again = Desk(self.root, **settings)
        again.step = self.step
        return again

    def state(self):
        (alert,) = Shelf(self.root).alerts().alerts
        return alert.state

    def receive(self):
        """Deliver what is in the outbox, and return the transitions."""
        received = []

        def deliver(_, message, __):
            received.append(json.loads(message.body)["data"]["transition"])

        later = ISSUE + timedelta(hours=20)
        with opened(self.root / STORE) as store:
            Sender(store, self.rules.webhooks[0], clock=lambda: later, log=print, deliver=deliver).turn()
        return received


def test_alerting_writes_states_and_sends_transitions_once(tmp_path):
    desk = Desk(tmp_path, for_issues=2, clear={"minutes": 5})
    states = []
    for rate in (0, 20, 20, 20, 0, 0):
        desk.publish(rate)
        desk.look(ISSUE + desk.step * STEP)
        states.append(desk.state())
    assert states == ["idle", "pending", "raised", "raised", "raised", "idle"]
    assert desk.receive() == ["raised", "cleared"]
    assert desk.receive() == []


def test_alerting_message_is_a_cloud_event_with_an_id_of_its_publication(tmp_path):
    desk = Desk(tmp_path)
    desk.publish(20)
    with opened(tmp_path / STORE) as store:
        message = store.next_message(HOOK, ISSUE)
    event = json.loads(message.body)
    assert event["id"] == message.id == f"20261128T1200Z/{RUN}/depot/raised"
    assert (event["specversion"], event["type"]) == ("1.0", "stormcell.alert.raised")
    assert event["data"]["expected"] == "2026-11-28T12:05:00Z"
    assert event["data"]["geometry"] == {"type": "Point", "coordinates": [10.3, 51.8]}


def test_alerting_preliminary_publication_is_not_judged(tmp_path):
    desk = Desk(tmp_path)
    desk.publish(20, preliminary=True)
    desk.look(ISSUE)
    assert desk.state() == "unknown"
    assert desk.receive() == []


def test_alerting_without_new_frames_is_unknown_and_gives_no_all_clear(tmp_path):
    desk = Desk(tmp_path, clear={"minutes": 0})
    desk.publish(20)
    desk.look(ISSUE + STALE)
    assert desk.state() == "raised"
    for minutes in (16, 60, 600):
        desk.look(ISSUE + timedelta(minutes=minutes))
    assert desk.state() == "unknown"
    desk.step = 200
    desk.publish(20)
    desk.publish(0)
    assert desk.receive() == ["raised", "unknown", "updated", "cleared"]


def test_alerting_publication_ahead_of_the_clock_is_unknown_until_the_clock_is_right(tmp_path):
    desk = Desk(tmp_path)
    desk.publish(0)
    desk.look(ISSUE - timedelta(minutes=2))  # clocks may differ by that
    assert desk.state() == "idle"
    desk.look(ISSUE - timedelta(hours=1))
    (alert,) = Shelf(tmp_path).alerts().alerts
    assert (alert.state, alert.reason) == (
        "unknown",
        "the newest frame is of 2026-11-28 12:00 UTC, ahead of the clock",
    )
    manifest = Shelf(tmp_path).manifest("20261128T1200Z", RUN)
    assert not desk.alerting.is_due(manifest, ISSUE - timedelta(hours=1), STALE)
    assert desk.alerting.is_due(manifest, ISSUE + timedelta(minutes=1), STALE)
    desk.alerting.judge(MeasureRules(tmp_path, desk.rules.rules)(), ISSUE + timedelta(minutes=1))
    assert desk.state() == "idle"
    assert not desk.alerting.is_due(manifest, ISSUE + timedelta(minutes=1), STALE)


def test_alerting_old_publication_is_not_judged_after_a_restart(tmp_path):
    manifest = issue(tmp_path, ahead=[20] * 3)
    desk = Desk(tmp_path)
    assert desk.alerting.is_due(manifest, ISSUE + STALE, STALE)
    assert not desk.alerting.is_due(manifest, ISSUE + STALE + timedelta(seconds=1), STALE)


QUIET = {"start": "12:00", "end": "12:30"}


def test_alerting_in_quiet_hours_sends_at_their_end_what_is_still_true(tmp_path):
    desk = Desk(tmp_path, quiet=QUIET)
    desk.publish(20)
    assert (desk.state(), desk.receive()) == ("raised", [])
    desk.step = 4
    desk.publish(20)
    desk.look(ISSUE + timedelta(minutes=29))
    assert desk.receive() == []
    desk.look(ISSUE + timedelta(minutes=30))
    assert desk.receive() == ["raised"]


def test_alerting_raised_and_cleared_in_quiet_hours_sends_nothing(tmp_path):
    desk = Desk(tmp_path, quiet=QUIET, clear={"minutes": 0})
    desk.publish(20)
    desk.publish(0)
    desk.look(ISSUE + timedelta(minutes=40))
    assert desk.receive() == []


def test_alerting_cleared_in_quiet_hours_sends_the_all_clear_at_their_end(tmp_path):
    desk = Desk(tmp_path, quiet={"start": "12:02", "end": "12:10"}, clear={"minutes": 0})
    desk.publish(20)
    desk.publish(0)
    assert desk.receive() == ["raised"]
    desk.look(ISSUE + timedelta(minutes=10))
    assert desk.receive() == ["cleared"]


def killed(*_):
    raise KeyboardInterrupt


def test_alerting_killed_after_the_transaction_writes_the_file_at_the_next_start(tmp_path, monkeypatch):
    desk = Desk(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("stormcell.alerts.alerting.write_alerts", killed)
        with pytest.raises(KeyboardInterrupt):
            desk.publish(20)
    again = desk.restart()
    assert not again.alerting.is_due(Shelf(tmp_path).manifest("20261128T1200Z", RUN), ISSUE, STALE)
    again.look(ISSUE)
    assert again.state() == "raised"
    assert again.receive() == ["raised"]


def test_alerting_killed_before_the_transaction_judges_again(tmp_path, monkeypatch):
    desk = Desk(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("stormcell.alerts.alert_store.Store.save", killed)
        with pytest.raises(KeyboardInterrupt):
            desk.publish(20)
    again = desk.restart()
    again.step -= 1
    again.publish(20)
    assert again.receive() == ["raised"]


def test_alerting_restarted_continues_and_sends_nothing_twice(tmp_path):
    desk = Desk(tmp_path, for_issues=2)
    desk.publish(20)
    desk = desk.restart(for_issues=2)
    desk.publish(20)
    assert desk.receive() == ["raised"]
    desk = desk.restart(for_issues=2)
    desk.publish(20)
    assert (desk.state(), desk.receive()) == ("raised", [])


def test_alerting_changed_rule_begins_anew_and_says_what_is_no_longer_known(tmp_path):
    desk = Desk(tmp_path)
    desk.publish(20)
    changed = desk.restart(threshold=30)
    changed.look(ISSUE)
    assert changed.state() == "unknown"
    assert changed.alerting.is_due(Shelf(tmp_path).manifest("20261128T1200Z", RUN), ISSUE, STALE)
    changed.publish(20)
    assert changed.receive() == ["raised", "unknown", "cleared"]


def test_alerting_removed_rule_with_an_open_alert_is_logged(tmp_path):
    Desk(tmp_path).publish(20)
    assert any("depot" in line and "not cleared" in line for line in Desk(tmp_path, name="other").lines)


def test_alerting_rule_that_cannot_be_judged_is_logged_once(tmp_path):
    desk = Desk(tmp_path, place={"lat": 0, "lon": 0})
    desk.publish(0)
    desk.publish(0)
    (line,) = desk.lines
    assert line.startswith("depot: its state is unknown: place: expected one inside of the radar's grid")


def test_alerting_open_alert_names_its_publication(tmp_path):
    desk = Desk(tmp_path)
    desk.publish(0)
    assert desk.alerting.open_publications == set()
    desk.publish(20)
    assert desk.alerting.open_publications == {f"20261128T1205Z-{RUN}"}


def test_alerting_with_a_damaged_file_names_it(tmp_path):
    (tmp_path / STORE).write_bytes(b"not a database" * 100)
    with pytest.raises(OutputError, match=r"\.alerts\.sqlite: could not be used"):
        Desk(tmp_path)
