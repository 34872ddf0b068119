import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tests.maps.grids import square
from tests.published.contents import ISSUE, STEP, content, frames, tree

from stormcell.data import schema
from stormcell.errors import ArgumentError, NotPublishedError, OutputError
from stormcell.maps import pictures
from stormcell.maps.levels import MISSING, PROBABILITY, RATE
from stormcell.maps.mercator import Warp
from stormcell.maps.overviews import coarsen
from stormcell.published import publication_files
from stormcell.published.manifest import (
    LATEST,
    SCORES,
    STATUS,
    Degraded,
    ObservedFrame,
    Product,
    Scores,
    Status,
    picture_name,
)
from stormcell.published.reading import Shelf, radar_grid
from stormcell.published.retention import clear_parts
from stormcell.published.writing import Content, point_to, publish, utc, write_scores, write_status

SOON = ISSUE + STEP


def test_publish_holds_what_the_manifest_says(tmp_path):
    made = content()
    manifest = publish(tmp_path, made)
    folder = tmp_path / manifest.folder
    assert {path: len(data) for path, data in tree(folder).items() if path != "manifest.json"} == {
        path: file.bytes for path, file in manifest.files.items()
    }
    assert [entry.name for entry in tmp_path.iterdir()] == [f"20261128T0325Z-{made.run}"]
    assert [(one.name, len(one.times), one.first_layer) for one in manifest.products] == [
        ("observed", 1, 0),
        ("rate", 3, 1),
        ("above-1.0", 3, 4),
    ]
    assert manifest.products[0].times == (ISSUE,)
    assert manifest.products[1].times == (ISSUE + STEP, ISSUE + 2 * STEP, ISSUE + 3 * STEP)
    assert manifest.attributes == {"license": "CC-BY-4.0"}
    assert manifest.observed_share == pytest.approx(np.isfinite(made.observed.values).mean())
    assert "frames/above-1.0/20261128T0330Z.png" in manifest.files
    assert (folder / "forecast.nc").read_bytes() == b"forecast"


def test_publish_cell_and_picture_and_field_have_the_same_level(tmp_path):
    made = content()
    manifest = publish(tmp_path, made)
    shelf = Shelf(tmp_path)
    cells, warp = shelf.cells(manifest), Warp.of(radar_grid(manifest.grid))
    fields = {"observed": made.observed, **{product.name: field for product, field in made.products}}
    for product in manifest.products:
        scale = RATE if product.kind == "rate" else PROBABILITY
        for k, time in enumerate(product.times):
            layer = cells[..., product.first_layer + k]
            np.testing.assert_array_equal(layer, scale.encode(fields[product.name][k]))
            picture = pictures.decode(shelf.picture(manifest, product.name, time).read_bytes())
            np.testing.assert_array_equal(picture, warp.apply(np.asarray(layer), MISSING))
            assert picture.shape == manifest.raster.shape
    np.testing.assert_array_equal(shelf.often_observed(manifest), made.often_observed)


def test_publish_large_grid_has_overviews_of_the_highest_levels(tmp_path):
    rates = np.random.default_rng(0).gamma(0.1, size=(1, 3, 2100))
    grid = square("EPSG:4326", 0, 0, shape=(3, 2100), size=0.01)
    rain = schema.build(rates, ["2026-11-28T03:25"], grid, measured={}, attributes={})[schema.RATE]
    made = replace(content(), observed=rain, products=[], often_observed=np.ones((3, 2100), bool))
    manifest = publish(tmp_path, made)
    assert manifest.raster.overviews == (2,)
    shelf = Shelf(tmp_path)
    whole, half = (
        pictures.decode(shelf.picture(manifest, "observed", ISSUE, n).read_bytes()) for n in (1, 2)
    )
    np.testing.assert_array_equal(half, coarsen(whole, 2))
    assert tuple(2 * side for side in half.shape) == whole.shape == manifest.raster.shape


def test_publish_twice_writes_nothing(tmp_path):
    manifest = publish(tmp_path, content())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = publish(tmp_path, replace(content(), created=SOON, model_title="other"))
    assert again == manifest
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_publish_same_content_elsewhere_gives_the_same_bytes(tmp_path):
    publish(tmp_path / "one", content())
    publish(tmp_path / "other", content())
    assert tree(tmp_path / "one") == tree(tmp_path / "other")


def test_publish_without_a_forecast_file_has_none(tmp_path):
    manifest = publish(tmp_path, content(forecast=False))
    assert "forecast.nc" not in manifest.files
    with pytest.raises(NotPublishedError, match=r"expected a forecast\.nc, found none"):
        Shelf(tmp_path).forecast(manifest)


