"""The report of an evaluation: ``scores.json`` for programs, ``report.html`` for people."""

import base64
import json
import os
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np

from stormcell.atomic import make_folder, write_files
from stormcell.verification import saved_evaluation
from stormcell.verification.bootstrap import Unit
from stormcell.verification.case_study import animation, case_figure
from stormcell.verification.close_up import members_figure, probability_figure
from stormcell.verification.curves import lead_time_figure
from stormcell.verification.evaluation import Evaluation
from stormcell.verification.figures import png
from stormcell.verification.probability_figures import ensembles_figure, probabilities_figure
from stormcell.verification.tables import probabilistic, view

_PICTURES = {"probabilities.png", "case_probabilities.png", "ensembles.png", "case_members.png"}


def write(
    directory: str | os.PathLike[str],
    evaluation: Evaluation,
    *,
    reference: str | None = None,
    resampled: Unit = "block",
) -> None:
    """Write ``scores.json``, ``report.html``, its pictures and the tallies into a folder.

    The page is complete in itself; ``lead_time.png``, ``case.png`` and ``animation.gif`` are copies of its
    pictures. If there are probabilities, so are ``probabilities.png`` and ``case_probabilities.png``; of
    ensembles also ``ensembles.png`` and ``case_members.png``. ``tallies.safetensors`` is the evaluation
    itself, from which reports can be merged. All files
    replace those of an earlier report together, or none does.

    Args:
        directory: The folder; created if it does not exist.
        evaluation: The evaluation to report.
        reference: Name of the forecaster to compare the others with; None for no comparison.
        resampled: Unit that is drawn for the intervals; see
            :class:`~stormcell.verification.bootstrap.Resampling`.

    Raises:
        ArgumentError: The reference is not one of the forecasters.
        OutputError: A file cannot be written; an earlier report is intact.
    """
    folder = Path(directory)
    make_folder(folder)
    scores = evaluation.to_scores(reference=reference, resampled=resampled)
    pictures = {
        "lead_time.png": png(lead_time_figure(scores, credit=evaluation.credit)),
        "case.png": png(case_figure(evaluation.case, evaluation.titles, credit=evaluation.credit)),
        "animation.gif": animation(evaluation.case, evaluation.titles),
    }
    case, titles, credit = evaluation.case, evaluation.titles, evaluation.credit
    if probabilistic(scores):
        pictures["probabilities.png"] = png(probabilities_figure(scores, credit=credit))
        pictures["case_probabilities.png"] = png(probability_figure(case, titles, credit=credit))
    if case.members:
        pictures["ensembles.png"] = png(ensembles_figure(scores, credit=credit))
        pictures["case_members.png"] = png(members_figure(case, titles, credit=credit))
    page = _template().render(
        **view(scores),
        credit=evaluation.credit,
        notes=evaluation.notes,
        overlaps=evaluation.overlaps(),
        case_time=str(np.datetime_as_string(evaluation.case.issue_time, unit="m")).replace("T", " "),
        pictures={name: base64.b64encode(content).decode() for name, content in pictures.items()},
    )
    numbers = json.dumps(scores, indent=1, allow_nan=False)  # JSON has no NaN
    files = {**pictures, "report.html": page.encode(), "scores.json": numbers.encode()}
    write_files(folder, files | {saved_evaluation.FILE: saved_evaluation.to_bytes(evaluation)})
    for name in _PICTURES - pictures.keys():  # of an earlier report, whose forecasters gave more
        (folder / name).unlink(missing_ok=True)
    (folder / saved_evaluation.UNFINISHED).unlink(missing_ok=True)


def _template() -> jinja2.Template:
    source = resources.files("stormcell.verification").joinpath("templates", "report.html").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(source)
