"""Load on the server, by loopback: requests per second and latency while publications come.

    python -m benchmarks.serving [--seconds 10] [--connections 16] [--side 1024] [--every 1]

A folder with one publication is served by ``stormcell serve`` in a process of its own. This process asks for
pictures, points, EDR positions and what the client has already, one kind after the other, with connections
that stay open. Meanwhile a third process publishes. An answer other than 200 or 304 is an error, and the
command fails. At the end, clients listen to the events of one more publication.
"""

import argparse
import asyncio
import json
import multiprocessing
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyproj
import xarray as xr

from stormcell.data.grid import Grid
from stormcell.published.manifest import ObservedFrame, Product, time_name
from stormcell.published.writing import Content, point_to, publish

STEP = timedelta(minutes=5)
STEPS = 12
PORT = 8631


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

    def __str__(self) -> str:
        p50, p99 = (1000 * np.quantile(self.seconds, share) for share in (0.5, 0.99))
        rate = len(self.seconds) / self.duration
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        return f"| {self.name} | {rate:.0f} | {p50:.1f} | {p99:.1f} | {counts} |"


def publish_rain(root: Path, issue: datetime, run: str, side: int) -> None:
    """Publish random showers, as an issue with a rate and a probability."""
    grid = Grid.from_centres(
        pyproj.CRS(3067), 200_000 + 1000.0 * np.arange(side), 7_400_000 - 1000.0 * np.arange(side)
    )
    random = np.random.default_rng(int(issue.timestamp()))
    coarse = random.normal(size=(STEPS + 1, side // 16 + 1, side // 16 + 1))
    fine = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :side, :side]
    rates = np.where(fine > 0.7, 10 ** (fine - 1), 0).astype(np.float32)
    times = [issue + k * STEP for k in range(STEPS + 1)]

    def field(values: np.ndarray, valid: list[datetime]) -> xr.DataArray:
        instants = np.array([at.replace(tzinfo=None) for at in valid], "datetime64[ns]")
        coords = {"time": instants, "y": grid.y, "x": grid.x, "crs": ((), 0, grid.crs_attributes())}
        return xr.DataArray(values, coords, ("time", "y", "x"))

    rate = Product(name="rate", title="Rain rate", kind="rate", times=())
    share = Product(name="above-1.0", title="1 mm/h or more", kind="probability", threshold=1.0, times=())
    manifest = publish(
        root,
        Content(
            issue=issue,
            run=run,
            created=issue,
            model="random",
            model_title="Random showers",
            step_seconds=int(STEP.total_seconds()),
            observed=field(rates[:1], times[:1]),
            products=[
                (rate, field(rates[1:], times[1:])),
                (share, field(np.minimum(rates[1:] / 10, 1), times[1:])),
            ],
            often_observed=np.ones((side, side), bool),
        ),
    )
    frames = [ObservedFrame(time=issue, issue=issue, run=run)]
    point_to(root, manifest, expected=datetime.now(UTC) + STEP, observed=frames)


def publish_often(root: Path, issue: datetime, side: int, every: float) -> None:
    """Publish a new issue again and again, until ended."""
    for number in range(1, 10_000):
        start = time.monotonic()
        publish_rain(root, issue + number * STEP, f"{number:08x}", side)
        time.sleep(max(0.0, every - (time.monotonic() - start)))


@contextmanager
def server(root: Path) -> Iterator[None]:
    """Serve a folder by a process of its own."""
    command = [sys.executable, "-m", "stormcell", "serve", str(root), "--port", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                raise SystemExit("the server did not start within a minute")
            yield
        finally:
            process.terminate()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, etag: str | None) -> int:
    """Ask for a path on an open connection, read the whole answer, and return its status."""
    known = f"If-None-Match: {etag}\r\n" if etag else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{known}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
    await reader.readexactly(length)
    return int(lines[0].split()[1])


async def load(
    name: str, path: Callable[[int], str], seconds: float, connections: int, etag: str | None = None
) -> Load:
    """Ask for paths as often as answers come, on several connections."""
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    start = time.perf_counter()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        count = number
        while time.perf_counter() - start < seconds:
            before = time.perf_counter()
            status = await ask(reader, writer, path(count), etag)
            latencies.append(time.perf_counter() - before)
            statuses[status] = statuses.get(status, 0) + 1
            count += connections
        writer.close()

    await asyncio.gather(*(client(number) for number in range(connections)))
    return Load(name, latencies, time.perf_counter() - start, statuses)


async def listen(clients: int, publish_one: Callable[[], None]) -> float:
    """Return the seconds from a publication until the last of many clients has its event."""
    listening = []
    for _ in range(clients):
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"event: issue")
        listening.append((reader, writer))
    await asyncio.to_thread(publish_one)
    start = time.perf_counter()
    await asyncio.gather(*(reader.readuntil(b"event: issue") for reader, _ in listening))
    for _, writer in listening:
        writer.close()
    return time.perf_counter() - start


