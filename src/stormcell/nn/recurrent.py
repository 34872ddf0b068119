"""The base class of all layers: stacks of cells, run over sequences of frames."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NoReturn, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.nn import arguments
from stormcell.nn.cells import Cell, Dropout
from stormcell.nn.explanation import LayerExplanations, explain_calls
from stormcell.nn.ops.types import CallSpec, State
from stormcell.nn.options import check_names, options_of
from stormcell.nn.shapes import check_input, check_like, check_mask, mask_of_lengths, shape
from stormcell.nn.tracing import Layer, with_fixed_steps

# Steps per chunk if only the last output is returned, and the numbers which its outputs may have.
_CHUNK_STEPS, _CHUNK_NUMBERS = 4, 16 << 20

# The input (T, B, C_in, *space), the state per layer and direction, and what else a call gives.
_Call = tuple[Tensor | None, Sequence[State | None], CallSpec]


class Recurrent(Layer):
    """A stack of layers, whatever their equations and number of spatial axes."""

    cell: ClassVar[type[Cell]]

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | Sequence[int],
        num_layers: int | None,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        options: dict[str, Any],  # the cells' other arguments; a list has one value per layer
    ) -> None:
        super().__init__()
        arguments.one_of("batch_first", batch_first, (True, False))
        arguments.one_of("bidirectional", bidirectional, (True, False))
        if isinstance(hidden_channels, tuple):
            hidden_channels = list(hidden_channels)
        kernel_size = {"kernel_size"} if self.cell.space else set()
        check_names(type(self), options, {"bias", *kernel_size, *options_of(self.cell.options)})
        spatial_size = options.pop("spatial_size", None)
        layers = arguments.per_layer(num_layers, {"hidden_channels": hidden_channels, **options})
        if arguments.probability("dropout", dropout) and len(layers) == 1:
            warnings.warn(f"dropout={dropout} applies between layers, but there is only one", stacklevel=3)

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
            if spatial_size is not None:  # layers above a strided layer get smaller inputs
                axes = len(self.cell.space)
                spatial_size = cells[0].state_size(arguments.per_axis("spatial_size", spatial_size, axes))

    @property
    def directions(self) -> int:
        """The number of directions: 1, or 2 for bidirectional layers."""
        return 2 if self.bidirectional else 1

    @property
    def hidden_channels(self) -> list[int]:
        """The hidden channels of each layer."""
        return [cell.hidden_channels for cell in self._cells()[:: self.directions]]

    @property
    def kernel_size(self) -> list[tuple[int, ...]]:
        """The kernel size of the input convolution of each layer."""
        return [cell.kernel_size for cell in self._cells()[:: self.directions]]

    @property
    def recurrent_kernel_size(self) -> list[tuple[int, ...]]:
        """The kernel size of the recurrent convolution of each layer."""
        return [cell.recurrent_kernel_size for cell in self._cells()[:: self.directions]]

    def reset_parameters(self) -> None:
        """Initialise the parameters of all layers."""
        for cell in self._cells():
            cell.reset_parameters()

    def explain(
        self,
        x: Tensor | None,
        state: Any = None,
        *,
        steps: int | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        mask: Tensor | None = None,
    ) -> LayerExplanations:
        """Explain which back end computes each layer in a call with these arguments, and why.

        The choice depends on dtype, device, autocast, options, mask and lengths, not on values, and on sizes
        only for empty images. The first step is computed, which gives upper layers their input.

        Args:
            x: As in ``forward``.
            state: As in ``forward``.
            steps: As in ``forward``.
            lengths: As in ``forward``.
            mask: As in ``forward``.

        Returns:
            Number, direction and explanation ``how`` per layer and direction; ``print`` shows them as text.

        Raises:
            ArgumentError: As in ``forward``.
            NotOfferedError: As in ``forward``.

        Examples:
            >>> import torch
            >>> from stormcell.nn import ConvLSTM2d
            >>> print(ConvLSTM2d(3, 8, 3, norm="layer").explain(torch.rand(10, 2, 3, 16, 24)))
            layer 0, forward: reference (proj_channels or norm)
              all operations: PyTorch
        """
        x, start, spec = self._read(x, state, steps, lengths, mask)
        spec = spec._replace(steps=1, mask=None if spec.mask is None else spec.mask[:1])
        first = None if x is None else x[:1], start, spec
        return explain_calls(self._cells(), self.directions, lambda: self._run_all(first))

    def _state_per_cell(self, state: Any) -> list[State] | None:
        """Convert the state of the stack to one tuple per layer and direction."""
        raise NotImplementedError

    def _run(self, call: _Call, return_sequence: bool) -> tuple[Tensor, list[State]]:
        """Return the output of the top layer, and the last state per layer and direction."""
        x, start, spec = call
        if return_sequence:
            last: list[State] = []
            for output, end in self._layers(self.num_layers, x, start, spec):
                top = output  # outputs of lower layers are released
                last += end
            return self._swap_time(top), last
        if not self.bidirectional:
            return self._last_output(range(self.num_layers), x, start, spec)
        # The backward direction starts at the last step, so layers pass on whole sequences.
        last = []
        for output, end in self._layers(self.num_layers - 1, x, start, spec):
            x = output
            last += end
        x = self._apply_dropout(x, self.num_layers - 1)
        forward, backward = range(len(last), len(last) + 1), range(len(last) + 1, len(last) + 2)
        forward_output, forward_end = self._last_output(forward, x, start, spec)
        x, spec = _reversed(x, spec)
        backward_output, backward_end = self._last_output(backward, x, start, spec)
        return torch.cat([forward_output, backward_output], dim=1), last + forward_end + backward_end

    def _run_all(self, call: _Call) -> tuple[tuple[Tensor, ...], list[State]]:
        """Return the outputs of all layers, and the last state per layer and direction."""
        outputs, last = zip(*self._layers(self.num_layers, *call), strict=True)
        return tuple(map(self._swap_time, outputs)), [state for layer in last for state in layer]

    def _layers(
        self, number: int, x: Tensor | None, start: Sequence[State | None], spec: CallSpec
    ) -> Iterator[tuple[Tensor, list[State]]]:
        """Run the lowest layers one after another; yield the hidden states and the last states of each."""
        for layer in range(number):
            frames = self._apply_dropout(x, layer)
            outputs, last = [], []
            for direction in range(self.directions):
                k = self.directions * layer + direction
                directed, directed_spec = _reversed(frames, spec) if direction else (frames, spec)
                state, dropout = self._begin(k, directed, start[k])
                output, state = self._cells()[k].run(directed, state, directed_spec, dropout)
                outputs.append(output.flip(0) if direction else output)
                last.append(state)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
            yield x, last

    def _last_output(
        self, cells: range, x: Tensor | None, start: Sequence[State | None], spec: CallSpec
    ) -> tuple[Tensor, list[State]]:
        """Run one or more layers, each over a chunk of steps before the next chunk, to save memory.

        With gradients all steps are saved anyway, and form one chunk.

        Returns:
            The output of the last step which is not missing, ``(B, C, *space)``, and the last state per cell.
        """
        states: list[State] = []
        dropouts: list[Dropout] = []
        output: Tensor | None = None
        # A mask is read step by step. In compiled code sizes may be symbols, on which nothing may depend.
        one_by_one = spec.mask is not None or torch.compiler.is_compiling()
        chunk = spec.steps if torch.is_grad_enabled() and not one_by_one else 1
        done = 0
        while done < spec.steps:
            steps = min(chunk, spec.steps - done)
            frames = None if x is None else x[done : done + steps]
            present = None if spec.mask is None else spec.mask[done]
            part = spec._replace(steps=steps, mask=None if present is None else present.unsqueeze(0))
            for n, k in enumerate(cells):
                frames = self._apply_dropout(frames, n)
                if done == 0:
                    state, dropout = self._begin(k, frames, start[k])
                    states.append(state)
                    dropouts.append(dropout)
                frames, states[n] = self._cells()[k].run(frames, states[n], part, dropouts[n])
            new = cast("Tensor", frames)[-1]
            if steps > 1:
                new = new.clone()  # releases the outputs of the other steps
            if output is not None and present is not None:
                new = torch.where(present.reshape(-1, *(1,) * (new.dim() - 1)), new, output)
            output = new
            done += steps
            if not one_by_one:
                chunk = max(chunk, min(_CHUNK_STEPS, _CHUNK_NUMBERS // max(1, new.numel())))
        return cast("Tensor", output), states

    def _begin(self, k: int, x: Tensor | None, state: State | None) -> tuple[State, Dropout]:
        """Return the initial state of a cell, and its dropout masks."""
        start = self._start(k, x, state)
        return start, self._cells()[k].draw_dropout(x, start)

    def _start(self, k: int, x: Tensor | None, state: State | None) -> State:
        """Return the initial state of a cell."""
        name = f"state of layer {k // self.directions}"
        if self.bidirectional:
            name += ", backward" if k % 2 else ", forward"
        return self._cells()[k].start(x, state, name)

    def _apply_dropout(self, x: Tensor | None, layer: int) -> Tensor | None:
        """Return the input of a layer, given the output of the one below."""
        if x is None or layer == 0 or not self.dropout:
            return x
        return F.dropout(x, self.dropout, self.training)

    def _read(
        self,
        x: Tensor | None,
        state: Any,  # as in forward
        steps: int | None,
        lengths: Tensor | Sequence[int] | None,
        mask: Tensor | None,
    ) -> _Call:
        """Check the arguments of a call, and put time first."""
        states = self._state_per_cell(state)
        if x is not None or steps is None or not self.in_channels:
            time, batch = ("B", "T") if self.batch_first else ("T", "B")
            check_input(x, self.in_channels, (time, batch, "C", *self.cell.space))
        start = [None] * len(self.cells) if states is None else states
        if x is None:
            steps = arguments.count("steps", steps)
            h = self._start(0, None, start[0])[0]
            size, device = h.shape[0], h.device  # len() would fix the batch size of an export
        else:
            check_like(x, self._cells()[0].weight_hh)
            x = with_fixed_steps(self._swap_time(x))
            if steps not in (None, len(x)):
                raise ArgumentError(f"steps: expected None or {len(x)}, the steps of x, found {steps!r}")
            if len(x) == 0:
                raise ArgumentError(f"x: expected at least one step, found {shape(x)} with time first")
            steps, size, device = len(x), x.shape[1], x.device
        if lengths is not None and mask is not None:
            raise ArgumentError("lengths, mask: expected at most one of them, found both")
        present = None if lengths is None else mask_of_lengths(lengths, steps, size, device)
        if mask is not None:
            check_mask(mask, (size, steps) if self.batch_first else (steps, size))
            present = self._swap_time(mask).to(device)
        if present is not None and x is not None:
            # Missing frames may have any values, which must not reach a gradient.
            x = x.masked_fill(~present.reshape(*present.shape, *(1,) * (x.dim() - 2)), 0)
        return x, start, CallSpec(steps, mask=present, repeat=lengths is None)

    def _swap_time(self, sequence: Tensor) -> Tensor:
        """Swap time and batch if ``batch_first``."""
        return sequence.transpose(0, 1) if self.batch_first else sequence

    def _reject_state(self, expected: str, found: Any) -> NoReturn:
        per = "per layer and direction" if self.bidirectional else "per layer"
        tensors = f"{len(self.cells)} tensor{'s' if len(self.cells) > 1 else ''}"
        raise ArgumentError(f"state: expected {expected} of {tensors}, one {per}, found {shape(found)}")

    def _cells(self) -> Sequence[Cell]:
        """Return the cells with their type, which a ModuleList does not have."""
        return cast("Sequence[Cell]", self.cells)

    def extra_repr(self) -> str:
        """Return the options of the stack."""
        return f"batch_first={self.batch_first}, dropout={self.dropout}, bidirectional={self.bidirectional}"


def _reversed(x: Tensor | None, spec: CallSpec) -> tuple[Tensor | None, CallSpec]:
    """Reverse a sequence in time."""
    mask = None if spec.mask is None else spec.mask.flip(0)
    return None if x is None else x.flip(0), spec._replace(mask=mask)
