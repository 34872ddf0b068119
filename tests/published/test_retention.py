import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from tests.published.contents import ISSUE, content

from stormcell.errors import OutputError, PrunedError, PublicationError
from stormcell.published.manifest import LATEST, ObservedFrame
from stormcell.published.reading import Shelf
from stormcell.published.retention import clear_parts, prune
from stormcell.published.writing import point_to, publish

HOUR = timedelta(hours=1)
PICTURES, FORECASTS = timedelta(hours=24), timedelta(days=7)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    made = [publish(root, content(ISSUE - age * HOUR)) for age in (0, 23, 25, 160, 170)]
    point_to(root, made[0], expected=ISSUE)
    return root, made


@pytest.fixture
def manifests(tmp_path, published):
    """Publications 0, 23, 25, 160 and 170 hours old; the first is the newest."""
    shutil.copytree(published[0], tmp_path, dirs_exist_ok=True)
    return published[1]


def parts(root, manifest):
    folder = root / manifest.folder
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else None


WHOLE = ["cells.npy", "coverage.npy", "forecast.nc", "frames", "manifest.json"]
REDUCED = ["forecast.nc", "manifest.json"]


def test_prune_drops_pictures_then_everything(tmp_path, manifests):
    dropped = prune(tmp_path, PICTURES, FORECASTS, ISSUE)
    assert dropped == [manifests[k].folder for k in (4, 3, 2)]
    assert [parts(tmp_path, one) for one in manifests] == [WHOLE, WHOLE, REDUCED, REDUCED, None]
    assert not list(tmp_path.glob(".*"))
    assert prune(tmp_path, PICTURES, FORECASTS, ISSUE) == []


def test_prune_then_readers_learn_that_it_was_there(tmp_path, manifests):
    shelf = Shelf(tmp_path)
    shelf.manifest("20261121T0125Z", manifests[4].run)
    prune(tmp_path, PICTURES, FORECASTS, ISSUE)
    with pytest.raises(PrunedError):
        shelf.manifest("20261121T0125Z", manifests[4].run)
    old = shelf.manifest("20261127T0225Z", manifests[2].run)
    assert shelf.forecast(old).read_bytes() == b"forecast"
    with pytest.raises(PrunedError):
        shelf.picture(old, "rate", old.products[1].times[0])
    with pytest.raises(PrunedError):
        shelf.cells(old)


def test_prune_keeps_what_latest_and_the_caller_name(tmp_path, manifests):
    shown = ObservedFrame(time=manifests[2].issue, issue=manifests[2].issue, run=manifests[2].run)
    earlier = [(manifests[3].issue, manifests[3].run)]
    point_to(tmp_path, manifests[0], expected=ISSUE, observed=[shown], earlier=earlier)
    later = ISSUE + timedelta(days=365)
    dropped = prune(tmp_path, PICTURES, FORECASTS, later, protected=[manifests[4].folder])
    assert dropped == [manifests[1].folder]
    assert [parts(tmp_path, one) for one in manifests] == [WHOLE, None, WHOLE, WHOLE, WHOLE]


def test_prune_all_leaves_the_newest(tmp_path, manifests):
    prune(tmp_path, timedelta(0), timedelta(0), ISSUE + HOUR)
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == [manifests[0].folder, LATEST]


def test_prune_before_anything_is_latest_drops_by_age(tmp_path):
    old = publish(tmp_path, content(ISSUE - 200 * HOUR))
    new = publish(tmp_path, content())
    assert prune(tmp_path, PICTURES, FORECASTS, ISSUE) == [old.folder]
    assert parts(tmp_path, new) == WHOLE


@pytest.mark.usefixtures("manifests")
def test_prune_with_a_clock_that_is_behind_drops_nothing(tmp_path):
    assert prune(tmp_path, PICTURES, FORECASTS, ISSUE - timedelta(days=365)) == []


def test_prune_with_a_damaged_latest_drops_nothing(tmp_path, manifests):
    (tmp_path / LATEST).write_text("{")
    with pytest.raises(PublicationError, match=r"latest\.json"):
        prune(tmp_path, timedelta(0), timedelta(0), ISSUE + HOUR)
    assert [parts(tmp_path, one) for one in manifests] == [WHOLE] * 5


@pytest.mark.usefixtures("manifests")
def test_prune_leaves_what_is_not_a_publication(tmp_path):
    for name in ("notes", "20269999T9999Z-01234567", "20200101T0000Z-0123456"):
        (tmp_path / name).mkdir()
    prune(tmp_path, timedelta(0), timedelta(0), ISSUE + HOUR)
    assert {"notes", "20269999T9999Z-01234567", "20200101T0000Z-0123456"} <= {
        entry.name for entry in tmp_path.iterdir()
    }


def test_prune_killed_while_deleting_is_finished_by_the_next_start(tmp_path, manifests, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(tmp_path, PICTURES, FORECASTS, ISSUE)
    # Gone for readers, though its files are still there.
    assert parts(tmp_path, manifests[4]) is None
    assert len(clear_parts(tmp_path)) == 1
    assert not list(tmp_path.glob(".*"))


def test_prune_that_cannot_delete_raises_and_names_it(tmp_path, manifests, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match=f"{manifests[4].folder}: could not be deleted: Permission denied"):
        prune(tmp_path, PICTURES, FORECASTS, ISSUE)


def test_clear_parts_deletes_only_what_atomic_writes_leave(tmp_path, manifests):
    folder = manifests[0].folder
    left = [f".{folder}.77.part", f".{folder}.77.old"]
    for name in left:
        (tmp_path / name / "frames").mkdir(parents=True)
    for name in (".latest.77.part.json", ".status.77.old.json"):
        (tmp_path / name).touch()
        left.append(name)
    kept = ["lock", ".lock", "party", ".particulars"]
    for name in kept:
        (tmp_path / name).touch()
    cleared = clear_parts(tmp_path)
    assert sorted(cleared) == sorted(left)
    assert {*kept, *(one.folder for one in manifests), LATEST} == {entry.name for entry in tmp_path.iterdir()}
    assert clear_parts(tmp_path / "nowhere") == []
