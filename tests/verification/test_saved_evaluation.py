import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from stormcell.data.splits import Block
from stormcell.data.synthetic import generate
from stormcell.errors import ArgumentError, InputError, WorkerError
from stormcell.forecast.resolve import forecaster
from stormcell.models import model_file
from stormcell.models.nowcaster import Nowcaster
from stormcell.verification import report, resumable
from stormcell.verification.evaluate import evaluate
from stormcell.verification.plan import Plan
from stormcell.verification.resumable import evaluate_resumably
from stormcell.verification.saved_evaluation import (
    FILE,
    UNFINISHED,
    from_bytes,
    merge,
    to_bytes,
)


def plan_of(rain, first=2, last=9):
    times = rain.time.values
    return Plan(Block.between(times[first + 1], times[last + 1]), times[first : last + 1], steps=2)


class Interrupted(Exception):
    pass


class Counted:
    """A forecaster that counts its runs, and is interrupted at one of them."""

    def __init__(self, forecaster, interrupted_at=None):
        self.forecaster, self.runs, self.interrupted_at = forecaster, 0, interrupted_at

    def __call__(self, frames, steps):
        if self.runs == self.interrupted_at:
            raise Interrupted
        self.runs += 1
        return self.forecaster(frames, steps)


@pytest.fixture
def run(rain, forecasters, tmp_path):
    """A function that evaluates into one folder; every issue time is saved."""

    def evaluated(plan=None, interrupted_at=None, rain=rain, seconds=0.0):
        counted = {name: Counted(one) for name, one in forecasters.items()}
        counted["persistence"].interrupted_at = interrupted_at
        lines, done = [], []
        try:
            evaluation = evaluate_resumably(
                tmp_path / "report", rain, counted, plan or plan_of(rain),
                progress=done.append, log=lines.append, seconds=seconds,
            )  # fmt: skip
        except Interrupted:
            evaluation = None
        return evaluation, counted["persistence"].runs, lines, done

    return evaluated


def test_saved_evaluation_round_trip_is_exact(written):
    _, evaluation = written
    found, digest = from_bytes(to_bytes(evaluation, "abc"), "tallies")
    assert digest == "abc"
    assert found.strict == evaluation.strict
    assert found.as_dry == evaluation.as_dry
    assert json.dumps(found.to_scores()) == json.dumps(evaluation.to_scores())
    assert to_bytes(found, "abc") == to_bytes(evaluation, "abc")


def test_evaluate_resumably_interrupted_resumes_and_equals_the_whole(run, rain, forecasters, tmp_path):
    plan = plan_of(rain)
    assert run(interrupted_at=6)[:2] == (None, 6)
    evaluation, runs, lines, done = run()
    assert runs == 4  # the first four of eight issue times were saved
    assert lines == ["resuming after 4 issue times"]
    assert done == [4, 5, 6, 7, 8]
    whole = evaluate(rain, forecasters, issue_times=plan.issue_times, steps=2, valid=plan.period)
    assert to_bytes(evaluation) == to_bytes(whole)
    report.write(tmp_path / "report", evaluation)
    assert not (tmp_path / "report" / UNFINISHED).exists()
    assert run()[1] == 8


def test_evaluate_resumably_with_another_plan_or_data_starts_over(run, rain):
    run(interrupted_at=6)
    _, runs, (line,), _ = run(plan=plan_of(rain, last=8))
    assert runs == 7
    assert line.endswith("of another evaluation, discarded")
    run(interrupted_at=6)
    assert run(rain=rain + 1)[1] == 8


def test_evaluate_resumably_with_a_damaged_file_starts_over(run, tmp_path):
    run(interrupted_at=6)
    path = tmp_path / "report" / UNFINISHED
    path.write_bytes(path.read_bytes()[:-9])
    assert run()[1] == 8


def test_evaluate_resumably_saves_only_at_intervals(run, tmp_path):
    run(interrupted_at=6, seconds=1000)
    assert not (tmp_path / "report" / UNFINISHED).exists()


@pytest.fixture
def network(tmp_path, card_of):
    """A nowcaster of kilometre pixels with random weights, which computes with one thread."""
    torch.manual_seed(0)
    nowcaster = Nowcaster(channels=8, detail_channels=8)
    torch.nn.init.normal_(nowcaster.correction.weight, std=0.3)
    model_file.save(tmp_path / "model.safetensors", nowcaster, card_of(nowcaster))
    return forecaster(str(tmp_path / "model.safetensors"), threads=1)


