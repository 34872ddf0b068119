from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture
def randomised() -> Callable[[nn.Module], nn.Module]:
    """A function that fills a network with random parameters, so that every gate and layer counts."""

    def fill(model: nn.Module, scale: float = 0.3) -> nn.Module:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        return model

    return fill
