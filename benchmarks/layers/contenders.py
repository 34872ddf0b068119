"""The contenders, by name only: each worker imports its contender in an environment of its own."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.layers.cases import Case

OURS, BARE, TRUTH = "ours", "bare", "ours-reference"
WHEEL = "BENCHMARKED_WHEEL"  # the environment variable that names the folder of the unpacked wheel


@dataclass(frozen=True)
class Contender:
    """An implementation which can compute a case."""

    name: str
    what: str
    runner: str  # "module.Class", called with a task and the options
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(
        default_factory=dict
    )  # "{scratch}" is a folder of this worker's run
    needs: tuple[str, ...] = ("torch",)
    kinds: tuple[str, ...] = ("conv_lstm", "conv_gru", "traj_gru")
    modes: tuple[str, ...] = ("training", "inference")
    peepholes: bool = True
    only_about_memory: bool = False
    compared: bool = True  # whether its results are compared
    by_default: bool = True

    def missing(self) -> str | None:
        """Return which of its packages is missing, or None."""
        absent = [package for package in self.needs if importlib.util.find_spec(package) is None]
        return f"{' and '.join(absent)} not installed" if absent else None

    def refusal(self, case: Case, mode: str) -> str | None:
        """Return why it cannot compute this case, or None."""
        if case.kind not in self.kinds:
            return f"has no {case.kind}"
        if case.peephole and not self.peepholes:
            return "has no peepholes"
        if mode not in self.modes or (self.only_about_memory and not case.about_memory):
            return "is not about that"
        return None


_TORCH, _KERAS = "benchmarks.layers.torch_runners", "benchmarks.layers.keras_runners"
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": "{scratch}/keras"}

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(OURS, "these layers, backend='auto'", f"{_TORCH}.Ours"),
        Contender(
            "ours-wheel",
            "the same with the C kernels of this platform's wheel",
            f"{_TORCH}.OursFromWheel",
            environment={WHEEL: "{scratch}/wheel"},
            needs=("torch", "hatchling", "ziglang"),
        ),
        Contender(
            "ours-uncompiled",
            "the same where there is no C compiler",
            f"{_TORCH}.Ours",
            environment={"CC": "false", "XDG_CACHE_HOME": "{scratch}/uncompiled"},
        ),
        Contender(TRUTH, "the plain equations", f"{_TORCH}.Ours", {"backend": "reference"}),
        Contender(
            "ours-checkpointed",
            "the sequence in parts that are computed again for the gradient",
            f"{_TORCH}.Ours",
            {"checkpointed": True},
            modes=("training",),
            only_about_memory=True,
        ),
        Contender(
            "ours-last-output",
            "return_sequence=False",
            f"{_TORCH}.Ours",
            {"last_output": True},
            modes=("inference",),
            only_about_memory=True,
        ),
        Contender("loop", "the concat-and-split loop, eager", f"{_TORCH}.LoopRunner"),
        Contender(
            "loop-compiled",
            "its step under torch.compile",  # compiling a whole sequence takes minutes
            f"{_TORCH}.LoopRunner",
            {"compiled": "step"},
            environment={"TORCHINDUCTOR_CACHE_DIR": "{scratch}/inductor"},
        ),
        Contender(
            "loop-compiled-whole",
            "all steps under torch.compile",
            f"{_TORCH}.LoopRunner",
            {"compiled": "sequence"},
            environment={"TORCHINDUCTOR_CACHE_DIR": "{scratch}/inductor"},
            by_default=False,
        ),
        Contender(
            "keras-tensorflow",
            "Keras 3 on TensorFlow",
            f"{_KERAS}.OnTensorflow",
            environment={"KERAS_BACKEND": "tensorflow", **_QUIET},
            needs=("keras", "tensorflow"),
            kinds=("conv_lstm",),
            peepholes=False,
        ),
        Contender(
            "keras-tensorflow-xla",
            "the same, compiled by XLA",
            f"{_KERAS}.OnTensorflow",
            {"xla": True},
            environment={"KERAS_BACKEND": "tensorflow", **_QUIET},
            needs=("keras", "tensorflow"),
            kinds=("conv_lstm",),
            peepholes=False,
            by_default=False,
        ),
        Contender(
            "keras-torch",
            "Keras 3 on PyTorch",
            f"{_KERAS}.OnTorch",
            environment={"KERAS_BACKEND": "torch", **_QUIET},
            needs=("keras", "torch"),
            kinds=("conv_lstm",),
            peepholes=False,
        ),
        Contender(
            BARE,
            "the convolutions alone, each the fastest way found",
            "benchmarks.layers.bare.Bare",
            compared=False,
        ),
    )
}
