import numpy as np
import pytest
from tests.live.conftest import FRAMES, Rig

from stormcell.alerts.alert_places import cells_of
from stormcell.alerts.condition import Condition
from stormcell.alerts.messages import alert_of
from stormcell.data import archive
from stormcell.data.grid import Grid
from stormcell.errors import ArgumentError
from stormcell.live.faulty_feed import RATES, FaultyFeed
from stormcell.live.grid_rule import grid_rule
from stormcell.live.invariants import ALL_CLEAR, BLIND, MONOTONE, NOTHING_LOST, ONCE, WHOLE, Watch
from stormcell.live.rehearsal import rehearse
from stormcell.maps.areas import MOST_CELLS
from stormcell.published.alerts import Alerts
from stormcell.published.manifest import LATEST
from stormcell.published.reading import Shelf
from stormcell.published.writing import write_alerts


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """An archive of some frames."""
    folder = tmp_path_factory.mktemp("recorded")
    rig = Rig(folder)
    archive.append(folder / "a.zarr", [rig.put(k) for k in range(12)])
    return folder / "a.zarr"


RATES_OF_ALL = dict.fromkeys(RATES, 0.15)


def test_rehearsal_with_faults_keeps_all_invariants(recorded, tmp_path):
    rig = Rig(tmp_path / "rig")
    lines = []
    found = rehearse(
        recorded,
        tmp_path / "out",
        rig.settings,
        rig,
        rates=RATES_OF_ALL,
        seed=3,
        log=lines.append,
        progress=lambda done, total: lines.append(f"{done} of {total}"),
    )
    assert found.broken == {}
    assert sum(found.faults.values()) == 12
    assert len([name for name in found.faults if name != "none"]) >= 4
    assert found.publications >= 8
    (alert,) = Shelf(tmp_path / "out" / "published").alerts().alerts
    assert alert.since is not None


def test_rehearsal_into_a_folder_with_files_is_refused(recorded, tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    rig = Rig(tmp_path / "rig")
    with pytest.raises(ArgumentError, match="expected an empty folder"):
        rehearse(recorded, tmp_path, rig.settings, rig, rates=RATES, log=print, progress=print)


def test_faulty_feed_same_seed_gives_the_same_faults():
    rain = FRAMES
    first, again, other = (FaultyFeed.of(rain, RATES_OF_ALL, seed) for seed in (1, 1, 2))
    assert first.arrivals == again.arrivals
    assert first.arrivals != other.arrivals
    assert sum(first.faults.values()) == rain.sizes["time"]


def test_faulty_feed_without_faults_has_each_frame_once():
    feed = FaultyFeed.of(FRAMES, dict.fromkeys(RATES, 0.0), 0)
    assert len({one.frame for one in feed.arrivals}) == len(feed.arrivals) == FRAMES.sizes["time"]


@pytest.fixture
def published(rig):
    for k in range(4):
        rig.arrive(k)
    return rig


def test_watch_finds_nothing_wrong_with_what_the_loop_publishes(published):
    watch = Watch(published.out)
    watch.look()
    watch.look()
    rain = archive.rain(archive.open(published.settings.archive)).load()
    watch.check_blindness(rain)
    watch.check_archive(rain, rain * np.float32(1.000001), [])
    assert watch.found == {}
    assert watch.publications == 1


def test_watch_finds_a_missing_file(published):
    (published.out / published.newest.folder / "cells.npy").unlink()
    watch = Watch(published.out)
    watch.look()
    assert "cells.npy" in watch.found[WHOLE]


def test_watch_finds_issues_that_go_back_and_come_again(published):
    watch = Watch(published.out)
    path, shelf = published.out / LATEST, Shelf(published.out)
    newest = shelf.latest()
    first = shelf.manifest(*shelf.publications()[0])
    older = newest.model_copy(update={"issue": first.issue, "run": first.run})
    for latest in (newest, older, newest):
        path.write_text(latest.model_dump_json())
        watch.look()
    assert set(watch.found) == {MONOTONE, ONCE}


def test_watch_finds_dry_pixels_that_were_not_observed(published):
    watch = Watch(published.out)
    rain = archive.rain(archive.open(published.settings.archive)).load()
    watch.check_blindness(rain.where(False))
    assert "blind" in watch.found[BLIND]


@pytest.mark.parametrize("blind", [True, False])
def test_watch_finds_an_all_clear_while_nothing_is_observed(rig, blind):
    rig.arrive(0, 1, 2)
    rig.arrive(3, factor=np.nan if blind else 1.0)
    (rule,) = grid_rule(FRAMES).rules
    watch = Watch(rig.out)
    for met, known in ((1, True), (1, False), (0, True)):
        alert = alert_of(rule, Condition(rule=rule.name, met=met, known=known))
        write_alerts(rig.out, Alerts(updated=rig.now, alerts=(alert,)))
        watch.look()
    assert set(watch.found) == ({ALL_CLEAR} if blind else set())


def test_grid_rule_of_a_large_grid_has_a_place_that_can_be_judged():
    large = FRAMES.isel(time=[0]).pad(y=(0, 800), x=(0, 800))
    centres = {name: FRAMES[name].values[0] + 1000.0 * np.arange(832) for name in ("y", "x")}
    large = large.assign_coords({**centres, "crs": FRAMES["crs"]})
    (rule,) = grid_rule(large).rules
    covered = cells_of(rule.place, Grid.of(large.coords.to_dataset()))
    assert 100_000 < len(covered.rows) <= MOST_CELLS


def test_watch_finds_lost_and_changed_frames(published):
    rain = archive.rain(archive.open(published.settings.archive)).load()
    lost, changed = Watch(published.out), Watch(published.out)
    lost.check_archive(rain[:3], rain, [])
    changed.check_archive(rain, rain * np.float32(1.5), [])
    assert "1 frames differ" in lost.found[NOTHING_LOST]
    assert "other rates" in changed.found[NOTHING_LOST]
