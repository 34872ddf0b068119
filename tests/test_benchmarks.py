"""The benchmark of the layers: contenders which match the reference are timed, others are named."""

import importlib.util
import json
import math
import statistics
import sys
from dataclasses import replace

import benchmarks.layers.__main__ as command
import numpy as np
import pytest
import torch
from benchmarks import experiments, loader
from benchmarks.layers import arrays, bare, checking, machine, measuring, memory, reporting, wheel
from benchmarks.layers.cases import CASES, DTYPES, Case, Doubling, FirstCall, known
from benchmarks.layers.contenders import BARE, CONTENDERS, OURS, TRUTH, WHEEL, Contender
from benchmarks.layers.convolutions import FORWARD, PARTS, TO_INPUT, TO_WEIGHT, operations, ways
from benchmarks.layers.runners import Task
from benchmarks.layers.torch_runners import LoopRunner, Ours, OursFromWheel, TorchRunner
from benchmarks.pages import fill
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stormcell.data import archive, synthetic
from stormcell.errors import OutputError
from stormcell.experiments import catalogue
from stormcell.nn.ops import kernels, shipped_kernels
from stormcell.nn.ops.conv_backends import Direct
from stormcell.nn.ops.winograd import Winograd
from stormcell.training.budget import Budget
from stormcell.training.recipes import Recipe

TINY = Case("tiny", 2, 2, (3, 4), (6, 5), 3, steps=3)
KINDS = (
    replace(TINY, input_gradient=True),
    replace(TINY, peephole=True, kernel_size=5),
    replace(TINY, frame_by_frame=True),
    replace(TINY, kind="conv_gru"),
    replace(TINY, kind="traj_gru", size=(24, 24), steps=6),  # so large that rounding meets a kink
    replace(TINY, size=(7,)),
    replace(TINY, size=(4, 3, 5)),
)
OPTIONS = (
    (Ours, {}),
    (Ours, {"backend": "reference"}),
    (Ours, {"checkpointed": True}),
    (Ours, {"last_output": True}),
    (LoopRunner, {}),
)


def task(case: Case, dtype: str = "float32", mode: str = "training") -> Task:
    return Task(case, dtype, mode, "cpu", torch.get_num_threads())


def true(case: Case, folder):
    runner = Ours(task(case, mode=case.modes[0]), backend="reference")
    checking.write(folder, runner.results(runner.step()))
    return folder


def wrong(case: Case, errors: dict[str, float], dtype: str) -> set[str]:
    return {name for name, error in errors.items() if error > checking.limit(case, name, dtype, "cpu")}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", KINDS, ids=str)
def test_contenders_match_reference(case, dtype, tmp_path):
    folder = true(case, tmp_path)
    for mode in case.modes:
        for runner, options in OPTIONS:
            if "last_output" in options and (mode == "training" or case.frame_by_frame):
                continue
            one = runner(task(case, dtype, mode), **options)
            results = one.results(one.step())
            assert results.keys() == expected(case, mode, options)
            errors = checking.errors(folder, results, mode)
            assert not wrong(case, errors, dtype), (mode, options, errors)
            if dtype == "bfloat16":  # in which no better can be done
                assert max(errors.values()) > 2**-10


def expected(case: Case, mode: str, options: dict) -> set[str]:
    if mode == "inference":
        return {"last" if "last_output" in options else "output"}
    weights = {f"{n}.{name}" for n, layer in enumerate(arrays.weights(case)) for name in layer}
    return {"output", *weights, *(["input"] if case.input_gradient else [])}


class GatesElsewhere(LoopRunner):
    """The first layer's gates i and f confused."""

    def build(self):
        loop = super().build()
        conv = loop.cells[0].conv
        right = conv.forward
        conv.forward = lambda x: right(x)[:, [3, 4, 5, 0, 1, 2, *range(6, 12)]]
        return loop


class OldCell(LoopRunner):
    """The output gate looks at the old cell state."""

    def build(self):
        loop = super().build()
        for cell in loop.cells:
            cell.forward = lambda x, h, c, cell=cell: old_cell(cell, x, h, c)
        return loop


def old_cell(cell, x, h, c):
    i, f, g, o = cell.conv(torch.cat([x, h], 1)).chunk(4, dim=1)
    i, f, o = (gate + weight * c for gate, weight in zip((i, f, o), cell.peephole, strict=True))
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


