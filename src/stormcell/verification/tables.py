"""The tables of a report. They follow from the registry of scores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stormcell.verification.axes import AXES
from stormcell.verification.figures import line_colour
from stormcell.verification.score import Score
from stormcell.verification.scores import SCORES, mean_over_leads

Scores = Mapping[str, Mapping[str, Any]]

MODERATE = "1.0"  # mm/h; scores with a further axis besides the threshold are shown at this one


@dataclass(frozen=True)
class Entry:
    """A number to print, and whether it is the best in its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Numbers under a heading.

    Attributes:
        title: Heading.
        columns: Headings of the columns.
        rows: By the heading of a row, an entry for each column.
    """

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Entry]]


@dataclass(frozen=True)
class Line:
    """One score at one threshold, scale or band: a list by lead time.

    Attributes:
        score: The score.
        path: Keys that lead to it in a forecaster's scores.
        group: Heading of the table of means in which it is a column.
        title: Heading of that column.
    """

    score: Score
    path: tuple[str, ...]
    group: str
    title: str

    def values(self, found: Mapping[str, Any]) -> list[float | None]:
        """Return the values by lead time from a forecaster's scores."""
        values: Any = found
        for key in self.path:
            values = values[key]
        return list(values)


def lines(found: Mapping[str, Any]) -> Iterator[Line]:
    """Yield all lines that tables show of a forecaster's scores, in the order of the registry."""
    for key, score in SCORES.items():
        if score.best is None or not score.shown:
            continue
        if len(score.axes) == 1:
            yield Line(score, (key,), score.group, score.symbol)
            continue
        chosen: list[tuple[Any, tuple[str, ...], str]] = [(found[key], (key,), score.group)]
        for axis in score.axes[1:-1]:
            chosen = [
                (inner[one], (*path, one), f"{group}, {AXES[axis].title(one)}")
                for inner, path, group in chosen
                for one in _shown_of(axis, list(inner))
            ]
        for inner, path, group in chosen:
            for last in inner:
                yield Line(score, (*path, last), group, AXES[score.axes[-1]].label(last))


def probabilistic(scores: Scores) -> bool:
    """Whether a forecaster gives probabilities or members."""
    return any(found["probability_of"] != "forecast" for found in scores.values())


def _has_values(line: Line, scores: Scores) -> bool:
    """Whether a line is shown: one of probabilities or members needs a forecaster that gives them."""
    if not line.score.probabilistic:
        return True
    return probabilistic(scores) and any(
        value is not None for found in scores.values() for value in line.values(found)
    )


def _shown_of(axis: str, keys: Sequence[str]) -> Sequence[str]:
    if axis != "threshold":
        return keys
    return [MODERATE] if MODERATE in keys else keys[:1]


def view(scores: Scores) -> dict[str, Any]:
    """Return the values that the report's template prints, except for the pictures.

    Args:
        scores: As in ``scores.json``.
    """
    first = next(iter(scores.values()))
    leads = [f"{lead:g}" for lead in first["lead_minutes"]]
    shown = [line for line in lines(first) if _has_values(line, scores)]
    groups = list(dict.fromkeys(line.group for line in shown))
    as_dry = {name: found["undefined_as_dry"] for name, found in scores.items()}
    return {
        "about": first["about"],
        "leads": leads,
        "names": {name: found["about"]["title"] for name, found in scores.items()},
        "colours": {name: line_colour(k) for k, name in enumerate(scores)},
        "means": [_means(group, shown, scores) for group in groups],
        "means_as_dry": [_means(SCORES[key].group, shown, as_dry) for key in ("csi", "mae")],
        "by_lead": [_by_lead(line, leads, scores) for line in shown],
        "counts": _counts(first, leads),
        "compared": _compared(scores),
        "interval": first["about"]["intervals"] | {"known": any(one["intervals"] for one in scores.values())},
    }


