import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.live.conftest import STEP, Rig
from typer.testing import CliRunner

from stormcell.cli.live import period
from stormcell.cli.main import app
from stormcell.errors import ArgumentError
from stormcell.published.reading import Shelf


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def fed(tmp_path):
    """A rig whose feed has four frames, the newest of this moment."""
    rig = Rig(tmp_path)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for k in range(4):
        rig.put(k, dated=now - (3 - k) * STEP)
    return rig


def peak_memory(process):
    """The most memory that a process has used, in bytes; 0 where /proc is missing."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def words(rig, *more):
    return [
        *("live", rig.feed, "--archive", rig.settings.archive, "--out", rig.out),
        *("--model", "extrapolation", "--steps", 2, "--poll", 0.1, "--min-free", 0, *more),
    ]


def test_live_once_publishes_and_status_is_fresh(fed):
    done = run(*words(fed, "--once"))
    assert done.exit_code == 0, done.output
    assert len(fed.folders) == 1
    found = run("status", fed.out)
    assert found.exit_code == 0, found.output
    assert "by extrapolation" in found.stdout
    assert run("status", fed.out, "--max-age", "0min").exit_code == 1


def test_live_once_with_a_corrupt_file_says_so(fed):
    fed.put(3, "torn.pgm", cut=0.5)
    done = run(*words(fed, "--once"))
    assert done.exit_code == 1, done.output
    assert "torn.pgm" in done.stderr


def test_live_once_with_nothing_to_publish_exits_with_2(tmp_path):
    rig = Rig(tmp_path)
    done = run(*words(rig, "--once"))
    assert done.exit_code == 2
    assert "nothing is published, because" in done.output
    assert run("status", rig.out).exit_code == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--keep", "soon"], '--keep: expected a period such as 15min, 24h or 7d, found "soon"'),
        (["--probabilities", "0"], "--probabilities: expected rain rates above 0 mm/h"),
        (["--zr", "200"], "--zr: expected two numbers A,B"),
        (["--model", "unknown"], 'found "unknown"'),
        (["--layout", "grib"], '--layout: expected fews or pysteps, found "grib"'),
    ],
)
def test_live_wrong_option_is_one_line(fed, more, message):
    done = run(*words(fed, "--once", *more))
    assert done.exit_code == 2
    assert message in done.stderr
    assert fed.folders == []


def test_live_second_loop_is_refused_and_the_first_stops_when_it_is_asked(fed):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "stormcell", *map(str, words(fed))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        end = time.monotonic() + 120
        while Shelf(fed.out).latest() is None and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.1)
        second = run(*words(fed))
        assert second.exit_code == 2
        assert f"found process {process.pid}" in second.stderr
        assert peak_memory(process.pid) < 200e6
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert time.monotonic() - asked < 10
    finally:
        process.kill()
        errors = process.stderr.read()
        process.stderr.close()
        process.wait()
    assert "Traceback" not in errors
    assert Shelf(fed.out).status().state == "stopped"


def test_live_parent_process_needs_neither_torch_nor_the_readers_of_files():
    code = (
        "import sys, stormcell.cli.live; print(sorted({'torch', 'zarr', 'h5py', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_period_is_in_minutes_hours_or_days():
    assert period("--keep", "15min") == timedelta(minutes=15)
    assert period("--keep", "24h") == timedelta(hours=24)
    assert period("--keep", "7d") == timedelta(days=7)
    with pytest.raises(ArgumentError):
        period("--keep", "7")


def test_rehearse_prints_the_invariants(fed, tmp_path):
    from stormcell.data import archive

    archive.append(fed.settings.archive, list(fed.feed.iterdir()))
    rates = [word for name in ("late", "future", "revised", "blind") for word in (f"--{name}", 0)]
    done = run("rehearse", fed.settings.archive, "--out", tmp_path / "rehearsal", *rates)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("kept") == 6
    refused = run("rehearse", fed.settings.archive, "--out", tmp_path / "other", "--late", 2)
    assert refused.exit_code == 2
    assert "shares of frames" in refused.stderr