class Edge(LoopRunner):
    """The last row is wrong: a mistake in one place."""

    def run(self, x, state):
        output, state = super().run(x, state)
        return torch.cat([output[..., :-1, :], output[..., -1:, :] * 0.9], dim=-2), state


class ForgetsAGradient(LoopRunner):
    """That of a bias."""

    def step(self):
        made = super().step()
        self.module.cells[0].conv.bias.grad *= 0
        return made


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("contender", "name"),
    [(GatesElsewhere, "output"), (OldCell, "0.peephole"), (Edge, "output"), (ForgetsAGradient, "0.bias")],
)
def test_wrong_contender_is_detected(contender, name, dtype, tmp_path):
    case = replace(TINY, peephole=True)
    one = contender(task(case, dtype))
    errors = checking.errors(true(case, tmp_path), one.results(one.step()), "training")
    assert name in wrong(case, errors, dtype)


def test_missing_result_or_nan_is_detected(tmp_path):
    results = {"output": np.ones((2, 3), np.float32), "0.bias": np.zeros(4, np.float32)}
    checking.write(tmp_path, results)
    assert checking.errors(tmp_path, results, "training") == {"output": 0, "0.bias": 0}
    for found in (
        {"output": results["output"]},
        results | {"0.bias": np.zeros(3)},
        results | {"0.bias": np.full(4, np.nan)},
        results | {"0.bias": np.ones(4)},
    ):
        assert checking.errors(tmp_path, found, "training") == {"output": 0, "0.bias": math.inf}
    assert checking.errors(tmp_path, {"last": results["output"][-1:]}, "inference") == {"last": 0}
    assert checking.errors(tmp_path, {"last": results["output"][:1] + 1}, "inference") == {"last": 1}


def test_error_is_that_of_the_worse_norm(tmp_path):
    output = np.array([[1] + [0.1] * 99], np.float32)
    checking.write(tmp_path, {"output": output})

    def error(found: np.ndarray) -> float:
        return checking.errors(tmp_path, {"output": found}, "inference")["output"]

    assert error(np.where(output < 1, 0, output)) == pytest.approx(math.sqrt(0.99 / 1.99))  # a tenth at most
    assert error(np.append(output[:, :-1], [[0.3]], axis=1)) == pytest.approx(0.2)  # 0.14 by its square
    assert error(np.where(output < 1, np.nan, output)) == math.inf


@pytest.mark.parametrize("mode", ["training", "inference"])
@pytest.mark.parametrize("case", KINDS, ids=str)
def test_operations_match_those_counted_by_pytorch(case, mode, monkeypatch):
    if mode not in case.modes:
        return
    per_image = bare.Bare._per_image  # it counts PyTorch's own convolutions only
    monkeypatch.setattr(
        bare.Bare, "_per_image", lambda *a: math.inf if isinstance(a[1], bare.Ours) else per_image(*a)
    )
    with FlopCounterMode(display=False) as counter:
        one = bare.Bare(task(case, mode=mode))
    before = counter.get_total_flops()  # looking for the fastest way
    with FlopCounterMode(display=False) as counter:
        one.step()
    assert before > 0
    assert counter.get_total_flops() == operations(case, mode)


def test_operations_follow_the_channels():
    """Of the first layer's input no gradient, if nobody asks; of the second one's always."""
    each = 2 * (3 * 2 * 6 * 5) * 9
    forwards = 12 * (2 + 3) + 16 * (3 + 4)
    assert operations(TINY, "inference") == each * forwards
    assert operations(TINY, "training") == each * (3 * forwards - 12 * 2)
    assert operations(replace(TINY, input_gradient=True), "training") == each * 3 * forwards


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_operations_of_loop_are_not_fewer(case):
    """Going forwards; backwards it computes gradients that nobody asks for."""
    one = LoopRunner(task(case, mode="inference"))
    with FlopCounterMode(display=False) as counter:
        one.step()
    assert counter.get_total_flops() == operations(case, "inference")


