import io
import os
import pickle
import pickletools
import struct
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from stormcell.data.readers.pickled_dates import read_dates
from stormcell.errors import InputError

DATES = [datetime(2016, 8, 21, 0, 5) + timedelta(minutes=5 * k) for k in range(400)]
EXPECTED = np.datetime64("2016-08-21T00:05", "s") + np.timedelta64(300, "s") * np.arange(400)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickled_dates_of_every_binary_protocol_are_read(protocol):
    pickled = pickle.dumps(np.array(DATES, object), protocol=protocol)
    np.testing.assert_array_equal(read_dates(pickled, 400), EXPECTED)


def test_pickled_dates_of_older_numpy_are_read():
    # NumPy 2 has moved the function that its predecessors name; files have the old name.
    pickled = pickle.dumps(np.array(DATES, object), protocol=3)
    old = pickled.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != pickled or b"numpy.core.multiarray" in pickled
    np.testing.assert_array_equal(read_dates(old, 400), EXPECTED)


def test_pickled_dates_days_and_repeated_dates_are_read():
    day = date(2016, 8, 21)
    found = read_dates(pickle.dumps(np.array([day, day, datetime(2016, 8, 22)], object)), 3)
    np.testing.assert_array_equal(found, np.array(["2016-08-21", "2016-08-21", "2016-08-22"], "M8[s]"))


class Bomb:
    """An object whose unpickling runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickled_dates_bomb_is_refused_and_does_not_go_off(protocol, tmp_path):
    mark = tmp_path / "exploded"
    for content in (np.array([Bomb(f"touch {mark}")], object), Bomb(f"touch {mark}")):
        with pytest.raises(InputError, match=r"dates: expected an array of dates only"):
            read_dates(pickle.dumps(content, protocol=protocol), 1)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(f"touch {mark}")))
    assert mark.exists()  # the bomb works


@pytest.mark.parametrize(
    "content",
    [
        np.array([1.5, 2.5], object),
        np.array(["2016-08-21", "2016-08-22"], object),
        np.array([datetime(2016, 8, 21, tzinfo=UTC)] * 2, object),
        np.array([datetime(2016, 8, 21), None], object),
        np.array(DATES[:3], object),
        [DATES[0], DATES[1]],
        {"dates": DATES[:2]},
        np.array([datetime, date], object),
    ],
)
def test_pickled_dates_other_contents_raise(content):
    with pytest.raises(InputError, match="dates: expected"):
        read_dates(pickle.dumps(content, protocol=3), 2)


def test_pickled_dates_list_that_refers_to_itself_many_times_stays_small():
    # A "billion laughs": each list holds the one before it ten times.
    stream = io.BytesIO(b"\x80\x03]q\x00")
    stream.seek(0, io.SEEK_END)
    for level in range(60):
        stream.write(b"]q" + bytes([level + 1]) + b"(" + (b"h" + bytes([level])) * 10 + b"e")
    stream.write(b".")
    list(pickletools.genops(stream.getvalue()))  # it is a valid pickle
    with pytest.raises(InputError, match="dates: expected 2 dates"):
        read_dates(stream.getvalue(), 2)


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x03",
        b".",
        b"\x80\x03e.",
        b"\x80\x03h\x05.",
        b"\x80\x03(t.",
        b"\x80\x03K\x01\x85R.",
        b"\x80\x03X" + struct.pack("<I", 2**31) + b"a.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"a.",
    ],
)
def test_pickled_dates_damaged_pickle_raises(pickled):
    with pytest.raises(InputError, match="dates: expected"):
        read_dates(pickled, 1)
