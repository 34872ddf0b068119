"""The windows of an archive that a nowcaster is trained and validated on."""

import numpy as np

from stormcell.data.splits import Block, Split, WindowTable, split, window_table
from stormcell.data.time_axis import TimeAxis, in_minutes
from stormcell.errors import ArgumentError
from stormcell.training.recipes import Recipe


def blocks_of(name: str, axis: TimeAxis, recipe: Recipe, every: int, *, whole: bool) -> Split:
    """Return the blocks of an archive.

    Args:
        name: Name of the archive, for errors.
        axis: Its times.
        recipe: Settings of the training.
        every: Time steps of the archive from one frame of a window to the next.
        whole: Whether all frames are one block.

    Raises:
        ArgumentError: There are too few frames to split.
    """
    if whole:
        return Split(Block.between(axis.times[0], axis.times[-1]))
    try:
        return split(axis, inputs=recipe.inputs * every, validation=recipe.validation, test=recipe.test)
    except ArgumentError as error:
        raise ArgumentError(f"{name}: {error}") from None


def window_tables(
    name: str, axis: TimeAxis, recipe: Recipe, every: int, blocks: Split
) -> dict[str, WindowTable]:
    """Return the windows to train on and to validate on; without a validation block, the same.

    The arguments are those of :func:`blocks_of`, and its result.

    Raises:
        ArgumentError: The longest lead time is shorter than a time step.
    """
    step = every * axis.step
    steps = int(np.timedelta64(round(60 * recipe.lead_minutes), "s") / step)
    if steps < 1:
        raise ArgumentError(
            f"{name}: expected a time step of at most {recipe.lead_minutes:g} min, the longest lead time, "
            f"found {in_minutes(step):g} min"
        )
    return {
        which: window_table(axis, block, inputs=recipe.inputs, steps=steps, every=every)
        for which, block in (("training", blocks.train), ("validation", blocks.validation or blocks.train))
    }


def has_windows(name: str, axis: TimeAxis, recipe: Recipe, every: int, *, whole: bool) -> bool:
    """Whether an archive has windows to train on and to validate on; see :func:`blocks_of`."""
    try:
        blocks = blocks_of(name, axis, recipe, every, whole=whole)
        return all(len(table) for table in window_tables(name, axis, recipe, every, blocks).values())
    except ArgumentError:
        return False
