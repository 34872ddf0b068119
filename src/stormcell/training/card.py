"""The card of the model file that a training writes."""

from collections.abc import Sequence

import numpy as np

from stormcell.models import model_file
from stormcell.training.fine_tuning import start_of
from stormcell.training.nowcaster_task import initial_nowcaster
from stormcell.training.recipes import Recipe
from stormcell.training.training_archive import TrainingArchive


def card_of(archives: Sequence[TrainingArchive], shares: Sequence[float], recipe: Recipe) -> model_file.Card:
    """Return the card, without scores. The archives of the model that it starts from come first.

    Args:
        archives: The archives that are trained on.
        shares: Their shares in the crops.
        recipe: Settings of the training.
    """
    nowcaster = initial_nowcaster(recipe)
    described = tuple(
        model_file.TrainingData(
            time_step_seconds=int(archive.step / np.timedelta64(1, "s")),
            pixel_size=(archive.spacing.dy, archive.spacing.dx),
            pixel_unit=archive.spacing.unit,
            extent=archive.extent,
            share=share,
            blocks={name: (block.start, block.end) for name, block in archive.split.blocks().items()},
            data_hash=archive.data_hash,
            data_source=archive.source(),
        )
        for archive, share in zip(archives, shares, strict=True)
    )
    start = start_of(recipe)
    if start is not None and start[1].nowcasting is not None:
        described = (*start[1].nowcasting.archives, *described)
    return model_file.Card(
        model=type(nowcaster).__name__,
        title="nowcaster",
        arguments=nowcaster.arguments,
        inputs=recipe.inputs,
        steps=None,
        units=model_file.Units(inputs="mm/h", outputs="mm/h"),
        nowcasting=model_file.Nowcasting(lead_minutes=recipe.lead_minutes, archives=described),
        settings=recipe.model_dump(),
        data_hash=model_file.joined_hash([one.data_hash for one in described]),
        data_source=model_file.joined_source([one.data_source for one in described]),
        scores={},
        versions=model_file.versions(),
    )
