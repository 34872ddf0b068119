import ctypes
import logging
import os
import shlex
import subprocess
import sys

import pytest
import torch

from stormcell.nn.ops import compiler, kernels

COMPILER = shlex.split(os.environ.get("CC", "cc"))
HAS_COMPILER = kernels.library(torch.float32) is not None


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty cache on disk, and no result of earlier calls."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kernels.library.cache_clear()
    kernels._warn.cache_clear()
    yield tmp_path / "cache" / "stormcell"
    kernels.library.cache_clear()


@pytest.mark.skipif(not HAS_COMPILER, reason="no C compiler")
def test_library_compiles_once_and_is_stored(empty, monkeypatch):
    assert isinstance(kernels.library(torch.float32), ctypes.CDLL)
    (path,) = empty.iterdir()
    assert empty.stat().st_mode & 0o077 == 0
    kernels.library.cache_clear()  # another process
    monkeypatch.setattr(compiler, "_compile", lambda *_: pytest.fail("compiled again"))
    assert isinstance(kernels.library(torch.float32), ctypes.CDLL)
    assert list(empty.iterdir()) == [path]


@pytest.mark.skipif(not HAS_COMPILER, reason="no C compiler")
def test_library_name_depends_on_dtype_and_flags():
    names = {compiler._key(COMPILER, real) for real in (torch.float32, torch.bfloat16, torch.float64)}
    assert len(names | {compiler._key([*COMPILER, "-m64"], torch.float32)}) == 4
    assert compiler._key(COMPILER, torch.float32) in names


@pytest.mark.parametrize(
    ("broken", "reason"),
    [("nowhere", "no C compiler was found"), ("refuses", "cc: no licence"), ("unwritable", "File exists")],
)
def test_library_without_working_compiler_warns_once_and_is_none(
    empty, monkeypatch, caplog, tmp_path, broken, reason
):
    other = tmp_path / "cc"
    other.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "cc: no licence" >&2\nexit 1\n')
    other.chmod(0o755)
    monkeypatch.setenv("CC", "no-such-compiler" if broken == "nowhere" else str(other))
    if broken == "unwritable":
        empty.parent.mkdir()
        empty.write_text("a file where the cache should be")
    with caplog.at_level(logging.WARNING, "stormcell"):
        assert kernels.library(torch.float32) is None
        assert kernels.library(torch.bfloat16) is None
    (line,) = caplog.messages
    assert line.startswith("the layers run slower, without compiled CPU kernels: ")
    assert reason in line
    assert reason in kernels.failure(torch.float32)
    if broken == "refuses":
        assert list(empty.iterdir()) == []


def test_layers_without_compiler_compute_the_same(tmp_path):
    code = """
import torch
from stormcell.nn import ConvLSTM2d
torch.manual_seed(1)
fused, plain = ConvLSTM2d(2, 3, 3, backend="fused"), ConvLSTM2d(2, 3, 3, backend="reference")
plain.load_state_dict(fused.state_dict())
x = torch.rand(4, 2, 2, 5, 6)
torch.testing.assert_close(fused(x)[0], plain(x)[0])
"""
    environment = os.environ | {"CC": "no-such-compiler", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the layers run slower") == 1
