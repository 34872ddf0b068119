import numpy as np
import pytest
from tests.live.conftest import FRAMES, Rig

from stormcell.data import archive
from stormcell.errors import ArgumentError
from stormcell.live.faulty_feed import RATES, FaultyFeed
from stormcell.live.invariants import BLIND, MONOTONE, NOTHING_LOST, ONCE, WHOLE, Watch
from stormcell.live.rehearsal import rehearse
from stormcell.published.manifest import LATEST
from stormcell.published.reading import Shelf


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


def test_watch_finds_lost_and_changed_frames(published):
    rain = archive.rain(archive.open(published.settings.archive)).load()
    lost, changed = Watch(published.out), Watch(published.out)
    lost.check_archive(rain[:3], rain, [])
    changed.check_archive(rain, rain * np.float32(1.5), [])
    assert "1 frames differ" in lost.found[NOTHING_LOST]
    assert "other rates" in changed.found[NOTHING_LOST]
