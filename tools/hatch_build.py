"""Put C kernels into a wheel, for the platform that the environment variable STORMCELL_WHEEL names.

Without the variable the wheel is for all platforms and has no kernels: those are compiled at first use. Zig's
C compiler, the package ziglang, compiles for every platform on any of them.
"""

import importlib.resources
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCES = "src/stormcell/nn/ops/native"
_TO = "stormcell/nn/ops/native/shipped"
_DTYPES = ("float32", "bfloat16", "float64")
# Those of stormcell.nn.ops.compiler; -fopenmp-simd, as PyTorch provides the threads.
_FLAGS = (
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fopenmp-simd",
    "-shared",
    "-s",
)
_WIDE = ("-mprefer-vector-width=512",)
# Zig links its own code and the C runtime of mingw-w64 into a library for Windows; elsewhere the system has
# the C runtime, and nothing is linked in. The licences lie in the folder of the package ziglang.
_WINDOWS_LICENCES = {"LICENSE-zig": "LICENSE", "LICENSE-mingw-w64": "lib/libc/mingw/COPYING"}
_X86_64 = {"x86-64-v3": ("-mcpu=x86_64_v3",), "x86-64-v4": ("-mcpu=x86_64_v4", *_WIDE)}


class Platform(NamedTuple):
    """What a wheel is built for."""

    tag: str
    target: str  # as Zig names it, with the oldest system that the library runs on
    suffix: str
    processors: dict[str, tuple[str, ...]]  # flags for each kind of processor


PLATFORMS = {
    "linux-x86_64": Platform("manylinux_2_17_x86_64", "x86_64-linux-gnu.2.17", ".so", _X86_64),
    "linux-aarch64": Platform(
        "manylinux_2_17_aarch64", "aarch64-linux-gnu.2.17", ".so", {"aarch64": ("-mcpu=generic",)}
    ),
    "macos-x86_64": Platform("macosx_11_0_x86_64", "x86_64-macos.11.0", ".dylib", _X86_64),
    "macos-arm64": Platform(
        "macosx_11_0_arm64", "aarch64-macos.11.0", ".dylib", {"aarch64": ("-mcpu=apple_m1",)}
    ),
    "windows-x86_64": Platform("win_amd64", "x86_64-windows-gnu", ".dll", _X86_64),
}


class KernelHook(BuildHookInterface[Any]):
    """Hatchling calls this before it builds."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile the kernels, and tell Hatchling of them."""
        name = os.environ.get("STORMCELL_WHEEL")
        if name is None:
            return
        if name not in PLATFORMS:
            raise SystemExit(f"STORMCELL_WHEEL: expected one of {', '.join(PLATFORMS)}, got {name!r}")
        platform, self._folder = PLATFORMS[name], Path(tempfile.mkdtemp())
        for library in compile_kernels(platform, Path(self.root, _SOURCES), self._folder):
            build_data["force_include"][str(library)] = f"{_TO}/{library.name}"
        for licence, path in licences(platform).items():
            build_data["force_include"][str(path)] = f"{_TO}/{licence}"
        build_data |= {"pure_python": False, "tag": f"py3-none-{platform.tag}"}

    def finalize(self, *_: Any) -> None:
        """Remove the compiled kernels, which the wheel contains now."""
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder)


def licences(platform: Platform) -> dict[str, Path]:
    """Return the licences of others' code in the libraries for a platform, by their names in the wheel."""
    folder = Path(str(importlib.resources.files("ziglang")))
    of_platform = _WINDOWS_LICENCES if platform.suffix == ".dll" else {}
    return {name: folder / path for name, path in of_platform.items()}


def compile_kernels(platform: Platform, sources: Path, to: Path) -> list[Path]:
    """Compile a library for each dtype and kind of processor, and return their paths."""
    libraries = []
    for processor, flags in platform.processors.items():
        for dtype in _DTYPES:
            library = to / f"{dtype}-{processor}{platform.suffix}"
            command = [sys.executable, "-m", "ziglang", "cc", "-target", platform.target, *flags, *_FLAGS]
            inputs = map(str, sorted(sources.glob("*.c")))
            subprocess.run([*command, f"-D{dtype.upper()}", *inputs, "-o", str(library)], check=True)
            libraries.append(library)
    return libraries
