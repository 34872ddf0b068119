"""Tables of the names and layouts of weights in PyTorch repositories of ConvLSTM and TrajGRU."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

from stormcell.nn.cells import Cell
from stormcell.nn.conv_lstm import ConvLSTM2d
from stormcell.nn.conv_lstm_cell import ConvLSTMCell2d
from stormcell.nn.foreign.arrays import GATES, Entry
from stormcell.nn.foreign.state_dicts import Sizes
from stormcell.nn.foreign.winsolider import InPlaceReLUConvLSTM2d, InPlaceReLUConvLSTMCell2d
from stormcell.nn.recurrent import Recurrent
from stormcell.nn.trajgru import TrajGRU2d, TrajGRUCell2d


def one_convolution(name: str, gates: str) -> tuple[Entry, ...]:
    """Return the entries of one convolution over ``[x, h]`` that computes all gates, in this order."""
    return (
        Entry(f"{name}.weight", ("weight_ih", "weight_hh"), gates),
        Entry(f"{name}.bias", ("bias",), gates),
    )


# Two convolutions for each gate.
_EIGHT_CONVOLUTIONS = tuple(
    entry
    for gate, theirs in zip("ifgo", "ifco", strict=True)
    for entry in (
        Entry(f"Wx{theirs}.weight", ("weight_ih",), gate),
        Entry(f"Wx{theirs}.bias", ("bias",), gate),
        Entry(f"Wh{theirs}.weight", ("weight_hh",), gate),
    )
)
_PEEPHOLES = tuple(Entry(f"Wc{gate}", ("peephole",), gate) for gate in "ifo")

# One convolution over x and one over h, each with its LayerNorm.
_TWO_CONVOLUTIONS = (
    Entry("conv_x.0.weight", ("weight_ih",), GATES),
    Entry("conv_h.0.weight", ("weight_hh",), GATES),
    Entry("conv_x.1.weight", ("norm_ih",), GATES),
    Entry("conv_h.1.weight", ("norm_hh",), GATES),
    Entry("conv_x.1.bias", ("bias",), GATES),
    Entry("conv_h.1.bias", ("bias",), GATES, adds=True),
)

# The gates r, u, m are our r, z, n.
_TRAJ_GRU = tuple(
    Entry(f"{theirs}.{kind}", (ours.format(kind),))
    for theirs, ours in {
        "i2h": "{}_ih",
        "ret": "{}_hh",
        "i2f_conv1": "flow_{}_ih",
        "h2f_conv1": "flow_{}_hh",
        "flows_conv": "flow_{}",
    }.items()
    for kind in ("weight", "bias")
)


def _conv_lstm(
    sizes: Sequence[Sizes], parameters: Collection[str], *, nonlinearity: str = "tanh", **options: Any
) -> ConvLSTM2d:
    layer = InPlaceReLUConvLSTM2d if nonlinearity == "relu" else ConvLSTM2d
    return layer(
        sizes[0]["C_in"],
        [size["C"] for size in sizes],
        [(size["kH"], size["kW"]) for size in sizes],
        bias="bias" in parameters,
        batch_first=True,
        activation=nonlinearity,
        peephole="pixel" if "peephole" in parameters else None,
        norm="layer-pixel" if "norm_ih" in parameters else None,
        spatial_size=(sizes[0]["H"], sizes[0]["W"]) if "H" in sizes[0] else None,
        **options,
    )


def _traj_gru(sizes: Sequence[Sizes], _: Collection[str], **options: Any) -> TrajGRU2d:
    (size,) = sizes
    return TrajGRU2d(
        size["C_in"],
        size["C"],
        (size["kH"], size["kW"]),
        batch_first=True,
        num_flows=size["L"],
        flow_channels=size["F"],
        flow_kernel_size=(size["kU"], size["kV"]),
        **options,
    )


class WeightLayout(NamedTuple):
    """The names and layouts of a layer's arrays in another system.

    Attributes:
        entries: The arrays.
        axes: Axes of the arrays that determine the sizes of a layer.
        holds: Values that our arguments may have, beside the restrictions that all layouts share.
        make: Function that builds our layer from the sizes, the names of our parameters, and keywords.
        cells: Cells that the layout can hold.
        stack: Prefix of a layer in a stack; empty if there are only single layers.
        optional: Parameters of ours that are all present or all missing.
        unused: Regular expression of names that the system stores and never uses.
        keywords: Values that each keyword may have; the first is the default.
    """

    entries: tuple[Entry, ...]
    axes: Mapping[str, str]
    holds: Mapping[str, Sequence[Any]]
    make: Callable[..., Recurrent] = _conv_lstm
    cells: tuple[type[Cell], ...] = (ConvLSTMCell2d,)
    stack: str = ""
    optional: Collection[str] = ()
    unused: str = "(?!)"  # matches nothing
    keywords: Mapping[str, Sequence[Any]] = {}


_AUTOMAN000 = WeightLayout(
    (*_EIGHT_CONVOLUTIONS, *_PEEPHOLES),
    axes={"Wxi.weight": "C, C_in, kH, kW", "Whi.weight": "C, C, kH, kW", "Wci": "1, C, H, W"},
    holds={"bias": (True,), "peephole": ("pixel", None), "norm": (None,)},
    stack="cell{}.",
    optional=("peephole",),
)
LAYOUTS = {
    "ndrplz": WeightLayout(
        one_convolution("conv", "ifog"),
        axes={"conv.weight": "4C, C_in + C, kH, kW"},
        holds={"bias": (True, False), "peephole": (None,), "norm": (None,)},
        stack="cell_list.{}.",
        optional=("bias",),
        keywords={"gate_order": ["".join(order) for order in permutations("ifog")]},
    ),
    "automan000": _AUTOMAN000,
    "winsolider": _AUTOMAN000._replace(
        keywords={"nonlinearity": ("tanh", "relu")}, cells=(ConvLSTMCell2d, InPlaceReLUConvLSTMCell2d)
    ),
    "hzzone": WeightLayout(
        (*one_convolution("_conv", GATES), *_PEEPHOLES),
        axes={"_conv.weight": "4C, C_in + C, kH, kW", "Wci": "1, C, H, W"},
        holds=_AUTOMAN000.holds,
        optional=("peephole",),
    ),
    "hzzone-trajgru": WeightLayout(
        _TRAJ_GRU,
        axes={"i2h.weight": "3C, C_in, kH, kW", "flows_conv.weight": "2L, F, kU, kV"},
        holds={"bias": (True,), "activation": ("leaky_relu",)},
        make=_traj_gru,
        cells=(TrajGRUCell2d,),
        keywords={"align_corners": (True, False)},
    ),
    "openstl": WeightLayout(
        _TWO_CONVOLUTIONS,
        axes={
            "conv_x.0.weight": "4C, C_in, kH, kW",
            "conv_h.0.weight": "4C, C, kH, kW",
            "conv_x.1.weight": "4C, H, W",
        },
        holds={"bias": (True, False), "peephole": (None,), "norm": ("layer-pixel", None)},
        stack="cell_list.{}.",
        optional=("norm_ih", "norm_hh", "bias"),
        unused=r"conv_o\..+|conv_last\..+",
    ),
}
