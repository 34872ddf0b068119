"""The wheel of this platform carries C kernels that a bare environment uses from its first call."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import torch
from benchmarks.layers.wheel import build

from stormcell.nn.ops import machine_cache

NEEDS_ZIG = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None or importlib.util.find_spec("hatchling") is None,
    reason="no ziglang or no hatchling: see requirements-wheels.lock",
)
HERE = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="not on Linux x86-64"
)
pytestmark = NEEDS_ZIG

ROOT = Path(__file__).resolve().parents[1]
FIRST_CALL = """
import torch
from stormcell.nn import ConvGRU2d, ConvLSTM2d, TrajGRU2d
from stormcell.nn.foreign import from_torch, to_torch
torch.manual_seed(1)
x = torch.rand(4, 2, 8, 10, 12)
for layer, options in ((ConvLSTM2d, {}), (ConvGRU2d, {}), (TrajGRU2d, {"num_flows": 3})):
    fused, plain = (layer(8, 16, 3, backend=b, **options) for b in ("fused", "reference"))
    plain.load_state_dict(fused.state_dict())
    for bfloat16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            found, right = fused(x)[0], plain(x)[0]
            print(fused.explain(x))
        off = 2**-5 if bfloat16 else 1e-5  # some roundings of numbers below 1
        torch.testing.assert_close(found, right, rtol=0, atol=off)
    gradients = [torch.autograd.grad(rnn(x)[0].sum(), list(rnn.parameters())) for rnn in (fused, plain)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-3)
rnn = ConvLSTM2d(8, 16, 3, peephole=None, batch_first=True)
theirs = to_torch("ndrplz", rnn)
again = from_torch("ndrplz", theirs)
assert all(torch.equal(theirs[name], value) for name, value in to_torch("ndrplz", again).items())
torch.testing.assert_close(again(x)[0], rnn(x)[0], rtol=0, atol=0)
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel for Linux x86-64."""
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def bare(wheel, tmp_path_factory):
    """A virtual environment with the wheel, and with this one's other packages; nobody can write to it."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "others.pth").write_text(str(Path(torch.__file__).parent.parent))
    for path in packages.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder / "bin" / "python"
    for path in [packages, *packages.rglob("*")]:
        path.chmod(0o755)


