"""An experiment from beginning to end: a folder that holds all of it, and goes on where it was stopped."""

import hashlib
import json
import platform
import re
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from stormcell.atomic import make_folder, write_file
from stormcell.errors import ArgumentError, RecipeError
from stormcell.experiments import inference, plots
from stormcell.experiments.budget import Budget
from stormcell.experiments.evaluate import Scored, score
from stormcell.experiments.experiment import Array, Baseline, Contender, Experiment
from stormcell.experiments.inference import Predict
from stormcell.experiments.processes import first_before_others, processes, rank
from stormcell.experiments.protocols.protocol import Column
from stormcell.experiments.search import SHARE, search
from stormcell.experiments.table import Line, Results
from stormcell.experiments.trainer import LOSSES, MODEL, VALIDATIONS, Learned, Terms, curve, fit, network
from stormcell.training.precision import Precision, lightning_precision

STATE = "experiment.json"
_TEST_SHARE = 0.25  # of a budget in minutes: so long the test may take, where nobody says how much to test
_TEST_BATCH = 64  # examples at once, at most


@dataclass(frozen=True)
class Settings:
    """How an experiment is run.

    Attributes:
        budget: Minutes that contenders share, or updates that each has.
        seed: Of initial weights and of what is drawn.
        search: Whether learning rates are searched, in a part of the budget.
        tests: Examples to test on; None for as many as a quarter of the minutes allows, or as many as were
            learned from.
        precision: Of training and test.
    """

    budget: Budget
    seed: int = 0
    search: bool = False
    tests: int | None = None
    precision: Precision = "auto"


def learn(experiment: Experiment, folder: Path, settings: Settings, console: Console) -> dict[str, Learned]:
    """Train all contenders, or go on training them; who has finished is not trained again.

    Args:
        experiment: What is done.
        folder: ``experiment.json``, and a folder for each contender.
        settings: How; all but ``tests`` the same as before where the folder holds an experiment.
        console: Where progress is shown.

    Returns:
        What became of each, by name.

    Raises:
        RecipeError: The folder holds another experiment, or one with other settings or data; or processes
            do not share it.
        OutputError: A file cannot be written; the same call goes on from the last checkpoint.
    """
    terms = Terms(settings.seed, lightning_precision(settings.precision))
    with first_before_others():
        _claim(experiment, folder, settings, terms)
    each = settings.budget.each(len(experiment.contenders))
    learned = {}
    for contender in experiment.contenders:
        place = folder / slug(contender.name)
        rate, budget = contender.learning_rate, each
        if settings.search:
            trials = each.part(SHARE)
            rate = search(contender, experiment, trials, place / "search", terms, console)
            budget = each.part(1 - SHARE)
        learned[contender.name] = fit(
            contender, experiment, budget, place, terms, console, learning_rate=rate
        )
    return learned


