import os

import pytest

from stormcell.data.object_store import location
from stormcell.errors import ArgumentError
from stormcell.live.feed import BucketFeed, FolderFeed, feed


def names(found):
    return [seen.place.name for seen in found]


def test_feed_ignores_unfinished_files_and_those_that_are_named(tmp_path):
    for name in ("a.h5", ".hidden", "b.h5.tmp", "c.part", "d.partial", "e.filepart", "f.xml"):
        (tmp_path / name).write_bytes(b"1")
    assert names(feed(str(tmp_path), ignored=["*.xml"]).look()) == ["a.h5"]


def test_feed_looks_into_subfolders_but_not_into_the_archive(tmp_path):
    for folder in ("2024", "a.zarr"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.h5").write_bytes(b"1")
    found = feed(str(tmp_path), but=[tmp_path / "a.zarr"]).look()
    assert [seen.place.parent.name for seen in found] == ["2024"]


def test_feed_renamed_file_is_complete_and_written_one_is_not(tmp_path):
    written, renamed = tmp_path / "written.h5", tmp_path / "renamed.h5"
    for path in (written, renamed):
        path.write_bytes(b"1")
    os.utime(renamed, (0, 1))  # what was written long before its last rename
    status = written.stat()
    os.utime(written, ns=(status.st_ctime_ns, status.st_ctime_ns + 10**9))  # a write after the rename
    assert [seen.complete for seen in FolderFeed(tmp_path).look()] == [True, False]


def test_feed_of_an_object_store_lists_whole_objects_by_address():
    import obstore

    store, _ = location("memory://feed").store()
    for name in ("feed/2024/a.h5", "feed/2024/b.h5.tmp", "other/c.h5"):
        obstore.put(store, name, b"12")
    found = feed("memory://feed").look()
    assert [(str(seen.place), seen.size, seen.complete) for seen in found] == [
        ("memory://feed/2024/a.h5", 2, True)
    ]
    assert found[0].place.read(10) == b"12"


def test_feed_of_an_object_store_lists_what_is_new_often_and_all_of_it_rarely(monkeypatch):
    import obstore

    folder = location("memory://often")
    store, _ = folder.store()
    now, lists, listed = 0.0, [], type(folder).listed

    def counted(self, *, after=None):
        lists.append((now, None if after is None else after.name))
        return listed(self, after=after)

    monkeypatch.setattr(type(folder), "listed", counted)
    bucket = BucketFeed(folder, monotonic=lambda: now)

    def look(at, *put):
        nonlocal now
        now = at
        for name in put:
            obstore.put(store, f"often/{name}", b"1")
        return names(bucket.look())

    assert look(0) == []
    assert look(5, "b") == ["b"]
    assert look(9.9, "c") == ["b"]
    assert look(10, "a") == ["b", "c"]
    assert look(64.9) == ["b", "c"]
    assert look(65) == ["b", "c"]
    assert look(69, "d") == ["b", "c"]
    assert look(70) == ["a", "b", "c", "d"]
    assert lists == [(0, None), (5, None), (10, "b"), (64.9, "c"), (70, None)]


@pytest.mark.parametrize("name", ["missing", "https://example.org/radar"])
def test_feed_that_is_not_a_folder_is_refused(name):
    with pytest.raises(ArgumentError, match="expected a folder"):
        feed(name)
