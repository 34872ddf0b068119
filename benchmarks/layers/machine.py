"""The machine and versions of a measurement."""

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from stormcell.nn.ops import onednn

ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("stormcell", "torch", "numpy", "keras", "tensorflow")
_QUIET = 0.3  # share of the cores


def data_folder() -> Path:
    """Return the folder of the radar files: ``STORMCELL_DATA``, or ``shared/data`` beside the checkout."""
    return Path(os.environ.get("STORMCELL_DATA") or ROOT.parent / "shared" / "data")


def about(device: str, threads: int) -> dict[str, Any]:
    """Return machine, versions, date and commit of a measurement."""
    return {
        "machine": _name(device),
        "threads": threads,
        "device": device,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "versions": {"python": platform.python_version()} | _versions(),
        "commit": commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": command("benchmarks.layers"),
        "load": load(),
    }


def command(module: str) -> str:
    """Return the command that runs a module with the arguments of this process."""
    return " ".join([f"python -m {module}", *sys.argv[1:]])


def where(module: str) -> str:
    """Return a line of Markdown: the processor, the date, the commit and the command of a measurement."""
    found = about("cpu", os.cpu_count() or 1)
    return (
        f"{found['machine']} ({found['instructions']}), {found['date']}, commit {found['commit']}; "
        f"`{command(module)}`."
    )


def file_name(about: dict[str, Any]) -> str:
    """Return the file name of the results, without suffix."""
    machine = re.sub(r"[^a-z0-9]+", "-", about["machine"].lower().replace("(r)", "")).strip("-")
    return f"{machine}-{about['date']}-{about['commit']}"


def load() -> float | None:
    """Return the load average of the last minute; None if unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def disturbed(about: dict[str, Any]) -> str | None:
    """Return a warning if other processes are busy; otherwise None."""
    cores = os.cpu_count() or 1
    if about["load"] is None or about["load"] <= _QUIET * cores:
        return None
    return f"this machine is not quiet: a load of {about['load']:.1f} on {cores} cores, and times will suffer"


def _name(device: str) -> str:
    """Return the name of the processor, and how oneDNN is limited there, or that of the GPU."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    limit = onednn.instruction_limit()
    return f"{os.cpu_count()} cores {model}" + (f", oneDNN limited to {limit}" if limit else "")


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the commit, and mark it if tracked files were changed."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return said or "unknown"
