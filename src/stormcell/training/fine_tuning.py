"""Fine-tuning: a training that starts from a model, and does not forget what it knows.

An archive of some days is too little to learn from, and enough to learn how its radars differ from others.
Therefore the weights are drawn back to those of the model by the weight decay, as far as the archive does not
say otherwise (L2-SP: Li et al. 2018, arXiv:1802.01483), and the learning rate is low.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stormcell.errors import ModelFileError, RecipeError
from stormcell.models import model_file
from stormcell.models.nowcaster import Nowcaster
from stormcell.training.recipes import ARCHITECTURE, Recipe

LEARNING_RATE, WEIGHT_DECAY = 3e-4, 2.0


def recipe_from(start: str) -> Recipe:
    """Return the recipe of a training that starts from a model.

    Args:
        start: Model file, folder of a run, or name of a shipped model.

    Raises:
        ModelFileError: It is not the model file of a nowcaster.
    """
    arguments = _start(start)[1].arguments
    return Recipe(
        start=start,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        **{name: arguments[name] for name in ARCHITECTURE},
    )


def start_of(recipe: Recipe) -> tuple[Nowcaster, model_file.Card] | None:
    """Return the network that a training starts from, and its card; None for a new network.

    Raises:
        ModelFileError: The recipe names something else.
        RecipeError: Its architecture is not that of the recipe.
    """
    if recipe.start is None:
        return None
    network, card = _start(recipe.start)
    for name in ARCHITECTURE:
        if card.arguments[name] != getattr(recipe, name):
            raise RecipeError(
                f"recipe: {name}: expected {card.arguments[name]}, as in {recipe.start}, "
                f"found {getattr(recipe, name)}"
            )
    return network, card


class AdamWTowards(torch.optim.AdamW):
    """AdamW whose weight decay draws the weights to given ones instead of to zero.

    Args:
        parameters: The weights.
        start: The given ones, in the same order.
        lr: Learning rate.
        weight_decay: Share of the distance, times the learning rate, by which an update draws them nearer.

    Example:
        >>> weight = nn.Parameter(torch.tensor([3.0]))
        >>> weight.grad = torch.zeros(1)
        >>> AdamWTowards([weight], [torch.tensor([1.0])], lr=0.1, weight_decay=0.5).step()
        >>> round(weight.item(), 6)
        2.9
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], start: Sequence[Tensor], *, lr: float, weight_decay: float
    ) -> None:
        super().__init__(parameters, lr=lr, weight_decay=0.0)
        self._pairs, self._decay = list(zip(parameters, start, strict=True)), weight_decay

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make an update."""
        loss = super().step(closure)
        for parameter, start in self._pairs:
            parameter.lerp_(start.to(parameter), self.param_groups[0]["lr"] * self._decay)
        return loss


def _start(start: str) -> tuple[Nowcaster, model_file.Card]:
    network, card, _ = model_file.load(start)
    if not isinstance(network, Nowcaster):
        raise ModelFileError(f"{start}: expected a Nowcaster, found a {card.model}")
    return network.train(), card
