"""``python -m benchmarks.serving``: load on the server, by loopback, on two cores with its clients.

``stormcell serve`` runs in a process of its own. This process asks for pictures of the newest publication,
points, EDR positions and ``latest.json``, one kind after the other, on connections that stay open. Meanwhile
a third process publishes what was written beforehand. Then many clients listen to the events, and at the end
another server loads very many small publications. The table has what was asked for and what was found; an
answer that is an error, or a limit that is not met, makes the exit status 1. With ``--docs``, the table is
written into docs/serve.md.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from benchmarks.layers import machine
from benchmarks.pages import fill
from benchmarks.serving.memory import memory
from benchmarks.serving.process import server
from benchmarks.serving.requests import Load, following, get, listen, load
from benchmarks.serving.showers import STEP, Showers
from stormcell.published.manifest import time_name, time_of_name

PAGE = machine.ROOT / "docs" / "serve.md"
MARKERS = "load"

KINDS = ("picture", "latest.json", "point", "EDR position")  # of requests, in turn
LEAST = {"picture": 1000, "point": 1000, "EDR position": 300}  # answers per second
SLOWEST = {"picture": 50}  # milliseconds, of 99 % of the answers
LATEST_EVENT = 2.0  # seconds until the last client has a new issue
GROWTH = 1.1  # of the memory, from a tenth of the publications to the last


class Row(NamedTuple):
    """A line of the table, and whether its limits are met."""

    cells: tuple[str, ...]
    met: bool


def main() -> int:
    """Measure, print and write a table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of each kind of request")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--side", type=int, default=1000, help="rows and columns of the grid")
    parser.add_argument("--every", type=float, default=1, help="seconds between publications; 0: none")
    parser.add_argument("--listeners", type=int, default=200, help="clients that wait for events")
    parser.add_argument("--publications", type=int, default=10_000, help="whose memory is measured; 0: none")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/serve.md")
    options = parser.parse_args()
    if options.docs:
        fill(PAGE, MARKERS, None)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # also of the processes that follow
    rows = [*_loads(options), *_memory(options.publications)]
    lines = ["| | per second | median | 99 % | found |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row.cells)} |" for row in rows]
    text = (
        f"{machine.where('benchmarks.serving')} Two cores for server, clients and publisher; "
        f"a grid of {options.side} × {options.side}, every {options.every:g} s a publication that was "
        f"written beforehand, {options.connections} connections.\n\n" + "\n".join(lines)
    )
    print(text)
    if options.docs:
        fill(PAGE, MARKERS, text)
    return 0 if all(row.met for row in rows) else 1


def _loads(options: argparse.Namespace) -> Iterator[Row]:
    issue = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with TemporaryDirectory() as name:
        showers = Showers(Path(name), issue, side=options.side)
        if options.every:
            # Written beforehand: in operation, a forecast is not computed on the server's cores each second.
            showers.prepare(2 + int(len(KINDS) * (options.seconds + 1) / options.every))
        showers.publish(0)
        with server(showers.root):
            publisher = multiprocessing.Process(
                target=showers.publish_often, args=(options.every,), daemon=True
            )
            if options.every:
                publisher.start()
            for one in asyncio.run(_measure(showers, options)):
                yield _row(one)
            if options.every:
                publisher.terminate()
                publisher.join()
            time.sleep(2)  # until the server has told of the last publication
            later = asyncio.run(listen(options.listeners, lambda: showers.publish_at(10**5)))
    worst, median = max(later), 1000 * np.median(later)
    name = f"event to {options.listeners} clients"
    yield Row((name, "", f"{median:.0f} ms", "", f"last {worst:.2f} s"), worst <= LATEST_EVENT)


async def _measure(showers: Showers, options: argparse.Namespace) -> list[Load]:
    """Ask for each kind of answer in turn, for pictures always of the newest publication."""
    newest: dict[str, Any] = {}
    folder = get("/latest.json")
    manifest = get(f"/{_name(folder['issue'])}-{folder['run']}/manifest.json")
    west, south, east, north = manifest["grid"]["bounds"]
    # In the middle of the grid, whose corners in degrees are outside of it.
    shares = np.random.default_rng(0).uniform(0.3, 0.7, (2500, 2))
    places = [(south + (north - south) * y, west + (east - west) * x) for y, x in shares]

    def picture(count: int) -> str:
        issue = _name(newest["issue"])
        valid = time_name(time_of_name(issue) + (1 + count % showers.steps) * STEP)
        return f"/frames/{issue}/{newest['run']}/rate/{valid}.png"

    def point(count: int) -> str:
        lat, lon = places[count % len(places)]
        return f"/point?lat={lat:.4f}&lon={lon:.4f}"

    def position(count: int) -> str:
        lat, lon = places[count % len(places)]
        return f"/collections/forecast/position?coords=POINT({lon:.4f}%20{lat:.4f})"

    paths: tuple[Callable[[int], str], ...] = (picture, lambda _: "/latest.json", point, position)
    newest |= folder
    async with following(newest.update):
        return [
            await load(name, path, options.seconds, options.connections)
            for name, path in zip(KINDS, paths, strict=True)
        ]


def _name(time_in_json: str) -> str:
    return time_name(datetime.fromisoformat(time_in_json))


def _row(one: Load) -> Row:
    wanted = f" (at least {LEAST[one.name]})" if one.name in LEAST else ""
    slowest = SLOWEST.get(one.name, float("inf"))
    limit = f" (at most {slowest:g} ms)" if one.name in SLOWEST else ""
    counts = ", ".join(f"{count} × {status}" for status, count in sorted(one.statuses.items()))
    middle, late = one.milliseconds(0.5), one.milliseconds(0.99)
    return Row(
        (one.name, f"{one.rate:.0f}{wanted}", f"{middle:.1f} ms", f"{late:.1f} ms{limit}", counts),
        not one.errors and one.rate >= LEAST.get(one.name, 0) and late <= slowest,
    )


def _memory(publications: int) -> Iterator[Row]:
    if not publications:
        return
    with TemporaryDirectory() as name:
        found = list(memory(Path(name), publications))
    (_, early), (_, last) = found[len(found) // 10], found[-1]
    most = max(value for _, value in found)
    text = f"{early:.0f} MB after a tenth, {last:.0f} MB at the end, at most {most:.0f} MB"
    yield Row((f"memory over {publications} publications", "", "", "", text), last <= GROWTH * early)


if __name__ == "__main__":
    sys.exit(main())
