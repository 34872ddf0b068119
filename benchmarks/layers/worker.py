"""A process for each contender, so that none lives in what another has made of the process."""

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
    """What a worker could not do."""


class Worker:
    """The near end: asks, and waits for the answer, so that only one worker works at a time."""

    def __init__(self, connection: Connection, log: Path) -> None:
        self._connection, self._log = connection, log

    def ask(self, what: str, *arguments: object) -> Any:
        """Have a method of :class:`_Served` called.

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
    """Start a process that runs a contender, and end it afterwards."""
    # Forked from a process that has imported PyTorch and done nothing, or, for others, begun afresh.
    context: Any = multiprocessing.get_context("forkserver" if contender.needs == ("torch",) else "spawn")
    if contender.needs == ("torch",):
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
    """The far end."""

    def __init__(self, contender: Contender, task: Task) -> None:
        module, _, name = contender.runner.rpartition(".")
        self._runner: Runner = getattr(importlib.import_module(module), name)(task, **contender.options)
        self._task = task
        self._made: Any = None
        self._before: int | None = None

    def ready(self) -> None:
        """Say that weights and input are in place."""

    def first(self) -> float:
        """Take the first step, and return how long it took."""
        self._before = self._runner.held()
        seconds, self._made = self._runner.timed(1)
        return seconds

    def write(self, folder: Path) -> None:
        """Keep what the first step made as what is true."""
        checking.write(folder, self._runner.results(self._made))

    def compare(self, folder: Path) -> dict[str, float]:
        """Compare what the first step made with what is true."""
        return checking.errors(folder, self._runner.results(self._made), self._task.mode)

    def second(self) -> tuple[float, int | None]:
        """Return how long another step takes, and its peak of memory.

        That is beyond what was in use before the first step: what a contender keeps between steps counts.
        """
        self._made = None
        watched = self._runner.held()
        seconds, _ = self._runner.timed(1)
        peak = None if watched is None else self._runner.peak()
        return seconds, None if peak is None or self._before is None else max(0, peak - self._before)

    def saved(self) -> int | None:
        """Return how many bytes are saved for the backward pass."""
        return self._runner.saved()

    def described(self) -> list[str]:
        """Return what the runner has to say of how it does it."""
        return getattr(self._runner, "described", list)()

    def turn(self, number: int) -> float:
        """Take so many steps, and return how long one took."""
        return self._runner.timed(number)[0]


def _serve(connection: Connection, contender: Contender, task: Task, scratch: Path, log: Path) -> None:
    """Answer until nobody asks any more."""
    with log.open("wb") as file:  # libraries have much to say for themselves
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked will go, and then so does this
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