def test_publish_degraded_says_why(tmp_path):
    why = Degraded(used="persistence", instead_of="nowcaster-1", reason="It ran out of memory.")
    manifest = publish(tmp_path, replace(content(), degraded=why))
    assert Shelf(tmp_path).manifest("20261128T0325Z", manifest.run).degraded == why


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "../../../x"}, "run: expected 8 hexadecimal digits"),
        ({"often_observed": np.ones((3, 3), bool)}, r"often_observed: expected \(24, 40\), found \(3, 3\)"),
        (
            {"products": [(Product(name="rate", title="", kind="rate", times=()), frames(shape=(16, 16)))]},
            r"rate: expected \(time, y, x\) on the grid of 24 × 40 pixels, found {'time': 5, 'y': 16",
        ),
        (
            {"products": [(Product(name="rate", title="", kind="rate", times=()), frames()[:0])]},
            r"rate: expected \(time, y, x\)",
        ),
        (
            {"products": [(Product(name="observed", title="", kind="rate", times=()), frames())]},
            "products: expected different names, found observed, observed",
        ),
        (
            {"products": [(Product(name="rate", title="", kind="rate", times=()), -1 - frames())]},
            "rain rate: expected values of 0 or more",
        ),
        (
            {"products": [(Product(name="p", title="", kind="probability", times=()), 7 + frames())]},
            "probability: expected values from 0 to 1",
        ),
    ],
)
def test_publish_impossible_content_raises_and_leaves_nothing(tmp_path, change, message):
    with pytest.raises(ArgumentError, match=message):
        publish(tmp_path, replace(content(), **change))
    assert list(tmp_path.iterdir()) == []


def test_publish_failing_forecast_leaves_nothing(tmp_path):
    def fail(path):
        path.write_bytes(b"half")
        raise OutputError("disk full")

    with pytest.raises(OutputError):
        publish(tmp_path, replace(content(), write_forecast=fail))
    assert list(tmp_path.iterdir()) == []


