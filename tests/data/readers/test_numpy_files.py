import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stormcell.data.readers import numpy_files
from stormcell.data.readers.numpy_files import names, stored_arrays
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

VALUES = np.random.default_rng(0).integers(0, 100, (7, 6, 5)).astype(np.int16)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_stored_arrays_parts_are_read_in_any_order(save, tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_files, "_LARGE", 0)  # remembers the place in every array
    save(tmp_path / "a.npz", data=VALUES, other=VALUES[::-1])
    arrays = stored_arrays(Source(tmp_path / "a.npz"))
    for part in (slice(0, 2), slice(2, 5), slice(5, 7), slice(1, 2), slice(0, 7), slice(3, 3)):
        np.testing.assert_array_equal(arrays["data"].read(part), VALUES[part])
    np.testing.assert_array_equal(arrays["other"].read(), VALUES[::-1])


def test_stored_arrays_file_that_was_replaced_is_read_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_files, "_LARGE", 0)
    path = tmp_path / "a.npz"
    np.savez(path, data=VALUES)
    stored_arrays(Source(path))["data"].read(slice(0, 2))
    np.savez(tmp_path / "b.npz", data=VALUES + 1)
    (tmp_path / "b.npz").replace(path)
    np.testing.assert_array_equal(stored_arrays(Source(path))["data"].read(slice(2, 4)), VALUES[2:4] + 1)


@pytest.mark.parametrize("values", [VALUES, VALUES[0], np.asfortranarray(VALUES), VALUES.astype(">f4")])
def test_stored_arrays_npy_is_read(values, tmp_path):
    np.save(tmp_path / "a.npy", values)
    packed = tmp_path / "a.npy.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.npy").read_bytes()))
    for path in (tmp_path / "a.npy", packed):
        array = stored_arrays(Source(path))[""]
        np.testing.assert_array_equal(array.read(), values)
        np.testing.assert_array_equal(array.read(slice(2, 5)), values[2:5])
    assert names(Source(packed)) == set()


def npy(header: str, data: bytes = b"") -> bytes:
    """Return a .npy file of version 1 with a header of our choice."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (3, 99999, 99999)}", "a size that a radar"),
        (
            "{'descr': '<i2', 'fortran_order': False, 'shape': (99999999999, 2, 2)}",
            "a size that a radar",
        ),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (-1, 2, 2)}", "a size that a radar"),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (1000, 2, 2)}", r"expected \d+ bytes"),
        ("{'descr': '<i2', 'fortran_order': False}", "expected NumPy's header"),
        ("__import__('os').abort()", "expected NumPy's header"),
        ("[" * 5000, "expected NumPy's header"),
    ],
)
def test_stored_arrays_false_header_raises(header, reason, tmp_path):
    (tmp_path / "a.npy").write_bytes(npy(header))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("data.npy", npy(header))
    for path in (tmp_path / "a.npy", tmp_path / "a.npz"):
        with pytest.raises(InputError, match=reason):
            stored_arrays(Source(path))


def test_stored_arrays_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", data=np.array([{"a": 1}], object))
    with pytest.raises(InputError, match="data: expected numbers, found pickled objects"):
        stored_arrays(Source(tmp_path / "a.npz"))["data"].read()


def test_stored_arrays_zip_bomb_raises_before_it_is_unpacked(tmp_path):
    # Sixteen megabytes of zeros in a few kilobytes, after a header that states a small array.
    head = npy("{'descr': '<i2', 'fortran_order': False, 'shape': (3, 6, 5)}")
    zipped = zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED)
    with zipped, zipped.open("data.npy", "w") as out:
        out.write(head)
        for _ in range(16):
            out.write(bytes(2**20))
    with pytest.raises(InputError, match=r"data: expected \d+ bytes, found 16777\d+"):
        stored_arrays(Source(tmp_path / "a.npz"))


def test_stored_arrays_other_zip_and_damaged_zip_raise(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, data=VALUES)
    path = Path(tmp_path / "a.npz")
    path.write_bytes(buffer.getvalue()[:200])
    assert names(Source(path)) == set()
    with pytest.raises(InputError, match="expected complete arrays"):
        stored_arrays(Source(path))