def test_evaluate_resumably_on_two_workers_equals_this_process_to_the_bit(by_address, network, tmp_path):
    rain = generate(seed=1, steps=14).rainfall_rate
    compared = {"network": network, "extrapolation": forecaster("extrapolation")}
    plan, done = plan_of(rain, 4, 10), []

    def evaluated(**options):
        # Without a save, because the second evaluation would resume the first.
        evaluation = evaluate_resumably(
            tmp_path / "report", rain, compared, plan, progress=done.append, log=print, seconds=1e9, **options
        )
        return to_bytes(evaluation)

    assert evaluated(workers=by_address) == evaluated()
    assert done == [*range(8), *range(8)]


def test_evaluate_resumably_on_a_worker_that_reads_other_data_raises(by_address, rain, forecasters):
    plan = plan_of(rain)
    function = partial(resumable._evaluate_one, rain, forecasters, plan, "0" * 64)
    (done,) = by_address.run(function, plan.issue_times[:1])
    with pytest.raises(WorkerError, match="expected workers that read the same archive, found other rates"):
        done.result()


def test_merge_of_halves_equals_the_whole_to_the_bit(rain, forecasters, tmp_path):
    whole = plan_of(rain)
    plans = {"whole": whole, "b": plan_of(rain, 6, 9), "a": plan_of(rain, 2, 5)}
    for name, plan in plans.items():
        evaluation = evaluate(rain, forecasters, issue_times=plan.issue_times, steps=2, valid=plan.period)
        report.write(tmp_path / name, evaluation)
    report.write(tmp_path / "merged", merge([tmp_path / "b", tmp_path / "a"]))
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "merged" / file.name).read_bytes(), file.name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"issue": 2}, "every issue time once, found 2024-06-01T00:10 twice"),
        ({"steps": 3}, r"tallies: lead_minutes differ: \(5.0, 10.0\) and \(5.0, 10.0, 15.0\)"),
        ({"thresholds": [2.0]}, "tallies: thresholds differ"),
        ({"names": ["seer"]}, "expected forecasters seer, persistence, .*; found seer"),
        (
            {"source": "another radar"},
            r"expected one grid and source of data, found None .* and another radar",
        ),
        ({"moved": 1000.0}, "expected one grid and source of data"),
    ],
)
def test_merge_of_unlike_reports_raises(rain, forecasters, tmp_path, changed, message):
    def save_to(folder, *, issue, names=tuple(forecasters), source=None, moved=0.0, **options):
        data = rain.assign_coords(x=rain.x + moved)
        data.attrs |= {"source": source} if source else {}
        compared = {name: forecasters[name] for name in names}
        evaluation = evaluate(data, compared, issue_times=data.time.values[[issue]], **options)
        folder.mkdir()
        (folder / FILE).write_bytes(to_bytes(evaluation))

    save_to(tmp_path / "a", issue=2, steps=2)
    save_to(tmp_path / "b", **{"issue": 5, "steps": 2} | changed)
    with pytest.raises(ArgumentError, match=message):
        merge([tmp_path / "a", tmp_path / "b"])


def test_merge_of_a_folder_without_tallies_raises(tmp_path):
    with pytest.raises(InputError, match=r"tallies.safetensors: .* found no such file"):
        merge([tmp_path])


def _without(name):
    return lambda arrays: arrays.pop(name)


def _as(name, array):
    return lambda arrays: arrays.update({name: array})


@pytest.mark.parametrize(
    "damage",
    [
        _without("strict/0/hits"),
        _without("case/whole/observed"),
        _as("strict/0/hits", np.zeros((4, 3, 6), np.float64)),
        _as("strict/0/hits", np.zeros((4, 3, 5), np.int64)),
        _as("issue_times", np.array([3, 2, 1, 0])),
        _as("case/newest", np.zeros((1, 1), np.float32)),
    ],
)
def test_saved_evaluation_with_wrong_arrays_raises(written, damage):
    content = to_bytes(written[1])
    arrays, header = load(content), json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    damage(arrays)
    with pytest.raises(InputError, match="report/tallies: expected the tallies of a report, found"):
        from_bytes(save(arrays, header["__metadata__"]), "report/tallies")


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 64, save({"a": np.zeros(3)})])
def test_saved_evaluation_of_another_file_raises(content):
    with pytest.raises(InputError, match="expected the tallies of a report"):
        from_bytes(content, FILE)
