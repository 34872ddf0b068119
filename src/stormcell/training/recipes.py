"""The recipe: all settings of a nowcaster's training, with defaults."""

import difflib
from collections.abc import Iterable
from typing import Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from stormcell.errors import RecipeError

ARCHITECTURE = ("inputs", "channels", "detail_channels", "encoder", "cascade")  # what the network is built of


class Recipe(BaseModel):
    """All settings of a training. With a limit in updates, two runs of one recipe are the same.

    Attributes:
        start: Model that the training starts from: its file, or the name of a shipped model; null for random
            weights. See stormcell.training.fine_tuning.
        inputs: Input frames.
        lead_minutes: Longest lead time of the targets; a trained nowcaster can forecast any.
        validation: Length of the validation block, a share ("15%") or a duration ("60min"). "0%" trains on
            all frames; scores are then those of the training's own frames, and keep must be "last".
        test: Length of the test block, likewise; training does not read it.
        channels: Channels of the encoder.
        detail_channels: Channels of the layers that correct cells of 2 × 2 pixels.
        encoder: "convlstm", or for comparison "convolution" or "none".
        cascade: Whether forecasts begin as those of the local cascade; false for comparison.
        crop: Side in pixels of the training crops.
        batch_size: Crops per update and process.
        windows_per_batch: Issue times from which the crops of an update are taken.
        leads_per_crop: Lead times of a crop's targets, drawn at random.
        time_step_minutes: Time step to thin archives to, by dropping frames; null keeps their own.
        thinning: Also train on every n-th frame, for each n, where the time step stays at most 15 minutes.
        archive_shares: Shares of archives in the crops: "root" of their rain, "rain", "equal" or numbers.
        augment: Change crops at random; see stormcell.training.augmentation.
        learning_rate: Highest learning rate, between the warm-up and the cosine descent.
        warmup_updates: Updates over which the learning rate rises.
        weight_decay: Weight decay of AdamW; of a training with a start, towards its weights.
        weight_average: Decay per update of the average of the weights that is validated and written.
        gradient_clip: Largest norm of the gradient.
        loss: "distribution", or for comparison "squared": the squared error of the expected rain; see
            stormcell.training.exceedance_loss.
        uniform_loss: Weight crops so that the loss is that of uniformly drawn crops, not of rainy ones.
        max_updates: Limit in updates; on one machine the run is then the same to the bit.
        max_minutes: Limit in minutes. With both limits, training ends at the first. A ``max_updates`` on the
            command line replaces the default.
        validate_every: Updates between two validations, each with a checkpoint.
        validation_crops: Crops of a validation.
        patience: Validations without a lower loss before training ends.
        keep: Weights to write: the "best" of the validations, or the "last", which do not depend on the data
            that are validated on.
        seed: Seed of the initial weights and of the crops.
        precision: "auto" takes bfloat16 if it is faster here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    start: str | None = None
    inputs: int = Field(4, ge=3)
    lead_minutes: float = Field(60.0, gt=0)
    validation: str = "15%"
    test: str = "15%"
    channels: int = Field(48, ge=1)
    detail_channels: int = Field(32, ge=1)
    encoder: Literal["convlstm", "convolution", "none"] = "convlstm"
    cascade: bool = True
    crop: int = Field(256, ge=8)
    batch_size: int = Field(4, ge=1)
    windows_per_batch: int = Field(4, ge=1)
    leads_per_crop: int = Field(3, ge=1)
    time_step_minutes: float | None = Field(None, gt=0)
    thinning: list[PositiveInt] = Field([1], min_length=1)
    archive_shares: Literal["root", "rain", "equal"] | list[PositiveFloat] = "root"
    augment: bool = True
    learning_rate: float = Field(2e-3, gt=0)
    warmup_updates: int = Field(50, ge=0)
    weight_decay: float = Field(1e-3, ge=0)
    weight_average: float = Field(0.998, ge=0, lt=1)
    gradient_clip: float = Field(1.0, gt=0)
    loss: Literal["distribution", "squared"] = "distribution"
    uniform_loss: bool = False
    max_updates: int | None = Field(None, ge=1)
    max_minutes: float | None = Field(60.0, gt=0)
    validate_every: int = Field(50, ge=1)
    validation_crops: int = Field(32, ge=1)
    patience: int = Field(20, ge=1)
    keep: Literal["best", "last"] = "best"
    seed: int = Field(0, ge=0, lt=2**32)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.max_updates is None and self.max_minutes is None:
            raise ValueError("one of max_updates or max_minutes must be a number")
        if self.whole and self.keep == "best":
            raise ValueError("validation=0% needs keep=last: there is nothing to choose the best weights by")
        return self

    @property
    def whole(self) -> bool:
        """Whether all frames are trained on."""
        return self.validation == "0%"


def demo() -> Recipe:
    """Return a small recipe that takes two minutes."""
    return Recipe(channels=24, crop=128, max_minutes=2.0, validate_every=40, validation_crops=16)


def override(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """Return a recipe with ``key=value`` changes, values written as in YAML.

    Raises:
        RecipeError: A key is unknown (the nearest one is named) or a value does not fit.

    Example:
        >>> override(Recipe(), ["inputs=6", "thinning=[1, 2]"]).thinning
        [1, 2]
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise RecipeError(f'recipe: expected key=value, found "{assignment}"')
        if key not in Recipe.model_fields:
            near = difflib.get_close_matches(key, Recipe.model_fields, n=1, cutoff=0.0)[0]
            raise RecipeError(f'recipe: unknown key "{key}"; the nearest is "{near}"')
        try:
            changes[key] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):  # ValueError for an impossible date
            raise RecipeError(f'recipe: {key}: expected a value as in YAML, found "{text}"') from None
    if changes.get("max_updates") and "max_minutes" not in changes:
        changes["max_minutes"] = None
    try:
        return Recipe.model_validate(recipe.model_dump() | changes)
    except ValidationError as error:
        first = error.errors()[0]
        key = f"{first['loc'][0]}: " if first["loc"] else ""
        found = f", found {first['input']!r}" if first["loc"] else ""
        raise RecipeError(f"recipe: {key}{first['msg']}{found}") from None
