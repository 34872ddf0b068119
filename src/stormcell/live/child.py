"""A child process that does the work which may need much memory or time, crash or hang.

The process that is asked waits for an answer, and ends the child when a limit is exceeded. The next job
starts a new child. Otherwise the child stays for the next job, with its packages and its model in memory.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TypeVar

from stormcell.errors import StormcellError, WorkerError

T = TypeVar("T")

_LOOK = 0.05  # seconds between two looks at the child
_PAGE = 4096 if sys.platform == "win32" else os.sysconf("SC_PAGE_SIZE")
_LONGEST_REASON = 300


class Child:
    """A process for jobs, one after the other.

    Args:
        memory: The most memory that it may use, in bytes; where ``/proc`` is missing, there is no limit.
        waiting: Called again and again while an answer is awaited.

    Example:
        >>> from functools import partial
        >>> child = Child(memory=2 * 10**9)
        >>> child(partial(divmod, 7, 2), seconds=60)
        (3, 1)
        >>> child.close()
    """

    def __init__(self, memory: int, waiting: Callable[[], None] = lambda: None) -> None:
        self._memory, self._waiting = memory, waiting
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    def __call__(self, job: Callable[[], T], *, seconds: float) -> T:
        """Do a job and return its result.

        Args:
            job: A function without arguments that can be pickled.
            seconds: The most time that it may take.

        Raises:
            WorkerError: The child took too long, used too much memory or ended, or the job raised an error
                that is not one of Stormcell's.
            StormcellError: The job raised it.
        """
        connection = self._start()
        answer: T | _Failure
        try:
            connection.send(job)
            self._wait(connection, seconds)
            answer = connection.recv()
        except (EOFError, ConnectionError):
            raise WorkerError(self._ended()) from None
        except BaseException:
            self.close()
            raise
        if isinstance(answer, _Failure):
            raise answer.error
        return answer

    def close(self, *, patience: float = 0.0) -> None:
        """End the process.

        Args:
            patience: Seconds in which it may end, before it is killed; it does if it has no job.
        """
        if self._process is not None and self._connection is not None:
            self._connection.close()
            self._process.join(patience)
            self._process.kill()
            self._process.join()
            self._process.close()
        self._process = self._connection = None

    def _start(self) -> Connection:
        if self._connection is None:
            # Each thread would keep memory of its own, which is never given back.
            os.environ.setdefault("MALLOC_ARENA_MAX", "2")
            # Threads of OpenMP that wait would take the processor from other programs, such as the server.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            context = get_context("spawn")
            self._connection, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other,), daemon=True)
            self._process.start()
            other.close()
        return self._connection

    def _wait(self, connection: Connection, seconds: float) -> None:
        assert self._process is not None
        end = time.monotonic() + seconds
        while not connection.poll(_LOOK):
            self._waiting()
            if time.monotonic() > end:
                raise WorkerError(f"expected an answer within {seconds:g} s, found none")
            used = memory_of(self._process.pid)
            if used > self._memory:
                limit = f"{self._memory / 1e6:.0f} MB of memory"
                raise WorkerError(f"expected at most {limit}, found {used / 1e6:.0f} MB in use")

    def _ended(self) -> str:
        """Forget a process that has ended, and return how."""
        assert self._process is not None
        self._process.join(1)
        code = self._process.exitcode
        self.close()
        how = f"ended with status {code}" if code is None or code >= 0 else f"was killed by signal {-code}"
        return f"expected an answer, found that the process {how}"


class _Failure:
    """An error of a job, on its way to the process that asked."""

    def __init__(self, error: StormcellError) -> None:
        self.error = error


def _serve(connection: Connection) -> None:
    """Do jobs until the other process closes the connection, or has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process, which ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(_answer(job))


def _end_with_parent() -> None:
    """End in the middle of a job if the other process was killed: its successor may do the same job."""
    if (parent := parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)


def _answer(job: Callable[[], object]) -> object:
    try:
        return job()
    except StormcellError as error:
        return _Failure(error)
    except MemoryError:
        return _Failure(WorkerError("expected enough memory, found none left"))
    except Exception as error:
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return _Failure(WorkerError(reason[:_LONGEST_REASON]))


def memory_of(process: int | None) -> int:
    """Return the memory that a process uses, in bytes; 0 if it is not known."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