# Scores that a report compares with a reference, if both are defined: the comparison, and a path of keys.
_COMPARED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("CSI ≥ 0.5, ratio", "ratio", ("csi", "0.5")),
    ("CSI ≥ 1, ratio", "ratio", ("csi", "1.0")),
    ("CSI ≥ 5, ratio", "ratio", ("csi", "5.0")),
    ("MAE skill", "skill", ("mae",)),
    ("CRPS skill", "skill", ("crps",)),
    ("fair CRPS skill", "skill", ("crps_fair",)),
    ("Brier skill ≥ 1", "skill", ("brier", "1.0")),
    ("Brier skill ≥ 5", "skill", ("brier", "5.0")),
)


def _compared(scores: Scores) -> Table | None:
    """Return comparisons of means over lead times with the reference; None without a reference."""
    against = {
        name: found["against_reference"] for name, found in scores.items() if "against_reference" in found
    }
    if not against:
        return None
    reference = next(iter(against.values()))["reference"]
    columns, rows = [], {name: list[Entry]() for name in against}
    for title, kind, path in _COMPARED:
        leaves = {name: _at(one[kind], path) for name, one in against.items()}
        if any(leaf is not None and leaf["mean"] is not None for leaf in leaves.values()):
            columns.append(title)
            for name, leaf in leaves.items():
                rows[name].append(Entry(_with_limits(leaf)))
    return Table(f"Compared with {scores[reference]['about']['title']}", columns, rows)


def _at(found: Any, path: Sequence[str]) -> Any:
    for key in path:
        found = None if found is None else found.get(key)
    return found


def _with_limits(leaf: Mapping[str, float | None] | None) -> str:
    if leaf is None or leaf["mean"] is None:
        return "–"
    if leaf["mean_low"] is None or leaf["mean_high"] is None:
        return f"{leaf['mean']:.3f}"
    return f"{leaf['mean']:.3f} ({leaf['mean_low']:.3f} to {leaf['mean_high']:.3f})"


def _means(group: str, shown: Sequence[Line], scores: Scores) -> Table:
    """Return the means over lead times of the scores of one group."""
    chosen = [line for line in shown if line.group == group]
    columns = [_mean_column(line, scores) for line in chosen]
    rows = {name: [column[k] for column in columns] for k, name in enumerate(scores)}
    return Table(group, [line.title for line in chosen], rows)


def _mean_column(line: Line, scores: Scores) -> list[Entry]:
    """Return the means of one score; a star marks those that leave out lead times.

    Only those that leave out the fewest can be the best, because other lead times may be easier to forecast.
    """
    means = [mean_over_leads(line.values(found)) for found in scores.values()]
    fewest = min(left_out for _, left_out in means)
    marked = _marked([mean if left_out == fewest else None for mean, left_out in means], line.score)
    return [
        Entry("–") if mean is None else Entry(line.score.text(mean) + ("*" if left_out else ""), entry.best)
        for entry, (mean, left_out) in zip(marked, means, strict=True)
    ]


def _by_lead(line: Line, leads: Sequence[str], scores: Scores) -> Table:
    values = [line.values(found) for found in scores.values()]
    columns = [_marked([row[lead] for row in values], line.score) for lead in range(len(leads))]
    rows = {name: [column[k] for column in columns] for k, name in enumerate(scores)}
    return Table(f"{line.group}, {line.title}", leads, rows)


def _counts(found: Mapping[str, Any], leads: Sequence[str]) -> Table:
    """Return the numbers of forecasts, pixels and events."""
    rows = {}
    for key, score in SCORES.items():
        if score.best is not None or not score.shown:
            continue
        if len(score.axes) == 1:
            rows[score.title] = found[key]
        else:
            title = AXES[score.axes[1]].title
            rows |= {f"{score.title} {title(entry)}": counts for entry, counts in found[key].items()}
    entries = {
        title: [Entry(f"{count:,}".replace(",", "\u202f")) for count in counts]
        for title, counts in rows.items()
    }
    return Table("Number of forecasts, pixels and observed events", leads, entries)


def _marked(values: Sequence[float | None], score: Score) -> list[Entry]:
    """Return numbers as text; of several, the best is marked, and so are its equals."""
    texts = ["–" if value is None else score.text(value) for value in values]
    defined = {
        text: score.rank(value) for text, value in zip(texts, values, strict=True) if value is not None
    }
    best = max(defined, key=lambda text: defined[text]) if len(values) > 1 and defined else None
    return [Entry(text, text == best) for text in texts]
