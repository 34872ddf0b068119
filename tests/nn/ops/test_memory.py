"""Room that is used again is nobody else's while it is in use."""

import copy
import gc
import io
import sys
import threading
import time

import pytest
import torch

from stormcell.nn.ops import memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is kept on Linux only")
CPU = torch.device("cpu")
LARGE = (1 << 20,)


@pytest.fixture(autouse=True)
def nothing_idle(monkeypatch):
    gc.collect()
    monkeypatch.setattr(memory, "_idle", {})


def large(dtype=torch.float32):
    return memory.empty(LARGE, dtype, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_a_tensor_as_any(dtype):
    room = memory.empty((3, 1 << 18, 3), dtype, CPU)
    assert (room.shape, room.dtype, room.is_contiguous()) == ((3, 1 << 18, 3), dtype, True)
    assert room.data_ptr() % 64 == 0
    room.fill_(1)
    assert copy.deepcopy(room).sum(dtype=torch.float64) == room.numel()
    file = io.BytesIO()
    torch.save(room, file)
    assert file.tell() < 1.01 * room.nbytes  # what the piece has beyond it is not saved
    file.seek(0)
    assert torch.equal(torch.load(file), room)
    room.requires_grad_()
    (room * 2).sum().backward()
    assert room.grad.eq(2).all()


def test_it_is_used_again_when_the_last_view_is_gone():
    room = large()
    where, view = room.data_ptr(), room[5:].view(-1)
    del room
    assert large().data_ptr() != where
    del view
    pieces = [large() for _ in range(3)]
    assert where in [piece.data_ptr() for piece in pieces]
    assert len({piece.data_ptr() for piece in pieces}) == 3


def test_what_autograd_keeps_is_kept():
    room = large().fill_(3).requires_grad_()
    where, square = room.data_ptr(), room.square().sum()
    del room
    others = [large().fill_(0) for _ in range(3)]
    assert where not in [other.data_ptr() for other in others]
    square.backward()


def test_small_tensors_are_left_to_torch():
    memory.empty((16,), torch.float32, CPU)
    assert not any(memory._idle.values())


def test_what_is_nearly_alike_shares():
    for size in range(1 << 20, 1 << 27, 999_983):
        assert size <= memory._rounded(size) <= max(size + (2 << 20), 1.25 * size)
    where = large().data_ptr()
    assert memory.empty((LARGE[0] - 7,), torch.float32, CPU).data_ptr() == where


def test_what_is_long_idle_is_given_back(monkeypatch):
    large()
    memory.empty((3, *LARGE), torch.float32, CPU)
    assert sum(map(len, memory._idle.values())) == 2
    monkeypatch.setattr(memory, "_IDLE", -1.0)
    room = large()
    assert sum(map(len, memory._idle.values())) == 0
    del room


def test_poison_is_put_in(poison):  # noqa: ARG001
    large().fill_(1)
    assert large().isnan().all()


def test_where_the_system_has_none_torch_may_have_some(monkeypatch):
    def refuse(*_, **__):
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(memory.mmap, "mmap", refuse)
    assert large().shape == LARGE
    assert not any(memory._idle.values())


def test_threads_never_share():
    failures = []

    def work(number):
        for k in range(50):
            room = large().fill_(number * 1000 + k)
            time.sleep(0.0005)
            if not room.eq(number * 1000 + k).all():
                failures.append((number, k))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
