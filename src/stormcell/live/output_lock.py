"""The lock of a published folder: one loop writes into it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stormcell.atomic import make_folder
from stormcell.errors import OutputError

_FILE = ".lock"
_SECONDS = 1.0  # between two attempts of a loop that waits


@contextmanager
def locked(out: Path, *, standby: bool = False, sleep: Callable[[float], None]) -> Iterator[None]:
    """Hold the lock of a published folder; it ends with the process, however that ends.

    Locks of different computers do not always exclude each other on a network file system.

    Args:
        out: The folder, which is created if it does not exist.
        standby: Whether to wait until the other loop has ended.
        sleep: Waits for a number of seconds.

    Raises:
        OutputError: Another loop holds it, or the folder cannot be written.
    """
    make_folder(out)
    if sys.platform == "win32":  # Windows has no such locks.
        yield
        return
    import fcntl

    try:
        file = (out / _FILE).open("a+")
    except OSError as error:
        raise OutputError(f"{out}: could not be written: {error.strerror}") from error
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not standby:
                    file.seek(0)
                    other = file.read().strip()
                    raise OutputError(f"{out}: expected no other loop, found process {other}") from None
                sleep(_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
