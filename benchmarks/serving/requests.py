"""Requests to the server, as often as answers come, and clients that wait for events."""

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

HOST, PORT = "127.0.0.1", 8631


@dataclass(frozen=True)
class Load:
    """Answers to one kind of request.

    Attributes:
        name: The kind.
        seconds: Latency of each answer.
        duration: Seconds in all.
        statuses: Number of answers by status.
    """

    name: str
    seconds: list[float]
    duration: float
    statuses: dict[int, int]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.seconds) / self.duration

    def milliseconds(self, share: float) -> float:
        """Return the latency that a share of the answers does not exceed."""
        return float(1000 * np.quantile(self.seconds, share))

    @property
    def errors(self) -> int:
        """Number of answers other than 200 and 304."""
        return sum(count for status, count in self.statuses.items() if status not in (200, 304))


def get(path: str) -> Any:
    """Return the JSON at a path."""
    with urllib.request.urlopen(f"http://{HOST}:{PORT}{path}", timeout=10) as answer:
        return json.load(answer)


async def load(name: str, path: Callable[[int], str], seconds: float, connections: int) -> Load:
    """Ask for paths on several connections that stay open."""
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    start = time.perf_counter()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, PORT)
        count = number
        while time.perf_counter() - start < seconds:
            before = time.perf_counter()
            status, _ = await _ask(reader, writer, path(count))
            latencies.append(time.perf_counter() - before)
            statuses[status] = statuses.get(status, 0) + 1
            count += connections
        writer.close()

    await asyncio.gather(*(client(number) for number in range(connections)))
    return Load(name, latencies, time.perf_counter() - start, statuses)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, bytes]:
    """Ask for a path on an open connection, and return the status and the content of the answer."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
    return int(lines[0].split()[1]), await reader.readexactly(length)


@contextlib.asynccontextmanager
async def following(tell: Callable[[dict[str, Any]], None]) -> AsyncIterator[None]:
    """Ask for ``latest.json`` five times a second, as a viewer would, and pass on what it has."""

    async def follow() -> None:
        reader, writer = await asyncio.open_connection(HOST, PORT)
        while True:
            tell(json.loads((await _ask(reader, writer, "/latest.json"))[1]))
            await asyncio.sleep(0.2)
            if writer.is_closing():
                break

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def listen(clients: int, publish: Callable[[], float]) -> list[float]:
    """Return for each of many clients of the events the seconds from a publication until it has it.

    Args:
        clients: How many.
        publish: Makes a publication, and returns when: seconds since 1970.
    """
    streams = []
    for _ in range(clients):
        reader, writer = await asyncio.open_connection(HOST, PORT)
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"event: issue")
        streams.append((reader, writer))

    async def wait(reader: asyncio.StreamReader) -> float:
        await reader.readuntil(b"event: issue")
        return time.time()

    waiting = [asyncio.create_task(wait(reader)) for reader, _ in streams]
    start = await asyncio.to_thread(publish)
    ends = await asyncio.gather(*waiting)
    for _, writer in streams:
        writer.close()
    return [end - start for end in ends]
