"""The numbers of a report, as rows of text."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stormcell.verification.figures import labels, line_colour
from stormcell.verification.scores import mean_over_leads

Scores = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Cell:
    """A number to print, and whether it is the best in its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Numbers under a heading; ``rows`` holds the cells of each title."""

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Cell]]


@dataclass(frozen=True)
class Measure:
    """A score by lead time: where it stands among a forecaster's scores, and what is better."""

    group: str
    title: str
    path: tuple[str, ...]
    goodness: Callable[[float], float]

    def of(self, score: Mapping[str, Any]) -> list[float | None]:
        """Its values by lead time."""
        values: Any = score
        for key in self.path:
            values = values[key]
        return list(values)


def view(scores: Scores) -> dict[str, Any]:
    """What the report's template prints, save for the pictures.

    Args:
        scores: As ``scores.json`` holds them.
    """
    first = next(iter(scores.values()))
    leads = [f"{lead:g}" for lead in first["lead_minutes"]]
    measures = list(_measures(first))
    as_dry = {name: score["undefined_as_dry"] for name, score in scores.items()}
    return {
        "about": first["about"],
        "leads": leads,
        "names": labels(list(scores)),
        "colours": {name: line_colour(k) for k, name in enumerate(scores)},
        "means": [_means(group, measures, scores) for group in dict.fromkeys(m.group for m in measures)],
        "means_as_dry": [_means(group, measures, as_dry) for group in (_CSI, _ERRORS)],
        "by_lead": [_by_lead(measure, leads, scores) for measure in measures],
        "counts": _counts(first, leads),
    }


_CSI = "Critical success index"
_ERRORS = "Errors, mm/h"


def _measures(score: Mapping[str, Any]) -> Iterator[Measure]:
    """Every score there is, those first that are asked for first."""
    events = {key: f"≥ {float(key):g}" for key in score["csi"]}
    for key, title in events.items():
        yield Measure(_CSI, title, ("csi", key), _high)
    for name in ("mae", "rmse", "crps"):
        yield Measure(_ERRORS, name.upper(), (name,), _low)
    for key, title in events.items():
        yield Measure("Frequency bias", title, ("bias", key), _near_one)
    middle = "1.0" if "1.0" in events else next(iter(events))
    for scale in score["fss"][middle]:
        title = scale.removesuffix("km") + " km"
        yield Measure(f"Fractions skill score, {events[middle]} mm/h", title, ("fss", middle, scale), _high)
    for key, title in events.items():
        yield Measure("Probability of detection", title, ("pod", key), _high)
    for key, title in events.items():
        yield Measure("False alarm ratio", title, ("far", key), _low)
    for band in score["power_ratio"]:
        title = band.removesuffix("km").replace("-", "–") + " km"
        yield Measure("Sharpness", title, ("power_ratio", band), _near_one)


def _means(group: str, measures: Sequence[Measure], scores: Scores) -> Table:
    """The mean over lead times of the scores of one group."""
    chosen = [measure for measure in measures if measure.group == group]
    columns = [_mean_column(measure, scores) for measure in chosen]
    rows = {name: [column[k] for column in columns] for k, name in enumerate(scores)}
    return Table(group, [measure.title for measure in chosen], rows)


def _mean_column(measure: Measure, scores: Scores) -> list[Cell]:
    """The means of one score; a star says that lead times were left out.

    The best is one of those that leave out fewest: others are about lead times that may have been easier.
    """
    means = [mean_over_leads(measure.of(score)) for score in scores.values()]
    fewest = min(left_out for _, left_out in means)
    cells = _marked([mean if left_out == fewest else None for mean, left_out in means], measure.goodness)
    return [
        Cell("–") if mean is None else Cell(f"{mean:.3f}{'*' if left_out else ''}", cell.best)
        for cell, (mean, left_out) in zip(cells, means, strict=True)
    ]


def _by_lead(measure: Measure, leads: Sequence[str], scores: Scores) -> Table:
    values = [measure.of(score) for score in scores.values()]
    columns = [_marked([row[lead] for row in values], measure.goodness) for lead in range(len(leads))]
    rows = {name: [column[k] for column in columns] for k, name in enumerate(scores)}
    return Table(f"{measure.group}, {measure.title}", leads, rows)


def _counts(score: Mapping[str, Any], leads: Sequence[str]) -> Table:
    """What the scores rest on."""
    rows = {"forecasts": score["n_forecasts"], "pixels": score["n_pixels"]}
    rows |= {f"observed ≥ {float(key):g} mm/h": counts for key, counts in score["n_events"].items()}
    cells = {
        title: [Cell(f"{count:,}".replace(",", "\u202f")) for count in counts]
        for title, counts in rows.items()
    }
    return Table("What the scores rest on", leads, cells)


def _marked(values: Sequence[float | None], goodness: Callable[[float], float]) -> list[Cell]:
    """Numbers as text, to three digits; of several, the best is marked, and so is its equal."""
    texts = ["–" if value is None else f"{value:.3f}" for value in values]
    defined = {text: goodness(value) for text, value in zip(texts, values, strict=True) if value is not None}
    best = max(defined, key=lambda text: defined[text]) if len(values) > 1 and defined else None
    return [Cell(text, text == best) for text in texts]


def _high(value: float) -> float:
    return value


def _low(value: float) -> float:
    return -value


def _near_one(value: float) -> float:
    """Twice too much is as bad as half."""
    return -abs(math.log(value)) if value > 0 else -math.inf
