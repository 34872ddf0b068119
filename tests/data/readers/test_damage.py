"""Damaged files of every format: refused in one line, in bounded memory, and no library ends the process.

``STORMCELL_MUTANTS=2000 python -m pytest tests/data/readers/test_damage.py`` tries more of them, and
``-s`` shows how many were refused and read.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

MUTANTS = int(os.environ.get("STORMCELL_MUTANTS", "100"))
PROGRAM = Path(__file__).with_name("damage.py")
SILENCE = 30  # seconds without a line, after which a library is taken to never return
MOST_ENDS = 20  # after so many children that ended or hung, the rest is not tried


@dataclass
class Found:
    """What came of the damaged copies."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    peak: int = 0
    limit: int = 0

    def add(self, lines: list[str]) -> dict[str, object] | None:
        """Count the outcomes that a child printed; return the copy of which it printed none."""
        begun = None
        for line in map(json.loads, lines):
            if "damage" in line:
                begun = line
                continue
            outcome = line["outcome"]
            if outcome in ("refused", "read"):
                self.outcomes[outcome] += 1
            else:
                self.failures.append(f"{begun['damage']}: {outcome}")
            begun = None
            self.peak, self.limit = max(self.peak, line["peak_bytes"]), line["limit_bytes"]
        return begun


def read_damaged(program: list[str], sample: Path, scratch: Path, silence: float = SILENCE) -> Found:
    """Let children read the damaged copies; the next goes on behind the copy at which one ended or hung."""
    found = Found()
    first = 0
    for attempt in range(MOST_ENDS):
        folder = scratch / str(attempt)
        shutil.copytree(sample.parent, folder)
        lines, end = _child([*program, str(folder / sample.name), "--first", str(first)], scratch, silence)
        begun = found.add(lines)
        if begun is not None:
            found.failures.append(f"{begun['damage']}: {end}")
            first = begun["number"] + 1
        elif end == "the process ended with 0":
            return found
        else:
            raise AssertionError(f"{end}: {(scratch / 'errors').read_text()[-2000:]}")
    return found


def _child(command: list[str], scratch: Path, silence: float) -> tuple[list[str], str]:
    """Run a child until it ends, or prints nothing for a while; return its whole lines, and how it ended."""
    output = scratch / "output"
    with output.open("wb") as out, (scratch / "errors").open("wb") as errors:
        child = subprocess.Popen(command, stdout=out, stderr=errors)
    size, since, end = 0, time.monotonic(), None
    while end is None:
        try:
            end = f"the process ended with {child.wait(timeout=0.2)}"
        except subprocess.TimeoutExpired:
            if (now := output.stat().st_size) != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > silence:
                child.kill()
                child.wait()
                end = f"nothing happened for {silence} s"
    return output.read_text().splitlines(), end


def test_readers_damaged_file_is_refused_or_gives_frames_of_the_schema(
    module, sample, options, tmp_path_factory
):
    program = [
        *(sys.executable, str(PROGRAM), "--mutants", str(MUTANTS)),
        *("--options", json.dumps(dataclasses.asdict(options))),
    ]
    found = read_damaged(program, sample, tmp_path_factory.mktemp("damaged"))
    sys.stdout.write(f"{module}: {dict(found.outcomes)}, peak {found.peak // 2**20} MiB\n")
    assert not found.failures, f"{len(found.failures)} failures: " + "\n".join(found.failures[:10])
    assert found.outcomes["refused"] >= 10  # those that were cut off, at least
    assert found.peak <= found.limit


@pytest.mark.parametrize(
    ("does", "end"),
    [("os.abort()", "the process ended with -6"), ("time.sleep(60)", "nothing happened for 2 s")],
)
def test_read_damaged_child_that_ends_or_hangs_is_named_and_the_rest_is_read(does, end, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import json, os, sys, time\n"
        "for number in range(int(sys.argv[-1]), 3):\n"
        '    print(json.dumps({"number": number, "damage": f"mutant {number}"}), flush=True)\n'
        f"    if number == 1: {does}\n"
        '    print(json.dumps({"outcome": "read", "peak_bytes": 1, "limit_bytes": 2}), flush=True)\n'
    )
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "rain.dat").write_bytes(b"rain")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = read_damaged([sys.executable, str(program)], tmp_path / "sample" / "rain.dat", scratch, 2)
    assert found.failures == [f"mutant 1: {end}"]
    assert found.outcomes == {"read": 2}