def test_publish_root_is_a_file_raises(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not be created"):
        publish(tmp_path / "file", content())


def test_publish_full_disk_raises_and_leaves_nothing(tmp_path):
    """Limits on the size of files take the place of a disk that is full sooner or later."""
    code = f"""
import resource, signal
from pathlib import Path
from stormcell.errors import OutputError
from stormcell.published.writing import publish
from tests.maps.grids import square
from tests.published.contents import content
made = content()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (0, 900, 1500, 3000, 6000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        publish(Path({str(tmp_path)!r}), made)
    except OutputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all("could not be written: " in line for line in lines)
    assert list(tmp_path.iterdir()) == []


# Points in the way of a publication: a process is killed as it calls a function for the n-th time.
KILLS = {
    "pictures": ("stormcell.maps.pictures.encode", 4),
    "cells": ("stormcell.published.writing.write_cells", 1),
    "manifest": ("stormcell.published.writing._manifest", 1),
    "flushing": ("os.fsync", 3),
    "renaming": ("pathlib.Path.replace", 1),
    "latest": ("stormcell.published.writing.write_file", 1),
    "renaming latest": ("pathlib.Path.replace", 2),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders whose writers were killed, by point; the publication before is complete."""
    roots = {point: tmp_path_factory.mktemp("published") for point in KILLS}
    points = [(str(root), *KILLS[point]) for point, root in roots.items()]
    code = f"""
import os, pkgutil, signal
from pathlib import Path
from stormcell.published.writing import point_to, publish
from tests.maps.grids import square
from tests.published.contents import ISSUE, STEP, content

def kill_at(name, call):
    owner, _, attribute = name.rpartition(".")
    owner = pkgutil.resolve_name(owner)
    original, calls = getattr(owner, attribute), []
    def killing(*args, **kwargs):
        calls.append(0)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    setattr(owner, attribute, killing)

for root, name, call in {points!r}:
    root = Path(root)
    point_to(root, publish(root, content(ISSUE - STEP)), expected=ISSUE, now=ISSUE)
    child = os.fork()
    if child == 0:
        kill_at(name, call)
        point_to(root, publish(root, content()), expected=ISSUE, now=ISSUE)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return roots


@pytest.mark.parametrize("point", KILLS)
def test_publish_killed_process_leaves_what_readers_can_use(killed, tmp_path, point):
    root = killed[point]
    shelf = Shelf(root)
    assert shelf.latest().issue == ISSUE - STEP
    assert len(shelf.publications()) == (2 if "latest" in point else 1)
    for issue, run in shelf.publications():
        manifest = shelf.manifest(issue, run)
        shelf.cells(manifest)
        there = tree(root / manifest.folder)
        assert there.keys() == {*manifest.files, "manifest.json"}
        assert all(
            hashlib.sha256(there[path]).hexdigest() == manifest.files[path].sha256 for path in manifest.files
        )
    # The next start finishes: the same tree as without a kill.
    clear_parts(root)
    point_to(root, publish(root, content()), expected=ISSUE, now=ISSUE)
    for issue in (ISSUE - STEP, ISSUE):
        point_to(tmp_path, publish(tmp_path, content(issue)), expected=ISSUE, now=ISSUE)
    assert tree(root) == tree(tmp_path)


def test_publish_is_flushed_before_it_has_its_name(tmp_path, monkeypatch):
    flushed = []
    real = os.fsync

    def fsync(handle):
        flushed.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    manifest = publish(tmp_path, content())
    names = {path.rsplit("/", 1)[-1] for path in flushed}
    assert {"cells.npy", "manifest.json", "forecast.nc", "20261128T0330Z.png"} <= names
    assert len(flushed) >= len(manifest.files) + 1
    assert flushed[-1] == str(tmp_path)  # the rename


def test_point_to_names_the_publication(tmp_path):
    manifest = publish(tmp_path, content())
    frame = ObservedFrame(time=ISSUE, issue=ISSUE, run=manifest.run)
    latest = point_to(
        tmp_path, manifest, expected=SOON, observed=[frame], earlier=[(ISSUE - STEP, "01234567")], now=ISSUE
    )
    assert Shelf(tmp_path).latest() == latest
    assert (latest.issue, latest.run, latest.published, latest.expected) == (ISSUE, manifest.run, ISSUE, SOON)
    assert (latest.observed, latest.earlier) == ((frame,), ((ISSUE - STEP, "01234567"),))


def test_point_to_without_a_time_has_that_of_the_clock(tmp_path):
    before = datetime.now(UTC) - timedelta(seconds=1)
    latest = point_to(tmp_path, publish(tmp_path, content()), expected=SOON)
    assert before < latest.published < datetime.now(UTC) + timedelta(seconds=1)


def test_point_to_a_publication_that_is_not_there_raises(tmp_path):
    manifest = publish(tmp_path / "elsewhere", content())
    with pytest.raises(NotPublishedError, match="expected a publication, found none"):
        point_to(tmp_path, manifest, expected=SOON)
    assert not (tmp_path / LATEST).exists()


def test_point_to_an_older_issue_raises_unless_allowed(tmp_path):
    old, new = publish(tmp_path, content(ISSUE - STEP)), publish(tmp_path, content())
    point_to(tmp_path, new, expected=SOON, now=ISSUE)
    with pytest.raises(ArgumentError, match="issue time from 20261128T0325Z, found 20261128T0320Z"):
        point_to(tmp_path, old, expected=SOON, now=SOON)
    assert Shelf(tmp_path).latest().issue == ISSUE
    assert point_to(tmp_path, old, expected=SOON, allow_older=True).issue == ISSUE - STEP


def test_point_to_another_run_of_the_same_issue_is_possible(tmp_path):
    first = publish(tmp_path, replace(content(), preliminary=True))
    better = publish(tmp_path, content(model="nowcaster-1"))
    point_to(tmp_path, first, expected=SOON)
    assert point_to(tmp_path, better, expected=SOON).run == better.run != first.run


def test_point_to_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    manifest = publish(tmp_path, content())
    latest = point_to(tmp_path, manifest, expected=SOON, now=ISSUE)
    monkeypatch.setattr("pathlib.Path.replace", _no_space)
    with pytest.raises(OutputError, match="No space left"):
        point_to(tmp_path, manifest, expected=SOON, now=SOON)
    assert Shelf(tmp_path).latest() == latest
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [manifest.folder, LATEST]


def _no_space(*_):
    raise OSError(28, "No space left on device")


def test_write_status_and_scores_then_the_shelf_reads_them(tmp_path):
    status = Status(updated=ISSUE, state="waiting", problems=("Radar X is silent.",))
    scores = Scores(
        period="24h", start=ISSUE, end=SOON, lead_minutes=(5, 10), forecasters={"a": {"mae": [1]}}
    )
    write_status(tmp_path, status)
    write_scores(tmp_path, [scores, scores])
    shelf = Shelf(tmp_path)
    assert shelf.status() == status
    assert shelf.scores() == [scores, scores]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [SCORES, STATUS]
    write_scores(tmp_path, [])
    assert shelf.scores() == []


def test_utc_of_nanoseconds_is_aware():
    assert utc(np.datetime64("2026-11-28T03:25:00", "ns")) == ISSUE


def test_write_cells_is_the_array_that_numpy_reads(tmp_path):
    layers = list(np.random.default_rng(0).integers(0, 256, (5, 131, 7), dtype=np.uint8))
    publication_files.write_cells(tmp_path / "cells.npy", layers)
    np.testing.assert_array_equal(np.load(tmp_path / "cells.npy"), np.stack(layers, axis=-1))


def test_content_folder_is_issue_and_run():
    assert isinstance(content(), Content)
    assert picture_name("rate", ISSUE) == "frames/rate/20261128T0325Z.png"
