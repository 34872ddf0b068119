"""What came out, beside what was published: for the screen, as Markdown, as JSON."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rich.table

from stormcell.experiments.protocols.protocol import Column, Row

Cells = list[str]
_HERE = ("learning rate", "updates", "minutes", "frames/s")


@dataclass(frozen=True)
class Line:
    """One contender or baseline.

    Attributes:
        model: Its name.
        scores: By the score's name; what it has not is left out.
        parameters: Of a network.
        learning_rate: It was trained with.
        updates: Of its training.
        seconds: Of its training.
        frames_per_second: In training.
    """

    model: str
    scores: Mapping[str, float]
    parameters: int | None = None
    learning_rate: float | None = None
    updates: int | None = None
    seconds: float | None = None
    frames_per_second: float | None = None

    def json(self) -> dict[str, Any]:
        """In JSON's types: what is no number is null, what there is not is left out."""
        known = {name: value for name, value in vars(self).items() if value is not None}
        scores = {name: value if math.isfinite(value) else None for name, value in self.scores.items()}
        return known | {"scores": scores}


@dataclass(frozen=True)
class Results:
    """All that a table shows.

    Attributes:
        title: Above it.
        about: Sentences below it.
        columns: The scores; those of a second test set have its name in theirs.
        on_screen: Which of them are shown where there is little room.
        lines: What was found here.
        published: What others found, and where they say so.
    """

    title: str
    about: Sequence[str]
    columns: Mapping[str, Column]
    on_screen: Collection[str]
    lines: Sequence[Line]
    published: Sequence[Row]

    def json(self) -> dict[str, Any]:
        """In JSON's types."""
        return {
            "title": self.title,
            "about": list(self.about),
            "columns": {name: column.heading for name, column in self.columns.items()},
            "results": [line.json() for line in self.lines],
            "published": [dict(row) for row in self.published],
        }

    def markdown(self) -> str:
        """A page."""
        heading = ["", "parameters", *_HERE, *(column.heading for column in self.columns.values())]
        rows = [heading, ["---", *["--:"] * (len(heading) - 1)]]
        rows += [self._line(line) for line in self.lines]
        rows += [self._others(row) for row in self.published]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        sources = "\n".join(f"- published: {source}" for source in self._sources())
        about = "\n".join(f"- {sentence}" for sentence in self.about)
        return f"# {self.title}\n\n{table}\n\n{about}\n{sources}".rstrip() + "\n"

    def screen(self) -> rich.table.Table:
        """A table for rich, of what has room on a screen; what is said about it is not in it."""
        table = rich.table.Table(title=self.title)
        table.add_column("", overflow="fold")
        shown = [name for name in self.columns if name in self.on_screen]
        for heading in ("updates", *(self.columns[name].heading for name in shown)):
            table.add_column(heading, justify="right")
        for line in self.lines:
            scores = [_score(line.scores.get(name), self.columns[name]) for name in shown]
            table.add_row(line.model, _count(line.updates), *scores)
        table.add_section()
        for row in self.published:
            scores = [_score(_published(row, name), self.columns[name]) for name in shown]
            table.add_row(f"{row['model']} (published)", "–", *scores, style="dim")
        return table

    def _sources(self) -> list[str]:
        return list(dict.fromkeys(str(row["source"]) for row in self.published))

    def _line(self, line: Line) -> Cells:
        return [
            line.model,
            _count(line.parameters),
            _number(line.learning_rate, "g"),
            _count(line.updates),
            _number(None if line.seconds is None else line.seconds / 60, ".1f"),
            _number(line.frames_per_second, ".0f"),
            *(_score(line.scores.get(name), column) for name, column in self.columns.items()),
        ]

    def _others(self, row: Row) -> Cells:
        parameters = row.get("parameters")
        return [
            f"{row['model']} (published)",
            _count(None if parameters is None else int(parameters)),
            *["–"] * len(_HERE),
            *(_score(_published(row, name), column) for name, column in self.columns.items()),
        ]


def _published(row: Row, name: str) -> float | None:
    return float(row[name]) if name in row else None


def _score(value: float | None, column: Column) -> str:
    return _number(value, f".{column.digits}f")


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}".replace(",", " ")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or math.isnan(value) else format(value, form)
