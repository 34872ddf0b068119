"""Networks run forward as a feeding says: on true frames, or on their own forecasts."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.models.sampling_schedules import Feeding, FreeRunning
from stormcell.nn.activations import ACTIVATIONS
from stormcell.nn.arguments import count, one_of
from stormcell.nn.shapes import shape

S = TypeVar("S")
FEEDBACKS = ("linear", "sigmoid")  # names of what makes a frame of an output


def check_feedback(feedback: str | None, in_channels: int, out_channels: int) -> None:
    """Check that outputs can be made frames that are read again, if they are to be.

    Raises:
        ArgumentError: ``feedback`` is no name known, or there are not as many channels out as in.
    """
    one_of("feedback", feedback, (*FEEDBACKS, None))
    if feedback and out_channels != in_channels:
        raise ArgumentError(
            f"out_channels: expected {in_channels}, as feedback={feedback!r} makes them in_channels, "
            f"found {out_channels}"
        )


def drawn(feeding: Feeding | Tensor, x: Tensor, truth: Tensor | None, steps: int) -> Tensor:
    """Return which frames are given, bool ``(B, T + steps - 1)`` on the CPU, and see that they are there.

    Raises:
        ArgumentError: It is neither a feeding nor such a tensor, a frame is given and there is no ``truth``,
            that is not of shape ``(B, steps, …)``, or ``x`` has no frame.
    """
    batch, inputs = x.shape[:2]
    if not inputs:
        raise ArgumentError(f"x: expected at least one frame, found {shape(x)}")
    expected = (batch, inputs + steps - 1)
    if isinstance(feeding, Tensor):
        given = feeding
    elif hasattr(feeding, "given"):
        given = feeding.given(batch, inputs, steps)
    else:
        raise ArgumentError(f"feeding: expected a feeding or bools {expected}, found {shape(feeding)}")
    if given.shape != expected or given.dtype != torch.bool:
        raise ArgumentError(f"feeding: expected bools {expected}, found {shape(given)} of {given.dtype}")
    given = given.cpu()  # it steers what is computed
    if not given[:, 0].all():
        raise ArgumentError("feeding: expected the first frame to be given, found False")
    if truth is None and given[:, inputs:].any():
        found = "a tensor" if isinstance(feeding, Tensor) else repr(feeding)
        raise ArgumentError(
            f"truth: expected ({batch}, {steps}, …), as {found} gives frames of it, found None"
        )
    if truth is not None and truth.shape != (batch, steps, *x.shape[2:]):
        like = (batch, steps, *x.shape[2:])
        raise ArgumentError(f"truth: expected {like}, as x is, found {shape(truth)}")
    return given


def unfed(feeding: Feeding | Tensor, why: str) -> None:
    """Refuse to feed a network that reads no frames while it forecasts.

    Raises:
        NotOfferedError: The feeding is another than free running.
    """
    if not isinstance(feeding, FreeRunning):
        found = "a tensor" if isinstance(feeding, Tensor) else repr(feeding)
        raise NotOfferedError(f"feeding: expected FreeRunning(), as {why}, found {found}")


def run(
    read: Callable[[Tensor, S], tuple[Tensor, S]],
    state: S,
    frames: Tensor,
    given: Tensor,
    feedback: str,
) -> Tensor:
    """Run a network that makes of every frame it reads a forecast of the next.

    Args:
        read: Takes frames ``(B, n, C, H, W)`` and the state before them; returns as many forecasts, each of
            the frame that follows, and the state after them.
        state: The one to start from.
        frames: The true ones, ``(B, N, C, H, W)``; fewer, if the others are not given to any sequence.
        given: Which are given, bool ``(B, N)`` on the CPU; all of the first.
        feedback: What makes a frame of a forecast that is read in its place.

    Returns:
        The forecasts, ``(B, N, …)``, the first being of the frame after the first.
    """
    everyone, anyone = given.all(dim=0).tolist(), given.any(dim=0).tolist()
    # Frames given to every sequence are read at once: the layers are faster over sequences.
    ahead = everyone.index(False) if False in everyone else len(everyone)
    forecast, state = read(frames[:, :ahead], state)
    forecasts = [forecast]
    given, back = given.to(frames.device), ACTIVATIONS[feedback]
    for t in range(ahead, len(everyone)):
        frame = back(forecasts[-1][:, -1:])
        if anyone[t]:
            frame = torch.where(given[:, t].reshape(-1, 1, 1, 1, 1), frames[:, t : t + 1], frame)
        forecast, state = read(frame, state)
        forecasts.append(forecast)
    return torch.cat(forecasts, dim=1)


def run_ahead(
    read: Callable[[Tensor, S], tuple[Tensor, S]],
    state: S,
    x: Tensor,
    steps: int,
    truth: Tensor | None,
    feeding: Feeding | Tensor,
    feedback: str,
) -> Tensor:
    """Run a forecaster from the state that an encoder of ``x`` left: it reads the last frame of ``x`` first.

    Args:
        read: As in :func:`run`.
        state: The encoder's.
        x: Known frames, ``(B, T, C, H, W)``.
        steps: How many frames to forecast.
        truth: Those that did follow, ``(B, steps, C, H, W)``, if there are any.
        feeding: Which of them are given.
        feedback: What makes a frame of a forecast.

    Returns:
        ``(B, steps, C, H, W)``.

    Raises:
        ArgumentError: As :func:`drawn`.
        NotOfferedError: The feeding holds back a known frame: the encoder forecasts none to take its place.
    """
    inputs = x.shape[1]
    given = drawn(feeding, x, truth, count("steps", steps))
    if not given[:, :inputs].all():
        found = "a tensor without" if isinstance(feeding, Tensor) else repr(feeding)
        raise NotOfferedError(
            f"feeding: expected all {inputs} known frames, of which the encoder forecasts none, found {found}"
        )
    last = x[:, -1:]
    frames = last if truth is None else torch.cat([last, truth[:, :-1]], dim=1)
    return run(read, state, frames, given[:, inputs - 1 :], feedback)
