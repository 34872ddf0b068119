"""Training runs on a little moving rain: that they end, go on after a kill, and refuse to go on wrongly."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from rich.console import Console

import stormcell
from stormcell.atomic import write_file
from stormcell.data import synthetic
from stormcell.data.archive import append
from stormcell.errors import ArchiveError, ArgumentError, OutputError, RecipeError, StormcellError
from stormcell.models import model_file
from stormcell.training import checkpoint_io, crop_reader, nowcaster_run, sampling_index
from stormcell.training.curve_files import read_curve
from stormcell.training.nowcaster_run import train
from stormcell.training.nowcaster_task import NowcasterTask
from stormcell.training.recipes import Recipe
from stormcell.training.sampling_index import scan
from stormcell.training.training_archive import Rain, archive_shares

RECIPE = Recipe(
    inputs=3,
    lead_minutes=15,
    channels=4,
    detail_channels=4,
    leads_per_crop=2,
    crop=32,
    batch_size=2,
    windows_per_batch=2,
    max_updates=12,
    max_minutes=None,
    validate_every=3,
    validation_crops=2,
    warmup_updates=2,
)


def archive(count: int = 40, seed: int = 0) -> xr.DataArray:
    """Smooth showers that drift east by a pixel a frame over a grid of 40 × 48 pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :48]
    rate = np.zeros((count, 40, 48), np.float32)
    for cy, cx, size in zip(
        rng.integers(5, 35, 6), rng.integers(0, 48, 6), rng.uniform(8, 30, 6), strict=True
    ):
        for k in range(count):
            east = (x - cx - k + 24) % 48 - 24
            rate[k] += 20 * np.exp(-(east**2 + (y - cy) ** 2) / size)
    rate[rate < 0.1] = 0
    times = np.datetime64("2024-06-01T00:00", "ns") + np.arange(count) * np.timedelta64(300, "s")
    coords = {
        "time": times,
        "y": ("y", 1000.0 * np.arange(40)[::-1], {"units": "m"}),
        "x": ("x", 1000.0 * np.arange(48), {"units": "m"}),
    }
    return xr.DataArray(rate, coords, ("time", "y", "x"), name="rainfall_rate")


def quietly(
    rain: xr.DataArray | list[xr.DataArray],
    folder: Path,
    recipe: Recipe = RECIPE,
    validate_on: Sequence[xr.DataArray] = (),
) -> str:
    console = Console(record=True, file=io.StringIO(), width=200)
    train(rain, folder, recipe, console, validate_on=validate_on)
    return console.export_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    quietly(archive(), folder)
    return folder


def losses(folder: Path) -> list[str]:
    return (folder / "losses.csv").read_text().splitlines()


def test_train_writes_a_model_file_that_forecasts(finished):
    rain = archive()
    forecast = stormcell.load(finished / "model.safetensors")(rain, steps=5)
    assert forecast.shape == (5, 40, 48)
    assert forecast["time"].values[0] == rain["time"].values[-1] + np.timedelta64(300, "s")
    _, card, _ = model_file.load(finished / "model.safetensors")
    assert card.settings == RECIPE.model_dump()
    assert card.nowcasting.lead_minutes == 15
    (trained,) = card.nowcasting.archives
    assert trained.time_step_seconds == 300
    assert trained.pixel_size == (1000.0, 1000.0)
    assert trained.extent == (39000.0, 0.0, 0.0, 47000.0)
    assert trained.data_hash == card.data_hash
    assert set(card.scores) == {"crps", "mae_newest", "validation_loss", "loss", "updates"}
    assert trained.blocks["test"][1] == "2024-06-01T03:15:00"
    assert len(losses(finished)) == 1 + RECIPE.max_updates


def test_train_does_not_read_the_test_block(finished, tmp_path):
    rain = archive()
    rain[34:] = 1e6  # the test block is the newest 15 % of 40 frames
    quietly(rain, tmp_path)
    assert losses(tmp_path) == losses(finished)


def test_train_of_a_finished_run_changes_nothing(finished):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert "this run is finished" in quietly(archive(), finished)
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}


