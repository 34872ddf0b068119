import gzip
import hashlib
import io
import os
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from stormcell.errors import ArgumentError, InputError
from stormcell.experiments import mnist

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx(array: np.ndarray) -> bytes:
    """Return an IDX file, byte by byte after its definition."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def real_mnist() -> Path:
    folder = os.environ.get("STORMCELL_MNIST")
    if not folder or not mnist.complete(Path(folder)):
        pytest.skip("set STORMCELL_MNIST to the folder of MNIST")
    return Path(folder)


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


def test_read_packed_and_unpacked_files_returns_the_digits(folder, digits):
    found = mnist.read(folder, "train")
    np.testing.assert_array_equal(found.images, digits[0])
    np.testing.assert_array_equal(found.labels, digits[1])
    assert found.images.dtype == found.labels.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        found.images[0] = 0


def test_read_real_files_matches_published_values(real_mnist):
    folder = real_mnist
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
        (f"{IMAGES}.gz", lambda b: gzip.compress(gzip.decompress(b)[:-1]), "expected 9408 bytes from"),
        (f"{IMAGES}.gz", lambda b: gzip.compress(gzip.decompress(b) + b"x"), "from its header, found more"),
        (f"{IMAGES}.gz", lambda b: b[:-200], "truncated or damaged"),
        (f"{IMAGES}.gz", lambda b: b[:-8] + bytes(4) + b[-4:], "truncated or damaged"),  # wrong checksum
        (
            f"{IMAGES}.gz",
            lambda _: gzip.compress(bytes.fromhex("00000d03") + bytes(12)),
            "with 3 axes, found",
        ),
        (f"{IMAGES}.gz", lambda _: idx(np.zeros((12, 28, 27), np.uint8)), r"of 28 × 28, found \(28, 27\)"),
        (f"{IMAGES}.gz", lambda _: idx(np.zeros((0, 28, 28), np.uint8)), "found 12 for 0"),
        (LABELS, lambda b: b[:-1], "expected 12 bytes from its header, found 11"),
        (LABELS, lambda b: b[:-1] + b"\x0a", "labels 0 to 9, found 10"),
        (LABELS, lambda _: idx(np.zeros(11, np.uint8)), "a label for each image, found 11 for 12"),
        (LABELS, lambda _: b"", "IDX file of bytes with 1 axes, found"),
    ],
)
def test_read_damaged_file_raises_with_its_name(folder, name, change, message):
    file = folder / name
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(InputError, match=message) as caught:
        mnist.read(folder, "train")
    assert str(caught.value).startswith(str(folder / name.split("-")[0]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_read_header_larger_than_file_raises_before_allocating(folder, pack):
    (folder / f"{IMAGES}.gz").write_bytes(
        pack(struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 28, 28) + bytes(99))
    )
    with pytest.raises(InputError, match=f"expected {(2**32 - 1) * 784} bytes from its header"):
        mnist.read(folder, "train")


def test_read_missing_file_or_unknown_part_raises(folder):
    with pytest.raises(InputError, match="expected t10k-images-idx3-ubyte"):
        mnist.read(folder, "test")
    with pytest.raises(ArgumentError, match='expected "train" or "test", found "both"'):
        mnist.read(folder, "both")


def test_patches_are_in_row_order(digits):
    images, _ = digits
    patches = mnist.patches(images)
    assert patches.shape == (12, 16, 7, 7)
    for step in range(16):
        row, column = 7 * (step // 4), 7 * (step % 4)
        np.testing.assert_array_equal(patches[:, step], images[:, row : row + 7, column : column + 7])
    with pytest.raises(ArgumentError, match=r"\(N, 28, 28\), found shape \(12, 28, 27\)"):
        mnist.patches(images[..., :-1])


def test_find_uses_the_variable_or_else_the_cache(tmp_path, monkeypatch):
    for name in ("STORMCELL_MNIST", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert mnist.find() == tmp_path / "home" / ".cache" / "stormcell" / "mnist"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert mnist.find() == tmp_path / "cache" / "stormcell" / "mnist"
    monkeypatch.setenv("STORMCELL_MNIST", str(tmp_path / "digits"))
    assert mnist.find() == tmp_path / "digits"


def test_folder_downloads_only_to_an_incomplete_default_folder(tmp_path, monkeypatch):
    downloads = []
    monkeypatch.setattr(mnist, "download", lambda folder, _progress: downloads.append(folder))
    monkeypatch.setenv("STORMCELL_MNIST", str(tmp_path / "default"))
    screen = io.StringIO()
    console = Console(file=screen)
    assert mnist.folder(tmp_path / "mine", console) == tmp_path / "mine"
    assert not downloads
    assert mnist.folder(None, console) == tmp_path / "default"
    assert downloads == [tmp_path / "default"]
    assert "CC BY-SA 3.0" in screen.getvalue()
    (tmp_path / "default").mkdir()
    for name in mnist.CHECKSUMS:
        (tmp_path / "default" / name).write_bytes(b"")
    assert mnist.folder(None, console) == tmp_path / "default"
    assert len(downloads) == 1


def test_digest_changes_with_any_digit(folder, digits):
    for name in (IMAGES, LABELS):
        array = digits[0] if name == IMAGES else digits[1]
        (folder / name.replace("train", "t10k")).write_bytes(idx(array))
    before = mnist.describe(folder, "{digest}").summary
    assert before == mnist.describe(folder, "{digest}").summary
    assert len(before) == 16
    (folder / LABELS).write_bytes(idx((digits[1] + 1) % 10))
    assert mnist.describe(folder, "{digest}").summary != before


class TestDownload:
    """Downloads from mirrors in memory, with small files under the right names."""

    @pytest.fixture
    def unpacked(self, monkeypatch):
        files = {name: f"content of {name}".encode() for name in mnist.CHECKSUMS}
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        monkeypatch.setattr(mnist, "CHECKSUMS", sums)
        return files

    @pytest.fixture
    def served(self, unpacked, monkeypatch):
        served = {
            f"{mirror}{n}.gz": gzip.compress(c) for mirror in mnist.MIRRORS for n, c in unpacked.items()
        }
        served["requested"] = []

        def urlopen(url, *, timeout):
            assert url.startswith("https://")
            assert timeout > 0
            served["requested"].append(url)
            if url not in served:
                raise urllib.error.URLError("no route to host")
            return io.BytesIO(served[url])

        monkeypatch.setattr(mnist.urllib.request, "urlopen", urlopen)
        return served

    def test_download_writes_all_files_and_reports_progress(self, tmp_path, unpacked, served):
        progress = []
        mnist.download(tmp_path / "new", lambda name, size: progress.append((name, size)))
        assert {f.name: gzip.decompress(f.read_bytes()) for f in (tmp_path / "new").iterdir()} == {
            f"{name}.gz": content for name, content in unpacked.items()
        }
        first = mnist.MIRRORS[0]
        assert progress == [(name, len(served[f"{first}{name}.gz"])) for name in unpacked]

    def test_download_does_not_change_existing_files(self, tmp_path, unpacked, served):
        plain, packed, *others = unpacked
        (tmp_path / plain).write_bytes(b"mine")
        (tmp_path / f"{packed}.gz").write_bytes(b"mine too")
        mnist.download(tmp_path)
        assert served["requested"] == [f"{mnist.MIRRORS[0]}{name}.gz" for name in others]
        assert (tmp_path / plain).read_bytes() == b"mine"

    def test_complete_needs_all_four_files(self, tmp_path, unpacked):
        for name in unpacked:
            assert not mnist.complete(tmp_path)
            (tmp_path / f"{name}.gz").write_bytes(b"")
        assert mnist.complete(tmp_path)
        (tmp_path / f"{name}.gz").rename(tmp_path / f"{name}.gz.17.part")  # as after a kill
        assert not mnist.complete(tmp_path)

    def test_download_wrong_or_unreachable_mirror_tries_the_next(self, tmp_path, unpacked, served):
        wrong, unreachable, damaged, _ = (f"{mnist.MIRRORS[0]}{name}.gz" for name in unpacked)
        served[wrong] = gzip.compress(b"something else")
        del served[unreachable]
        served[damaged] = served[damaged][:-9]
        mnist.download(tmp_path)
        for name, content in unpacked.items():
            assert gzip.decompress((tmp_path / f"{name}.gz").read_bytes()) == content

    def test_download_offline_raises_and_names_the_variable(self, tmp_path, served):
        for url in [url for url in served if url.startswith(mnist.MIRRORS)]:
            del served[url]
        with pytest.raises(InputError, match=r"no route to host.*set STORMCELL_MNIST") as caught:
            mnist.download(tmp_path / "new")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "new").exists()

    @pytest.mark.usefixtures("served")
    def test_download_too_large_file_raises(self, tmp_path, monkeypatch):
        monkeypatch.setattr(mnist, "MOST_PACKED", 10)
        with pytest.raises(InputError, match="at most 10 bytes, found more"):
            mnist.download(tmp_path)

    def test_checksums_match_the_real_files(self, real_mnist):
        for name, expected in mnist.CHECKSUMS.items():
            content = gzip.decompress((real_mnist / f"{name}.gz").read_bytes())
            assert hashlib.sha256(content).hexdigest() == expected
