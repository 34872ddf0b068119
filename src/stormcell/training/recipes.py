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


class Recipe(BaseModel):
    """All settings of a training. With a limit in updates, two runs of one recipe are the same.

    Attributes:
        inputs: Input frames.
        steps: Target frames in training; a trained nowcaster can forecast any number.
        coordinates: "moving" to forecast in coordinates that move with the rain, or "fixed".
        validation: Length of the validation block, a share ("15%") or a duration ("60min").
        test: Length of the test block, likewise; training does not read it.
        hidden_channels: Channels of each ConvLSTM layer.
        kernel_size: Kernel size of every convolution in them.
        patch_size: Side in pixels of the patches that become the network's pixels.
        crop: Side in pixels of the training crops.
        batch_size: Crops per update and process.
        windows_per_batch: Issue times from which the crops of an update are taken.
        time_step_minutes: Time step to thin archives to, by dropping frames; null keeps their own.
        archive_shares: Shares of archives in the crops: "root" of their rain, "rain", "equal" or numbers.
        augment: Flip crops at random, and transpose them where pixels are square.
        learning_rate: Highest learning rate, between the warm-up and the cosine descent.
        warmup_updates: Updates over which the learning rate rises.
        weight_decay: Weight decay of AdamW.
        gradient_clip: Largest norm of the gradient.
        heavy_rain_weight: The weight of a pixel with R mm/h is 1 + heavy_rain_weight · min(R, 30).
        uniform_loss: Weight crops so that the loss is that of uniformly drawn crops, not of rainy ones.
        max_updates: Limit in updates; on one machine the run is then the same to the bit.
        max_minutes: Limit in minutes. With both limits, training ends at the first. A ``max_updates`` on the
            command line replaces the default.
        validate_every: Updates between two validations, each with a checkpoint.
        validation_crops: Crops of a validation.
        threshold: Rain rate in mm/h of the CSI that decides which weights are the best.
        patience: Validations without a better CSI before training ends.
        seed: Seed of the initial weights and of the crops.
        precision: "auto" takes bfloat16 if the processor supports it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    inputs: int = Field(3, ge=2)
    steps: int = Field(12, ge=1)
    coordinates: Literal["moving", "fixed"] = "moving"
    validation: str = "15%"
    test: str = "15%"
    hidden_channels: list[PositiveInt] = Field([64, 64], min_length=1)
    kernel_size: int = Field(3, ge=1)
    patch_size: int = Field(4, ge=1)
    crop: int = Field(128, ge=8)
    batch_size: int = Field(8, ge=1)
    windows_per_batch: int = Field(4, ge=1)
    time_step_minutes: float | None = Field(None, gt=0)
    archive_shares: Literal["root", "rain", "equal"] | list[PositiveFloat] = "root"
    augment: bool = True
    learning_rate: float = Field(1e-3, gt=0)
    warmup_updates: int = Field(30, ge=0)
    weight_decay: float = Field(1e-2, ge=0)
    gradient_clip: float = Field(1.0, gt=0)
    heavy_rain_weight: float = Field(1.0, ge=0)
    uniform_loss: bool = False
    max_updates: int | None = Field(None, ge=1)
    max_minutes: float | None = Field(60.0, gt=0)
    validate_every: int = Field(50, ge=1)
    validation_crops: int = Field(64, ge=1)
    threshold: float = Field(1.0, gt=0)
    patience: int = Field(20, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.max_updates is None and self.max_minutes is None:
            raise ValueError("one of max_updates or max_minutes must be a number")
        return self


def demo() -> Recipe:
    """Return a small recipe that takes two minutes."""
    return Recipe(hidden_channels=[32, 32], crop=96, max_minutes=2.0, validate_every=40, validation_crops=32)


def override(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """Return a recipe with ``key=value`` changes, values written as in YAML.

    Raises:
        RecipeError: A key is unknown (the nearest one is named) or a value does not fit.

    Example:
        >>> override(Recipe(), ["steps=6", "hidden_channels=[32, 16]"]).hidden_channels
        [32, 16]
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
