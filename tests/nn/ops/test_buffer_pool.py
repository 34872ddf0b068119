"""A buffer of the pool belongs to one tensor at a time."""

import copy
import gc
import io
import sys
import threading
import time

import pytest
import torch

from stormcell.nn.ops import buffer_pool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pool exists on Linux only")
CPU = torch.device("cpu")
LARGE = (1 << 20,)


@pytest.fixture(autouse=True)
def empty_pool(monkeypatch):
    gc.collect()
    monkeypatch.setattr(buffer_pool, "_idle", {})


def large(dtype=torch.float32):
    return buffer_pool.empty(LARGE, dtype, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensor_of_pool_behaves_like_any_other(dtype):
    tensor = buffer_pool.empty((3, 1 << 18, 3), dtype, CPU)
    assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == ((3, 1 << 18, 3), dtype, True)
    assert tensor.data_ptr() % 64 == 0
    tensor.fill_(1)
    assert copy.deepcopy(tensor).sum(dtype=torch.float64) == tensor.numel()
    file = io.BytesIO()
    torch.save(tensor, file)
    assert file.tell() < 1.01 * tensor.nbytes  # the rest of the buffer is not saved
    file.seek(0)
    assert torch.equal(torch.load(file), tensor)
    tensor.requires_grad_()
    (tensor * 2).sum().backward()
    assert tensor.grad.eq(2).all()


def test_buffer_is_reused_after_its_last_view():
    tensor = large()
    where, view = tensor.data_ptr(), tensor[5:].view(-1)
    del tensor
    assert large().data_ptr() != where
    del view
    tensors = [large() for _ in range(3)]
    assert where in [each.data_ptr() for each in tensors]
    assert len({each.data_ptr() for each in tensors}) == 3


def test_buffer_saved_by_autograd_is_not_reused():
    tensor = large().fill_(3).requires_grad_()
    where, square = tensor.data_ptr(), tensor.square().sum()
    del tensor
    others = [large().fill_(0) for _ in range(3)]
    assert where not in [other.data_ptr() for other in others]
    square.backward()


def test_small_tensor_is_not_pooled():
    buffer_pool.empty((16,), torch.float32, CPU)
    assert not any(buffer_pool._idle.values())


def test_tensors_of_similar_size_share_buffers():
    for size in range(1 << 20, 1 << 27, 999_983):
        assert size <= buffer_pool._rounded(size) <= max(size + (2 << 20), 1.25 * size)
    where = large().data_ptr()
    assert buffer_pool.empty((LARGE[0] - 7,), torch.float32, CPU).data_ptr() == where


def test_idle_buffer_is_released(monkeypatch):
    large()
    buffer_pool.empty((3, *LARGE), torch.float32, CPU)
    assert sum(map(len, buffer_pool._idle.values())) == 2
    monkeypatch.setattr(buffer_pool, "_MAX_IDLE_SECONDS", -1.0)
    tensor = large()
    assert sum(map(len, buffer_pool._idle.values())) == 0
    del tensor


def test_release_leaves_no_idle_buffer():
    large()
    buffer_pool.release()
    assert not any(buffer_pool._idle.values())


def test_reused_buffer_is_filled_with_nan_on_request(nan_memory):  # noqa: ARG001
    large().fill_(1)
    assert large().isnan().all()


def test_failed_mapping_falls_back_to_torch(monkeypatch):
    def refuse(*_, **__):
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(buffer_pool.mmap, "mmap", refuse)
    assert large().shape == LARGE
    assert not any(buffer_pool._idle.values())


def test_threads_never_share_a_buffer():
    failures = []

    def work(number):
        for k in range(50):
            tensor = large().fill_(number * 1000 + k)
            time.sleep(0.0005)
            if not tensor.eq(number * 1000 + k).all():
                failures.append((number, k))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