@pytest.mark.parametrize(("sort", "backend"), [(bare.Pass, None), (bare.Ours, Direct), (bare.Ours, Winograd)])
@pytest.mark.parametrize("layout", bare.LAYOUTS)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("case", [KINDS[0], KINDS[5], KINDS[6]], ids=str)
def test_bare_convolution_matches_torch(case, part, layout, sort, backend, monkeypatch):
    """Pieces give what the whole does, and that is what autograd finds."""
    if backend is Winograd and kernels.library(torch.float32) is None:
        pytest.skip("no C compiler")
    monkeypatch.setattr(bare, "conv_backend", backend)
    for convolution in ways(case)[1][0]:
        for piece in bare.pieces(case, convolution, part):
            one = sort(task(case), convolution, part, layout, piece)
            seen = one.images.clone().requires_grad_()
            weight = one.weight.clone().requires_grad_()
            function = (torch.conv2d, torch.conv3d)[seen.dim() - 4]
            z = function(seen, weight, padding=one.padding)
            wanted = z
            if one.gradient is not None:
                wanted = torch.autograd.grad(z, weight if part == TO_WEIGHT else seen, one.gradient)[0]
            ends = range(0, len(seen), piece)
            if backend is not None:
                one(0)  # prepares the weight
            found = [one.convolve(slice(start, start + piece)) for start in ends]
            whole = sum(found) if part == TO_WEIGHT else torch.cat(found)
            if backend is not None:
                whole = one.backend.weight_gradient() if part == TO_WEIGHT else whole.movedim(-1, 1)
            # Sums of at most 360 products below 1, in float32.
            torch.testing.assert_close(whole, wanted, rtol=1e-5, atol=360 * 2**-24)


def test_bare_chunks_have_a_batch_or_all_independent_steps():
    case = replace(TINY, batch=5)
    (fused,), (of_x, of_h) = ways(case)[0]
    batch, all_steps = [1, 2, 4, 5], [1, 2, 4, 5, 15]
    for part in PARTS:
        assert list(bare.pieces(case, of_x, part)) == all_steps
        for convolution in (fused, of_h):
            assert list(bare.pieces(case, convolution, part)) == (all_steps if part == TO_WEIGHT else batch)
    frames = replace(case, frame_by_frame=True)
    assert [list(bare.pieces(frames, c, FORWARD)) for way in ways(frames)[0] for c in way] == [batch] * 3


def test_bare_pass_convolves_every_image_once():
    case = replace(TINY, batch=5)
    for convolution in ways(case)[0][1]:
        for part in PARTS:
            if part == TO_INPUT and not convolution.asked:
                continue
            for piece in bare.pieces(case, convolution, part):
                one = bare.Pass(task(case), convolution, part, bare.LAYOUTS[0], piece)
                seen = []
                one.convolve = lambda images, seen=seen, one=one: seen.append(len(one.images[images]))
                one(one.total)
                assert sum(seen) == 15
                assert max(seen) == piece


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process's peak")
def test_peak_memory_counts_only_written_memory():
    size = 64 << 20  # above what an allocator keeps
    before = memory.held()
    np.ones(size, np.uint8)
    assert memory.peak() - before == pytest.approx(size, rel=0.1)
    assert memory.held() - before < size / 10
    assert memory.peak() - before < size / 10


class Exponential(TorchRunner):
    """Saves its output, and what it multiplies: the input and the weight, which do not count."""

    def build(self):
        return nn.Linear(2, 1, bias=False)

    def places(self):
        return {}

    def run(self, x, state):
        return (x * self.module.weight.reshape(2, 1, 1)).exp(), state


def test_saved_bytes_are_counted():
    assert Exponential(task(TINY)).saved() == math.prod((3, 2, 2, 6, 5)) * 4
    assert Exponential(task(TINY, mode="inference")).saved() is None


WRONG = """
import os
from benchmarks.layers.torch_runners import LoopRunner

class Wrong(LoopRunner):
    def run(self, x, state):
        output, state = super().run(x, state)
        return output * 1.001, state

class Dies(LoopRunner):
    def step(self):
        print("out of something", file=__import__("sys").stderr, flush=True)
        os._exit(1)

class Tires(LoopRunner):
    steps = 0
    def step(self):
        self.steps += 1
        if self.steps > 2:
            raise RuntimeError("enough\\nof it")
        return super().step()
"""


