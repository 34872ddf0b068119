"""Tables of the shipped model: the scores of its folds, and the data it was trained on with their credits."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stormcell.models import shipped
from stormcell.models.model_file import read_card

Scores = dict[str, Any]  # of one forecaster, as in scores.json

TITLES = {
    "model": "Stormcell, network left out",
    "sprog": "S-PROG",
    "anvil": "ANVIL of pysteps",
    "extrapolation": "extrapolation",
    "steps": "STEPS of pysteps",
}
THRESHOLDS = ("0.5", "1.0", "2.0", "5.0")
_RELIABLE = ("0.1", "0.5", "1.0", "2.0")
_ENOUGH = 10_000  # pixels in a class of probability
_CSI_AND_CRPS = (*(f"CSI ≥ {threshold}" for threshold in THRESHOLDS), "CRPS, mm/h")
_SINGLE = (
    *(f"CSI ≥ {threshold}" for threshold in THRESHOLDS),
    "bias ≥ 1.0",
    "bias ≥ 5.0",
    "FSS ≥ 1.0, 16 km",
)


def tables(folder: Path, events: Sequence[str], tuned: Sequence[str] = ()) -> dict[str, str]:
    """Return the tables of the reports in a folder of work, in Markdown, by the name of their place.

    Args:
        folder: Folder with ``reports``, ``ensembles``, ``compared-reports`` and ``tuned-reports``, as far as
            they were made.
        events: Names of the events; those without a report are left out.
        tuned: Names of the reports of fine-tunings, such as ``fmi-2016-to-fmi-2017``.
    """
    kinds = {
        "scores": ("reports", events, _single),
        "ensembles": ("ensembles", events, _ensembles),
        "comparisons": ("compared-reports", events, _compared),
        "fine-tuning": ("tuned-reports", tuned, _tuned),
    }
    return {
        name: table(folder / kind, found)
        for name, (kind, wanted, table) in kinds.items()
        if (found := there(folder / kind, wanted))
    }


def there(reports: Path, events: Sequence[str]) -> list[str]:
    """Return the events that have a report."""
    return [event for event in events if (reports / event / "scores.json").exists()]


def data(model: Path) -> str:
    """Return the table of the archives that a model was trained on, in Markdown."""
    rows = []
    for one in read_card(model).nowcasting.archives:  # type: ignore[union-attr]
        source = one.data_source
        first, last = one.blocks["train"]
        rows.append(
            (
                source.get("source", ""),
                f"{first[:16].replace('T', ' ')} to {last[:16].replace('T', ' ')}",
                f"{one.time_step_seconds / 60:g} min",
                f"{one.share:.0%}",
                source.get("license", ""),
            )
        )
    return table(("source", "frames (UTC)", "step", "of the crops", "licence"), rows)


def credits_of_shipped() -> str:
    """Return the sources and licences of the data that each shipped model was trained on, for CREDITS."""
    paragraphs = ["The models in this folder were trained on these data, and contain none of them."]
    for name, card in shipped().items():
        sources = [one.data_source for one in card.nowcasting.archives]  # type: ignore[union-attr]
        lines = (f"- {one['source'].rstrip('.')}. Licence: {one['license']}." for one in sources)
        paragraphs.append("\n".join([f"{name}:", *dict.fromkeys(lines)]))
    return "\n\n".join(paragraphs) + "\n"


def read(report: Path) -> dict[str, Scores]:
    """Return the scores of a report; that of a model file is called ``model``."""
    scores = json.loads((report / "scores.json").read_text())
    models = [name for name in scores if name.endswith(".safetensors")]
    return {"model" if name in models[:1] else name: one for name, one in scores.items()}


def mean(values: Sequence[float | None]) -> float:
    """Return the mean over the lead times, or the events, for which a score is defined."""
    found = [value for value in values if value is not None and not np.isnan(value)]
    return float(np.mean(found)) if found else float("nan")


def means(reports: Path, events: Sequence[str]) -> str:
    """Return the means over events of all forecasters, in Markdown."""
    rows = [(title, *numbers) for title, numbers in _means(reports, there(reports, events))]
    return table(("forecaster", *_SINGLE), rows)


def _single(reports: Path, events: Sequence[str]) -> str:
    """CSI by event, the mean over events, and the gain over S-PROG by lead time."""
    rows: list[tuple[str, ...]] = []
    for event in events:
        for name, one in read(reports / event).items():
            rows.append((event, TITLES[name], *(f"{number:.3f}" for number in _numbers(one))))
    rows += [("mean of the events", title, *numbers) for title, numbers in _means(reports, events)]
    lines = table(("event", "forecaster", *_SINGLE), rows)
    gains = [
        (event, *(_gain(read(reports / event), threshold) for threshold in THRESHOLDS[:3]))
        for event in events
    ]
    head = ("event", *(f"CSI ≥ {threshold} against S-PROG" for threshold in THRESHOLDS[:3]))
    return f"{lines}\n\n{table(head, gains)}"


def _numbers(scores: Scores) -> list[float]:
    """Return the means over lead times that the tables of single forecasts show."""
    numbers = [mean(scores["csi"][threshold]) for threshold in THRESHOLDS]
    numbers += [mean(scores["bias"][threshold]) for threshold in ("1.0", "5.0")]
    return [*numbers, mean(scores["fss"]["1.0"]["16km"])]


def _means(reports: Path, events: Sequence[str]) -> list[tuple[str, list[str]]]:
    every: dict[str, list[list[float]]] = {}
    for event in events:
        for name, one in read(reports / event).items():
            every.setdefault(name, []).append(_numbers(one))
    return [
        (TITLES[name], [f"{mean(column):.3f}" for column in zip(*numbers, strict=True)])
        for name, numbers in every.items()
    ]


def _gain(scores: dict[str, Scores], threshold: str) -> str:
    """Return the gain of the mean CSI over S-PROG, and the lowest and highest at any lead time."""
    model, sprog = (scores[name]["csi"][threshold] for name in ("model", "sprog"))
    pairs = [(a, b) for a, b in zip(model, sprog, strict=True) if a is not None and b]
    if not pairs:
        return "none"
    by_lead = [a / b - 1 for a, b in pairs]
    whole = float(np.mean([a for a, _ in pairs]) / np.mean([b for _, b in pairs])) - 1
    return f"{whole:+.1%} ({min(by_lead):+.1%} to {max(by_lead):+.1%})"


def _ensembles(reports: Path, events: Sequence[str]) -> str:
    """CRPS by event beside STEPS, and how well probabilities and members are calibrated."""
    rows: list[tuple[str, ...]] = []
    calibration: list[tuple[str, ...]] = []
    ratios = []
    for event in events:
        scores = read(reports / event)
        model, steps = scores["model"], scores["steps"]
        plain, fair = (mean(model[key]) / mean(steps[key]) for key in ("crps", "crps_fair"))
        distribution = mean(model["crps_distribution"])
        ratios.append((plain, fair, distribution / mean(steps["crps"])))
        numbers = (mean(model["crps"]), mean(steps["crps"]), distribution, *ratios[-1])
        rows.append((event, *(f"{number:.3f}" for number in numbers)))
        calibration += [_calibration(event, name, scores[name]) for name in ("model", "steps")]
    rows.append(("mean of the events", "", "", "", *(f"{number:.3f}" for number in np.mean(ratios, axis=0))))
    head = ("event", "CRPS: Stormcell, 20 members", "STEPS, 20 members", "Stormcell, distribution")
    lines = table((*head, "ratio", "ratio of the fair CRPS", "ratio of the distribution"), rows)
    head = ("event", "forecaster", *(f"farthest from reliable, ≥ {threshold}" for threshold in _RELIABLE))
    head = (*head, "spread / error", "power of members, 4 to 64 km")
    return f"{lines}\n\n{table(head, calibration)}"


def _calibration(event: str, name: str, scores: Scores) -> tuple[str, ...]:
    far = [f"{_farthest(scores, threshold):.2f}" for threshold in _RELIABLE]
    ratios = [
        mean(values)
        for band, values in scores["members_power_ratio"].items()
        if 4 <= float(band.partition("-")[0]) < 64
    ]
    power = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return event, TITLES[name], *far, f"{mean(scores['spread_error']):.2f}", power


def _farthest(scores: Scores, threshold: str) -> float:
    """Return the largest difference of frequency and probability in a class with enough pixels."""
    farthest = 0.0
    for name, pixels in scores["reliability_pixels"][threshold].items():
        counts = np.array(pixels, float)
        if counts.sum() >= _ENOUGH:
            probability, frequency = (
                np.array(scores[f"reliability_{kind}"][threshold][name], float)  # None becomes NaN
                for kind in ("probability", "frequency")
            )
            farthest = max(farthest, abs(float(np.nansum(counts * (frequency - probability)) / counts.sum())))
    return farthest


def _compared(reports: Path, events: Sequence[str]) -> str:
    """CSI of the trainings without parts of the network, or on fewer events."""
    rows = []
    for event in events:
        for name, one in read(reports / event).items():
            title = TITLES.get(name) or Path(name).parent.name.removeprefix("without-").replace("-", " ")
            rows.append((event, title, *_csi_and_crps(one)))
    return table(("event", "training", *_CSI_AND_CRPS), rows)


def _tuned(reports: Path, names: Sequence[str]) -> str:
    """CSI of the models that were fine-tuned, and of those from which they started."""
    rows = []
    for report in names:
        tuned_on, _, verified = report.partition("-to-")
        for name, one in read(reports / report).items():
            title = {"model": "before", "sprog": TITLES["sprog"]}.get(name, "fine-tuned")
            rows.append((tuned_on, verified, title, *_csi_and_crps(one)))
    return table(("fine-tuned on", "verified on", "forecaster", *_CSI_AND_CRPS), rows)


def _csi_and_crps(scores: Scores) -> list[str]:
    """Return means over lead times: the CSI, and the CRPS of the distribution or else of the single field."""
    crps = mean(scores.get("crps_distribution", []))
    crps = mean(scores["crps"]) if np.isnan(crps) else crps
    return [*(f"{mean(scores['csi'][threshold]):.3f}" for threshold in THRESHOLDS), f"{crps:.4f}"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    return "\n".join(map(line, [head, ["---"] * len(head), *rows]))
