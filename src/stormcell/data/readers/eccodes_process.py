"""ecCodes in a process of its own.

Two reasons. ecCodes ends its process, or runs forever, for about 2 % of damaged messages. And its wheel
loads its own PROJ for all libraries of a process, which breaks pyproj and rasterio there.
"""

import atexit
import os
import subprocess
import sys
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from stormcell.data.readers.eccodes_worker import ABSENT
from stormcell.errors import InputError, MissingExtraError

# The largest composite in use takes about a second.
SECONDS = 60.0
_LONGEST_ERROR = 2**16
_PROGRAM = Path(__file__).with_name("eccodes_worker.py")


def decode(message: bytes, count: int) -> NDArray[np.float32]:
    """Return the values of a GRIB2 message in its order, ``(count,)``; NaN where missing.

    Raises:
        InputError: ecCodes cannot decode the message, ended, or took longer than ``SECONDS``.
        MissingExtraError: ecCodes is not installed.
    """
    if find_spec("eccodes") is None:
        raise MissingExtraError(
            "eccodes: expected this package for the file's packing, found it missing; install stormcell[grib]"
        )
    values = np.frombuffer(_process(os.getpid()).ask(message, 4 * count + _LONGEST_ERROR), np.float32)
    if values.shape != (count,):
        raise InputError(f"section 7: expected {count} values, found {values.size}")
    values = values.copy()
    values[values <= 0.99 * ABSENT] = np.nan
    return values


class _Process:
    """The process, started at the first question, and again after it ended."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None

    def ask(self, message: bytes, most: int) -> bytes:
        """Return the answer, of at most a number of bytes."""
        with self._lock:
            running = self._start()
            stdin, stdout = running.stdin, running.stdout
            assert stdin is not None
            assert stdout is not None
            timer = threading.Timer(SECONDS, running.kill)
            timer.start()
            try:
                stdin.write(len(message).to_bytes(8, "big") + message)
                stdin.flush()
                success = _exactly(stdout, 1)[0]
                length = int.from_bytes(_exactly(stdout, 8), "big")
                if length > most:
                    raise EOFError
                answer = _exactly(stdout, length)
            except (OSError, EOFError):
                self._end()
                raise InputError(
                    "section 7: expected complete data, found data at which ecCodes ended or took too long"
                ) from None
            finally:
                timer.cancel()
        if not success:
            text = answer.decode("utf-8", "replace")
            raise InputError(f"section 7: expected complete data, found damaged data: {text}")
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        if self._running is None:
            self._running = subprocess.Popen(
                # -P keeps the names of this folder's modules out of the program.
                [sys.executable, "-P", str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # ecCodes repeats its errors there
            )
            atexit.register(self._end_at_exit)
        return self._running

    def _end_at_exit(self) -> None:
        if os.getpid() == self._owner:  # and not in a fork of it
            self._end()

    def _end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.kill()
            running.communicate()


@cache
def _process(pid: int) -> _Process:  # noqa: ARG001 - a forked process needs its own
    return _Process()


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found
