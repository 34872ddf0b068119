import gzip
import hashlib
import io
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from stormcell.errors import ArgumentError, InputError
from stormcell.experiments import mnist

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx(array: np.ndarray) -> bytes:
    """An IDX file, byte by byte as its definition has it."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def digits():
    draw = np.random.default_rng(3)
    return draw.integers(0, 256, (12, 28, 28), np.uint8), draw.integers(0, 10, 12, np.uint8)


@pytest.fixture
def folder(tmp_path, digits):
    images, labels = digits
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / LABELS).write_bytes(idx(labels))
    return tmp_path


def test_packed_or_not_it_reads_what_was_written(folder, digits):
    found = mnist.read(folder, "train")
    np.testing.assert_array_equal(found.images, digits[0])
    np.testing.assert_array_equal(found.labels, digits[1])
    assert found.images.dtype == found.labels.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        found.images[0] = 0


def test_the_real_one(radar_data):
    folder = radar_data / "mnist"
    if not folder.is_dir():
        pytest.skip(f"MNIST is not at {folder}")
    train, test = mnist.read(folder, "train"), mnist.read(str(folder), "test")
    assert (len(train.images), len(test.images)) == (60_000, 10_000)
    # As the files' publishers list them: http://yann.lecun.com/exdb/mnist/
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # The well-known mean and standard deviation of the training part, to the digits usually given.
    assert round(float(train.images.mean() / 255), 4) == 0.1307
    assert round(float(train.images.std() / 255), 4) == 0.3081


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (f"{IMAGES}.gz", lambda b: gzip.compress(gzip.decompress(b)[:-1]), "expected the 9408 bytes that"),
        (f"{IMAGES}.gz", lambda b: gzip.compress(gzip.decompress(b) + b"x"), "speaks of, found more"),
        (f"{IMAGES}.gz", lambda b: b[:-200], "cut off or damaged"),
        (f"{IMAGES}.gz", lambda b: b[:-8] + bytes(4) + b[-4:], "cut off or damaged"),  # its checksum
        (
            f"{IMAGES}.gz",
            lambda _: gzip.compress(bytes.fromhex("00000d03") + bytes(12)),
            "with 3 axes, found",
        ),
        (f"{IMAGES}.gz", lambda _: idx(np.zeros((12, 28, 27), np.uint8)), r"of 28 × 28, found \(28, 27\)"),
        (f"{IMAGES}.gz", lambda _: idx(np.zeros((0, 28, 28), np.uint8)), "found 12 for 0"),
        (LABELS, lambda b: b[:-1], "expected the 12 bytes that it speaks of, found 11"),
        (LABELS, lambda b: b[:-1] + b"\x0a", "labels 0 to 9, found 10"),
        (LABELS, lambda _: idx(np.zeros(11, np.uint8)), "a label for each image, found 11 for 12"),
        (LABELS, lambda _: b"", "IDX file of bytes with 1 axes, found"),
    ],
)
def test_what_is_wrong_is_named(folder, name, change, message):
    file = folder / name
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(InputError, match=message) as caught:
        mnist.read(folder, "train")
    assert str(caught.value).startswith(str(folder / name.split("-")[0]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_no_room_is_made_for_what_a_file_only_speaks_of(folder, pack):
    (folder / f"{IMAGES}.gz").write_bytes(
        pack(struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 28, 28) + bytes(99))
    )
    with pytest.raises(InputError, match=f"expected the {(2**32 - 1) * 784} bytes that it speaks of"):
        mnist.read(folder, "train")


def test_what_is_missing_is_named(folder):
    with pytest.raises(InputError, match="expected t10k-images-idx3-ubyte"):
        mnist.read(folder, "test")
    with pytest.raises(ArgumentError, match='expected "train" or "test", found "both"'):
        mnist.read(folder, "both")


def test_patches_go_row_by_row(digits):
    images, _ = digits
    cut = mnist.patches(images)
    assert cut.shape == (12, 16, 7, 7)
    for step in range(16):
        row, column = 7 * (step // 4), 7 * (step % 4)
        np.testing.assert_array_equal(cut[:, step], images[:, row : row + 7, column : column + 7])
    with pytest.raises(ArgumentError, match=r"\(N, 28, 28\), found shape \(12, 28, 27\)"):
        mnist.patches(images[..., :-1])


class TestFind:
    @pytest.fixture(autouse=True)
    def _nothing_told(self, monkeypatch, tmp_path):
        for name in ("STORMCELL_MNIST", "STORMCELL_DATA", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(
            mnist, "__file__", str(tmp_path / "checkout" / "src" / "stormcell" / "data" / "mnist.py")
        )
        monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")

    def test_in_the_cache_at_last(self, tmp_path, monkeypatch):
        assert mnist.find() == tmp_path / "home" / ".cache" / "stormcell" / "mnist"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        assert mnist.find() == tmp_path / "cache" / "stormcell" / "mnist"

    def test_beside_the_checkout(self, tmp_path):
        (tmp_path / "shared" / "data" / "mnist").mkdir(parents=True)
        assert mnist.find() == tmp_path.resolve() / "shared" / "data" / "mnist"

    def test_where_it_is_told(self, tmp_path, monkeypatch):
        (tmp_path / "shared" / "data" / "mnist").mkdir(parents=True)
        (tmp_path / "data" / "mnist").mkdir(parents=True)
        monkeypatch.setenv("STORMCELL_DATA", str(tmp_path / "data"))
        assert mnist.find() == tmp_path / "data" / "mnist"
        monkeypatch.setenv("STORMCELL_MNIST", str(tmp_path / "digits"))
        assert mnist.find() == tmp_path / "digits"


class TestDownload:
    """Against mirrors in memory, which have small files under the right names."""

    @pytest.fixture
    def unpacked(self, monkeypatch):
        files = {name: f"what {name} holds".encode() for name in mnist.CHECKSUMS}
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        monkeypatch.setattr(mnist, "CHECKSUMS", sums)
        return files

    @pytest.fixture
    def served(self, unpacked, monkeypatch):
        served = {
            f"{mirror}{n}.gz": gzip.compress(c) for mirror in mnist.MIRRORS for n, c in unpacked.items()
        }
        served["asked"] = []

        def urlopen(url, *, timeout):
            assert url.startswith("https://")
            assert timeout > 0
            served["asked"].append(url)
            if url not in served:
                raise urllib.error.URLError("no route to host")
            return io.BytesIO(served[url])

        monkeypatch.setattr(mnist.urllib.request, "urlopen", urlopen)
        return served

    def test_all_four_with_progress(self, tmp_path, unpacked, served):
        said = []
        mnist.download(tmp_path / "new", lambda name, size: said.append((name, size)))
        assert {f.name: gzip.decompress(f.read_bytes()) for f in (tmp_path / "new").iterdir()} == {
            f"{name}.gz": content for name, content in unpacked.items()
        }
        first = mnist.MIRRORS[0]
        assert said == [(name, len(served[f"{first}{name}.gz"])) for name in unpacked]

    def test_what_is_there_is_left_alone(self, tmp_path, unpacked, served):
        there, packed, *others = unpacked
        (tmp_path / there).write_bytes(b"mine")
        (tmp_path / f"{packed}.gz").write_bytes(b"mine too")
        mnist.download(tmp_path)
        assert served["asked"] == [f"{mnist.MIRRORS[0]}{name}.gz" for name in others]
        assert (tmp_path / there).read_bytes() == b"mine"

    def test_a_part_of_a_file_is_none(self, tmp_path, unpacked):
        for name in unpacked:
            assert not mnist.complete(tmp_path)
            (tmp_path / f"{name}.gz").write_bytes(b"")
        assert mnist.complete(tmp_path)
        (tmp_path / f"{name}.gz").rename(tmp_path / f"{name}.gz.17.part")  # as a kill leaves it
        assert not mnist.complete(tmp_path)

    def test_a_wrong_or_silent_mirror_gives_way_to_the_next(self, tmp_path, unpacked, served):
        bad, silent, damaged, _ = (f"{mnist.MIRRORS[0]}{name}.gz" for name in unpacked)
        served[bad] = gzip.compress(b"something else")
        del served[silent]
        served[damaged] = served[damaged][:-9]
        mnist.download(tmp_path)
        for name, content in unpacked.items():
            assert gzip.decompress((tmp_path / f"{name}.gz").read_bytes()) == content

    def test_offline_it_says_what_to_do(self, tmp_path, served):
        for url in [url for url in served if url.startswith(mnist.MIRRORS)]:
            del served[url]
        with pytest.raises(InputError, match=r"no route to host.*set STORMCELL_MNIST") as caught:
            mnist.download(tmp_path / "new")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "new").exists()

    @pytest.mark.usefixtures("served")
    def test_a_mirror_does_not_go_on_for_ever(self, tmp_path, monkeypatch):
        monkeypatch.setattr(mnist, "MOST_PACKED", 10)
        with pytest.raises(InputError, match="at most 10 bytes, found more"):
            mnist.download(tmp_path)

    def test_the_checksums_are_the_real_ones(self, radar_data):
        folder = radar_data / "mnist"
        if not folder.is_dir():
            pytest.skip(f"MNIST is not at {folder}")
        for name, expected in mnist.CHECKSUMS.items():
            content = gzip.decompress((folder / f"{name}.gz").read_bytes())
            assert hashlib.sha256(content).hexdigest() == expected
