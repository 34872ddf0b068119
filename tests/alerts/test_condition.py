from datetime import timedelta

import pytest
from tests.alerts.worlds import ISSUE, RUN, STEP, rule

from stormcell.alerts.condition import Condition
from stormcell.alerts.measuring import Measured

RULE = rule(for_issues=2)


def after(*values, rule=RULE, condition=None, start=0):
    """Return the states after publications with these values; None is a value that is not known."""
    condition = condition or Condition(rule="depot")
    states = []
    for k, value in enumerate(values, start):
        found = Measured("depot", value, value is not None, None if value is not None else "blind")
        condition = condition.judged(rule, found, ISSUE + k * STEP, RUN)
        states.append(condition)
    return states


def test_condition_before_the_first_publication_is_unknown():
    assert Condition(rule="depot").state == "unknown"
    assert Condition(rule="depot").transition is None


def test_condition_met_in_two_issues_is_pending_then_raised():
    states = after(0.0, 12.0, 12.0)
    assert [one.state for one in states] == ["idle", "pending", "raised"]
    assert [one.transition for one in states] == [None, None, "raised"]
    assert states[-1].since == ISSUE + 2 * STEP


def test_condition_met_twice_by_the_same_issue_counts_once():
    (first,) = after(12.0)
    (second,) = after(12.0, condition=first)
    assert second.state == "pending"


def test_condition_met_in_one_issue_only_is_idle_again():
    assert [one.state for one in after(12.0, 3.0, 12.0)] == ["pending", "idle", "pending"]


def test_condition_at_the_limit_is_met():
    assert after(10.0)[-1].state == "pending"
    assert after(9.99)[-1].state == "idle"


def test_condition_raised_clears_after_half_an_hour_below_four_fifths():
    states = after(12.0, 12.0, *[7.9] * 7)
    assert [one.state for one in states[1:-1]] == ["raised"] * 7
    assert states[-1].state == "idle"
    assert states[-1].issue - states[2].issue == timedelta(minutes=30)


@pytest.mark.parametrize("value", [8.0, 9.0, 12.0])
def test_condition_between_the_limits_starts_the_half_hour_anew(value):
    states = after(12.0, 12.0, *[0.0] * 6, value, *[0.0] * 6)
    assert states[-1].is_open
    assert not after(0.0, condition=states[-1], start=15)[-1].is_open


def test_condition_raised_and_then_not_known_is_unknown_and_stays_open():
    states = after(12.0, 12.0, *[None] * 20)
    assert all(one.state == "unknown" and one.is_open for one in states[2:])


def test_condition_does_not_clear_while_a_part_of_the_half_hour_is_blind():
    states = after(12.0, 12.0, *[0.0] * 5, None, *[0.0] * 6)
    assert states[-1].state == "raised"


def test_condition_without_frames_for_a_while_starts_the_half_hour_anew():
    blind = after(12.0, 12.0, *[0.0] * 5)[-1].blind("no frame")
    assert after(*[0.0] * 6, condition=blind, start=12)[-1].is_open
    assert not after(*[0.0] * 7, condition=blind, start=12)[-1].is_open


def test_condition_met_by_a_lower_bound_is_known():
    found = Measured("depot", 20.0, False, "less than half")
    state = Condition(rule="depot").judged(RULE, found, ISSUE, RUN)
    assert (state.state, state.reason) == ("pending", None)


def test_condition_not_met_by_a_lower_bound_is_unknown():
    found = Measured("depot", 2.0, False, "less than half")
    state = Condition(rule="depot").judged(RULE, found, ISSUE, RUN)
    assert (state.state, state.reason) == ("unknown", "less than half")


def test_condition_unknown_between_two_met_issues_counts_anew():
    assert [one.state for one in after(12.0, None, 12.0)] == ["pending", "unknown", "pending"]


def test_condition_blind_for_too_long_tells_receivers_once():
    raised = after(12.0, 12.0)[-1].after_sending("raised")
    blind = raised.blind("no frame")
    assert (blind.state, blind.transition) == ("unknown", "unknown")
    assert blind.after_sending("unknown").blind("no frame").transition is None


def test_condition_known_again_is_an_update_while_it_is_open():
    blind = after(12.0, 12.0)[-1].after_sending("raised").blind("no frame").after_sending("unknown")
    again = after(3.0, condition=blind, start=5)[-1]
    assert (again.state, again.transition) == ("raised", "updated")


def test_condition_gives_no_all_clear_while_it_is_unknown():
    raised = after(12.0, 12.0)[-1].after_sending("raised")
    changed = raised.anew()
    assert (changed.is_open, changed.transition) == (False, "unknown")
    assert after(0.0, condition=changed.after_sending("unknown"), start=5)[-1].transition == "cleared"


@pytest.mark.parametrize(("value", "transition"), [(14.9, None), (15.0, "updated")])
def test_condition_that_is_a_quarter_worse_is_an_update(value, transition):
    raised = after(12.0, 12.0)[-1].after_sending("raised")
    assert after(value, condition=raised, start=2)[-1].transition == transition


def test_condition_cleared_and_unsent_is_nothing_to_send():
    states = after(12.0, 12.0, *[0.0] * 7)  # the message was held back all the time
    assert states[-1].transition is None
