import ctypes
import logging
import shutil

import pytest
import torch
from tests.nn.ops.recurrences import numbers

from stormcell.nn import ConvLSTM2d
from stormcell.nn.ops import compiler, kernels, shipped_kernels

NEEDS_COMPILER = pytest.mark.skipif(kernels.library(torch.float64) is None, reason="no C compiler")


@pytest.fixture(autouse=True)
def fresh():
    """Forget the loaded kernels, before and after."""
    kernels.library.cache_clear()
    yield
    kernels.library.cache_clear()


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder as in a wheel, with kernels for processors with AVX2, and a processor that has AVX-512."""
    monkeypatch.setattr(shipped_kernels, "FOLDER", tmp_path)
    monkeypatch.setattr(shipped_kernels.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(shipped_kernels.sys, "platform", "linux")
    shutil.copy(compiler.compiled(torch.float32), tmp_path / "float32-x86-64-v3.so")
    return tmp_path


@NEEDS_COMPILER
@pytest.mark.usefixtures("shipped")
def test_library_of_wheel_is_taken_before_any_is_compiled(monkeypatch):
    monkeypatch.setattr(compiler, "compiled", lambda _: pytest.fail("compiled"))
    assert isinstance(kernels.library(torch.float32), ctypes.CDLL)
    assert kernels.origin(torch.float32) == "from the wheel, for x86-64-v3"
    assert kernels.failure(torch.float32) is None


@NEEDS_COMPILER
@pytest.mark.usefixtures("shipped")
def test_library_for_processor_without_kernels_in_wheel_is_compiled(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert kernels.library(torch.float32) is not None
    assert kernels.origin(torch.float32) == "compiled on this machine"


@NEEDS_COMPILER
def test_library_of_wheel_that_is_damaged_is_compiled_and_logged(shipped, caplog):
    (shipped / "float32-x86-64-v4.so").write_bytes(b"no library")
    with caplog.at_level(logging.WARNING, "stormcell"):
        assert isinstance(kernels.library(torch.float32), ctypes.CDLL)
    assert kernels.origin(torch.float32) == "compiled on this machine"
    (line,) = caplog.messages
    assert line.startswith("the wheel's kernels cannot be loaded: ")
    assert "float32-x86-64-v4.so" in line


@NEEDS_COMPILER
def test_library_of_wheel_that_is_damaged_without_compiler_is_none(shipped, monkeypatch):
    (shipped / "float32-x86-64-v4.so").write_bytes(b"no library")
    monkeypatch.setenv("CC", "no-such-compiler")
    assert kernels.library(torch.float32) is None
    assert kernels.failure(torch.float32) == "no C compiler was found"


@NEEDS_COMPILER
@pytest.mark.parametrize(
    ("capability", "native", "says"),
    [
        ("AVX512", "1", "compiled kernels: from the wheel, for x86-64-v3"),
        ("DEFAULT", "1", "compiled kernels: compiled on this machine"),
        ("AVX512", "0", "compiled kernels are not available: STORMCELL_NATIVE=0"),
    ],
)
@pytest.mark.usefixtures("shipped")
def test_explanation_says_which_kernels_run(monkeypatch, capability, native, says):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setenv("STORMCELL_NATIVE", native)
    explained = str(ConvLSTM2d(2, 6, 3).explain(torch.rand(3, 2, 2, 5, 7)))
    assert explained.count("compiled kernels") == 1
    assert says in explained


@NEEDS_COMPILER
def test_find_prefers_the_newest_processor(shipped):
    (shipped / "float32-x86-64-v4.so").touch()
    assert shipped_kernels.find(torch.float32).processor == "x86-64-v4"
    assert shipped_kernels.find(torch.bfloat16) is None


@NEEDS_COMPILER
@pytest.mark.parametrize(("system", "suffix"), [("darwin", "dylib"), ("linux", "so")])
@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_find_on_arm_takes_its_kernels(shipped, monkeypatch, machine, system, suffix):
    monkeypatch.setattr(shipped_kernels.platform, "machine", lambda: machine)
    monkeypatch.setattr(shipped_kernels.sys, "platform", system)
    (shipped / f"float32-aarch64.{suffix}").touch()
    assert shipped_kernels.find(torch.float32).path.name == f"float32-aarch64.{suffix}"


@NEEDS_COMPILER
@pytest.mark.usefixtures("shipped")
def test_layer_before_pytorch_2_10_uses_openmp_and_gives_the_same_bits(monkeypatch):
    rnn, x = ConvLSTM2d(2, 6, 3).double(), numbers(3, 2, 2, 5, 7)
    expected = rnn(x)
    monkeypatch.setattr(kernels, "_parallel_for_of_torch", lambda: None)
    kernels.library.cache_clear()
    assert kernels.library(torch.float32) is not None
    assert kernels.origin(torch.float32) == "compiled on this machine"
    torch.testing.assert_close(rnn(x), expected, rtol=0, atol=0)


@NEEDS_COMPILER
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_kernel_runs_in_as_many_threads_as_pytorch(threads):
    before = torch.get_num_threads()
    parts = []
    record = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(
        lambda first, last, _: parts.append((first, last))
    )
    kernel = kernels.Kernel(kernels.library(torch.float64), "lstm_forward")
    kernel._function = record
    try:
        torch.set_num_threads(threads)
        kernel(10)
    finally:
        torch.set_num_threads(before)
    assert len(parts) == threads
    assert sorted(k for first, last in parts for k in range(first, last)) == list(range(10))