def first_call(python, home, **environment):
    """The process that calls and explains layers without a compiler, and with a file for a home."""
    bare = {"PATH": "/nowhere", "HOME": str(home), "XDG_CACHE_HOME": str(home), "CC": "no-such-compiler"}
    done = subprocess.run([python, "-c", FIRST_CALL], env=bare | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def home(tmp_path):
    """A home in which no folder can be made, not even by the superuser."""
    path = tmp_path / "home"
    path.touch()
    return path


@HERE
@pytest.mark.parametrize(("says", "processor"), [("default", "x86-64-v4"), ("avx2", "x86-64-v3")])
def test_wheel_in_bare_environment_uses_its_kernels_at_first_call(bare, home, says, processor):
    if processor == "x86-64-v4" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this processor has no AVX-512")
    environment = {} if says == "default" else {"ATEN_CPU_CAPABILITY": says}
    done = first_call(bare, home, **environment)
    assert done.stderr == ""
    assert done.stdout.count(f"compiled kernels: from the wheel, for {processor}") == 6  # three in bfloat16
    assert "convolution of input and state: Winograd, compiled" in done.stdout
    assert "gates: compiled" in done.stdout
    assert "gates: PyTorch" not in done.stdout
    has_amx = processor == "x86-64-v4" and "amx_bf16" in machine_cache.processor().split()
    assert done.stdout.count("AMX, compiled") == (1 if has_amx else 0)  # the ConvLSTM in bfloat16


@HERE
def test_wheel_in_two_homes_keeps_measurements_in_each(bare, tmp_path):
    names = []
    for user in ("one", "another"):
        home = tmp_path / user
        home.mkdir()
        done = first_call(bare, home)
        assert done.stderr == ""
        assert done.stdout.count("compiled kernels: from the wheel") == 6
        assert (home / "stormcell").stat().st_mode & 0o777 == 0o700
        names.append([path.name for path in (home / "stormcell").iterdir()])
    assert names[0] == names[1]
    assert len(names[0]) == 1  # how fast bfloat16 is; no compiled code


@HERE
def test_wheel_on_processor_without_avx2_uses_pytorch(bare, home):
    done = first_call(bare, home, ATEN_CPU_CAPABILITY="default")
    assert "the layers run slower, without compiled CPU kernels: no C compiler was found" in done.stderr
    assert "gates: PyTorch" in done.stdout


@HERE
@pytest.mark.parametrize("processor", ["x86-64-v3", "x86-64-v4"])
def test_wheel_kernels_of_rain_compute_what_numpy_and_pytorch_compute(wheel, tmp_path, processor):
    if processor == "x86-64-v4" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this processor has no AVX-512")
    name = f"stormcell/nn/ops/native/shipped/float32-{processor}.so"
    library = zipfile.ZipFile(wheel).extract(name, tmp_path)
    (tmp_path / "with_kernels.py").write_text(
        "import ctypes\nfrom stormcell.nn.ops import kernels\n"
        f"kernels.library = lambda dtype: ctypes.CDLL({library!r})\n"
    )
    tests = ROOT / "tests" / "forecast" / "test_rain_kernels.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "with_kernels", "-p", "no:cacheprovider", tests]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


@HERE
def test_wheel_names_its_platform_and_needs_only_old_symbols(wheel, tmp_path):
    assert wheel.name.endswith("-py3-none-manylinux_2_17_x86_64.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    libraries = sorted(tmp_path.glob("stormcell/nn/ops/native/shipped/*.so"))
    assert [path.stem for path in libraries] == [
        f"{dtype}-x86-64-{level}" for dtype in ("bfloat16", "float32", "float64") for level in ("v3", "v4")
    ]
    if shutil.which("objdump") is None:
        pytest.skip("no objdump")
    for path in libraries:
        said = subprocess.run(["objdump", "-T", path], capture_output=True, text=True, check=True).stdout
        needed = {word for word in said.replace("(", " ").replace(")", " ").split() if "GLIBC_" in word}
        assert needed <= {f"GLIBC_2.{minor}" for minor in ("2.5", 14, 17)}, path.name


@pytest.fixture
def hatch_build():
    """The module that puts kernels into wheels."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "tools" / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_wheel_for_windows_alone_has_the_licences_of_what_is_linked_in(hatch_build, monkeypatch, tmp_path):
    monkeypatch.setattr(hatch_build, "compile_kernels", lambda *_: [])
    texts = {}
    for name in hatch_build.PLATFORMS:
        monkeypatch.setenv("STORMCELL_WHEEL", name)
        build_data = {"force_include": {}}
        hook = hatch_build.KernelHook(str(ROOT), {}, None, None, str(tmp_path), "wheel")
        hook.initialize("standard", build_data)
        hook.finalize()
        texts[name] = " ".join(Path(path).read_text("utf-8") for path in build_data["force_include"])
        assert all("/native/shipped/LICENSE-" in to for to in build_data["force_include"].values())
    assert "mingw-w64 project" in texts["windows-x86_64"]
    assert "Copyright (c) Zig contributors" in texts["windows-x86_64"]
    assert {name for name, text in texts.items() if text} == {"windows-x86_64"}


@HERE
@pytest.mark.skipif(shutil.which("objdump") is None, reason="no objdump")
def test_wheel_for_linux_has_no_code_of_others(hatch_build, monkeypatch, tmp_path):
    monkeypatch.setattr(hatch_build, "_FLAGS", [flag for flag in hatch_build._FLAGS if flag != "-s"])
    monkeypatch.setattr(hatch_build, "_DTYPES", ["float32"])
    linux = hatch_build.PLATFORMS["linux-x86_64"]
    v3 = linux._replace(processors={"x86-64-v3": linux.processors["x86-64-v3"]})
    (path,) = hatch_build.compile_kernels(v3, ROOT / "src" / "stormcell" / "nn" / "ops" / "native", tmp_path)
    said = subprocess.run(["objdump", "-t", path], capture_output=True, text=True, check=True).stdout
    functions = {line.split()[-1] for line in said.splitlines() if " F " in line}
    ours = "".join(source.read_text() for source in (ROOT / "src").rglob("native/*.[ch]"))
    assert functions
    assert not [name for name in functions if name.partition(".")[0] not in ours]
