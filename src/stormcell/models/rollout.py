"""Rollout: running a network over given frames and over its own forecasts, by a sampling schedule."""

from collections.abc import Callable
from typing import NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.models.sampling_schedules import FreeRunning, SamplingSchedule
from stormcell.nn.activations import ACTIVATIONS
from stormcell.nn.arguments import count, one_of
from stormcell.nn.shapes import shape

S = TypeVar("S")
FEEDBACKS = ("linear", "sigmoid")  # activations that turn an output into a frame


def check_feedback(feedback: str | None, in_channels: int, out_channels: int) -> None:
    """Check that outputs can be read as frames, if they have to be.

    Raises:
        ArgumentError: ``feedback`` is unknown, or outputs have other channels than inputs.
    """
    one_of("feedback", feedback, (*FEEDBACKS, None))
    if feedback and out_channels != in_channels:
        raise ArgumentError(
            f"out_channels: expected {in_channels}, as feedback={feedback!r} requires in_channels, "
            f"found {out_channels}"
        )


def check_free_running(schedule: SamplingSchedule | Tensor, reason: str) -> None:
    """Check the schedule of a network that reads no frames while it forecasts.

    Raises:
        NotOfferedError: The schedule is not :class:`FreeRunning`.
    """
    if not isinstance(schedule, FreeRunning):
        raise NotOfferedError(f"schedule: expected FreeRunning(), as {reason}, found {_describe(schedule)}")


class Given(NamedTuple):
    """Which frames are given. What decides what is computed is not in tensors, so that it can be exported."""

    to_all: list[bool]  # per frame: whether it is given to all sequences
    to_some: list[bool]  # per frame: whether it is given to any sequence
    each: Tensor | None  # (B, N) per sequence; None if all sequences are given the same frames

    @classmethod
    def read(cls, each: Tensor) -> Self:
        """Return which of ``(B, N)`` frames are given."""
        each = each.cpu()
        return cls(each.all(dim=0).tolist(), each.any(dim=0).tolist(), each)

    def since(self, first: int) -> Self:
        """Return which frames are given from the first on."""
        each = None if self.each is None else self.each[:, first:]
        return type(self)(self.to_all[first:], self.to_some[first:], each)


def draw_given(schedule: SamplingSchedule | Tensor, x: Tensor, targets: Tensor | None, steps: int) -> Given:
    """Return which of the ``T + steps - 1`` frames are given, and check that they exist.

    Args:
        schedule: A schedule to draw from, or the result of an earlier draw.
        x: Inputs, ``(B, T, C, H, W)``.
        targets: Targets, ``(B, steps, C, H, W)``; needed if one of them is given.
        steps: Number of frames to forecast.

    Raises:
        ArgumentError: ``x`` has no frame; ``schedule`` is neither a schedule nor such a tensor; or
            ``targets`` is missing or has another shape.
    """
    batch, inputs = x.shape[:2]
    if not inputs:
        raise ArgumentError(f"x: expected at least one frame, found {shape(x)}")
    expected = (batch, inputs + steps - 1)
    if isinstance(schedule, FreeRunning):
        known = [t < inputs for t in range(expected[1])]
        given = Given(known, known, None)
    else:
        if isinstance(schedule, Tensor):
            each = schedule
        elif hasattr(schedule, "given"):
            each = schedule.given(batch, inputs, steps)
        else:
            raise ArgumentError(
                f"schedule: expected a sampling schedule or bools {expected}, found {shape(schedule)}"
            )
        if each.shape != expected or each.dtype != torch.bool:
            raise ArgumentError(f"schedule: expected bools {expected}, found {shape(each)} of {each.dtype}")
        given = Given.read(each)
    if not given.to_all[0]:
        raise ArgumentError("schedule: expected the first frame to be given, found False")
    if targets is None and any(given.to_some[inputs:]):
        raise ArgumentError(
            f"targets: expected ({batch}, {steps}, …), as the schedule gives some of them, found None"
        )
    if targets is not None and targets.shape != (batch, steps, *x.shape[2:]):
        like = (batch, steps, *x.shape[2:])
        raise ArgumentError(f"targets: expected {like} for this x, found {shape(targets)}")
    return given


def run(
    read: Callable[[Tensor, S], tuple[Tensor, S]],
    state: S,
    frames: Tensor,
    given: Given,
    feedback: str,
) -> Tensor:
    """Run a network that forecasts the next frame from every frame that it reads.

    Args:
        read: Takes frames ``(B, n, C, H, W)`` and the state before them. Returns the forecast of the frame
            after each, and the state after the last.
        state: Initial state.
        frames: True frames, ``(B, N, C, H, W)``, or fewer if the last ones are not given to any sequence.
        given: Which of the N frames are given; the first is given to all sequences.
        feedback: Activation that turns a forecast into the frame that is read in place of the true one.

    Returns:
        The forecasts, ``(B, N, …)``; the first is for the frame after the first.
    """
    to_all, to_some, each = given
    # Frames given to all sequences are read at once: the layers are faster over sequences.
    at_once = to_all.index(False) if False in to_all else len(to_all)
    forecast, state = read(frames[:, :at_once], state)
    forecasts = [forecast]
    each, as_frame = None if each is None else each.to(frames.device), ACTIVATIONS[feedback]
    for t in range(at_once, len(to_all)):
        frame = as_frame(forecasts[-1][:, -1:])
        if to_some[t] and each is not None:
            frame = torch.where(each[:, t].reshape(-1, 1, 1, 1, 1), frames[:, t : t + 1], frame)
        forecast, state = read(frame, state)
        forecasts.append(forecast)
    return torch.cat(forecasts, dim=1)


def run_forecaster(
    read: Callable[[Tensor, S], tuple[Tensor, S]],
    state: S,
    x: Tensor,
    steps: int,
    targets: Tensor | None,
    schedule: SamplingSchedule | Tensor,
    feedback: str,
) -> Tensor:
    """Run a forecaster from an encoder's last state; it reads the last input first.

    Args:
        read: The forecaster, as in :func:`run`.
        state: State of the encoder after the last input.
        x: Inputs, ``(B, T, C, H, W)``.
        steps: Number of frames to forecast.
        targets: Targets, ``(B, steps, C, H, W)``, or None.
        schedule: Which of the targets are given.
        feedback: Activation that turns a forecast into a frame.

    Returns:
        The forecast, ``(B, steps, C, H, W)``.

    Raises:
        ArgumentError: As :func:`draw_given`.
        NotOfferedError: An input is not given, and the encoder makes no forecast to replace it.
    """
    inputs = x.shape[1]
    given = draw_given(schedule, x, targets, count("steps", steps))
    if not all(given.to_all[:inputs]):
        raise NotOfferedError(
            f"schedule: expected all {inputs} inputs to be given, as the encoder makes no forecasts, "
            f"found {_describe(schedule)}"
        )
    last = x[:, -1:]
    frames = last if targets is None else torch.cat([last, targets[:, :-1]], dim=1)
    return run(read, state, frames, given.since(inputs - 1), feedback)


def _describe(schedule: SamplingSchedule | Tensor) -> str:
    return "a tensor" if isinstance(schedule, Tensor) else repr(schedule)
