"""The verbs as a user runs them: what they write, what they say, how they exit."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from typer.testing import CliRunner, Result

from stormcell.cli.main import app
from stormcell.data import synthetic

TINY = [
    "inputs=3", "lead_minutes=20", "channels=4", "detail_channels=4", "crop=32", "batch_size=2",
    "windows_per_batch=2",
    "max_minutes=null", "max_updates=4", "validate_every=2", "validation_crops=2",
]  # fmt: skip


def stormcell(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(result: Result) -> str:
    """What a verb that did nothing says: one line, and no traceback behind it."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("stormcell: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.fixture(scope="module")
def journey(tmp_path_factory) -> Path:
    """Radar files, an archive, a trained model."""
    folder = tmp_path_factory.mktemp("journey")
    synthetic.write(folder / "radar", seed=3, events=3, steps=16, shape=(40, 48))
    assert stormcell("archive", folder / "radar", "--out", folder / "a.zarr").exit_code == 0
    trained = stormcell("train", folder / "a.zarr", "--out", folder / "run", *TINY)
    assert trained.exit_code == 0, trained.output
    return folder


def contents(store: Path) -> dict[Path, bytes]:
    """Return the files of an archive, without the writer's own notes."""
    files = [path for path in store.rglob("*") if path.is_file() and ".stormcell" not in path.parts]
    return {path: path.read_bytes() for path in files}


def test_archive_same_files_twice_changes_nothing(journey):
    before = contents(journey / "a.zarr")
    again = stormcell("archive", journey / "radar", "--out", journey / "a.zarr")
    assert (again.exit_code, again.stderr) == (0, "")  # cron mails whatever a command writes there
    assert "0 frames added, 48 already present" in again.stdout
    assert contents(journey / "a.zarr") == before


def test_check_prints_frames_and_time_step(journey):
    done = stormcell("check", journey / "a.zarr")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert {"time step             5 min", "frames                48"} <= set(lines)
    assert not any(line.startswith("problem") for line in lines)
    deep = stormcell("check", journey / "a.zarr", "--deep").stdout.splitlines()
    assert "frames                48, all of them read" in deep


