"""Two processes with half of the batch each get the gradients of one process with the whole batch."""

import os
import subprocess
import sys

import pytest
import torch

CODE = """
import copy
import os
import sys
from datetime import timedelta

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from stormcell.nn import ConvGRU2d, ConvLSTM2d, TrajGRU2d


def randomised(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.double()


def gradients(rnn, x):
    state = None
    for piece in x.split(2):  # a returned state goes on
        output, state = rnn(piece, state)
        state = torch.utils._pytree.tree_map(torch.Tensor.detach, state)
        output.square().mean().backward()
    return [p.grad for p in rnn.parameters()]


rank, store = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group(
    "gloo", init_method="file://" + store, rank=rank, world_size=2, timeout=timedelta(seconds=60)
)
for layer in (
    ConvLSTM2d(2, [3, 2], 3, bidirectional=True),
    ConvGRU2d(2, [3, 2], 3, reset="before"),
    TrajGRU2d(2, 3, 3, num_flows=2, flow_channels=4),
):
    torch.manual_seed(rank)
    alone = randomised(layer)  # the second process begins with other weights, and is given the first one's
    together = DistributedDataParallel(copy.deepcopy(alone))
    torch.manual_seed(2)
    x = torch.randn(4, 6, 2, 5, 7, dtype=torch.float64)
    found = gradients(together, x[:, 3 * rank : 3 * rank + 3])
    if rank == 0:
        expected = gradients(alone, x)
        assert all(g.abs().max() > 0 for g in expected)
        # Float64 sums in another order: 2^-53 times some hundred terms of order one, over a few steps.
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
distributed.barrier()  # nobody goes while another still listens
distributed.destroy_process_group()
sys.stderr.flush()
os._exit(0)  # gloo's threads may outlive the interpreter, which then aborts: that is not what is tested
"""


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_get_the_gradients_of_one(tmp_path):
    # The loopback device always exists. Several threads would only compete.
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", CODE]
    processes = [
        subprocess.Popen([*command, rank, str(tmp_path / "store")], env=environment, stderr=subprocess.PIPE)
        for rank in "01"
    ]
    told = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(told)
