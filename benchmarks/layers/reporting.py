"""What the times say, and where it is written."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.layers.contenders import BARE, CONTENDERS, OURS
from stormcell.atomic import write_file

Report = dict[str, Any]  # "about", "left_out", and a dictionary of items for each of the parts; as JSON
PARTS = ("cases", "doublings", "first_calls")
_PEERS = [name for name in CONTENDERS if not name.startswith(OURS) and name != BARE]


def derive(measured: dict[str, Any], operations: int | None = None) -> None:
    """Add to each record what follows from its times, and from those of the others.

    ``median`` and ``spread``, the slowest less the fastest round by the median; ``beyond``, what the first
    call took beyond the second; ``gflops``, the necessary operations a second, in thousand millions;
    ``ratio``, how many times as long as ours it took, and ``share``, how much of its time the bare
    convolutions take: both the median over rounds, for what disturbs a round disturbs all of it.
    """
    entrants = measured["entrants"]
    for record in entrants.values():
        record["beyond"] = record["first"] - record["second"]
        if not record["seconds"]:
            continue
        record["median"] = statistics.median(record["seconds"])
        record["spread"] = (max(record["seconds"]) - min(record["seconds"])) / record["median"]
        if operations is not None:
            record["gflops"] = operations / record["median"] / 1e9
            record["ratio"] = _by_round(record, entrants.get(OURS))
            record["share"] = _by_round(entrants.get(BARE), record)


def _by_round(one: dict[str, Any] | None, other: dict[str, Any] | None) -> float | None:
    if one is None or other is None:
        return None
    rounds = zip(one["seconds"], other["seconds"], strict=True)
    return float(statistics.median(a / b for a, b in rounds))


def doubled(measured: dict[str, Any]) -> list[float]:
    """Return how many times as long each entrant takes as the one before it, which is half as large."""
    records = list(measured["entrants"].values())
    ratios = [_by_round(after, before) for before, after in pairwise(records)]
    return [ratio for ratio in ratios if ratio is not None]


def refused(report: Report) -> list[str]:
    """Say who was refused."""
    return [
        f"{name}, {measured['dtype']}, {measured['mode']}: {label}: {why}"
        for part in PARTS
        for name, item in report[part].items()
        for measured in item["measured"]
        for label, why in measured["refused"].items()
    ]


def write(report: Report, path: Path) -> None:
    """Write the results, and their tables beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
    write_file(path.with_suffix(".md"), markdown(report).encode())


def markdown(report: Report) -> str:
    """Return the tables of a report."""
    about = report["about"]
    measured = (
        f"{about['machine']}",
        f"{about['threads']} threads",
        about["date"],
        f"commit {about['commit']}",
    )
    versions = (f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"{', '.join(measured)}; {', '.join(versions)}.",
        *(f"Left out: {name}, {why}." for name, why in report["left_out"].items()),
        *(f"Refused: {said}." for said in refused(report)),
        *_times(report),
        *_memory(report),
        *_first_calls(report),
        *_doublings(report),
    ]
    return "\n".join(lines) + "\n"


def _times(report: Report) -> Iterable[str]:
    """A table for each dtype and mode."""
    rows = _rows(report)
    for dtype, mode in dict.fromkeys((m["dtype"], m["mode"]) for _, m in rows):
        table = [(name, m["entrants"]) for name, m in rows if (m["dtype"], m["mode"]) == (dtype, mode)]
        names = [name for name in CONTENDERS if name != OURS and any(name in e for _, e in table)]
        others = [name for name in names if name != BARE]
        heading = ["case", "ours, s", "±", "GFLOP/s", "bare share", *others, "fastest peer"]
        heading += [] if dtype == "float32" else ["fastest float32 peer"]
        body = []
        for name, entrants in table:
            ours = entrants.get(OURS, {})
            cells = [name, _three(ours.get("median")), _percent(ours.get("spread"))]
            cells += [_three(ours.get("gflops")), _percent(ours.get("share"))]
            cells += [_times_as_long(entrants.get(other, {}).get("ratio")) for other in others]
            cells.append(_times_as_long(_least(entrants, "ratio")))
            if dtype != "float32":
                cells.append(_times_as_long(_against_float32(report, name, mode, ours)))
            body.append(cells)
        yield from ("", f"### {mode.capitalize()}, {dtype}", "")
        yield from _table(heading, body)


