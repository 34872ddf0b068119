import pytest
import torch


@pytest.fixture
def poison():
    """Fill with NaN what is allocated and not written."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
