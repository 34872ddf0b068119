"""Layers of cells, run over sequences of frames."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NoReturn, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.nn import arguments
from stormcell.nn.cells import Cell, Dropout
from stormcell.nn.ops.terms import Run, State
from stormcell.nn.shapes import check_input, check_like, shape

# How many steps are run together where only the last output is kept, and how many numbers theirs may be.
_TOGETHER, _TOGETHER_NUMBERS = 4, 16 << 20


class Recurrent(nn.Module):
    """A stack of layers, whatever their equations and the number of spatial axes."""

    cell: ClassVar[type[Cell]]
    options: ClassVar[type]  # the TypedDict of the cells' arguments that have defaults

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | Sequence[int],
        num_layers: int | None,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        options: dict[str, Any],  # the cells' other arguments, a list having one for each layer
    ) -> None:
        super().__init__()
        arguments.one_of("batch_first", batch_first, (True, False))
        arguments.one_of("bidirectional", bidirectional, (True, False))
        if isinstance(hidden_channels, tuple):
            hidden_channels = list(hidden_channels)
        for name in options:
            if name not in self.options.__annotations__ and name not in ("kernel_size", "bias"):
                raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {name!r}")
        spatial_size = options.pop("spatial_size", None)
        layers = arguments.per_layer(num_layers, {"hidden_channels": hidden_channels, **options})
        if arguments.probability("dropout", dropout) and len(layers) == 1:
            warnings.warn(f"dropout={dropout} acts between layers, and there is only one", stacklevel=3)

        self.in_channels = in_channels
        self.num_layers = len(layers)
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.cells = nn.ModuleList()
        for layer in layers:
            if spatial_size is not None:
                layer["spatial_size"] = spatial_size
            cells = [self.cell(in_channels, **layer) for _ in range(self.directions)]
            self.cells.extend(cells)
            in_channels = cells[0].state_channels[0] * self.directions
            if spatial_size is not None:  # what is above a stride sees smaller images
                axes = len(self.cell.space)
                spatial_size = cells[0].state_size(arguments.per_axis("spatial_size", spatial_size, axes))

    @property
    def directions(self) -> int:
        """1, or 2 if the layers go both ways."""
        return 2 if self.bidirectional else 1

    @property
    def hidden_channels(self) -> list[int]:
        """Those of each layer."""
        return [cell.hidden_channels for cell in self._cells()[:: self.directions]]

    @property
    def kernel_size(self) -> list[tuple[int, ...]]:
        """That of each layer's convolution over the input."""
        return [cell.kernel_size for cell in self._cells()[:: self.directions]]

    @property
    def recurrent_kernel_size(self) -> list[tuple[int, ...]]:
        """That of each layer's convolution over the hidden state."""
        return [cell.recurrent_kernel_size for cell in self._cells()[:: self.directions]]

    def reset_parameters(self) -> None:
        """Start every layer afresh."""
        for cell in self._cells():
            cell.reset_parameters()

    def _run(
        self,
        x: Tensor | None,
        states: Sequence[State] | None,  # for each layer and direction
        steps: int | None,
        lengths: Tensor | Sequence[int] | None,
        mask: Tensor | None,
        return_sequence: bool = True,
    ) -> tuple[Tensor, list[State]]:
        """Return the top layer's output, and the last state of each layer and direction."""
        x, start, run = self._read(x, states, steps, lengths, mask)
        if return_sequence:
            last: list[State] = []
            for output, end in self._layers(self.num_layers, x, start, run):
                top = output  # the layers below need not be kept
                last += end
            return self._time_first(top), last
        if not self.bidirectional:
            return self._last_output(range(self.num_layers), x, start, run)
        # Going backwards begins at the last step, so whole sequences pass between layers.
        last = []
        for output, end in self._layers(self.num_layers - 1, x, start, run):
            x = output
            last += end
        x = self._dropped(x, self.num_layers - 1)
        forwards, backwards = range(len(last), len(last) + 1), range(len(last) + 1, len(last) + 2)
        ahead, ahead_end = self._last_output(forwards, x, start, run)
        x, run = _reversed(x, run)
        back, back_end = self._last_output(backwards, x, start, run)
        return torch.cat([ahead, back], dim=1), last + ahead_end + back_end

    def _run_all(
        self,
        x: Tensor | None,
        states: Sequence[State] | None,
        steps: int | None,
        lengths: Tensor | Sequence[int] | None,
        mask: Tensor | None,
    ) -> tuple[tuple[Tensor, ...], list[State]]:
        """Return the output of every layer, and the last state of each layer and direction."""
        x, start, run = self._read(x, states, steps, lengths, mask)
        outputs, last = zip(*self._layers(self.num_layers, x, start, run), strict=True)
        return tuple(map(self._time_first, outputs)), [state for layer in last for state in layer]

    def _layers(
        self, number: int, x: Tensor | None, start: Sequence[State | None], run: Run
    ) -> Iterator[tuple[Tensor, list[State]]]:
        """Run the lowest layers one after another: yield each one's hidden states and its last states."""
        for layer in range(number):
            seen = self._dropped(x, layer)
            outputs, last = [], []
            for direction in range(self.directions):
                k = self.directions * layer + direction
                frames, how = _reversed(seen, run) if direction else (seen, run)
                state, dropout = self._begin(k, frames, start[k])
                output, state = self._cells()[k].run(frames, state, how, dropout)
                outputs.append(output.flip(0) if direction else output)
                last.append(state)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
            yield x, last

    def _last_output(
        self, cells: range, x: Tensor | None, start: Sequence[State | None], run: Run
    ) -> tuple[Tensor, list[State]]:
        """Run one or more layers, some steps at a time, each through all of them: no sequence need be kept.

        For a gradient all steps are kept anyway, and are run together.

        Returns:
            The output at the last step that is there, ``(B, C, *space)``, and each cell's last state.
        """
        states: list[State] = []
        dropouts: list[Dropout] = []
        output: Tensor | None = None
        # A mask is looked at step by step; in compiled code sizes may be symbols, and nothing is to depend
        # on them.
        alone = run.mask is not None or torch.compiler.is_compiling()
        together = run.steps if torch.is_grad_enabled() and not alone else 1
        done = 0
        while done < run.steps:
            steps = min(together, run.steps - done)
            frames = None if x is None else x[done : done + steps]
            there = None if run.mask is None else run.mask[done]
            part = run._replace(steps=steps, mask=None if there is None else there.unsqueeze(0))
            for n, k in enumerate(cells):
                frames = self._dropped(frames, n)
                if done == 0:
                    state, dropout = self._begin(k, frames, start[k])
                    states.append(state)
                    dropouts.append(dropout)
                frames, states[n] = self._cells()[k].run(frames, states[n], part, dropouts[n])
            new = cast("Tensor", frames)[-1]
            if steps > 1:
                new = new.clone()  # lets go of the others
            if output is not None and there is not None:
                new = torch.where(there.reshape(-1, *(1,) * (new.dim() - 1)), new, output)
            output = new
            done += steps
            if not alone:
                together = max(together, min(_TOGETHER, _TOGETHER_NUMBERS // max(1, new.numel())))
        return cast("Tensor", output), states

    def _begin(self, k: int, x: Tensor | None, state: State | None) -> tuple[State, Dropout]:
        """Return the state that the cell starts from, and its dropout masks."""
        begun = self._start(k, x, state)
        return begun, self._cells()[k].draw(x, begun)

    def _start(self, k: int, x: Tensor | None, state: State | None) -> State:
        """Return the state that the cell starts from."""
        name = f"state of layer {k // self.directions}"
        if self.bidirectional:
            name += ", backwards" if k % 2 else ", forwards"
        return self._cells()[k].start(x, state, name)

    def _dropped(self, x: Tensor | None, layer: int) -> Tensor | None:
        """Return what a layer sees of the one below."""
        if x is None or layer == 0 or not self.dropout:
            return x
        return F.dropout(x, self.dropout, self.training)

    def _read(
        self,
        x: Tensor | None,
        states: Sequence[State] | None,
        steps: int | None,
        lengths: Tensor | Sequence[int] | None,
        mask: Tensor | None,
    ) -> tuple[Tensor | None, Sequence[State | None], Run]:
        """Check what a call is given, and return it time first."""
        if x is not None or steps is None or not self.in_channels:
            time, batch = ("B", "T") if self.batch_first else ("T", "B")
            check_input(x, self.in_channels, (time, batch, "C", *self.cell.space))
        start = [None] * len(self.cells) if states is None else states
        if x is None:
            steps = arguments.count("steps", steps)
            like = self._start(0, None, start[0])[0]
            size, device = len(like), like.device
        else:
            check_like(x, self._cells()[0].weight_hh)
            x = self._time_first(x)
            if steps not in (None, len(x)):
                raise ArgumentError(f"steps: expected None or {len(x)}, as x has, found {steps!r}")
            if len(x) == 0:
                raise ArgumentError(f"x: expected at least one step, found {shape(x)} with time first")
            steps, size, device = len(x), x.shape[1], x.device
        there = self._there(lengths, mask, steps, size, device)
        if there is not None and x is not None:
            # What is not there may hold anything, and must not reach a gradient.
            x = x.masked_fill(~there.reshape(*there.shape, *(1,) * (x.dim() - 2)), 0)
        return x, start, Run(steps, mask=there, repeat=lengths is None)

    def _there(
        self,
        lengths: Tensor | Sequence[int] | None,
        mask: Tensor | None,
        steps: int,
        batch: int,
        device: torch.device,
    ) -> Tensor | None:
        """Return which steps are there, (T, B)."""
        if lengths is not None:
            if mask is not None:
                raise ArgumentError("lengths, mask: expected one of them at most, found both")
            lengths = _whole_numbers("lengths", lengths, batch, device)
            # A compiler cannot look at values.
            if batch and not torch.compiler.is_compiling():
                low, high = (int(n) for n in lengths.aminmax())
                if low < 0 or high > steps:
                    raise ArgumentError(f"lengths: expected ints from 0 to {steps}, found {low} to {high}")
            return torch.arange(steps, device=device).unsqueeze(1) < lengths
        if mask is None:
            return None
        expected = (batch, steps) if self.batch_first else (steps, batch)
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != expected:
            raise ArgumentError(f"mask: expected bools of shape {expected}, found {_typed(mask)}")
        return self._time_first(mask).to(device)

    def _time_first(self, sequence: Tensor) -> Tensor:
        """Swap the time and the batch if callers have the batch first; twice is not at all."""
        return sequence.transpose(0, 1) if self.batch_first else sequence

    def _refuse_state(self, each: str, found: Any) -> NoReturn:
        number = len(self.cells)
        per = "per layer and direction" if self.bidirectional else "per layer"
        tensors = f"{number} tensor{'s' if number > 1 else ''}"
        raise ArgumentError(f"state: expected {each} of {tensors}, one {per}, found {shape(found)}")

    def _cells(self) -> Sequence[Cell]:
        """Return the cells as what they are: a ModuleList only knows that they are modules."""
        return cast("Sequence[Cell]", self.cells)

    def extra_repr(self) -> str:
        """Say what the cells do not."""
        return f"batch_first={self.batch_first}, dropout={self.dropout}, bidirectional={self.bidirectional}"


def _reversed(x: Tensor | None, run: Run) -> tuple[Tensor | None, Run]:
    """Turn a sequence round."""
    mask = None if run.mask is None else run.mask.flip(0)
    return None if x is None else x.flip(0), run._replace(mask=mask)


def _whole_numbers(name: str, value: Any, number: int, device: torch.device) -> Tensor:
    """Return so many whole numbers as a tensor."""
    try:
        tensor = torch.as_tensor(value, device=device)
    except (TypeError, ValueError, RuntimeError):
        tensor = torch.empty(0, 0)
    # An empty list has no type of its own.
    whole = not number or not (
        tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool
    )
    if tensor.shape != (number,) or not whole:
        raise ArgumentError(f"{name}: expected {number} ints, one per sample, found {_typed(value)}")
    return tensor


def _typed(value: Any) -> str:
    """Say what shape something has, and of what type its numbers are."""
    return f"{shape(value)} of {value.dtype}" if isinstance(value, Tensor) else shape(value)
