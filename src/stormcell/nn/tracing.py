"""Errors of one line for exporters that cannot export the layers."""

from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from stormcell.errors import NotOfferedError


class Layer(nn.Module):
    """A module that names the exporter to use if another one is tried."""

    def __prepare_scriptable__(self) -> NoReturn:
        """Called by ``torch.jit.script``.

        Raises:
            NotOfferedError: Always.
        """
        raise NotOfferedError(
            f"torch.jit.script: {type(self).__name__} is not offered as TorchScript; use torch.export.export"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module.

        Raises:
            NotOfferedError: ``torch.onnx.export(dynamo=False)`` calls it, and has lost the arguments' names.
        """
        if torch._C._get_tracing_state() is not None and torch.onnx.is_in_onnx_export():
            raise NotOfferedError(
                f"torch.onnx.export(dynamo=False): {type(self).__name__} is not offered; use dynamo=True"
            )
        return super().__call__(*args, **kwargs)


def with_fixed_steps(x: Tensor) -> Tensor:
    """Return the input unless an exporter was asked for any number of steps: loops are exported step by step.

    Args:
        x: (T, B, …).

    Raises:
        NotOfferedError: T is dynamic in ``torch.export``.
    """
    is_exporting = torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
    if is_exporting and isinstance(x.shape[0], torch.SymInt):
        raise NotOfferedError(
            "torch.export: expected a fixed number of steps T, found a dynamic one; export a cell or T = 1, "
            "and pass the state from step to step"
        )
    return x
