"""One process per contender, so that contenders do not affect each other."""

import contextlib
import importlib
import logging
import multiprocessing
import os
import signal
import traceback
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.layers import checking
from benchmarks.layers.contenders import Contender
from benchmarks.layers.runners import Runner, Task


class Failed(Exception):
    """A worker failed."""


class Worker:
    """The caller's end: sends a request and waits for the answer, so that only one worker is busy."""

    def __init__(self, connection: Connection, log: Path) -> None:
        self._connection, self._log = connection, log

    def ask(self, what: str, *arguments: object) -> Any:
        """Call a method of :class:`_Served`.

        Raises:
            Failed: It raised something, or the process is gone.
        """
        try:
            self._connection.send((what, arguments))
            failed, answer = self._connection.recv()
        except (EOFError, OSError):
            lines = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
            raise Failed(f"the process is gone: {' '.join(filter(None, lines[-3:]))}") from None
        if failed:
            raise Failed(answer)
        return answer


@contextlib.contextmanager
def worker(contender: Contender, task: Task, scratch: Path) -> Iterator[Worker]:
    """Start the process of a contender, and end it afterwards."""
    # Forked from a process which only imported PyTorch, or a new process for Keras.
    is_forked = "keras" not in contender.needs
    context: Any = multiprocessing.get_context("forkserver" if is_forked else "spawn")
    if is_forked:
        context.set_forkserver_preload(["numpy", "torch", "stormcell.nn"])
    log = scratch / f"{contender.name}.log"
    near, far = context.Pipe()
    process = context.Process(target=_serve, args=(far, contender, task, scratch, log), name=contender.name)
    process.start()
    far.close()
    try:
        one = Worker(near, log)
        one.ask("ready")
        yield one
    finally:
        near.close()
        process.join(timeout=30)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


class _Served:
    """The worker's end."""

    def __init__(self, contender: Contender, task: Task) -> None:
        module, _, name = contender.runner.rpartition(".")
        self._runner: Runner = getattr(importlib.import_module(module), name)(task, **contender.options)
        self._task = task
        self._made: Any = None
        self._before: int | None = None

    def ready(self) -> None:
        """Confirm that weights and input are loaded."""

    def first(self) -> float:
        """Take the first step and return its time."""
        self._before = self._runner.held()
        seconds, self._made = self._runner.timed(1)
        return seconds

    def write(self, folder: Path) -> None:
        """Save the results of the first step as those of the reference."""
        checking.write(folder, self._runner.results(self._made))

    def compare(self, folder: Path) -> dict[str, float]:
        """Compare the results of the first step with those of the reference."""
        return checking.errors(folder, self._runner.results(self._made), self._task.mode)

    def second(self) -> tuple[float, int | None]:
        """Return the time of another step, and its peak memory.

        That is beyond what was in use before the first step: what a contender keeps between steps counts.
        """
        self._made = None
        watched = self._runner.held()
        seconds, _ = self._runner.timed(1)
        peak = None if watched is None else self._runner.peak()
        return seconds, None if peak is None or self._before is None else max(0, peak - self._before)

    def saved(self) -> int | None:
        """Return the bytes saved for the backward pass."""
        return self._runner.saved()

    def described(self) -> list[str]:
        """Return the runner's description of itself."""
        return getattr(self._runner, "described", list)()

    def turn(self, number: int) -> float:
        """Take this number of steps and return the time per step."""
        return self._runner.timed(number)[0]


def _serve(connection: Connection, contender: Contender, task: Task, scratch: Path, log: Path) -> None:
    """Answer requests until the connection is closed."""
    with log.open("wb") as file:  # output of the libraries
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller will end, and then this process
    os.environ["OMP_NUM_THREADS"] = str(task.threads)
    for name, value in contender.environment.items():
        os.environ[name] = value.format(scratch=scratch)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    served: _Served | None = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            what, arguments = connection.recv()
            try:
                served = served or _Served(contender, task)
                answer: tuple[bool, Any] = False, getattr(served, what)(*arguments)
            except Exception as error:
                said = "".join(traceback.format_exception_only(error)).strip()
                answer = True, said.splitlines()[0]
            connection.send(answer)
