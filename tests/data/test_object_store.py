"""Files by address: of an S3 server (moto's), of a web server, and in memory."""

import gzip
import http.server
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import obstore
import pytest

from stormcell.data import archive
from stormcell.data.object_store import ObjectUrl, location
from stormcell.data.radar_files import radar_files
from stormcell.data.readers import source
from stormcell.data.readers.source import Source
from stormcell.errors import ArgumentError, InputError, MissingExtraError


def put(address, content):
    store, name = location(address).store()
    obstore.put(store, name, content)


@pytest.fixture
def web_server(tmp_path):
    """The address of a web server for ``tmp_path``."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b.h5", Path("a/b.h5")),
        ("file:///a/b%20c.h5", Path("/a/b c.h5")),
        ("s3://bucket/2024/", ObjectUrl("s3://bucket/2024")),
        (Path("s3://bucket/2024"), ObjectUrl("s3://bucket/2024")),
        ("az://account/container/key", ObjectUrl("az://account/container/key")),
        ("s3-notes/a.h5", Path("s3-notes/a.h5")),
    ],
)
def test_location_of_paths_and_addresses(text, expected):
    assert location(text) == expected


@pytest.mark.parametrize("text", ["s3://", "az://account", "https://host/a.h5?key=1"])
def test_location_of_a_malformed_address_raises(text):
    with pytest.raises(ArgumentError, match="expected an address such as s3://bucket/key"):
        location(text)


def test_location_without_obstore_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert location("a.h5") == Path("a.h5")
    with pytest.raises(MissingExtraError, match=r'pip install "stormcell\[s3\]"'):
        location("s3://bucket/a.h5")


def test_object_url_lists_only_what_is_below_it_in_the_order_of_names(bucket):
    for name in ("b/2.pgm", "b/1.pgm", "b/deep/3.pgm", "bc/4.pgm"):
        put(f"{bucket}/{name}", b"x")
    below = location(f"{bucket}/b").files()
    assert [str(url) for url in below] == [f"{bucket}/b/{name}" for name in ("1.pgm", "2.pgm", "deep/3.pgm")]
    assert len(location(bucket).files()) == 4
    assert location(f"{bucket}/b/2.pgm").is_file()
    assert not location(f"{bucket}/b").is_file()


def test_source_in_an_object_store_is_unpacked(bucket):
    put(f"{bucket}/a.dat.gz", gzip.compress(b"rain"))
    found = Source(location(f"{bucket}/a.dat.gz"))
    assert (found.name, found.head(2), found.contents(), found.is_folder) == ("a.dat", b"ra", b"rain", False)
    assert found.file().read() == b"rain"


@pytest.fixture
def requests(monkeypatch):
    """The numbers of bytes that were asked for."""
    asked = []
    read = ObjectUrl.read

    def counted(self, most):
        asked.append(most)
        return read(self, most)

    monkeypatch.setattr(ObjectUrl, "read", counted)
    return asked


def test_source_in_an_object_store_reads_a_small_file_once(bucket, requests):
    put(f"{bucket}/a.dat", b"rain")
    found = Source(location(f"{bucket}/a.dat"))
    assert (found.head(2), found.contents(), found.contents()) == (b"ra", b"rain", b"rain")
    assert requests == [2**20]


def test_source_in_an_object_store_reads_the_beginning_and_then_all_of_a_large_file(bucket, requests):
    content = np.random.default_rng(1).bytes(3 * 2**20)
    for name, stored in (("a.dat", content), ("a.dat.gz", gzip.compress(content))):
        put(f"{bucket}/{name}", stored)
        found = Source(location(f"{bucket}/{name}"))
        assert found.head(100) == content[:100]
        assert requests == [2**20]
        assert found.contents() == content
        assert len(requests) == 2
        requests.clear()


def test_source_in_an_object_store_that_is_too_large_raises(bucket, monkeypatch):
    put(f"{bucket}/a.dat", b"x" * 101)
    monkeypatch.setattr(source, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="expected at most 100 bytes, found more"):
        Source(location(f"{bucket}/a.dat")).contents()


@pytest.mark.parametrize(
    ("name", "message"),
    [("radar/no.pgm", "found no such file"), ("radar/empty.pgm", "found an empty one")],
)
def test_source_in_an_object_store_missing_or_empty_raises(bucket, name, message):
    put(f"{bucket}/empty.pgm", b"")
    with pytest.raises(InputError, match=message):
        Source(location(f"s3://{name}")).head()


def test_radar_files_of_a_bucket_that_does_not_exist_names_the_reason(bucket):
    refused = {}
    assert not list(radar_files([location(bucket.replace("radar", "nobody"))], refused))
    ((place, reason),) = refused.items()
    assert str(place) == "s3://nobody"
    assert "404" in reason
    assert "\n" not in reason


def test_append_from_a_bucket_equals_append_from_the_folder(bucket, write_pgm, tmp_path):
    for minute in (45, 50, 55):
        file = write_pgm(f"2016092814{minute}")
        put(f"{bucket}/2016/{file.name}", file.read_bytes())
    put(f"{bucket}/2016/notes.txt", b"not radar")
    put(f"{bucket}/2016/broken.pgm", b"P5\n")
    done = archive.append(tmp_path / "s3.zarr", [f"{bucket}/2016"])
    assert [str(file) for file, _ in done.refused] == [f"{bucket}/2016/broken.pgm"]
    archive.append(tmp_path / "local.zarr", sorted(tmp_path.glob("*.gz")))
    s3, local = (archive.open(tmp_path / name) for name in ("s3.zarr", "local.zarr"))
    assert s3.drop_attrs().identical(local.drop_attrs())
    assert len(s3.time) == 3


def test_append_from_a_web_server_reads_a_file(web_server, write_pgm, tmp_path):
    file = write_pgm()
    done = archive.append(tmp_path / "a.zarr", [f"{web_server}/{file.name}", f"{web_server}/no.pgm"])
    assert len(done.added) == 1
    assert [(str(file), reason) for file, reason in done.refused] == [
        (f"{web_server}/no.pgm", "expected a file, found no such file")
    ]


def test_append_from_memory(write_pgm, tmp_path):
    put("memory://folder/a.pgm.gz", write_pgm().read_bytes())
    assert len(archive.append(tmp_path / "a.zarr", ["memory://folder"]).added) == 1


def test_object_url_without_signature_sends_no_credentials(s3_address, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_address)
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    # Without this setting, obstore would ask the machine's metadata service for credentials.
    assert not location("s3://radar/no.pgm").is_file()


def test_append_of_a_folder_in_s3_leaves_out_the_archives_in_it(bucket, write_pgm):
    file = write_pgm()
    put(f"{bucket}/deep/{file.name}", file.read_bytes())
    for _ in range(2):
        done = archive.append(f"{bucket}/deep/a.zarr", [f"{bucket}/deep"])
        assert len(done.added) + len(done.present) == 1
        assert not done.refused
    ((_, reason),) = archive.append(f"{bucket}/b.zarr", [f"{bucket}/deep/a.zarr"]).refused
    assert reason.endswith("Zarr stores in an object store are not archived")
