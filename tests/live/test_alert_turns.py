import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.alerts.worlds import ISSUE, STEP, issue, rule

from stormcell.alerts.rules import Rules, Webhook
from stormcell.errors import WorkerError
from stormcell.live.alert_turns import AlertTurns
from stormcell.published.reading import Shelf


class Loop:
    """The turns of a loop with a rule, and a child process that may fail."""

    def __init__(self, root, *webhooks):
        self.root, self.now, self.jobs, self.fails = root, ISSUE, 0, False
        rules = Rules(rules=(rule(),), webhooks=webhooks)
        self.turns = AlertTurns(root, rules, self.run, clock=lambda: self.now, log=print)

    def run(self, job, *, seconds):
        self.jobs += 1
        if self.fails:
            raise WorkerError(f"expected an answer within {seconds:g} s, found none")
        return job()

    def turn(self, manifest):
        problem = self.turns.turn(manifest)
        (alert,) = Shelf(self.root).alerts().alerts
        return alert.state, problem


@pytest.fixture
def loop(tmp_path):
    return Loop(tmp_path)


def test_alert_turns_judge_each_publication_once(loop):
    assert loop.turn(None) == ("unknown", "")
    manifest = issue(loop.root, ahead=[20] * 3)
    assert loop.turn(manifest) == ("raised", "")
    assert loop.turn(manifest) == ("raised", "")
    assert loop.jobs == 1


def test_alert_turns_failed_measurement_is_a_problem_and_tried_again_later(loop):
    loop.fails = True
    manifest = issue(loop.root, ahead=[20] * 3)
    state, problem = loop.turn(manifest)
    assert (state, problem[:22]) == ("unknown", "rules were not judged:")
    loop.turn(manifest)
    assert loop.jobs == 1
    loop.fails, loop.now = False, loop.now + timedelta(seconds=30)
    assert loop.turn(manifest) == ("raised", "")


def test_alert_turns_without_new_publications_become_unknown(loop):
    manifest = issue(loop.root, ahead=[20] * 3)
    loop.turn(manifest)
    loop.now = ISSUE + 3 * STEP
    assert loop.turn(manifest)[0] == "raised"
    loop.now += timedelta(seconds=1)
    assert loop.turn(manifest)[0] == "unknown"
    assert set(loop.turns.open_publications) == {manifest.folder}


def test_alert_turns_message_that_is_not_delivered_is_a_problem_without_the_address(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nothing listens there
        url = f"http://127.0.0.1:{free.getsockname()[1]}/secret"
        loop = Loop(tmp_path, Webhook(url=url, allow_private=True))
        # The sender has the real clock, by which the message would be given up.
        loop.now = datetime.now(UTC)
        manifest = issue(loop.root, ahead=[20] * 3, at=loop.now)
        loop.turns.start()
        deadline = time.monotonic() + 30
        while not (problem := loop.turn(manifest)[1]) and time.monotonic() < deadline:
            time.sleep(0.05)
        loop.turns.stop()
    assert problem.startswith("127.0.0.1: ")
    assert "was not delivered" in problem
    assert "secret" not in problem
