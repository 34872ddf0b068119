from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stormcell.live.arrivals import Arrivals
from stormcell.live.feed import Seen

NOW = datetime(2024, 6, 1, tzinfo=UTC)
PATH = Path("a.h5")


def seen(size=1, modified=0, changed=0, complete=False):
    return [Seen(PATH, size, modified, changed, complete)]


def after(seconds):
    return NOW + timedelta(seconds=seconds)


def test_arrivals_file_that_grows_is_ready_when_two_looks_find_it_the_same():
    arrivals = Arrivals()
    looks = [arrivals.ready(seen(size, size), after(size)) for size in (1, 2, 3, 4)]
    assert looks == [[], [], [], []]
    assert arrivals.ready(seen(4, 4), after(5)) == [PATH]


def test_arrivals_file_that_was_renamed_into_its_place_is_ready_at_once():
    assert Arrivals().ready(seen(complete=True), NOW) == [PATH]


def test_arrivals_empty_file_is_not_ready():
    arrivals = Arrivals()
    assert [arrivals.ready(seen(0), after(k)) for k in range(3)] == [[], [], []]


def test_arrivals_file_is_ready_again_only_when_it_changes():
    arrivals = Arrivals()
    arrivals.ready(seen(complete=True), NOW)
    arrivals.done(PATH)
    assert arrivals.ready(seen(complete=True), after(1)) == []
    assert arrivals.ready(seen(modified=1, complete=True), after(2)) == [PATH]


def test_arrivals_unreadable_file_is_tried_less_and_less_often_and_given_up_after_a_minute():
    arrivals, attempts, outcomes = Arrivals(), [], []
    for second in range(200):
        if arrivals.ready(seen(complete=True), after(second)):
            attempts.append(second)
            outcomes.append(arrivals.unreadable(PATH, after(second)))
    assert attempts == [0, 1, 3, 7, 15, 31, 63]
    assert outcomes == ["partial", None, None, None, None, None, "corrupt"]
    assert arrivals.ready(seen(size=2, complete=True), after(300)) == [PATH]  # it has changed


def test_arrivals_file_whose_contents_are_withheld_is_tried_for_hours_and_at_once_with_new_permissions():
    arrivals, attempts, outcomes = Arrivals(), [], []
    for second in range(7200):
        if arrivals.ready(seen(complete=True), after(second)):
            attempts.append(second)
            outcomes.append(arrivals.unreadable(PATH, after(second), withheld=True))
    assert attempts[:7] == [0, 1, 3, 7, 15, 31, 63]
    assert attempts[-1] - attempts[-2] == 32
    assert outcomes == ["partial"] + [None] * (len(attempts) - 1)
    assert arrivals.ready(seen(changed=1, complete=True), after(7200)) == [PATH]


def test_arrivals_file_that_was_given_up_is_read_again_when_its_permissions_change():
    arrivals = Arrivals()
    arrivals.ready(seen(complete=True), NOW)
    arrivals.unreadable(PATH, NOW, final=True)
    assert arrivals.ready(seen(complete=True), after(1)) == []
    assert arrivals.ready(seen(changed=1, complete=True), after(2)) == [PATH]


def test_arrivals_file_of_the_future_is_looked_at_again_each_minute_and_new_once():
    arrivals, found = Arrivals(), []
    for second in range(130):
        if arrivals.ready(seen(complete=True), after(second)):
            found.append((second, arrivals.quarantine(PATH, after(second))))
    assert found == [(0, True), (60, False), (120, False)]


@pytest.mark.parametrize("back", [3600, 86400])
def test_arrivals_after_the_clock_went_back_nothing_waits_for_the_old_time(back):
    arrivals = Arrivals()
    arrivals.ready(seen(complete=True), NOW)
    arrivals.unreadable(PATH, NOW)
    arrivals.clock_went_back(after(-back))
    assert arrivals.ready(seen(complete=True), after(1 - back)) == [PATH]
