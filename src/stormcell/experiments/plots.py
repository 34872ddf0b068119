"""Figures of an experiment: inputs, truth and predictions side by side, and learning curves."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from stormcell.experiments.experiment import Array, Batch
from stormcell.verification.figures import GRID, INK, MUTED, RAIN_COLOURS, RAIN_NORM, gif, line_colour, png

_COLUMNS = 10  # largest number of frames in a row
_PANEL = 0.95  # inches
_LABEL = 2.3
_MILLISECONDS = {"first": 250, "each": 250, "last": 1500}
Colours = tuple[str | Colormap, Normalize]

GREY: Colours = ("gray", Normalize(0, 1))
RAIN: Colours = (RAIN_COLOURS, RAIN_NORM)


def frames(
    colours: Colours = GREY, values: Callable[[Array], Array] = lambda pixels: pixels
) -> Callable[[Batch, Mapping[str, Array]], dict[str, bytes]]:
    """Return a function that draws forecast frames.

    Args:
        colours: Colour map and norm of the values.
        values: Function from pixels, 0 to 1, to the values that are drawn.

    Returns:
        A function of a batch and of each model's predicted pixels ``(B, S, 1, H, W)``. It returns a PNG for
        each sequence and a GIF of the first one, by file name.
    """

    def draw(batch: Batch, predictions: Mapping[str, Array]) -> dict[str, bytes]:
        inputs, truth = values(batch.x[:, :, 0].numpy()), values(batch.y[:, :, 0].numpy())
        forecasts = {name: values(predicted[:, :, 0]) for name, predicted in predictions.items()}
        files = {}
        for k in range(len(inputs)):
            one = {name: forecast[k] for name, forecast in forecasts.items()}
            files[f"forecasts-{k + 1}.png"] = png(_strips(inputs[k], truth[k], one, colours))
        first = {name: forecast[0] for name, forecast in forecasts.items()}
        files["forecasts.gif"] = _forecast_gif(inputs[0], truth[0], first, colours)
        return files

    return draw


def classes(names: Sequence[str]) -> Callable[[Batch, Mapping[str, Array]], dict[str, bytes]]:
    """Return a function that draws classified sequences.

    Args:
        names: Names of the classes.

    Returns:
        A function of a batch and of each model's logits ``(B, classes)``. It returns a PNG of all sequences
        with their true and predicted classes, and a GIF of the sequences, by file name.
    """

    def draw(batch: Batch, predictions: Mapping[str, Array]) -> dict[str, bytes]:
        inputs, truth = batch.x[:, :, 0].numpy(), batch.y.numpy()
        answers = [
            "\n".join(
                [f"is: {names[truth[k]]}"]
                + [f"{name}: {names[logits[k].argmax()]}" for name, logits in predictions.items()]
            )
            for k in range(len(inputs))
        ]
        return {
            "answers.png": png(_answers(inputs, answers)),
            "answers.gif": _answers_gif(inputs, answers),
        }

    return draw


def curves(
    learned: Mapping[str, Mapping[str, Sequence[float]]],
    validated: Mapping[str, Mapping[str, Sequence[float]]],
    leading: str,
    heading: str,
) -> bytes:
    """Draw learning curves: training loss and leading validation score, against minutes and updates.

    Args:
        learned: Columns ``update``, ``seconds``, ``loss`` by contender.
        validated: Columns ``update``, ``seconds`` and scores by contender.
        leading: Name of the leading score.
        heading: Heading of the leading score.
    """
    figure = Figure(figsize=(9.5, 6.2), dpi=110, facecolor="white", layout="constrained")
    axes = figure.subplots(2, 2)
    for k, name in enumerate(learned):
        colour = line_colour(k)
        for column, (by, unit) in enumerate((("seconds", 60.0), ("update", 1.0))):
            losses, scores = learned[name], validated[name]
            at, smooth = _smooth(np.asarray(losses[by]) / unit, np.asarray(losses["loss"]))
            axes[0, column].plot(at, smooth, color=colour, linewidth=1.2, label=name)
            when = np.asarray(scores[by]) / unit
            axes[1, column].plot(when, scores[leading], color=colour, linewidth=1.2, marker=".")
    for column, by in enumerate(("minutes of training", "updates")):
        _look(axes[0, column], by, "loss in training")
        _look(axes[1, column], by, f"validation: {heading}")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    if all(min(curve["loss"], default=1.0) > 0 for curve in learned.values()):
        for column in range(2):
            axes[0, column].set_yscale("log")
    return png(figure)


def _smooth(at: Array, losses: Array, points: int = 200) -> tuple[Array, Array]:
    """Return means over neighbouring updates, so that a curve has at most ``points`` points."""
    by = max(1, -(-len(losses) // points))
    edges = np.arange(0, len(losses), by)
    counts = np.diff(np.append(edges, len(losses)))
    if not len(losses):
        return at, losses
    return np.add.reduceat(at, edges) / counts, np.add.reduceat(losses, edges) / counts


def _look(ax: Axes, by: str, what: str) -> None:
    ax.set_xlabel(by, fontsize=8, color=INK)
    ax.set_ylabel(what, fontsize=8, color=INK)
    ax.tick_params(labelsize=7, colors=MUTED, which="both")
    ax.grid(color=GRID, linewidth=0.6)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _show(ax: Axes, frame: Array, colours: Colours) -> AxesImage:
    image = ax.imshow(frame, cmap=colours[0], norm=colours[1], interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color="#b8bec4", linewidth=0.5)
    return image


def _evenly_spaced(length: int, most: int) -> Array:
    """Return at most ``most`` indices from the first to the last of ``length``."""
    return np.unique(np.linspace(0, length - 1, min(most, length)).round().astype(int))


def _strips(inputs: Array, truth: Array, forecasts: Mapping[str, Array], colours: Colours) -> Figure:
    """Draw one row for the inputs, one for the truth, and one for each forecast."""
    past, ahead = _evenly_spaced(len(inputs), _COLUMNS), _evenly_spaced(len(truth), _COLUMNS)
    rows = [("input", inputs, past, past - len(inputs) + 1), ("truth", truth, ahead, ahead + 1)]
    rows += [(name, forecast, ahead, ahead + 1) for name, forecast in forecasts.items()]
    across = max(len(past), len(ahead))
    size = (_LABEL + across * _PANEL, len(rows) * (_PANEL + 0.16))
    figure = Figure(figsize=size, dpi=100, facecolor="white")
    left, tall = _LABEL / size[0], 1 / len(rows)
    wide = _PANEL / size[0]
    for row, (name, shown, times, leads) in enumerate(rows):
        bottom = 1 - (row + 1) * tall
        figure.text(0.01, bottom + 0.45 * tall, _wrapped(name), fontsize=8, color=INK, va="center")
        for column, (time, lead) in enumerate(zip(times, leads, strict=True)):
            ax = figure.add_axes((left + column * wide, bottom + 0.02 * tall, 0.96 * wide, 0.8 * tall))
            _show(ax, shown[time], colours)
            ax.set_title(f"{lead:+d}" if lead else "0", fontsize=6, color=MUTED, pad=1.5)
    return figure


def _forecast_gif(inputs: Array, truth: Array, forecasts: Mapping[str, Array], colours: Colours) -> bytes:
    """Animate the truth and the forecasts side by side, after the inputs that they share."""
    columns = {"truth": truth, **forecasts}
    across = min(4, len(columns))
    down = -(-len(columns) // across)
    height = 0.3 + 2.2 * down
    figure = Figure(figsize=(1.9 * across, height), dpi=80, facecolor="white")
    heading = figure.text(0.01, 1 - 0.2 / height, "", fontsize=9, color=INK, va="center")
    place = {"left": 0.01, "right": 0.99, "bottom": 0.01, "top": 1 - 0.62 / height}
    grid = figure.add_gridspec(down, across, hspace=0.2, wspace=0.04, **place)
    images = []
    for number, name in enumerate(columns):
        ax = figure.add_subplot(grid[divmod(number, across)])
        images.append(_show(ax, inputs[0], colours))
        ax.set_title(_wrapped(name), fontsize=7, color=INK, pad=2)

    def stills() -> Iterator[Figure]:
        for number, frame in enumerate(inputs):
            heading.set_text(f"input {number - len(inputs) + 1:+d}")
            for image in images:
                image.set_data(frame)
            yield figure
        for lead in range(len(truth)):
            heading.set_text(f"forecast {lead + 1:+d}")
            for image, future in zip(images, columns.values(), strict=True):
                image.set_data(future[lead])
            yield figure

    return gif(stills(), **_MILLISECONDS)


def _answers(inputs: Array, answers: Sequence[str]) -> Figure:
    times = _evenly_spaced(inputs.shape[1], 16)
    panel = 0.6
    size = (_LABEL + len(times) * panel, len(inputs) * (panel + 0.1))
    figure = Figure(figsize=size, dpi=100, facecolor="white")
    tall, wide = 1 / len(inputs), panel / size[0]
    for row, answer in enumerate(answers):
        bottom = 1 - (row + 1) * tall
        figure.text(0.01, bottom + 0.5 * tall, answer, fontsize=7, color=INK, va="center")
        for column, time in enumerate(times):
            place = (_LABEL / size[0] + column * wide, bottom + 0.05 * tall, 0.95 * wide, 0.9 * tall)
            _show(figure.add_axes(place), inputs[row, time], GREY)
    return figure


def _answers_gif(inputs: Array, answers: Sequence[str]) -> bytes:
    across = min(4, len(inputs))
    down = -(-len(inputs) // across)
    figure = Figure(figsize=(2.0 * across, 2.6 * down), dpi=80, facecolor="white")
    grid = figure.add_gridspec(down, across, left=0.01, right=0.99, bottom=0.01, top=0.84, hspace=0.5)
    images = []
    for number, answer in enumerate(answers):
        ax = figure.add_subplot(grid[divmod(number, across)])
        images.append(_show(ax, inputs[number, 0], GREY))
        ax.set_title(answer, fontsize=7, color=INK, pad=2)

    def stills() -> Iterator[Figure]:
        for frames_at_a_time in inputs.swapaxes(0, 1):
            for image, frame in zip(images, frames_at_a_time, strict=True):
                image.set_data(frame)
            yield figure

    return gif(stills(), **_MILLISECONDS)


def _wrapped(name: str, width: int = 24) -> str:
    """Return a long name on two lines."""
    if len(name) <= width:
        return name
    space = name.rfind(" ", 0, width)
    return name if space < 0 else f"{name[:space]}\n{name[space + 1 :]}"