@pytest.fixture
def measure(monkeypatch, tmp_path, capsys):
    """Run the command on tiny cases, beside contenders that are wrong, die, tire and are not there."""
    (tmp_path / "wrong_contenders.py").write_text(WRONG)
    monkeypatch.syspath_prepend(tmp_path)  # which workers inherit
    for name in ("Wrong", "Dies", "Tires"):
        contender = Contender(name.lower(), name, f"wrong_contenders.{name}")
        monkeypatch.setitem(CONTENDERS, contender.name, contender)
    monkeypatch.setitem(CONTENDERS, "absent", Contender("absent", "", "", needs=("torch", "no_such_package")))
    sizes = tuple(replace(TINY, name=f"T {steps}", steps=steps) for steps in (2, 4))
    items = (TINY, Doubling("doubling-steps", sizes), FirstCall("first-call", TINY))
    monkeypatch.setattr(command, "known", lambda: {item.name: item for item in items})
    monkeypatch.setattr(command, "PAGE", tmp_path / "speed.md")
    monkeypatch.setattr(measuring, "_SHORTEST", 0)

    def run(*words: str) -> tuple[int, str, str, dict]:
        status = command.main(
            ["--rounds", "3", "--minutes", "0", "--threads", "1", "--out", str(tmp_path / "out"), *words]
        )
        written = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
        return status, *capsys.readouterr(), written[0] if written else {}

    return run


def test_command_measures_and_writes_everything(measure, tmp_path):
    page = tmp_path / "speed.md"
    page.write_text("before\n<!-- layers -->\nold\n<!-- /layers -->\nafter\n")
    chosen = ["--case", "tiny", "--dtype", "float32", "--mode", "training", "--docs", "--contender"]
    chosen += ["ours-uncompiled", "loop", BARE, "wrong", "dies", "tires", "absent"]
    status, out, err, report = measure(*chosen)
    assert status == 1
    assert report["left_out"] == {"absent": "no_such_package not installed"}
    assert "left out: absent: no_such_package not installed" in err
    (measured,) = report["cases"]["tiny"]["measured"]
    assert list(measured["entrants"]) == [OURS, "ours-uncompiled", "loop", BARE]
    follows_from_times(measured["entrants"], operations(TINY, "training"))
    refused = measured["refused"]
    assert refused.keys() == {"wrong", "dies", "tires"}
    assert refused["dies"] == "the process is gone: out of something"
    assert refused["tires"] == "RuntimeError: enough"
    said = refused["wrong"]
    assert said.startswith("differs in 0.bias by ")
    assert "output by 1.0e-03, not " in said
    assert f"not equal: tiny, float32, training: wrong: {said}" in err
    (table,) = (tmp_path / "out").glob("*.md")
    text = table.read_text()
    assert f"Not equal: tiny, float32, training: wrong: {said}." in text
    assert page.read_text() == f"before\n<!-- layers -->\n\n{text}\n<!-- /layers -->\nafter\n"

    with pytest.raises(SystemExit, match="2"):
        measure("--case", "tiny")
    status, out, _, _ = measure(*chosen, "--resume")
    assert (status, out.splitlines()[0]) == (1, "tiny: already measured")


def follows_from_times(entrants: dict, needed: int) -> None:
    for record in entrants.values():
        times = record["seconds"]
        assert len(times) == 3
        assert record["median"] == sorted(times)[1]
        assert record["spread"] == pytest.approx((max(times) - min(times)) / sorted(times)[1])
        assert record["beyond"] == record["first"] - record["second"]
        assert record["gflops"] == pytest.approx(needed / sorted(times)[1] / 1e9)
        ours, alone = (entrants[name]["seconds"] for name in (OURS, BARE))
        assert record["ratio"] == statistics.median(a / b for a, b in zip(times, ours, strict=True))
        assert record["share"] == statistics.median(a / b for a, b in zip(alone, times, strict=True))


def test_command_measures_doublings_and_first_calls(measure):
    words = ("--case", "doubling-steps", "first-call", "--dtype", "bfloat16", "--mode", "inference")
    status, _, _, report = measure(*words)
    assert status == 0
    (measured,) = report["doublings"]["doubling-steps"]["measured"]
    two, four = (measured["entrants"][label]["seconds"] for label in ("T 2", "T 4"))
    assert reporting.doubled(measured) == [statistics.median(b / a for a, b in zip(two, four, strict=True))]
    (measured,) = report["first_calls"]["first-call"]["measured"]
    assert list(measured["entrants"]) == ["empty cache", "cached"]


