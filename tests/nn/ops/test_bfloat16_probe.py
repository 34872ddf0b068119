import pytest
import torch

from stormcell.nn import ConvGRU2d, ConvLSTM2d, TrajGRU2d
from stormcell.nn.ops import bfloat16_probe, machine_cache
from stormcell.nn.ops.bfloat16_probe import Probe

SLOW = Probe(float32=1 / 314, bfloat16=1 / 182)  # as measured with AVX512-BF16 and without AMX
FAST = Probe(float32=1 / 500, bfloat16=1 / 5000)  # with AMX


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty cache on disk, and no result of earlier calls."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bfloat16_probe.measured.cache_clear()
    yield tmp_path / "cache" / "stormcell"
    bfloat16_probe.measured.cache_clear()


def measure_once(monkeypatch):
    """Let the next measurement give SLOW, and any after it fail."""
    results = [SLOW]
    monkeypatch.setattr(bfloat16_probe, "_measure", results.pop)


@pytest.mark.parametrize(
    ("probe", "bfloat16", "float32"),
    [
        (SLOW, False, [True, True]),
        (FAST, True, [False, False]),
        (Probe(float32=2, bfloat16=1), True, [False, False]),
        (Probe(float32=1, bfloat16=1), False, [True, False]),
    ],
)
def test_probe_prefers_what_is_faster_by_a_fifth(probe, bfloat16, float32):
    assert probe.prefers_bfloat16 == bfloat16
    assert [probe.prefers_float32(share) for share in (0.5, 1)] == float32


def test_measured_is_stored_and_read_again(empty, monkeypatch):
    measure_once(monkeypatch)
    assert bfloat16_probe.measured() == SLOW
    (path,) = empty.iterdir()
    bfloat16_probe.measured.cache_clear()  # another process
    assert bfloat16_probe.measured() == SLOW
    assert list(empty.iterdir()) == [path]


@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_measured_with_fewer_instructions_is_stored_separately(empty, monkeypatch, variable):
    results = [SLOW, FAST]
    monkeypatch.setattr(bfloat16_probe, "_measure", results.pop)
    monkeypatch.delenv(variable, raising=False)
    for _ in range(2):  # measured, and read again
        for limit, expected in (("", FAST), ("AVX512_CORE_BF16", SLOW)):
            monkeypatch.setenv(variable, limit)
            bfloat16_probe.measured.cache_clear()  # another process
            assert bfloat16_probe.measured() == expected
    assert len(list(empty.iterdir())) == 2


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"float32": 1}'])
def test_measured_with_damaged_file_measures_again(empty, monkeypatch, content):
    measure_once(monkeypatch)
    bfloat16_probe.measured()
    (path,) = empty.iterdir()
    path.write_text(content)
    bfloat16_probe.measured.cache_clear()
    measure_once(monkeypatch)
    assert bfloat16_probe.measured() == SLOW
    bfloat16_probe.measured.cache_clear()
    assert bfloat16_probe.measured() == SLOW


def test_measured_without_writable_folder_measures_once_per_process(empty, monkeypatch):
    empty.parent.touch()  # a file where the folder should be
    measure_once(monkeypatch)
    assert bfloat16_probe.measured() == bfloat16_probe.measured() == SLOW


@pytest.mark.usefixtures("empty")
def test_measured_under_autocast_times_both_kinds():
    with torch.autocast("cpu", torch.bfloat16):
        probe = bfloat16_probe.measured()
    assert min(probe) > 0


def test_measured_by_a_user_without_home_measures_once_per_process(empty, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(machine_cache.Path, "home", home)
    measure_once(monkeypatch)
    assert bfloat16_probe.measured() == bfloat16_probe.measured() == SLOW
    assert not empty.exists()


@pytest.mark.usefixtures("empty")
def test_measured_uses_one_thread_and_both_kinds_in_turn(monkeypatch):
    convolve, threads = torch.conv2d, torch.get_num_threads()
    seen = []

    def conv2d(images, weight, **options):
        seen.append((torch.get_num_threads(), images.dtype))
        return convolve(images, weight, **options)

    monkeypatch.setattr(torch, "conv2d", conv2d)
    try:
        torch.set_num_threads(2)
        bfloat16_probe.measured()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert len(seen) > 4
    assert seen == [(1, torch.float32), (1, torch.bfloat16)] * (len(seen) // 2)


@pytest.mark.parametrize("build", [ConvLSTM2d, ConvGRU2d, TrajGRU2d])
def test_layer_on_processor_slow_in_bfloat16_is_closer_to_float32(build, monkeypatch):
    torch.manual_seed(1)
    rnn, x = build(16, 16, 3), torch.randn(3, 2, 16, 9, 11)
    exact, errors = rnn.double()(x.double())[0], {}
    rnn.float()
    for name, probe in (("slow", SLOW), ("fast", FAST)):
        monkeypatch.setattr(bfloat16_probe, "measured", lambda probe=probe: probe)
        with torch.autocast("cpu", torch.bfloat16):
            output, _ = rnn(x)
            said = str(rnn.explain(x))
        assert output.dtype == torch.bfloat16
        assert (", in float32" in said) == (name == "slow")
        errors[name] = (output.double() - exact).norm()
        gradients = torch.autograd.grad(output.float().sum(), list(rnn.parameters()))
        assert all(gradient.isfinite().all() for gradient in gradients)
    assert 0 < errors["slow"] < 1.1 * errors["fast"]
