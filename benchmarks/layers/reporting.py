"""Statistics of the measured times, and the files and tables which show them."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.layers.contenders import BARE, CONTENDERS, OURS
from stormcell.atomic import write_file

Report = dict[
    str, Any
]  # as in the JSON file: "about", "left_out", and a dictionary of items for each of PARTS
PARTS = ("cases", "doublings", "first_calls")
_PEERS = [name for name in CONTENDERS if not name.startswith(OURS) and name != BARE]


def derive(measured: dict[str, Any], operations: int | None = None) -> None:
    """Add the statistics of its times to each record.

    ``median``; ``spread``, the slowest minus the fastest round, divided by the median; ``beyond``, the time
    of the first call minus that of the second; ``gflops``, operations of the direct convolution a second, in
    10^9; ``ratio``, its time divided by ours, which is our speedup; ``share``, the time of the bare
    convolutions divided by its time. The last two are medians over rounds, as disturbances affect a whole
    round.
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
    """Return the time of each entrant divided by that of the one before it, which is half as large."""
    records = list(measured["entrants"].values())
    ratios = [_by_round(after, before) for before, after in pairwise(records)]
    return [ratio for ratio in ratios if ratio is not None]


def refused(report: Report) -> list[str]:
    """Return one line for every contender which does not compute the same."""
    return [
        f"{name}, {measured['dtype']}, {measured['mode']}: {label}: {why}"
        for part in PARTS
        for name, item in report[part].items()
        for measured in item["measured"]
        for label, why in measured["refused"].items()
    ]


def write(report: Report, path: Path) -> None:
    """Write the results as JSON, and their tables as Markdown."""
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
        *(f"Not equal: {line}." for line in refused(report)),
        *_times(report),
        *_memory(report),
        *_first_calls(report),
        *_doublings(report),
    ]
    return "\n".join(lines) + "\n"


def _times(report: Report) -> Iterable[str]:
    """Yield one table per dtype and mode: our times, and our speedup over each contender."""
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
            cells += [_speedup(entrants.get(other, {}).get("ratio")) for other in others]
            cells.append(_speedup(_least(entrants, "ratio")))
            if dtype != "float32":
                cells.append(_speedup(_against_float32(report, name, mode, ours)))
            body.append(cells)
        yield from ("", f"### {mode.capitalize()}, {dtype}", "")
        yield from _table(heading, body)


def _against_float32(report: Report, name: str, mode: str, ours: dict[str, Any]) -> float | None:
    """Return our speedup over the fastest float32 peer, of the same run but of other rounds."""
    for measured in report["cases"][name]["measured"]:
        if (measured["dtype"], measured["mode"]) == ("float32", mode) and "median" in ours:
            fastest = _least(measured["entrants"], "median")
            return None if fastest is None else fastest / ours["median"]
    return None


def _least(entrants: dict[str, Any], what: str) -> float | None:
    found = [entrants[peer][what] for peer in _PEERS if entrants.get(peer, {}).get(what) is not None]
    return min(found, default=None)


def _memory(report: Report) -> Iterable[str]:
    """Yield the table of peak memory, and of the memory saved for the backward pass."""
    rows = _rows(report)
    names = [n for n in CONTENDERS if n != BARE and any(n in m["entrants"] for _, m in rows)]
    body = []
    for case, m in rows:
        loop = m["entrants"].get("loop", {})
        cells = [case, m["dtype"], m["mode"]]
        for what, columns in (("peak_bytes", names), ("saved_bytes", (OURS, "loop"))):
            for name in columns:
                found, theirs = m["entrants"].get(name, {}).get(what), loop.get(what)
                text = "–" if found is None else f"{found / 1e6:.0f}"
                cells.append(f"{text} ({found / theirs:.2f}×)" if found is not None and theirs else text)
        body.append(cells)
    if body:
        yield from ("", "### Peak memory of a step, and memory saved for the backward pass, MB", "")
        heading = ["case", "", "", *names, "ours, saved", "loop, saved"]
        yield from _table(heading, body)


def _first_calls(report: Report) -> Iterable[str]:
    """Yield the tables of the costs of first calls."""
    rows = _rows(report)
    names = [n for n in CONTENDERS if n != BARE and any(n in m["entrants"] for _, m in rows)]
    body = [
        [case, m["dtype"], m["mode"], *(_three(m["entrants"].get(n, {}).get("beyond")) for n in names)]
        for case, m in rows
    ]
    if body:
        yield from ("", "### Time of the first call minus that of the second, s", "")
        yield from _table(["case", "", "", *names], body)
    both = [m for item in report["first_calls"].values() for m in item["measured"]]
    if both:
        labels = list(dict.fromkeys(label for m in both for label in m["entrants"]))
        yield from (
            "",
            "### Ours, without and with compiled code on disk: first call minus second, s",
            "",
        )
        body = [
            [m["dtype"], m["mode"], *(_three(m["entrants"].get(n, {}).get("beyond")) for n in labels)]
            for m in both
        ]
        # Results of earlier versions have other labels.
        names = {"nothing kept": "empty cache", "kept": "cached"}
        yield from _table(["", "", *(names.get(label, label) for label in labels)], body)


def _doublings(report: Report) -> Iterable[str]:
    """Yield the tables of doublings: the time of each size divided by that of half of it."""
    for name, item in report["doublings"].items():
        measured = item["measured"]
        labels = list(dict.fromkeys(label for m in measured for label in m["entrants"]))
        yield from ("", f"### {name.replace('-', ': ').capitalize()}", "")
        body = []
        for m in measured:
            first = [f"{_three(record['median'])} s" for record in m["entrants"].values()][:1]
            body.append([m["dtype"], m["mode"], *first, *map(_factor, doubled(m))])
        yield from _table(["", "", *labels], body)


def _rows(report: Report) -> list[tuple[str, dict[str, Any]]]:
    return [(name, measured) for name, item in report["cases"].items() for measured in item["measured"]]


def _table(heading: Sequence[str], body: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(heading)} |"
    yield "|" + "---|" * len(heading)
    for row in body:
        yield f"| {' | '.join(row)} |"


def _formatted(form: str) -> Callable[[float | None], str]:
    return lambda value: "–" if value is None else form.format(value)


_three, _percent = _formatted("{:.3g}"), _formatted("{:.0%}")
_speedup = _factor = _formatted("{:.2f}×")
