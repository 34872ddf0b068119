"""What an evaluation found, written down: ``scores.json`` for programs, ``report.html`` for people."""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
import xarray as xr

from stormcell.atomic import make_folder, write_files
from stormcell.forecast.contract import Forecaster
from stormcell.verification.case_study import animation, case, case_figure, most_rain
from stormcell.verification.curves import lead_time_figure
from stormcell.verification.evaluate import Evaluation
from stormcell.verification.figures import png
from stormcell.verification.tables import view

OVERLAP = "overlap_with_training"


def write(
    directory: str | os.PathLike[str],
    evaluation: Evaluation,
    *,
    rain: xr.DataArray,
    forecasters: Mapping[str, Forecaster],
    issue_time: np.datetime64 | None = None,
    credit: str | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write ``scores.json``, ``report.html`` and its pictures into a directory.

    The page needs nothing but itself; ``lead_time.png``, ``case.png`` and ``animation.gif`` are written
    beside it for other uses. They replace an earlier report together, or not at all.

    Args:
        directory: Where; made if need be.
        evaluation: What to report.
        rain: The rain it was made on, ``(time, y, x)`` in mm/h.
        forecasters: Those that were evaluated; the case study asks them once more.
        issue_time: Of the case study; None takes the one that was followed by most rain.
        credit: Whose data this is and under which terms; None takes ``source`` and ``license`` of ``rain``.
        notes: By forecaster, a warning that it has seen what it is scored on; goes into both files.

    Raises:
        OutputError: A file cannot be written; an earlier report still is what it was.
    """
    folder = Path(directory)
    make_folder(folder)
    warned = {name: {OVERLAP: note} for name, note in (notes or {}).items()}
    evaluation = replace(evaluation, about={**evaluation.about, **warned})
    scores = evaluation.to_scores()
    if credit is None:
        credit = ", ".join(str(rain.attrs[key]) for key in ("source", "license") if key in rain.attrs) or None
    steps = len(evaluation.layout.lead_minutes)
    shown = case(rain, forecasters, most_rain(evaluation) if issue_time is None else issue_time, steps)
    pictures = {
        "lead_time.png": png(lead_time_figure(scores, credit=credit)),
        "case.png": png(case_figure(shown, credit=credit)),
        "animation.gif": animation(shown),
    }
    page = _template().render(
        **view(scores),
        credit=credit,
        notes=notes or {},
        case_time=str(np.datetime_as_string(shown.issue_time, unit="m")).replace("T", " "),
        pictures={name: base64.b64encode(content).decode() for name, content in pictures.items()},
    )
    # JSON has no NaN: whatever were undefined and not null would fail here, not at the reader's.
    numbers = json.dumps(scores, indent=1, allow_nan=False)
    write_files(folder, {**pictures, "report.html": page.encode(), "scores.json": numbers.encode()})


def _template() -> jinja2.Template:
    source = resources.files("stormcell.verification").joinpath("templates", "report.html").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(source)
