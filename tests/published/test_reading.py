import json
import os
import shutil
from datetime import timedelta

import numpy as np
import pytest
from tests.published.contents import ISSUE, STEP, content

from stormcell.errors import NotPublishedError, PrunedError, PublicationError
from stormcell.published.manifest import CELLS, LATEST, MANIFEST, SCORES, STATUS
from stormcell.published.reading import Shelf, product_of, radar_grid
from stormcell.published.writing import point_to, publish


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    made = publish(root, content())
    point_to(root, made, expected=ISSUE + STEP)
    return root, made


@pytest.fixture
def manifest(tmp_path, published):
    """The manifest of a publication in the test's own folder."""
    shutil.copytree(published[0], tmp_path, dirs_exist_ok=True)
    return published[1]


def test_shelf_of_a_folder_that_is_not_there_is_empty(tmp_path):
    shelf = Shelf(tmp_path / "nowhere")
    assert (shelf.latest(), shelf.status(), shelf.scores(), shelf.publications()) == (None, None, [], [])
    with pytest.raises(NotPublishedError):
        shelf.manifest("20261128T0325Z", "01234567")


def test_shelf_publications_are_in_order_without_anything_else(tmp_path, manifest):
    old = publish(tmp_path, content(ISSUE - STEP))
    for name in (".part-x", "notes", "20261128T0325Z-0123456", ".20261128T0325Z-01234567.1.part"):
        (tmp_path / name).mkdir()
    assert Shelf(tmp_path).publications() == [
        ("20261128T0320Z", old.run),
        ("20261128T0325Z", manifest.run),
    ]


@pytest.mark.parametrize(
    "name",
    [
        ("..", "01234567"),
        ("../../etc", "01234567"),
        ("20261128T0325Z", "../../.."),
        ("20261128T0325Z/..", "01234567"),
        ("20261128T0325Z\n", "01234567"),
        ("20261128T0325Z", "0123456G"),
        ("", ""),
        ("/", "/"),
        ("20261128T0325Z", "01234567\x00"),
        ("२०२६1128T0325Z", "01234567"),  # digits of another script
    ],
)
@pytest.mark.usefixtures("manifest")
def test_manifest_name_that_is_none_is_not_published(tmp_path, name):
    with pytest.raises(NotPublishedError, match="publication: expected an issue such as"):
        Shelf(tmp_path).manifest(*name)


@pytest.mark.usefixtures("manifest")
def test_manifest_that_was_pruned_says_so(tmp_path):
    shelf = Shelf(tmp_path)
    with pytest.raises(PrunedError, match="20261127T0325Z-01234567: this publication is no longer kept"):
        shelf.manifest("20261127T0325Z", "01234567")
    for issue in ("20261128T0325Z", "20261129T0325Z"):
        with pytest.raises(NotPublishedError, match="expected a publication, found none") as caught:
            shelf.manifest(issue, "01234567")
        assert not isinstance(caught.value, PrunedError)


def test_manifest_pruned_after_it_was_read_is_gone(tmp_path, manifest):
    shelf = Shelf(tmp_path)
    newer = publish(tmp_path, content(ISSUE + STEP))
    assert shelf.manifest("20261128T0325Z", manifest.run) == manifest
    (tmp_path / manifest.folder).rename(tmp_path / ".x.part")
    with pytest.raises(PrunedError):
        shelf.manifest("20261128T0325Z", manifest.run)
    assert shelf.manifest("20261128T0330Z", newer.run) == newer


def test_manifest_of_another_publication_in_a_folder_is_refused(tmp_path, manifest):
    (tmp_path / manifest.folder).rename(tmp_path / "20261128T0325Z-01234567")
    with pytest.raises(
        PublicationError, match=f"expected the manifest of .*01234567, found .*{manifest.run}"
    ):
        Shelf(tmp_path).manifest("20261128T0325Z", "01234567")


@pytest.mark.parametrize("name", [LATEST, STATUS, SCORES, MANIFEST])
@pytest.mark.parametrize(
    "damage", [b"", b"{", b"null", b"[1]", b'{"version": 2}', b"\xff\xfe", b"[" * 100_000, b" " * (2**24 + 1)]
)
def test_damaged_json_raises_and_names_the_file(tmp_path, manifest, name, damage):
    shelf = Shelf(tmp_path)
    path = tmp_path / manifest.folder / name if name == MANIFEST else tmp_path / name
    path.write_bytes(damage)
    read = {
        LATEST: shelf.latest,
        STATUS: shelf.status,
        SCORES: shelf.scores,
        MANIFEST: lambda: shelf.manifest("20261128T0325Z", manifest.run),
    }
    with pytest.raises(PublicationError, match=f"{name}: expected ") as caught:
        read[name]()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", [LATEST, STATUS, SCORES])
def test_json_that_is_a_folder_raises_and_names_it(tmp_path, name):
    (tmp_path / name).mkdir()
    shelf = Shelf(tmp_path)
    with pytest.raises(PublicationError, match=f"{name}: could not be read"):
        {LATEST: shelf.latest, STATUS: shelf.status, SCORES: shelf.scores}[name]()


