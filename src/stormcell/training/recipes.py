"""How a nowcaster is trained: every dial there is, and where they stand by default."""

import difflib
from collections.abc import Iterable
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from stormcell.errors import RecipeError


class Recipe(BaseModel):
    """Everything that decides what a training run does; two runs of one recipe are the same run.

    Attributes:
        inputs: Frames the network looks back on.
        steps: Frames it learns to forecast; afterwards it can be asked for any number.
        coordinates: Forecast in coordinates that move with the rain, or in fixed ones.
        validation: Length of the validation block, a share ("15%") or a duration ("60min").
        test: Length of the test block, likewise; training never sees it.
        hidden_channels: Channels of each ConvLSTM layer.
        kernel_size: Of every convolution in them.
        patch_size: Side in pixels of the patches that become the network's pixels.
        crop: Side in pixels of what is trained on at once.
        batch_size: Crops per update.
        windows_per_batch: Issue times that a batch's crops are taken from.
        augment: Flip and transpose crops at random.
        learning_rate: Its highest value, after the warm-up and before the cosine descent.
        warmup_updates: Updates over which it rises.
        weight_decay: Of AdamW.
        gradient_clip: Largest norm of the gradient.
        heavy_rain_weight: A pixel with R mm/h of rain counts 1 + heavy_rain_weight · min(R, 30).
        max_updates: Stop after so many updates; on one machine the run is then the same to the bit.
        max_minutes: Stop after so many minutes of training; with both, after what comes first. A
            ``max_updates`` on the command line takes the place of the default.
        validate_every: Updates between two validations, each with a checkpoint.
        validation_crops: Crops a validation looks at.
        threshold: Rain rate in mm/h of the CSI that picks the best weights.
        patience: Validations without a better CSI before training ends.
        seed: Of the initial weights and of what is sampled.
        precision: "auto" takes bfloat16 where the processor has it.
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
    augment: bool = True
    learning_rate: float = Field(1e-3, gt=0)
    warmup_updates: int = Field(30, ge=0)
    weight_decay: float = Field(1e-2, ge=0)
    gradient_clip: float = Field(1.0, gt=0)
    heavy_rain_weight: float = Field(1.0, ge=0)
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
    """Small and quick: something worth looking at in two minutes on two cores."""
    return Recipe(hidden_channels=[32, 32], crop=96, max_minutes=2.0, validate_every=40, validation_crops=32)


def override(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """A recipe with ``key=value`` changes, values written as in YAML.

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
        except (yaml.YAMLError, ValueError):  # the latter from a date that is none
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