async def measure(issue: datetime, options: argparse.Namespace) -> list[Load]:
    """Ask for each kind of answer in turn."""
    frames = f"/frames/{time_name(issue)}/00000000/rate"
    valid = [time_name(issue + (k + 1) * STEP) for k in range(STEPS)]
    frame = f"{frames}/{valid[0]}.png"
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{frame}") as answer:
        etag = answer.headers["ETag"]
    with urllib.request.urlopen(
        f"http://127.0.0.1:{PORT}/{time_name(issue)}-00000000/manifest.json"
    ) as answer:
        west, south, east, north = json.load(answer)["grid"]["bounds"]
    # In the middle of the grid, whose corners in degrees are outside of it.
    shares = np.random.default_rng(0).uniform(0.3, 0.7, (2500, 2))
    places = [(south + (north - south) * y, west + (east - west) * x) for y, x in shares]

    def point(count: int) -> str:
        lat, lon = places[count % len(places)]
        return f"/point?lat={lat:.4f}&lon={lon:.4f}"

    def position(count: int) -> str:
        lat, lon = places[count % len(places)]
        return f"/collections/forecast/position?coords=POINT({lon:.4f}%20{lat:.4f})"

    kinds: list[tuple[str, Callable[[int], str], str | None]] = [
        ("picture", lambda count: f"{frames}/{valid[count % STEPS]}.png", None),
        ("picture that the client has", lambda _: frame, etag),
        ("latest.json", lambda _: "/latest.json", None),
        ("point", point, None),
        ("EDR position", position, None),
    ]
    return [
        await load(name, path, options.seconds, options.connections, known) for name, path, known in kinds
    ]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of each kind of request")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--side", type=int, default=1024, help="rows and columns of the grid")
    parser.add_argument("--every", type=float, default=1, help="seconds between publications; 0: none")
    parser.add_argument("--listeners", type=int, default=200, help="clients that wait for events")
    options = parser.parse_args()
    issue = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with TemporaryDirectory() as name:
        root = Path(name)
        publish_rain(root, issue, "00000000", options.side)
        with server(root):
            publisher = multiprocessing.Process(
                target=publish_often, args=(root, issue, options.side, options.every), daemon=True
            )
            if options.every:
                publisher.start()
            loads = asyncio.run(measure(issue, options))
            if options.every:
                publisher.terminate()
                publisher.join()
            late = asyncio.run(
                listen(
                    options.listeners,
                    lambda: publish_rain(root, issue + timedelta(days=300), "ffffffff", options.side),
                )
            )
        published = len(list(root.glob("*/manifest.json")))
    print("| answer | per second | median ms | 99 % ms | statuses |")
    print("|---|---|---|---|---|")
    print(*loads, sep="\n")
    print(f"{published} publications meanwhile; {options.listeners} clients had the event after {late:.2f} s")
    if any(set(one.statuses) - {200, 304} for one in loads):
        raise SystemExit("an answer was an error")


if __name__ == "__main__":
    main()
