"""The cases: sizes of layers and inputs."""

from dataclasses import dataclass, replace
from typing import NamedTuple

DTYPES = ("float32", "bfloat16")
MODES = ("training", "inference")

# As in the paper of TrajGRU.
FLOWS, FLOW_CHANNELS, FLOW_KERNEL = 13, 32, 5


@dataclass(frozen=True)
class Case:
    """A stack of layers and its input."""

    name: str
    batch: int
    in_channels: int
    hidden_channels: tuple[int, ...]
    size: tuple[int, ...]
    kernel_size: int
    steps: int = 10
    kind: str = "conv_lstm"  # or "conv_gru", "traj_gru"
    peephole: bool = False
    frame_by_frame: bool = False  # one call per frame, with the state passed on; inference only
    input_gradient: bool = False  # as for a layer above others
    about_memory: bool = False  # also measures the options which save memory

    @property
    def layers(self) -> list[tuple[int, int]]:
        """The channels in and out of each layer."""
        return list(zip((self.in_channels, *self.hidden_channels), self.hidden_channels, strict=False))

    @property
    def cases(self) -> "tuple[Case, ...]":
        """Return this case, as other items have several."""
        return (self,)

    @property
    def modes(self) -> tuple[str, ...]:
        """Return training or inference, or both."""
        return MODES[1:] if self.frame_by_frame else MODES

    def __str__(self) -> str:
        channels = "→".join(map(str, (self.in_channels, *self.hidden_channels)))
        said = [self.kind, f"B {self.batch}", f"T {self.steps}", channels, "×".join(map(str, self.size))]
        said.append(f"k {self.kernel_size}")
        flags = ("peephole", "frame_by_frame", "input_gradient")
        return ", ".join(said + [flag.replace("_", " ") for flag in flags if getattr(self, flag)])


class Doubling(NamedTuple):
    """Cases whose batch, steps or pixels double."""

    name: str
    cases: tuple[Case, ...]


class FirstCall(NamedTuple):
    """A case whose first call is measured, without and with compiled code on disk."""

    name: str
    case: Case

    @property
    def cases(self) -> tuple[Case, ...]:
        """Return the case."""
        return (self.case,)


Item = Case | Doubling | FirstCall

_STEPS = Case("steps", 4, 1, (64,), (64, 64), 3, about_memory=True)

CASES = (
    # The rows of the first benchmark.
    Case("1-64", 8, 1, (64,), (64, 64), 3),
    Case("64-64", 8, 64, (64,), (64, 64), 3),
    Case("1-64-64", 8, 1, (64, 64), (64, 64), 3),
    Case("16-128-64-64", 8, 16, (128, 64, 64), (16, 16), 5),
    Case("1-64-64-single", 1, 1, (64, 64), (64, 64), 3),
    # As in OpenSTL, with half the frames.
    Case("deep", 16, 16, (128, 128, 128, 128), (16, 16), 5, steps=5),
    # As in operational nowcasting.
    Case("large-image", 1, 1, (64, 64), (512, 512), 3, steps=3, frame_by_frame=True),
    Case("peephole", 8, 64, (64,), (64, 64), 3, peephole=True),
    Case("input-gradient", 8, 64, (64,), (64, 64), 3, input_gradient=True),
    *(replace(_STEPS, name=f"steps-{steps}", steps=steps) for steps in (5, 20, 50)),
    Case("conv-gru", 4, 1, (64,), (64, 64), 3, kind="conv_gru"),
    Case("traj-gru", 2, 1, (32,), (64, 64), 3, kind="traj_gru"),
    Case("1d", 8, 1, (64,), (1024,), 3),
    Case("3d", 1, 1, (32,), (16, 32, 32), 3, steps=5),
)

_DOUBLED = Case("", 1, 1, (64,), (64, 64), 3, steps=5)
_SIZES = [(64 << (n // 2), 64 << ((n + 1) // 2)) for n in range(9)]

DOUBLINGS = (
    Doubling("doubling-batch", tuple(replace(_DOUBLED, name=f"B {n}", batch=n) for n in (1, 2, 4, 8, 16))),
    Doubling("doubling-steps", tuple(replace(_DOUBLED, name=f"T {n}", steps=n) for n in (5, 10, 20, 40))),
    Doubling(
        "doubling-pixels",
        tuple(replace(_DOUBLED, name=f"{h}×{w}", size=(h, w), steps=2) for h, w in _SIZES),
    ),
)

FIRST_CALL = FirstCall("first-call", Case("", 1, 1, (64, 64), (64, 64), 3))


def known() -> dict[str, Item]:
    """Return everything that can be measured, by name."""
    items: tuple[Item, ...] = (*CASES, *DOUBLINGS, FIRST_CALL)
    return {item.name: item for item in items}
