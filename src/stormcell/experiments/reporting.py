"""The test of an experiment: its table, curves and pictures."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console

from stormcell.atomic import write_file
from stormcell.experiments import plots, scoring
from stormcell.experiments.contender_task import TrainedContender, read_network
from stormcell.experiments.experiment import Array, Contender, Experiment, PixelBaseline
from stormcell.experiments.learning_rate_search import SEARCH_SHARE
from stormcell.experiments.protocols.protocol import Column
from stormcell.experiments.runner import Settings, slug
from stormcell.experiments.scoring import Predict, TestState, score
from stormcell.experiments.table import Line, Results
from stormcell.training.curve_files import read_curve
from stormcell.training.loop import LOSSES, VALIDATIONS
from stormcell.training.mixed_precision import lightning_precision

_TEST_SHARE = 0.25  # of a budget in minutes: default time of the test
_TEST_BATCH = 64  # examples at once, at most

Predictors = dict[str, tuple[Contender | PixelBaseline, Predict]]


def report(
    experiment: Experiment,
    folder: Path,
    settings: Settings,
    trained: dict[str, TrainedContender],
    console: Console,
) -> Results:
    """Test all contenders and baselines, and write the table and the pictures.

    Args:
        experiment: The experiment.
        folder: Folder of the run; gets ``results.md``, ``results.json``, ``curves.png`` and the experiment's
            pictures.
        settings: Settings of the run.
        trained: Results of the training by contender.
        console: Console for progress.

    Raises:
        OutputError: A file cannot be written.
        ModelFileError: A contender's model file is damaged.
    """
    predictors, digests = _predictors(experiment, folder, lightning_precision(settings.precision))
    columns: dict[str, Column] = {}
    scores: dict[str, dict[str, float]] = {}
    about = [experiment.about, _conditions(experiment, settings, trained)]
    for place, (test, examples) in enumerate(experiment.tests.items()):
        with console.status("") as status:
            state = score(
                predictors,
                digests,
                examples,
                experiment.protocols,
                folder / f"tallies-{place + 1}.npz",
                count_limit=_test_count(settings, trained, len(examples)),
                seconds=_test_seconds(settings, len(experiment.tests)),
                batch_size=min(_TEST_BATCH, experiment.batch_size),
                progress=lambda done: status.update(f"tested on {done}"),
            )
        about.append(_tested(test, state, len(examples)))
        for name, column in experiment.columns.items():
            heading = f"{column.heading}, {test}" if test else column.heading
            columns[_key(name, test)] = Column(heading, column.digits, column.best)
        for model, tallies in state.tallies.items():
            found = scoring.scores(tallies, experiment.protocols)
            scores.setdefault(model, {}).update({_key(name, test): v for name, v in found.items()})
    results = Results(
        title=f"{experiment.name}, {settings.budget}",
        about=[*about, *experiment.remarks],
        columns=columns,
        on_screen=experiment.on_screen,
        lines=[_line(name, scores[name], trained.get(name), experiment) for name in predictors],
        published=experiment.published,
    )
    pictures = _pictures(experiment, predictors) | {"curves.png": _curves(experiment, folder, trained)}
    for name, content in pictures.items():
        write_file(folder / name, content)
    write_file(folder / "results.md", results.markdown().encode())
    versions = {"stormcell": version("stormcell"), "torch": torch.__version__}
    facts = results.json() | {"machine": _machine(), "versions": versions}
    write_file(folder / "results.json", (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())
    return results


def _predictors(experiment: Experiment, folder: Path, precision: str) -> tuple[Predictors, dict[str, str]]:
    """Return all models with their predictions, and the SHA-256 of their model files."""
    predictors: Predictors = {}
    digests: dict[str, str] = {}
    for contender in experiment.contenders:
        network, digests[contender.name] = read_network(contender, folder / slug(contender.name))
        predictors[contender.name] = (contender, scoring.predictor(network, contender, precision))
    for baseline in experiment.baselines:
        predictors[baseline.name], digests[baseline.name] = (baseline, baseline.predict), ""
    return predictors, digests


def _test_count(settings: Settings, trained: dict[str, TrainedContender], available: int) -> int:
    if settings.tests is not None:
        return settings.tests
    if settings.budget.minutes is not None:
        return available
    return max(one.examples for one in trained.values())


def _test_seconds(settings: Settings, sets: int) -> float | None:
    if settings.tests is not None or settings.budget.minutes is None:
        return None
    return 60 * settings.budget.minutes * _TEST_SHARE / sets


def _pictures(experiment: Experiment, predictors: Predictors) -> dict[str, bytes]:
    examples = next(iter(experiment.tests.values()))
    batch = examples.batch(0, min(experiment.drawn, len(examples)))
    predictions: dict[str, Array] = {}
    for name, (model, predict) in predictors.items():
        prediction = predict(batch.x.numpy())
        # Predicted classes are drawn from their logits.
        predictions[name] = (
            scoring.pixels(prediction, scoring.output_kind(model)) if prediction.ndim == 5 else prediction
        )
    return dict(experiment.draw(batch, predictions))


def _curves(experiment: Experiment, folder: Path, trained: dict[str, TrainedContender]) -> bytes:
    losses, validations = (
        {name: read_curve(folder / slug(name) / file) for name in trained} for file in (LOSSES, VALIDATIONS)
    )
    heading = experiment.columns[experiment.leading].heading
    return plots.curves(losses, validations, experiment.leading, heading)


def _line(
    name: str, scores: dict[str, float], trained: TrainedContender | None, experiment: Experiment
) -> Line:
    if trained is None:
        return Line(name, scores)
    return Line(
        name,
        scores,
        trained.parameters,
        trained.learning_rate,
        trained.updates,
        trained.seconds,
        trained.examples * experiment.frames / max(trained.seconds, 1e-9),
    )


def _conditions(experiment: Experiment, settings: Settings, trained: dict[str, TrainedContender]) -> str:
    each, count = settings.budget.each(len(trained)), len(trained)
    length, unit = (
        (f"{each.minutes:.3g}", "minute") if each.minutes is not None else (f"{each.updates}", "update")
    )
    one = next(iter(trained.values()))
    size = one.examples // one.updates
    parts = size // experiment.batch_size
    where = _machine() if parts == 1 else f"{parts} processes, each on {_machine()}"
    contenders = "The contender" if count == 1 else f"Each of {count} contenders"
    rates = ", ".join(f"{rate:g}" for rate in experiment.learning_rates)
    search = (
        f"; {SEARCH_SHARE:.0%} of that went into trials of the learning rates {rates}, the same for all"
        if settings.search
        else "; learning rates were not searched"
    )
    numbers = {"bf16-mixed": "bfloat16"}.get(lightning_precision(settings.precision), "float32")
    return (
        f"{contenders} learned for {length} {unit}{'s' * (length != '1')}, {size} examples an update, with "
        f"seed {settings.seed} on {where} in {numbers}{search}."
    )


def _tested(test: str, state: TestState, available: int) -> str:
    on = f" ({test})" if test else ""
    number = (
        f"all {available}" if state.examples == available else f"the first {state.examples} of {available}"
    )
    lost = f"; {', '.join(state.lost)} predicted NaN or infinity" if state.lost else ""
    return f"Scored on {number} test examples{on}{lost}."


def _key(name: str, test: str) -> str:
    return f"{name} {test}".rstrip()


def _machine() -> str:
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' * (threads > 1)} of an {platform.machine()}"