def test_archive_options_of_cleaning_grid_and_attributes_are_applied(tmp_path):
    frames = synthetic.generate(seed=3, steps=3, shape=(40, 48)).drop_vars("missing_times")
    frames["rainfall_rate"][0, 20, 20:22] = 9000
    frames.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    done = stormcell(
        "archive", tmp_path / "a.nc", "--out", tmp_path / "a.zarr", "--max-rate", 500, "--min-group", 2,
        "--grid", "EPSG:3035,2000", "--license", "CC-BY-4.0", "--attribute", "mlcast_dataset_version=1.0.0",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    removed = done.stdout.splitlines()[1]
    assert "implausible pixels removed in" in removed
    assert "2 impossible" in removed
    with xr.open_zarr(tmp_path / "a.zarr", chunks=None) as ds:
        assert (ds.attrs["license"], ds.attrs["mlcast_dataset_version"]) == ("CC-BY-4.0", "1.0.0")
        assert ds["rainfall_rate"].attrs["highest_rate_kept"] == 500
        assert ds["x"].values[1] - ds["x"].values[0] == 2000
        assert "EPSG" in ds["crs"].attrs["crs_wkt"]
    again = stormcell(
        "archive", tmp_path / "a.nc", "--out", tmp_path / "b.zarr", "--grid", tmp_path / "a.zarr",
        "--max-rate", "none",
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    assert "implausible" not in again.stdout
    with xr.open_zarr(tmp_path / "b.zarr", chunks=None) as ds:
        assert ds["rainfall_rate"].max() > 500
    wrong = [
        (["--max-rate", "much"], 'found "much"'),
        (["--min-group", 0], "found 0"),
        (["--grid", "EPSG:3035"], "expected CRS,RESOLUTION"),
        (["--attribute", "title"], "expected NAME=VALUE"),
        (["--attribute", "mlcast_created_on=x"], "expected a name that Stormcell does not write"),
    ]
    for words, reason in wrong:
        assert reason in refused(
            stormcell("archive", tmp_path / "a.nc", "--out", tmp_path / "c.zarr", *words)
        )
    assert not (tmp_path / "c.zarr").exists()


def test_archive_with_a_clutter_mask_of_another_grid_refuses_files(journey, tmp_path):
    assert stormcell("clutter", journey / "a.zarr", "--out", tmp_path / "c.nc").exit_code == 0
    synthetic.write(tmp_path / "radar", seed=3, events=1, steps=4, shape=(40, 64))
    done = stormcell(
        "archive", tmp_path / "radar", "--out", tmp_path / "b.zarr", "--clutter", tmp_path / "c.nc"
    )
    assert done.exit_code == 2
    assert "expected the mask's grid of 40 × 48, found 40 × 64" in done.stderr
    assert not (tmp_path / "b.zarr").exists()


def test_check_mlcast_lists_requirements_and_fails(journey):
    done = stormcell("check", journey / "a.zarr", "--mlcast")
    assert done.exit_code == 1
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines()]
    found = {row[1]: row[2] for row in rows if len(row) == 4}
    assert (found["license"], found["three years"]) == ("warning", "fail")
    assert found["mlcast_created_with"] == "cannot"
    assert "1 cannot" in done.stdout


def verify(journey, out, *options, names=("persistence", "extrapolation")) -> dict:
    """Run ``verify`` and return the scores."""
    words = [word for name in names for word in ("--forecaster", name)]
    done = stormcell("verify", journey / "a.zarr", *words, "--out", out, *options)
    assert done.exit_code == 0, done.output
    return json.loads((out / "scores.json").read_text())


def test_verify_scores_all_forecasters_on_the_test_block(journey):
    model = str(journey / "run" / "model.safetensors")
    names = [model, "persistence", "extrapolation"]
    scores = verify(journey, journey / "report", names=names)
    assert list(scores) == names
    for score in scores.values():
        assert score["lead_minutes"] == list(range(5, 65, 5))
        assert score["n_forecasts"] == scores[model]["n_forecasts"]
        assert score["n_pixels"] == scores[model]["n_pixels"]
        assert set(score["csi"]) == {"0.1", "0.5", "1.0", "2.0", "5.0", "10.0"}
    for name in names[1:]:
        assert scores[name]["mae"] == scores[name]["crps"]
    assert scores[model]["crps_of"] == "distribution"
    report = (journey / "report" / "report.html").read_text()
    assert "CC0-1.0" in report  # the license of the data
    assert "nowcaster" in report  # the model's title
    assert "Not an independent test" not in report


def test_verify_overlap_with_training_is_noted(journey):
    model = journey / "run" / "model.safetensors"
    archive = xr.open_zarr(journey / "a.zarr")
    first, last = (np.datetime_as_string(archive["time"].values[k], unit="m") for k in (3, 6))
    verify(journey, journey / "overlap", "--from", first, "--to", last, names=[model])
    note = "used times that are scored here: train block"
    assert note in (journey / "overlap" / "report.html").read_text()
    assert note in (journey / "overlap" / "scores.json").read_text()


def test_verify_of_an_archive_without_the_test_period_scores_all_of_it_with_a_note(journey, tmp_path):
    model = journey / "run" / "model.safetensors"
    early = sorted((journey / "radar").iterdir())[0]
    assert stormcell("archive", early, "--out", tmp_path / "a.zarr").exit_code == 0
    scores = verify(tmp_path, tmp_path / "report", names=[model])[str(model)]
    assert scores["n_forecasts"] == list(range(13, 1, -1))  # of 16 frames, with three inputs
    (note,) = scores["about"]["notes"]
    assert "is not in the archive, so all of the archive is scored" in note
    assert note in (tmp_path / "report" / "report.html").read_text()
    assert "overlap_with_training" in scores["about"]


def test_verify_of_one_frame_names_the_archive(tmp_path):
    synthetic.write(tmp_path / "radar", seed=3, events=1, steps=1, shape=(40, 48))
    assert stormcell("archive", tmp_path / "radar", "--out", tmp_path / "a.zarr").exit_code == 0
    done = stormcell("verify", tmp_path / "a.zarr", "--out", tmp_path / "report")
    assert "a.zarr: expected at least 2 frames, found 1" in refused(done)


def test_verify_merge_of_two_halves_equals_the_whole(journey, tmp_path):
    times = xr.open_zarr(journey / "a.zarr")["time"].values
    border = [np.datetime_as_string(times[k], unit="m") for k in (24, 25)]  # within an event
    model = str(journey / "run" / "model.safetensors")
    first, last = times[14], times[35]
    options = {
        "whole": ["--from", first, "--to", last],
        "a": ["--from", first, "--to", border[0]],
        "b": ["--from", border[1], "--to", last],
    }
    for name, period in options.items():
        verify(journey, tmp_path / name, *period, names=[model, "persistence"])
    merged = stormcell("verify", "--merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "merged")
    assert merged.exit_code == 0, merged.output
    for name in ("scores.json", "report.html"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "overlap_with_training" in (tmp_path / "merged" / "scores.json").read_text()
    compared = stormcell(
        "verify", "--merge", tmp_path / "whole", "--out", tmp_path / "compared", "--reference", "persistence",
        "--resample", "issue",
    )  # fmt: skip
    assert compared.exit_code == 0, compared.output
    scores = json.loads((tmp_path / "compared" / "scores.json").read_text())[model]
    assert scores["against_reference"]["reference"] == "persistence"
    assert scores["about"]["intervals"]["drawn"] == "issue"
    again = stormcell("verify", "--merge", tmp_path / "a", tmp_path / "whole", "--out", tmp_path / "twice")
    assert "every issue time once" in refused(again)
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize("name", ["run/model.safetensors", "extrapolation"])
def test_forecast_writes_rates_at_valid_times(journey, name, tmp_path):
    model = journey / name if "/" in name else name
    at = np.datetime_as_string(xr.open_zarr(journey / "a.zarr")["time"].values[10], unit="m")
    done = stormcell(
        "forecast",
        journey / "a.zarr",
        "--model",
        model,
        "--out",
        tmp_path / "f.nc",
        "--at",
        at,
        "--steps",
        4,
    )
    assert done.exit_code == 0, done.output
    with xr.open_dataset(tmp_path / "f.nc") as forecast:
        assert forecast["rainfall_rate"].dims == ("time", "y", "x")
        assert forecast["forecast_reference_time"].values == np.datetime64(at, "ns")
        assert (np.diff(forecast["time"].values) == np.timedelta64(5, "m")).all()
        assert forecast.sizes["time"] == 4


def test_clutter_writes_mask_and_map(journey, tmp_path):
    done = stormcell("clutter", journey / "a.zarr", "--out", tmp_path / "c.nc", "--excess", 0.5)
    assert done.exit_code == 0, done.output
    with xr.open_dataset(tmp_path / "c.nc") as found:
        assert (found.attrs["frames"], found.attrs["excess"]) == (48, 0.5)
        number, observed = int(found["clutter"].sum()), int(found["wet_frequency"].notnull().sum())
    assert 0 < observed < 1920
    assert (
        done.stdout.splitlines()[0]
        == f"{tmp_path / 'c.nc'}: {number} of {observed} observed pixels are static clutter"
    )
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width >= 900
    assert {path.name for path in tmp_path.iterdir()} == {"c.nc", "c.png"}
    for words, reason in (
        ([tmp_path / "c.txt"], "ends in .nc"),
        ([tmp_path / "d.nc", "--excess", 2], "found 2"),
    ):
        assert reason in refused(stormcell("clutter", journey / "a.zarr", "--out", *words))
    assert not (tmp_path / "d.nc").exists()


def test_forecast_folder_of_a_run_is_taken_as_its_model(journey, tmp_path):
    for number, model in enumerate((journey / "run", journey / "run" / "model.safetensors")):
        done = stormcell("forecast", journey / "a.zarr", "--model", model, "--out", tmp_path / f"{number}.nc")
        assert done.exit_code == 0, done.output
    folder, file = (xr.load_dataset(tmp_path / f"{number}.nc") for number in (0, 1))
    xr.testing.assert_equal(folder, file)


def test_forecast_unobserved_newest_frame_warns_and_suggests_the_latest_observed(tmp_path):
    frames = synthetic.generate(seed=3, steps=8, shape=(40, 48))
    frames["rainfall_rate"][-2:] = np.nan
    frames.drop_vars("missing_times").to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert stormcell("archive", tmp_path / "a.nc", "--out", tmp_path / "a.zarr").exit_code == 0
    times = frames["time"].values
    words = ["forecast", tmp_path / "a.zarr", "--model", "persistence", "--out", tmp_path / "f.nc"]
    done = stormcell(*words)
    assert done.exit_code == 0, done.output
    (warning,) = done.stderr.splitlines()
    suggested = str(np.datetime_as_string(times[-3], unit="m"))
    assert warning.startswith("stormcell: warning: the frame at")
    assert warning.endswith(f"--at {suggested}")
    assert np.isnan(xr.load_dataset(tmp_path / "f.nc")["rainfall_rate"]).all()
    done = stormcell(*words, "--at", suggested)
    assert (done.exit_code, done.stderr) == (0, "")
    assert np.isfinite(xr.load_dataset(tmp_path / "f.nc")["rainfall_rate"]).any()


def test_forecast_old_order_warns_and_writes_the_same(journey, tmp_path):
    for number, words in enumerate([("persistence", journey / "a.zarr"), (journey / "a.zarr",)]):
        option = ["--model", "persistence"] if number else []
        done = stormcell("forecast", *words, *option, "--out", tmp_path / f"{number}.nc")
        assert done.exit_code == 0, done.output
        warned = f"stormcell forecast {journey / 'a.zarr'} --model persistence" in done.stderr
        assert warned == (number == 0)
    old, new = (xr.load_dataset(tmp_path / f"{number}.nc") for number in (0, 1))
    xr.testing.assert_equal(old, new)


def test_training_on_says_it_is_finished(journey):
    again = stormcell("train", journey / "a.zarr", "--out", journey / "run", *TINY)
    assert again.exit_code == 0
    assert "this run is finished" in again.stderr


def test_train_on_two_archives_and_verify_score_the_test_block_of_each(journey, tmp_path):
    """The second archive is thinned to its every second frame; what is scored of it is not."""
    synthetic.write(tmp_path / "radar", seed=4, events=1, steps=40, shape=(44, 52))
    assert stormcell("archive", tmp_path / "radar", "--out", tmp_path / "a.zarr").exit_code == 0
    words = [journey / "a.zarr", tmp_path / "a.zarr", "time_step_minutes=10", *TINY]
    trained = stormcell("train", *words, "--out", tmp_path / "run")
    assert trained.exit_code == 0, trained.output
    assert "at most" in trained.stderr.splitlines()[0]
    assert not (tmp_path / "run" / "scans").exists()  # archives have an index, so that no frame was scanned
    assert f"{tmp_path / 'a.zarr'}: every 10 min, thinned to one frame in 2" in trained.stderr
    model = tmp_path / "run" / "model.safetensors"
    newest = []
    for folder in (journey, tmp_path):
        scores = verify(folder, tmp_path / f"report {len(newest)}", names=[model])[str(model)]
        assert scores["lead_minutes"][:2] == [5, 10]  # a network takes any time step
        assert "overlap_with_training" not in scores["about"]
        newest.append(scores["about"]["last_issue_time"])
        times = xr.open_zarr(folder / "a.zarr")["time"].values
        assert times[-5] <= np.datetime64(newest[-1]) < times[-1]
    done = stormcell("forecast", tmp_path / "a.zarr", "--model", model, "--out", tmp_path / "f.nc")
    assert done.exit_code == 0, done.output


def test_bad_input_is_one_line(journey, tmp_path):
    archive, model = journey / "a.zarr", journey / "run" / "model.safetensors"
    out = tmp_path / "out"
    using = ["--model", model, "--out", tmp_path / "f.nc"]
    cases = [
        (["check", tmp_path / "none.zarr"], "none.zarr"),
        (["train", tmp_path / "none.zarr", "--out", out], "none.zarr"),
        (["train", archive, "--out", out, "max_minuts=3"], 'the nearest is "max_minutes"'),
        (["train", "max_minutes=3", "--out", out], "expected at least one archive, found only settings"),
        (["train", archive, tmp_path / "b.zarr", "--out", out], "b.zarr"),
        (["train", archive, "--out", journey / "run", *TINY, "seed=9"], "seed (was 0, now 9)"),
        (["verify", archive, "--forecaster", "persistance", "--out", out], 'found "persistance"'),
        (["verify", archive, "--forecaster", tmp_path / "no.safetensors", "--out", out], "no such file"),
        (["verify", archive, "--forecaster", "persistence", "--out", out, "--from", "noon"], 'found "noon"'),
        (
            ["verify", archive, "--forecaster", "persistence", "--out", out, "--reference", "sprog"],
            "--reference: expected one of persistence, found sprog",
        ),
        (["verify", "--merge", tmp_path, "--out", out, "--members", 5], "expected folders of reports"),
        (["verify", archive, archive, "--out", out], "expected one archive, found 2"),
        (["verify", "--merge", tmp_path, "--out", out], "tallies.safetensors: expected the tallies"),
        (
            ["verify", "--merge", tmp_path, "--out", out, "--every", 5],
            "expected folders of reports and --out",
        ),
        (["forecast", archive, *using, "--at", "1999-01-01"], "the nearest is at"),
        (["forecast", archive, *using, "--at", "now"], 'found "now"'),
        (["forecast", archive, *using, "--at", "3000-01-01"], 'found "3000-01-01"'),
        (
            ["forecast", archive, "--model", "nowcaster-0", "--out", tmp_path / "f.nc"],
            "expected a model file or one of persistence",
        ),
        (["forecast", archive, archive, *using], "expected one archive"),
        (["forecast", archive, "--model", model, "--out", tmp_path / "f.txt"], "f.txt"),
    ]
    for words, told in cases:
        assert told in refused(stormcell(*words))
        assert not out.exists()
        assert not list(tmp_path.glob("f.*"))


@pytest.mark.parametrize("name", ["missing.pgm", "empty"])
def test_archive_without_radar_files_does_nothing(tmp_path, name):
    (tmp_path / "empty").mkdir()
    done = stormcell("archive", tmp_path / name, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert [line for line in done.stderr.splitlines() if line.startswith(f"refused {tmp_path / name}: ")]
    assert not (tmp_path / "out").exists()


def test_forecast_of_a_time_step_or_pixels_beyond_the_limits_is_refused(journey, tmp_path):
    model = journey / "run" / "model.safetensors"
    for change, told in (({"step_minutes": 20}, "20 min"), ({"pixel_km": 4.0}, "0.5 to 2 km, found 4 km")):
        name = next(iter(change))
        synthetic.write(tmp_path / name, seed=3, events=1, steps=6, shape=(40, 48), **change)
        assert stormcell("archive", tmp_path / name, "--out", tmp_path / f"{name}.zarr").exit_code == 0
        answer = stormcell(
            "forecast", tmp_path / f"{name}.zarr", "--model", model, "--out", tmp_path / "f.nc"
        )
        assert told in refused(answer)


def test_forecast_after_a_gap_starts_there_and_covers_an_hour(tmp_path):
    synthetic.write(tmp_path / "radar", seed=3, events=1, steps=8, shape=(40, 48), step_minutes=10)
    (file,) = (tmp_path / "radar").iterdir()
    with xr.open_dataset(file) as whole:
        whole.isel(time=[0, 1, 2, 3, 5, 6, 7]).to_netcdf(tmp_path / "gap.nc")
    assert stormcell("archive", tmp_path / "gap.nc", "--out", tmp_path / "a.zarr").exit_code == 0
    done = stormcell("forecast", tmp_path / "a.zarr", "--out", tmp_path / "f.nc")
    assert done.exit_code == 0, done.output
    with xr.open_dataset(tmp_path / "f.nc") as found:
        assert found.sizes["time"] == 6
    for found, issue in enumerate(xr.open_zarr(tmp_path / "a.zarr")["time"].values[4:6], start=1):
        at = np.datetime_as_string(issue, unit="m")
        after = stormcell("forecast", tmp_path / "a.zarr", "--at", at, "--out", tmp_path / "g.nc")
        said = (
            f"a.zarr at {at}: frames: expected at least 3 without a gap up to the issue time, found {found}"
        )
        assert said in refused(after)


def test_results_into_an_archive_are_refused(journey, tmp_path):
    path = tmp_path / "a.zarr"
    shutil.copytree(journey / "a.zarr", path)
    assert "an earlier forecast or nothing" in refused(stormcell("forecast", path, "--out", path))
    verify = stormcell("verify", path, "--forecaster", "persistence", "--out", path)
    assert "expected a folder for results, found a Zarr store" in verify.output
    assert stormcell("check", path).exit_code == 0


def test_archive_useless_file_is_named_and_others_are_appended(journey, tmp_path):
    (tmp_path / "radar.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    good = sorted((journey / "radar").iterdir())[0]
    done = stormcell("archive", tmp_path / "radar.h5", good, "--out", tmp_path / "a.zarr")
    assert done.exit_code == 1
    assert "refused" in done.stderr
    assert "radar.h5" in done.stderr
    assert stormcell("check", tmp_path / "a.zarr").exit_code == 0


def test_forecast_time_zone_is_converted_to_utc(journey, tmp_path):
    at = xr.open_zarr(journey / "a.zarr")["time"].values[10]
    local = f"{np.datetime_as_string(at + np.timedelta64(2, 'h'), unit='m')}+02:00"
    done = stormcell(
        "forecast", journey / "a.zarr", "--model", "persistence", "--out", tmp_path / "f.nc", "--at", local
    )
    assert done.exit_code == 0, done.output
    with xr.open_dataset(tmp_path / "f.nc") as forecast:
        assert forecast["forecast_reference_time"].values == at


def test_without_its_packages_the_command_line_says_which_extra_brings_them():
    code = "import sys; sys.modules['typer'] = None; from stormcell.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'pip install "stormcell[nowcast]"' in done.stderr


def test_help_is_quick_and_names_every_verb():
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "stormcell", "--help"], capture_output=True, text=True, check=True
    )
    took = time.perf_counter() - began
    for verb in ("demo", "archive", "check", "train", "verify", "forecast", "live", "status", "serve"):
        assert f" {verb} " in done.stdout
    assert took < 2  # seconds, on a machine that may be busy; what is imported is checked beside the floors


def test_check_reader_of_the_pipe_that_ends_is_no_error(journey):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "stormcell", "check", str(journey / "a.zarr")],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