def _against_float32(report: Report, name: str, mode: str, ours: dict[str, Any]) -> float | None:
    """How many times as long the fastest peer takes in float32, of the same run but other rounds."""
    for measured in report["cases"][name]["measured"]:
        if (measured["dtype"], measured["mode"]) == ("float32", mode) and "median" in ours:
            fastest = _least(measured["entrants"], "median")
            return None if fastest is None else fastest / ours["median"]
    return None


def _least(entrants: dict[str, Any], what: str) -> float | None:
    found = [entrants[peer][what] for peer in _PEERS if entrants.get(peer, {}).get(what) is not None]
    return min(found, default=None)


def _memory(report: Report) -> Iterable[str]:
    """Peaks, and what is saved for the gradient."""
    rows = _rows(report)
    names = [n for n in CONTENDERS if n != BARE and any(n in m["entrants"] for _, m in rows)]
    body = []
    for case, m in rows:
        loop = m["entrants"].get("loop", {})
        cells = [case, m["dtype"], m["mode"]]
        for what, columns in (("peak_bytes", names), ("saved_bytes", (OURS, "loop"))):
            for name in columns:
                found, theirs = m["entrants"].get(name, {}).get(what), loop.get(what)
                said = "–" if found is None else f"{found / 1e6:.0f}"
                cells.append(f"{said} ({found / theirs:.2f}×)" if found is not None and theirs else said)
        body.append(cells)
    if body:
        yield from ("", "### Peak memory of a step, and what is saved for the gradient, MB", "")
        heading = ["case", "", "", *names, "ours, saved", "loop, saved"]
        yield from _table(heading, body)


def _first_calls(report: Report) -> Iterable[str]:
    """What first calls cost."""
    rows = _rows(report)
    names = [n for n in CONTENDERS if n != BARE and any(n in m["entrants"] for _, m in rows)]
    body = [
        [case, m["dtype"], m["mode"], *(_three(m["entrants"].get(n, {}).get("beyond")) for n in names)]
        for case, m in rows
    ]
    if body:
        yield from ("", "### The first call beyond the second, s", "")
        yield from _table(["case", "", "", *names], body)
    both = [m for item in report["first_calls"].values() for m in item["measured"]]
    if both:
        labels = list(dict.fromkeys(label for m in both for label in m["entrants"]))
        yield from (
            "",
            "### Ours, by what an earlier process has kept on disk: first call beyond the second, s",
            "",
        )
        body = [
            [m["dtype"], m["mode"], *(_three(m["entrants"].get(n, {}).get("beyond")) for n in labels)]
            for m in both
        ]
        yield from _table(["", "", *labels], body)


def _doublings(report: Report) -> Iterable[str]:
    """How many times as long twice as much takes."""
    for name, item in report["doublings"].items():
        measured = item["measured"]
        labels = list(dict.fromkeys(label for m in measured for label in m["entrants"]))
        yield from ("", f"### {name.replace('-', ': ').capitalize()}", "")
        body = []
        for m in measured:
            first = [f"{_three(record['median'])} s" for record in m["entrants"].values()][:1]
            body.append([m["dtype"], m["mode"], *first, *map(_times_as_long, doubled(m))])
        yield from _table(["", "", *labels], body)


def _rows(report: Report) -> list[tuple[str, dict[str, Any]]]:
    return [(name, measured) for name, item in report["cases"].items() for measured in item["measured"]]


def _table(heading: Sequence[str], body: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(heading)} |"
    yield "|" + "---|" * len(heading)
    for row in body:
        yield f"| {' | '.join(row)} |"


def _said(form: str) -> Callable[[float | None], str]:
    return lambda value: "–" if value is None else form.format(value)


_three, _percent = _said("{:.3g}"), _said("{:.0%}")
_times_as_long = _said("{:.2f}×")
