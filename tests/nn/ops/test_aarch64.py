"""The C kernels give the right numbers on 64-bit ARM, which QEMU emulates."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stormcell.nn.ops import kernels

NATIVE = Path(kernels.__file__).with_name("native")
# As for the wheel; Zig compiles the C library of a static program once.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fopenmp-simd", "-static"]
NEEDS_ZIG = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="no ziglang: see requirements-wheels.lock"
)
NEEDS_QEMU = pytest.mark.skipif(
    shutil.which("qemu-aarch64") is None, reason="no qemu-aarch64: Debian's package qemu-user has it"
)


@NEEDS_ZIG
@NEEDS_QEMU
@pytest.mark.parametrize("dtype", ["FLOAT32", "BFLOAT16", "FLOAT64"])
def test_kernels_on_aarch64_match_the_sums_they_stand_for(dtype, tmp_path):
    program = tmp_path / "check"
    sources = sorted(Path(__file__).parent.glob("check_*.c")) + sorted(NATIVE.glob("*.c"))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", *FLAGS, f"-D{dtype}"]
    command += [f"-I{NATIVE}", *map(str, sources), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(["qemu-aarch64", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
