import asyncio
import shutil
from datetime import timedelta

import numpy as np
import pytest
from tests.serve.publications import ISSUE, NAME, STEP, publish_issue, show

from stormcell.published.alerts import Alerts
from stormcell.published.manifest import Status
from stormcell.published.writing import write_alerts, write_status
from stormcell.serve.problems import Problem
from stormcell.serve.watch import Watch


def watch_of(folder, now=ISSUE + timedelta(minutes=2)):
    watch = Watch(folder, lambda: now)
    watch.look()
    return watch


def test_watch_without_a_folder_is_not_ready(published):
    watch = watch_of(published)
    assert not watch.is_ready
    with pytest.raises(Problem, match="no forecast has been published yet"):
        _ = watch.newest


def test_watch_takes_the_first_publication_when_it_comes(published):
    watch = watch_of(published)
    publish_issue(published)
    assert watch.look()
    assert watch.newest.latest.folder == NAME
    assert not watch.look()


def test_watch_replaces_the_newest_and_leaves_the_old_usable(published):
    first = publish_issue(published)
    watch = watch_of(published)
    before = watch.newest
    levels = np.array(before.publication.cells)
    second = publish_issue(published, ISSUE + STEP, "00000002", frames=1)
    show(published, first, second)
    assert watch.look()
    assert watch.newest.latest.issue == ISSUE + STEP
    # Memory maps outlive their files, so requests in flight end well.
    shutil.rmtree(published / NAME)
    np.testing.assert_array_equal(before.publication.cells, levels)


def test_watch_damaged_latest_keeps_the_one_before(published):
    publish_issue(published)
    watch = watch_of(published)
    good = (published / "latest.json").read_bytes()
    (published / "latest.json").write_bytes(good[:40])
    assert not watch.look()
    assert watch.newest.latest.folder == NAME
    assert "latest.json" in watch.problem
    (published / "latest.json").write_bytes(good)
    watch.look()
    assert watch.problem is None


@pytest.mark.parametrize(("minutes", "stale"), [(-3, True), (-1, False), (14, False), (16, True)])
def test_watch_is_stale_after_the_age_of_the_status_and_ahead_of_the_clock(published, minutes, stale):
    publish_issue(published)
    write_status(published, Status(updated=ISSUE, state="working", stale_after_seconds=900))
    assert watch_of(published, ISSUE + timedelta(minutes=minutes)).is_stale is stale


def test_watch_tells_when_the_newest_becomes_stale(published):
    publish_issue(published)
    write_status(published, Status(updated=ISSUE, state="working", stale_after_seconds=900))
    now = ISSUE
    watch = Watch(published, lambda: now)
    watch.look()
    assert not watch.look()
    now = ISSUE + timedelta(minutes=16)
    assert watch.look()
    assert not watch.look()


def test_watch_without_a_file_of_alerts_has_none_again(published):
    publish_issue(published)
    write_alerts(published, Alerts(updated=ISSUE, alerts=()))
    watch = watch_of(published)
    assert watch.alerts is not None
    (published / "alerts.json").unlink()
    watch.look()
    assert watch.alerts is None


@pytest.mark.parametrize(("minutes", "seconds"), [(1, 30), (5.8, 12), (6, 2), (60, 2)])
def test_watch_max_age_is_until_the_next_issue(published, minutes, seconds):
    publish_issue(published)  # the next is expected after six minutes
    assert watch_of(published, ISSUE + timedelta(minutes=minutes)).max_age() == pytest.approx(seconds, abs=1)


def test_watch_run_tells_those_who_wait(published):
    publish_issue(published)

    async def wait() -> bool:
        watch = Watch(published, lambda: ISSUE)
        changed = watch.subscribe()
        running = asyncio.create_task(watch.run(lambda _: asyncio.sleep(0)))
        await asyncio.wait_for(changed.wait(), 10)
        running.cancel()
        return watch.is_ready

    assert asyncio.run(wait())
