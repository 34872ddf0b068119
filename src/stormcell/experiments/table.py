"""Tables of results beside published results: for the screen, as Markdown and as JSON."""

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
    """The results of one contender or baseline.

    Attributes:
        model: Name of the contender or baseline.
        scores: Scores by name, without those that it does not have.
        parameters: Number of parameters.
        learning_rate: Highest learning rate.
        updates: Number of updates.
        seconds: Time of training.
        frames_per_second: Frames per second of training.
    """

    model: str
    scores: Mapping[str, float]
    parameters: int | None = None
    learning_rate: float | None = None
    updates: int | None = None
    seconds: float | None = None
    frames_per_second: float | None = None

    def json(self) -> dict[str, Any]:
        """Return the line in JSON's types, with null for NaN and without attributes that are None."""
        known = {name: value for name, value in vars(self).items() if value is not None}
        scores = {name: value if math.isfinite(value) else None for name, value in self.scores.items()}
        return known | {"scores": scores}


@dataclass(frozen=True)
class Results:
    """The content of a table.

    Attributes:
        title: Title.
        about: Sentences below the table.
        columns: The scores; those of a second test set have its name in their headings.
        on_screen: Scores to show on a screen.
        lines: Results of this run.
        published: Published results with their sources.
    """

    title: str
    about: Sequence[str]
    columns: Mapping[str, Column]
    on_screen: Collection[str]
    lines: Sequence[Line]
    published: Sequence[Row]

    def json(self) -> dict[str, Any]:
        """Return the table in JSON's types."""
        return {
            "title": self.title,
            "about": list(self.about),
            "columns": {name: column.heading for name, column in self.columns.items()},
            "results": [line.json() for line in self.lines],
            "published": [dict(row) for row in self.published],
        }

    def markdown(self) -> str:
        """Return a Markdown page."""
        heading = ["", "parameters", *_HERE, *(column.heading for column in self.columns.values())]
        rows = [heading, ["---", *["--:"] * (len(heading) - 1)]]
        rows += [self._line(line) for line in self.lines]
        rows += [self._others(row) for row in self.published]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        sources = "\n".join(f"- published: {source}" for source in self._sources())
        about = "\n".join(f"- {sentence}" for sentence in self.about)
        return f"# {self.title}\n\n{table}\n\n{about}\n{sources}".rstrip() + "\n"

    def screen(self) -> rich.table.Table:
        """Return a table for rich with the scores for a screen, without the sentences."""
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