def report(
    experiment: Experiment,
    folder: Path,
    settings: Settings,
    learned: dict[str, Learned],
    console: Console,
) -> Results:
    """Test everyone, and write the table and the pictures.

    Args:
        experiment: What is done.
        folder: Where contenders were trained; gets ``results.md``, ``results.json``, ``curves.png`` and
            what the experiment draws.
        settings: How.
        learned: What became of each contender.
        console: Where progress is shown.

    Raises:
        OutputError: A file cannot be written.
    """
    precision = lightning_precision(settings.precision)
    columns: dict[str, Column] = {}
    scores: dict[str, dict[str, float]] = {}
    about = [experiment.about, _how(experiment, settings, learned)]
    with ExitStack() as stack:
        everyone: dict[str, tuple[Contender | Baseline, Predict]] = {}
        marks: dict[str, str] = {}
        for contender in experiment.contenders:
            built = network(contender, folder / slug(contender.name))
            predict = stack.enter_context(inference.predicting(built, contender, precision))
            everyone[contender.name] = (contender, predict)
            weights = (folder / slug(contender.name) / MODEL).read_bytes()
            marks[contender.name] = hashlib.sha256(weights).hexdigest()
        for baseline in experiment.baselines:
            everyone[baseline.name] = (baseline, baseline.predict)
            marks[baseline.name] = ""
        for place, (test, examples) in enumerate(experiment.tests.items()):
            path = folder / f"tallies-{place + 1}.npz"
            with console.status("") as status:
                scored = score(
                    everyone,
                    marks,
                    examples,
                    experiment.protocols,
                    path,
                    count=_tests(settings, learned, len(examples)),
                    seconds=_test_seconds(settings, len(experiment.tests)),
                    batch_size=min(_TEST_BATCH, experiment.batch_size),
                    told=lambda done: status.update(f"tested on {done}"),
                )
            about.append(_tested(test, scored, len(examples)))
            for name, column in experiment.columns.items():
                heading = f"{column.heading}, {test}" if test else column.heading
                columns[_key(name, test)] = Column(heading, column.digits, column.best)
            for who, tallies in scored.tallies.items():
                found = inference.scores(tallies, experiment.protocols)
                scores.setdefault(who, {}).update({_key(name, test): v for name, v in found.items()})
        drawn = _draw(experiment, everyone)
    results = Results(
        title=f"{experiment.name}, {settings.budget}",
        about=[*about, *experiment.remarks],
        columns=columns,
        on_screen=experiment.on_screen,
        lines=[_line(who, scores[who], learned.get(who), experiment) for who in everyone],
        published=experiment.published,
    )
    drawn["curves.png"] = plots.curves(
        {name: curve(folder / slug(name) / LOSSES) for name in learned},
        {name: curve(folder / slug(name) / VALIDATIONS) for name in learned},
        experiment.leading,
        experiment.columns[experiment.leading].heading,
    )
    for name, content in drawn.items():
        write_file(folder / name, content)
    write_file(folder / "results.md", results.markdown().encode())
    told = results.json() | {"machine": _machine(), "versions": _versions()}
    write_file(folder / "results.json", (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())
    return results


def slug(name: str) -> str:
    """A contender's name as that of a folder.

    Example:
        >>> slug("ConvLSTM 5×5/5×5 128-64-64")
        'convlstm-5x5-5x5-128-64-64'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("×", "x")).strip("-")


def only(experiment: Experiment, names: list[str]) -> Experiment:
    """The experiment with some of its contenders.

    Raises:
        ArgumentError: It has no such contender.
    """
    known = {slug(contender.name): contender for contender in experiment.contenders}
    for name in names:
        if slug(name) not in known:
            raise ArgumentError(f'--only: expected of {", ".join(known)}, found "{name}"')
    chosen = {slug(name) for name in names} or set(known)
    kept = tuple(contender for name, contender in known.items() if name in chosen)
    return Experiment(**vars(experiment) | {"contenders": kept})


def _claim(experiment: Experiment, folder: Path, settings: Settings, terms: Terms) -> None:
    """Begin a folder, or refuse to go on in one of something else."""
    now: dict[str, Any] = {
        "experiment": experiment.name,
        "data": experiment.data,
        "contenders": [contender.name for contender in experiment.contenders],
        "budget": str(settings.budget),
        "search": settings.search,
        "seed": settings.seed,
        "precision": terms.precision,
        "examples per update": experiment.batch_size * processes(),
    }
    path = folder / STATE
    if path.exists():
        try:
            before = json.loads(path.read_text())
            changed = [key for key in now if before.get(key) != now[key]]
        except (json.JSONDecodeError, AttributeError) as error:
            raise RecipeError(
                f"{path}: expected the state of an experiment, found something else: {error}"
            ) from None
        if changed:
            told = ", ".join(f"{key} (was {before.get(key)}, now {now[key]})" for key in changed)
            raise RecipeError(f"{folder}: expected the experiment that was begun here, found other {told}")
    elif rank() > 0:
        raise RecipeError(
            f"{folder}: expected a folder that all processes share, found nothing of what the first wrote"
        )
    else:
        make_folder(folder)
        write_file(path, (json.dumps(now, indent=2, ensure_ascii=False) + "\n").encode())


def _tests(settings: Settings, learned: dict[str, Learned], there: int) -> int:
    if settings.tests is not None:
        return settings.tests
    if settings.budget.minutes is not None:
        return there
    return max(one.examples for one in learned.values())


def _test_seconds(settings: Settings, sets: int) -> float | None:
    if settings.tests is not None or settings.budget.minutes is None:
        return None
    return 60 * settings.budget.minutes * _TEST_SHARE / sets


def _draw(
    experiment: Experiment, everyone: dict[str, tuple[Contender | Baseline, Predict]]
) -> dict[str, bytes]:
    examples = next(iter(experiment.tests.values()))
    batch = examples.batch(0, min(experiment.drawn, len(examples)))
    said: dict[str, Array] = {}
    for name, (who, predict) in everyone.items():
        prediction = predict(batch.x.numpy())
        # Classes are answered for by their logits.
        said[name] = (
            inference.pixels(prediction, inference.gives(who)) if prediction.ndim == 5 else prediction
        )
    return dict(experiment.draw(batch, said))


def _line(name: str, scores: dict[str, float], learned: Learned | None, experiment: Experiment) -> Line:
    if learned is None:
        return Line(name, scores)
    return Line(
        name,
        scores,
        learned.parameters,
        learned.learning_rate,
        learned.updates,
        learned.seconds,
        learned.examples * experiment.frames / max(learned.seconds, 1e-9),
    )


def _how(experiment: Experiment, settings: Settings, learned: dict[str, Learned]) -> str:
    each, many = settings.budget.each(len(learned)), len(learned)
    much, unit = (
        (f"{each.minutes:.3g}", "minute") if each.minutes is not None else (f"{each.updates}", "update")
    )
    one = next(iter(learned.values()))
    size = one.examples // one.updates
    parts = size // experiment.batch_size
    where = _machine() if parts == 1 else f"{parts} processes, each on {_machine()}"
    who = "The contender learned" if many == 1 else f"Each of {many} contenders learned"
    length = f"{much} {unit}{'s' * (much != '1')}"
    search = (
        f"; {SHARE:.0%} of that went into trials of the learning rates "
        f"{', '.join(f'{rate:g}' for rate in experiment.learning_rates)}, the same for all"
        if settings.search
        else "; learning rates were not searched"
    )
    numbers = {"bf16-mixed": "bfloat16"}.get(lightning_precision(settings.precision), "float32")
    return (
        f"{who} for {length}, {size} examples an update, with seed {settings.seed} on {where} in "
        f"{numbers}{search}."
    )


def _tested(test: str, scored: Scored, there: int) -> str:
    on = f" ({test})" if test else ""
    many = f"all {there}" if scored.examples == there else f"the first {scored.examples} of {there}"
    lost = f"; no numbers came from {', '.join(scored.lost)}" if scored.lost else ""
    return f"Scored on {many} test examples{on}{lost}."


def _key(name: str, test: str) -> str:
    return f"{name} {test}".rstrip()


def _machine() -> str:
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' * (threads > 1)} of an {platform.machine()}"


def _versions() -> dict[str, str]:
    return {"stormcell": version("stormcell"), "torch": torch.__version__}
