"""Damaged files of every format: refused in one line, in bounded memory, and no library ends the process.

``STORMCELL_MUTANTS=2000 python -m pytest tests/data/readers/test_damage.py`` tries more of them.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

MUTANTS = int(os.environ.get("STORMCELL_MUTANTS", "100"))
PROGRAM = Path(__file__).with_name("damage.py")


def test_readers_damaged_file_is_refused_or_gives_frames_of_the_schema(sample, options, tmp_path):
    progress = tmp_path / "progress.txt"
    run = subprocess.run(
        [
            *(sys.executable, str(PROGRAM), str(sample), "--mutants", str(MUTANTS)),
            *("--progress", str(progress), "--options", json.dumps(dataclasses.asdict(options))),
        ],
        capture_output=True,
        text=True,
    )
    assert run.stdout, (
        f"{progress.read_text()}: the process ended with {run.returncode}: {run.stderr[-2000:]}"
    )
    found = json.loads(run.stdout)
    assert not found["failures"], f"{len(found['failures'])} failures: " + "\n".join(found["failures"][:10])
    assert found["refused"] >= 10  # those that were cut off, at least
    assert found["peak_bytes"] <= found["limit_bytes"]