def test_train_with_another_recipe_is_refused(finished):
    with pytest.raises(RecipeError, match=r"learning_rate \(was 0.002, now 0.003\)"):
        quietly(archive(), finished, RECIPE.model_copy(update={"learning_rate": 0.003}))


@pytest.mark.parametrize("is_finished", [False, True])
def test_train_with_other_data_is_refused(finished, tmp_path, is_finished):
    state = json.loads((finished / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(state | {"finished": is_finished}))
    with pytest.raises(RecipeError, match="expected the frames that this run was begun with"):
        quietly(archive(seed=1), tmp_path)
    with pytest.raises(RecipeError, match=r"expected the 1 archives and time steps .* found 2"):
        quietly([archive(), archive(seed=1)], tmp_path)


@pytest.mark.parametrize(
    ("at", "words"), [(1, "before its first checkpoint"), (2, "the same command resumes")]
)
def test_train_ctrl_c_says_whether_it_can_be_resumed(tmp_path, monkeypatch, at, words):
    validate, calls = NowcasterTask.validate, []

    def interrupted(self, network):
        calls.append(network)
        if len(calls) == at:
            raise KeyboardInterrupt
        return validate(self, network)

    monkeypatch.setattr(NowcasterTask, "validate", interrupted)
    console = Console(record=True, file=io.StringIO(), width=200)
    with pytest.raises(KeyboardInterrupt):
        train(archive(), tmp_path, RECIPE, console)
    assert f"{tmp_path}: stopped" in console.export_text(clear=False)
    assert words in console.export_text()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_train_with_a_damaged_state_names_the_file(tmp_path):
    (tmp_path / "run.json").write_text('{"recipe": 3}')
    with pytest.raises(RecipeError, match=r"run\.json: expected the state of a training run"):
        quietly(archive(), tmp_path)


def test_train_on_dry_data_is_refused(tmp_path):
    with pytest.raises(ArchiveError, match="training block: expected rain at one issue time at least"):
        quietly(archive() * 0, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_train_with_a_dry_validation_block_is_refused(tmp_path):
    rain = archive()
    rain[24:34] = 0
    with pytest.raises(ArchiveError, match="validation block: expected rain at one issue time at least"):
        quietly(rain, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_train_takes_dry_archives_beside_one_with_rain(tmp_path):
    half = archive()
    half[24:34] = 0  # its validation block
    said = quietly([archive() * 0, half, degrees()], tmp_path / "run")
    assert "0% of the crops" in said
    with pytest.raises(ArchiveError, match="validation block: expected rain at one issue time at least"):
        quietly([archive() * 0, half], tmp_path / "other")


def test_train_with_an_impossible_recipe_leaves_no_folder(tmp_path):
    with pytest.raises(StormcellError):
        quietly(archive(), tmp_path / "run", RECIPE.model_copy(update={"inputs": 2}))
    assert not (tmp_path / "run").exists()


def test_train_with_a_limit_in_updates_ignores_the_clock(finished, tmp_path, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr(time, "monotonic", lambda: 60.0 * next(ticks))
    quietly(archive(), tmp_path, RECIPE.model_copy(update={"max_minutes": 1e6}))
    assert losses(tmp_path) == losses(finished)


def test_train_on_a_full_disk_fails_in_one_line_and_resumes_later(finished, tmp_path, monkeypatch):
    """The third checkpoint does not fit; with room again, the same call ends as if nothing had been."""
    written = []

    def full(path: Path, content: bytes) -> None:
        if path.name == "last.ckpt":
            written.append(path)
            if len(written) == 3:
                raise OutputError(f"{path}: could not be written: No space left on device")
        write_file(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_io, "write_file", full)
        with pytest.raises(OutputError, match="No space left on device"):
            quietly(archive(), tmp_path)
    quietly(archive(), tmp_path)
    assert losses(tmp_path) == losses(finished)


def test_train_on_too_short_an_archive_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="frames to train on"):
        quietly(archive(count=7), tmp_path)
    with pytest.raises(ArgumentError, match=r"^archive: expected at least 2 frames, found 1"):
        quietly(archive(count=1), tmp_path)


CHILD = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from stormcell.training import callbacks
from test_nowcaster_run import archive, quietly

callbacks._FLUSH_SECONDS = 0.0
append = callbacks.LossCurve.on_train_batch_end

def append_and_die(self, trainer, *rest):
    append(self, trainer, *rest)
    if trainer.global_step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

callbacks.LossCurve.on_train_batch_end = append_and_die
quietly(archive(), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("update", [2, 6, 11], ids=["first round", "end of a round", "last"])
def test_train_after_a_kill_resumes_to_the_bit(finished, tmp_path, update):
    words = [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parent), str(update)]
    assert subprocess.run(words, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert len(losses(tmp_path)) == 1 + update

    quietly(archive(), tmp_path)
    assert losses(tmp_path) == losses(finished)
    ours, theirs = (model_file.load(folder / "model.safetensors") for folder in (tmp_path, finished))
    assert ours[1] == theirs[1]
    assert ours[2] == theirs[2]


def test_train_without_improvement_ends_and_stays_finished(tmp_path):
    """Without a learning rate, the loss is that of the first validation at all others."""
    recipe = RECIPE.model_copy(update={"learning_rate": 0.0, "patience": 2})
    quietly(archive(), tmp_path, recipe)
    assert len(losses(tmp_path)) == 1 + 3 * RECIPE.validate_every
    state = json.loads((tmp_path / "run.json").read_text())
    assert state["finished"]
    # Killed between its last checkpoint and the end: the same call makes no further update.
    (tmp_path / "run.json").write_text(json.dumps(state | {"finished": False}))
    quietly(archive(), tmp_path, recipe)
    assert len(losses(tmp_path)) == 1 + 3 * RECIPE.validate_every


def test_train_with_other_examples_per_update_is_refused(finished, tmp_path):
    state = json.loads((finished / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(state | {"finished": False, "examples_per_update": 4}))
    with pytest.raises(RecipeError, match=r"expected 4 examples per update, .* found 2"):
        quietly(archive(), tmp_path)


PROCESS = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from stormcell.training.processes import joined_processes
from test_nowcaster_run import HOLES, archive, quietly, recipe_of_two

with joined_processes():
    quietly(archive().where(HOLES), Path(sys.argv[1]), recipe_of_two(int(sys.argv[3])))
"""
# The upper rows are not observed: the processes' crops differ in the number of pixels that count.
HOLES = xr.DataArray(np.arange(40) >= 9, dims="y")


def recipe_of_two(batch_size: int) -> Recipe:
    return RECIPE.model_copy(
        update={"batch_size": batch_size, "validation_crops": 4, "max_updates": 8, "precision": "float32"}
    )


def start(words: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    # The loopback is the one network device that always exists. More threads would slow each other down.
    everything = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, *words], env=everything, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(*started: subprocess.Popen[str]) -> None:
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


@pytest.fixture(scope="module")
def one_process(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    quietly(archive().where(HOLES), folder, recipe_of_two(4))
    return folder


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
@pytest.mark.parametrize("launcher", ["torchrun", "slurm"])
def test_train_in_two_processes_learns_what_one_learns_with_twice_the_batch(one_process, tmp_path, launcher):
    script = tmp_path / "train.py"
    script.write_text(PROCESS)
    words = [str(script), str(tmp_path / "run"), str(Path(__file__).parent), "2"]
    if launcher == "torchrun":
        finish(start(["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words], {}))
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_JOB_ID": "1"}
        shared |= {"SLURM_NTASKS_PER_NODE": "2"}
        shared |= {"SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": port}
        finish(*(start(words, shared | {"SLURM_PROCID": k, "SLURM_LOCALID": k}) for k in ("0", "1")))
    ours, theirs = (read_curve(folder / "losses.csv")["loss"] for folder in (tmp_path / "run", one_process))
    # Sums over a crop's thousand pixels, grouped by process: rounding of 2^-24 · √1000 of a loss at most, if
    # independent. AdamW divides by the gradient's size, so a gradient near zero passes its own relative
    # rounding on to the weights, 1e-3 of which is the learning rate: after eight updates still below 1e-4.
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    cards = [model_file.load(folder / "model.safetensors")[1] for folder in (tmp_path / "run", one_process)]
    np.testing.assert_allclose(*([card.scores["validation_loss"] for card in cards]), rtol=1e-4)
    averages = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["task"]["average"]
        for folder in (tmp_path / "run", one_process)
    ]
    for name, value in averages[1].items():
        torch.testing.assert_close(averages[0][name], value, rtol=0, atol=1e-4)


def degrees(count: int = 70) -> xr.DataArray:
    """The showers of :func:`archive` on a grid in degrees, every two minutes of a later month."""
    rain = archive(count, seed=3)
    return rain.assign_coords(
        time=np.datetime64("2024-07-01T00:00", "ns") + np.arange(count) * np.timedelta64(120, "s"),
        y=("y", 50 - 0.01 * np.arange(40), {"units": "degrees_north"}),
        x=("x", 10 + 0.01 * np.arange(48), {"units": "degrees_east"}),
    ).assign_attrs(title="degrees", license="CC0-1.0")


def unread(rain: xr.DataArray, name: str, reads: list[int]) -> Rain:
    """The rain with an index, its frames recorded when they are read."""

    class Recorded(xr.backends.BackendArray):
        shape, dtype = rain.shape, rain.dtype

        def __getitem__(self, key):
            reads.append(1)
            return rain.values[key.tuple]

    found, _ = scan(rain, np.arange(rain.sizes["time"], dtype=np.int32), Path("no scans"), lambda _: None)
    lazy = xr.Variable(rain.dims, xr.core.indexing.LazilyIndexedArray(Recorded()))
    return Rain(name, rain.copy(data=lazy), found.index(rain.sizes["time"]))


@pytest.fixture(scope="module")
def two_archives(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    quietly([archive(), degrees()], folder)
    return folder


def test_train_on_two_archives_writes_a_card_that_lists_both(two_archives):
    _, card, _ = model_file.load(two_archives / "model.safetensors")
    first, second = card.nowcasting.archives
    assert (first.time_step_seconds, second.time_step_seconds) == (300, 120)
    assert (first.pixel_unit, second.pixel_unit) == ("m", "degree")
    assert second.pixel_size == pytest.approx((0.01, 0.01))
    assert second.data_source == {"title": "degrees", "license": "CC0-1.0"}
    assert first.blocks["test"][1] == "2024-06-01T03:15:00"
    assert second.blocks["test"][1] == "2024-07-01T02:18:00"
    assert first.data_hash != second.data_hash
    assert first.share + second.share == pytest.approx(1)
    assert first.share == pytest.approx(0.43, abs=0.1)  # the root of 26 of 47 frames with about equal rain


def test_train_on_two_archives_gives_a_model_for_both(two_archives):
    model = stormcell.load(two_archives / "model.safetensors")
    for rain in (archive(), degrees()):
        assert model(rain, steps=2).sizes["time"] == 2
        assert len(model.for_archive(rain).blocks) == 1


def test_train_on_other_archives_than_before_is_refused(two_archives, tmp_path):
    state = json.loads((two_archives / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(state | {"finished": False}))
    with pytest.raises(
        RecipeError, match="expected the 2 archives and time steps that this run was begun with, found 1"
    ):
        quietly([archive()], tmp_path)
    for others in ([degrees(), archive()], [archive(), archive()], [archive(), degrees() * 2]):
        with pytest.raises(
            RecipeError, match="expected the frames that this run was begun with, found others"
        ):
            quietly(others, tmp_path)


@pytest.mark.parametrize("memory", [2**30, 0], ids=["in memory", "from the neighbourhood"])
def test_train_on_archives_with_an_index_reads_no_frame_before_the_first_batch(tmp_path, memory, monkeypatch):
    monkeypatch.setattr(crop_reader, "MEMORY", memory)
    reads, begun = [], []

    def fit(task, *_):
        begun.append(len(reads))
        task.batch(0, 0, 1)
        begun.append(len(reads))

    monkeypatch.setattr(nowcaster_run, "fit", fit)
    train([unread(archive(), "a", reads), unread(degrees(), "b", reads)], tmp_path, RECIPE, silent())
    assert begun[0] == 0
    assert begun[1] > 0


def silent() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_train_with_an_index_learns_what_it_learns_without(finished, tmp_path):
    train([unread(archive(), "a", [])], tmp_path, RECIPE, silent())
    assert losses(tmp_path) == losses(finished)
    assert not (tmp_path / "scans").exists()
    assert len(list((finished / "scans").iterdir())) == 1


def test_train_resumed_without_an_index_does_not_read_all_frames_again(tmp_path, monkeypatch):
    quietly(archive(), tmp_path, RECIPE.model_copy(update={"max_updates": 3}))
    state = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(state | {"finished": False}))
    monkeypatch.setattr(sampling_index.rain_index, "tile_statistics", None)
    quietly(archive(), tmp_path, RECIPE.model_copy(update={"max_updates": 3}))


@pytest.mark.parametrize("count", [1, 2])
def test_train_from_the_neighbourhood_resumes_to_the_bit(tmp_path, monkeypatch, count):
    monkeypatch.setattr(crop_reader, "MEMORY", 0)
    archives = [archive(), degrees()][:count]
    quietly(archives, tmp_path / "whole")
    written = []

    def full(path: Path, content: bytes) -> None:
        if path.name == "last.ckpt":
            written.append(path)
            if len(written) == 3:
                raise OutputError(f"{path}: could not be written: No space left on device")
        write_file(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_io, "write_file", full)
        with pytest.raises(OutputError):
            quietly(archives, tmp_path / "parts")
    assert "resuming the training in" in quietly(archives, tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_train_with_a_time_step_thins_archives_whose_step_divides_it(tmp_path):
    recipe = RECIPE.model_copy(update={"time_step_minutes": 10.0, "lead_minutes": 20})
    said = quietly([archive(60), degrees(120)], tmp_path, recipe)
    assert "every 10 min, thinned to one frame in 2" in said
    assert "every 10 min, thinned to one frame in 5" in said
    _, card, _ = model_file.load(tmp_path / "model.safetensors")
    assert [one.time_step_seconds for one in card.nowcasting.archives] == [600, 600]


def test_train_with_a_time_step_that_does_not_fit_names_the_archive(tmp_path):
    recipe = RECIPE.model_copy(update={"time_step_minutes": 4.0})
    with pytest.raises(
        ArgumentError, match=r"^a\.zarr: expected a time step that divides 4 min, found 5 min"
    ):
        train([Rain("b.zarr", degrees()), Rain("a.zarr", archive())], tmp_path / "run", recipe, silent())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [("root", [0.25, 0.75]), ("rain", [0.1, 0.9]), ("equal", [0.5, 0.5]), ([3.0, 1.0], [0.75, 0.25])],
)
def test_archive_shares_follow_the_recipe(chosen, expected):
    archives = [
        SimpleNamespace(training=SimpleNamespace(wet_pixels=lambda wet=wet: wet)) for wet in (1.0, 9.0)
    ]
    recipe = RECIPE.model_copy(update={"archive_shares": chosen})
    assert archive_shares(archives, recipe) == pytest.approx(expected)


def test_archive_shares_of_another_number_are_refused(tmp_path):
    recipe = RECIPE.model_copy(update={"archive_shares": [1.0, 2.0]})
    with pytest.raises(
        RecipeError, match="archive_shares: expected 1 numbers, one for each archive, found 2"
    ):
        quietly(archive(), tmp_path / "run", recipe)


def test_train_first_line_says_how_long_it_takes_and_how_to_resume(tmp_path):
    with pytest.raises(ArchiveError):
        train(archive() * 0, tmp_path / "run", Recipe(crop=63), (console := recording()))
    first = console.export_text().splitlines()[0]
    assert "at most 60 minutes (max_minutes)" in first
    assert "Ctrl-C stops it, and the same command resumes it" in first


def recording() -> Console:
    return Console(record=True, file=io.StringIO(), width=200)


@pytest.mark.parametrize("changed", [{"uniform_loss": True}, {"loss": "squared"}])
def test_train_with_another_loss_has_other_losses(finished, tmp_path, changed):
    quietly(archive(), tmp_path, RECIPE.model_copy(update=changed))
    first, other = (float(losses(folder)[1].split(",")[1]) for folder in (finished, tmp_path))
    assert other != first


@pytest.mark.parametrize("late", ["inserted", "appended"])
def test_train_on_an_archive_that_changes_meanwhile_is_refused_unless_at_its_end(tmp_path, monkeypatch, late):
    """Frames arrive after the first validation: one in the training block, or new ones at the end."""
    frames = synthetic.generate(seed=3, steps=40, shape=(40, 48))
    files = [tmp_path / f"{k}.nc" for k in range(40)]
    for k, file in enumerate(files):
        frames.isel(time=[k]).drop_dims("missing_times", errors="ignore").to_netcdf(file)
    missing = {files[5]} if late == "inserted" else set(files[36:])
    append(tmp_path / "a.zarr", [file for file in files if file not in missing])
    validate, added = nowcaster_run.NowcasterTask.validate, []

    def validate_and_append(task, network):
        added.extend(append(tmp_path / "a.zarr", sorted(missing)).added)
        return validate(task, network)

    monkeypatch.setattr(nowcaster_run.NowcasterTask, "validate", validate_and_append)
    archives = [Rain.open(tmp_path / "a.zarr")]
    if late == "appended":
        train(archives, tmp_path / "run", RECIPE, silent())
        assert len(losses(tmp_path / "run")) == 1 + RECIPE.max_updates
    else:
        with pytest.raises(ArchiveError, match=r"a\.zarr: expected the frames .* it changed during training"):
            train(archives, tmp_path / "run", RECIPE, silent())
        assert len(losses(tmp_path / "run")) == 1 + 2 * RECIPE.validate_every
    assert len(added) == len(missing)


def test_train_with_thinning_learns_from_several_time_steps_up_to_fifteen_minutes(tmp_path):
    recipe = RECIPE.model_copy(update={"thinning": [1, 2, 4], "lead_minutes": 20, "max_updates": 3})
    said = quietly([archive(60), degrees(120)], tmp_path, recipe)
    _, card, _ = model_file.load(tmp_path / "model.safetensors")
    steps = [one.time_step_seconds for one in card.nowcasting.archives]
    assert steps == [300, 600, 120, 240, 480]  # 20 minutes are too long
    assert "every 10 min, thinned to one frame in 2" in said
    assert sum(one.share for one in card.nowcasting.archives) == pytest.approx(1)


def test_train_validating_on_another_archive_trains_on_all_frames(tmp_path):
    said = quietly([archive()], tmp_path, RECIPE, validate_on=[degrees()])
    _, card, _ = model_file.load(tmp_path / "model.safetensors")
    (trained,) = card.nowcasting.archives
    assert trained.time_step_seconds == 300
    assert trained.blocks == {"train": ("2024-06-01T00:00:00", "2024-06-01T03:15:00")}
    assert "validating on 2024-07-01T00:00" in said
    (block,) = stormcell.load(tmp_path / "model.safetensors").blocks
    assert set(block) == {"train"}


def test_train_validating_on_another_archive_does_not_learn_from_it(tmp_path):
    """Without a best validation to keep, the weights do not depend on what is validated on."""
    recipe = RECIPE.model_copy(update={"keep": "last", "max_updates": 6})
    for name, others in (("a", degrees()), ("b", degrees() * 3)):
        quietly([archive()], tmp_path / name, recipe, validate_on=[others])
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    one, two = (model_file.load(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    for name, value in one[0].state_dict().items():
        assert torch.equal(two[0].state_dict()[name], value), name
    assert one[1].scores["validation_loss"] != two[1].scores["validation_loss"]


def test_train_without_validation_uses_all_frames(tmp_path):
    recipe = Recipe(**RECIPE.model_dump() | {"validation": "0%", "keep": "last", "max_updates": 3})
    quietly(archive(), tmp_path, recipe)
    _, card, _ = model_file.load(tmp_path / "model.safetensors")
    assert card.nowcasting.archives[0].blocks == {"train": ("2024-06-01T00:00:00", "2024-06-01T03:15:00")}
    assert "this run is finished" in quietly(archive(), tmp_path, recipe)


def test_train_writes_the_averaged_weights(finished):
    """Between the initial ones and the last."""
    stored = torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)
    average = {
        name.removeprefix("module."): value
        for name, value in stored["task"]["average"].items()
        if name != "n_averaged"
    }
    assert stored["task"]["average"]["n_averaged"] > 0
    network, _, _ = model_file.load(finished / "model.safetensors")
    assert average.keys() == network.state_dict().keys()