def test_manifest_held_is_the_one_of_its_folder(tmp_path):
    """More publications than are held in memory: each keeps its own manifest."""
    one = content()
    shelf, runs = Shelf(tmp_path), [f"{k:08x}" for k in range(70)]
    first = publish(tmp_path, one)
    text = json.loads((tmp_path / first.folder / MANIFEST).read_bytes())
    for run in runs:
        folder = tmp_path / f"20261128T0325Z-{run}"
        folder.mkdir()
        (folder / MANIFEST).write_text(json.dumps({**text, "run": run}))
    for _ in range(2):
        assert [shelf.manifest("20261128T0325Z", run).run for run in runs] == runs


def test_cells_are_a_memory_map_that_cannot_be_written(tmp_path, manifest):
    cells = Shelf(tmp_path).cells(manifest)
    assert isinstance(cells, np.memmap)
    assert (cells.shape, cells.dtype) == ((24, 40, 7), np.uint8)
    with pytest.raises(ValueError, match="read-only"):
        cells[0, 0, 0] = 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:0],
        lambda whole: whole[:-1],
        lambda whole: whole + b"\0",
        lambda whole: whole[:50],
        lambda whole: b"PK" + whole,
        lambda whole: whole.replace(b"|u1", b"|O1"),  # objects, which would have to be unpickled
        lambda whole: whole.replace(b"|u1", b"|i1"),
        lambda whole: whole.replace(b"False", b"True "),
        lambda whole: whole.replace(b"(24, 40, 7)", b"(40, 24, 7)"),
        lambda whole: whole.replace(b"(24, 40, 7)", b"(9**9**9,) "),
        lambda whole: whole.replace(b"(24, 40, 7)", b"(-24, 40,7)"),
        lambda whole: whole[:6] + b"\x03" + whole[7:],
        lambda whole: whole[:8] + b"\xff\xff" + whole[10:],
    ],
)
def test_cells_other_than_the_manifest_says_raise(tmp_path, manifest, damage):
    path = tmp_path / manifest.folder / CELLS
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PublicationError, match=r"cells\.npy: expected ") as caught:
        Shelf(tmp_path).cells(manifest)
    assert "\n" not in str(caught.value)


def test_cells_and_pictures_no_longer_kept_are_pruned(tmp_path, manifest):
    shelf = Shelf(tmp_path)
    valid = manifest.products[1].times[0]
    (tmp_path / manifest.folder / CELLS).unlink()
    shelf.picture(manifest, "rate", valid).unlink()
    (tmp_path / manifest.folder / "forecast.nc").unlink()
    for read in (
        lambda: shelf.cells(manifest),
        lambda: shelf.picture(manifest, "rate", valid),
        lambda: shelf.forecast(manifest),
    ):
        with pytest.raises(PrunedError, match="no longer kept"):
            read()


def test_picture_is_the_file_of_the_product_and_time(tmp_path, manifest):
    path = Shelf(tmp_path).picture(manifest, "above-1.0", manifest.products[2].times[1])
    assert path == tmp_path / manifest.folder / "frames/above-1.0/20261128T0335Z.png"


@pytest.mark.parametrize("product", ["../rate", "rates", "", "rate/../rate", "\0"])
def test_picture_of_no_product_is_not_published(tmp_path, manifest, product):
    with pytest.raises(NotPublishedError, match=r"expected a product of observed, rate, above-1\.0, found"):
        Shelf(tmp_path).picture(manifest, product, ISSUE)


def test_picture_of_no_time_or_overview_is_not_published(tmp_path, manifest):
    shelf, first = Shelf(tmp_path), manifest.products[1].times[0]
    with pytest.raises(
        NotPublishedError, match="a time of rate from 20261128T0330Z to 20261128T0340Z, found"
    ):
        shelf.picture(manifest, "rate", ISSUE)
    with pytest.raises(NotPublishedError, match="a time of rate"):
        shelf.picture(manifest, "rate", first + timedelta(seconds=1))
    with pytest.raises(NotPublishedError, match="expected an overview of 1, found 2"):
        shelf.picture(manifest, "rate", first, overview=2)


def test_radar_grid_is_that_of_the_frames(manifest):
    rain = content().observed
    grid = radar_grid(manifest.grid)
    np.testing.assert_allclose(grid.x, rain.x)
    np.testing.assert_allclose(grid.y, rain.y)
    assert grid.crs_wkt == rain.crs.attrs["crs_wkt"]


def test_radar_grid_of_nonsense_raises(manifest):
    for change in ({"crs_wkt": "nonsense"}, {"x": (0.0, 0.0)}, {"y": (1e99, 0.0)}, {"shape": (1, 1)}):
        with pytest.raises(PublicationError, match="manifest: expected the grid of a radar"):
            radar_grid(manifest.grid.model_copy(update=change))


def test_product_of_finds_by_name(manifest):
    assert product_of(manifest, "rate").title == "Rain"


def test_shelf_reads_nothing_that_is_open_for_writing(tmp_path, manifest):
    """A folder that is being written has another name."""
    half = tmp_path / f".{manifest.folder}.{os.getpid()}.part"
    (tmp_path / manifest.folder).rename(half)
    assert Shelf(tmp_path).publications() == []
