"""Damaged heaps of HDF5, on which the library never ends."""

import h5netcdf
import h5py
import numpy as np
import pytest

from stormcell.data.readers import open_radar
from stormcell.data.readers.hdf5_heap import expect_sound_heaps
from stormcell.errors import InputError


@pytest.fixture
def path(tmp_path):
    """A file of NetCDF, whose lists of dimensions are in a heap."""
    with h5netcdf.File(tmp_path / "a.nc", "w") as file:
        file.dimensions = {"y": 3, "x": 4}
        for name, dims in (("y", ("y",)), ("x", ("x",)), ("rain", ("y", "x"))):
            file.create_variable(name, dims, "f4")
    return tmp_path / "a.nc"


def damage(path, at, value):
    """Replace the size of the last object before free space, and of the free space."""
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    place = heap + 16
    while int.from_bytes(content[place : place + 2], "little") and at:
        place += 16 + -(-int.from_bytes(content[place + 8 : place + 16], "little") // 8) * 8
        at -= 1
    content[place + 8 : place + 16] = value.to_bytes(8, "little")
    path.write_bytes(content)


def test_hdf5_heap_undamaged_file_is_sound(path):
    expect_sound_heaps(path)
    with h5py.File(path) as file:
        assert file["rain"].attrs["DIMENSION_LIST"].shape == (2,)


@pytest.mark.parametrize("value", [2**64 - 16, 2**64 - 8, 2**40, 10**5])
def test_hdf5_heap_object_outside_of_the_heap_is_refused(path, value):
    damage(path, 0, value)
    with pytest.raises(InputError, match="found a damaged heap at byte"):
        open_radar(path)


def test_hdf5_heap_free_space_of_no_size_is_refused(path):
    damage(path, 100, 0)
    with pytest.raises(InputError, match="found a damaged heap at byte"):
        open_radar(path)


def test_hdf5_heap_signature_in_data_is_not_taken_for_a_heap(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.frombuffer(b"GCOLGCOLGCOL", np.uint8)
    expect_sound_heaps(tmp_path / "a.h5")