@pytest.mark.skipif(CONTENDERS["ours-wheel"].missing() is not None, reason="no ziglang or no hatchling")
def test_wheel_contender_runs_the_kernels_of_the_wheel(measure):
    words = ("--case", "tiny", "--mode", "inference", "--contender", "ours-wheel")
    status, _, err, report = measure(*words)
    assert status == 0, err
    for measured in report["cases"]["tiny"]["measured"]:
        said = {name: str(record["described"]) for name, record in measured["entrants"].items()}
        assert said.keys() == {OURS, "ours-wheel"}
        assert "from the wheel, for " in said["ours-wheel"]
        assert "from the wheel" not in said[OURS]


def test_wheel_contender_without_kernels_of_a_wheel_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(WHEEL, str(tmp_path))
    monkeypatch.setattr(shipped_kernels, "FOLDER", shipped_kernels.FOLDER)  # restored afterwards
    one = OursFromWheel(task(TINY, mode="inference"))
    assert wheel.kernels(tmp_path) == shipped_kernels.FOLDER
    one.step()
    with pytest.raises(RuntimeError, match="the kernels of the wheel were not used"):
        one.described()


def test_machine_with_fewer_instructions_is_named(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
    about = machine.about("cpu", 1)
    assert about["machine"].endswith(", oneDNN limited to AVX512_CORE_BF16")
    assert "-onednn-limited-to-avx512-core-bf16-" in machine.file_name(about)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    assert "oneDNN" not in machine.about("cpu", 1)["machine"]


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
def test_keras_contenders_match_reference(measure):
    there = importlib.util.find_spec("tensorflow")
    absent = {} if there else {"keras-tensorflow": "tensorflow not installed"}
    words = ("--case", "tiny", "--dtype", "float32", "--mode", "training")
    status, _, err, report = measure(*words, "--contender", "keras-torch", "keras-tensorflow")
    assert (status, report["left_out"]) == (0, absent), err
    (measured,) = report["cases"]["tiny"]["measured"]
    assert measured["entrants"].keys() == {OURS, "keras-torch", "keras-tensorflow"} - absent.keys()


def test_page_without_markers_raises_at_once(measure, tmp_path):
    with pytest.raises(OSError, match=r"speed.md: expected the lines <!-- layers -->"):
        measure("--docs")
    assert not (tmp_path / "out").exists()


def test_tables_show_the_statistics_of_the_times():
    def record(seconds: float, **more: object) -> dict:
        return {"first": 3.0, "second": 1.0, "seconds": [seconds] * 3, **more}

    def measured(dtype: str, **seconds: float) -> dict:
        entrants = {name.replace("_", "-"): record(value) for name, value in seconds.items()}
        entrants[OURS] |= {"peak_bytes": 2e6, "saved_bytes": 1e6}
        entrants["loop"] |= {"peak_bytes": 4e6, "saved_bytes": 4e6}
        found = {"dtype": dtype, "mode": "training", "entrants": entrants, "refused": {}}
        reporting.derive(found, operations=3_000_000_000)
        return found

    case = [
        measured("float32", ours=2.0, ours_reference=1.0, loop=4.0, keras_torch=3.0, bare=1.0),
        measured("bfloat16", ours=1.0, loop=2.5, bare=0.6),
    ]
    about = {"machine": "m", "threads": 2, "date": "d", "commit": "c", "versions": {"python": "3"}}
    report = {"about": about, "left_out": {}, "first_calls": {}, "doublings": {}}
    text = reporting.markdown(report | {"cases": {"a": {"measured": case}}})
    assert text.startswith("m, 2 threads, d, commit c; python 3.\n")
    single, half = (text.split(f"### Training, {dtype}\n\n")[1].splitlines()[:3] for dtype in DTYPES)
    others = "ours-reference | loop | keras-torch"
    assert single[0] == f"| case | ours, s | ± | GFLOP/s | bare share | {others} | fastest peer |"
    assert single[2] == "| a | 2 | 0% | 1.5 | 50% | 0.50× | 2.00× | 1.50× | 1.50× |"
    assert half[2] == "| a | 1 | 0% | 3 | 60% | 2.50× | 2.50× | 3.00× |"
    assert "| a | bfloat16 | training | 2 (0.50×) | – | 4 (1.00×) | – | 1 (0.25×) | 4 (1.00×) |" in text
    assert "| a | bfloat16 | training | 2 | – | 2 | – |" in text  # first calls


def test_every_case_has_its_contenders():
    assert len(known()) == len(CASES) + 4
    for case in CASES:
        for mode in case.modes:
            able = {name for name, one in CONTENDERS.items() if one.refusal(case, mode) is None}
            keras = {"keras-tensorflow", "keras-torch"}
            assert able >= {OURS, TRUTH, "ours-wheel", "ours-uncompiled", "loop", "loop-compiled", BARE}
            assert (able >= keras) == (case.kind == "conv_lstm" and not case.peephole)
            assert ("ours-checkpointed" in able) == (case.about_memory and mode == "training")
            assert ("ours-last-output" in able) == (case.about_memory and mode == "inference")


def test_experiment_results_are_written_to_the_docs(tmp_path, monkeypatch):
    page, run = tmp_path / "docs" / "experiments.md", tmp_path / "run"
    run.mkdir()
    page.parent.mkdir()
    page.write_text("before\n<!-- mnist-patches -->\nold\n<!-- /mnist-patches -->\nafter\n")
    (run / "results.md").write_text("# mnist-patches, 3u\n\n| | accuracy |\n")
    (run / "results.json").write_text('{"title": "mnist-patches, 3u"}')
    (run / "curves.png").write_bytes(b"a picture")
    monkeypatch.setattr(experiments, "PAGE", page)
    monkeypatch.setattr(experiments, "IMAGES", page.parent / "images")
    monkeypatch.setattr(experiments, "RESULTS", tmp_path / "results")
    (page.parent / "images").mkdir()
    experiments.keep("mnist-patches", run, "stormcell experiment mnist-patches --budget 3u", "0123abc")
    picture = "![Learning curves of mnist-patches](images/mnist-patches-curves.png)"
    table = "`stormcell experiment mnist-patches --budget 3u`\n\n| | accuracy |"
    filled = f"<!-- mnist-patches -->\n\n{table}\n\n{picture}\n\n<!-- /mnist-patches -->"
    assert page.read_text() == f"before\n{filled}\nafter\n"
    assert (page.parent / "images" / "mnist-patches-curves.png").read_bytes() == b"a picture"
    told = json.loads((tmp_path / "results" / "mnist-patches.json").read_text())
    assert told["command"] == "stormcell experiment mnist-patches --budget 3u"
    assert told["title"] == "mnist-patches, 3u"
    assert told["commit"] == "0123abc"


def test_run_has_the_commit_of_its_start(tmp_path):
    assert experiments.begun(tmp_path / "runs" / "a", "first") == "first"
    assert experiments.begun(tmp_path / "runs" / "a", "second") == "first"
    (tmp_path / "b").mkdir()
    assert experiments.begun(tmp_path / "b", "second") == "unknown"


def test_experiments_of_the_docs_can_be_run():
    """Every experiment, with its options, is one that there is, and has its place on the page."""
    for name, options in experiments.OPTIONS.items():
        assert name in catalogue.NAMES
        Budget.parse(options.split()[1])
        fill(experiments.PAGE, name, None)
    with pytest.raises(OutputError, match="expected the lines <!-- chess -->"):
        fill(experiments.PAGE, "chess", None)


def test_loader_measures_reading_learning_and_both(tmp_path):
    path = tmp_path / "a.zarr"
    archive.append(path, synthetic.write(tmp_path / "radar", seed=3, events=1, steps=40, shape=(40, 48)))
    recipe = Recipe(
        lead_minutes=10, channels=2, detail_channels=2, crop=32, batch_size=2, windows_per_batch=2
    )
    found = loader.measure(path, recipe, seconds=0.05)
    waited = found["per cent of that time spent waiting for crops"]
    assert all(value > 0 for value in found.values())
    assert waited < 100
    names = [name.rpartition(":")[0] or name for name in found]
    assert names[0].startswith("seconds from opening the archive")
    assert names[1] == "crops/s read with threads"
    assert names[-3:] == [
        "crops/s learned from, if they are in memory",
        "crops/s learned from, while they are read",
        "per cent of that time spent waiting for crops",
    ]
    text = loader.table(found, path)
    assert text.startswith("40 frames of 40 × 48 pixels.")
    assert text.count("\n| ") == len(found) + 1
