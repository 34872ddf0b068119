import numpy as np
import pytest
import torch

from stormcell.errors import ModelFileError, RecipeError
from stormcell.models import model_file
from stormcell.models.nowcaster import Nowcaster
from stormcell.training.fine_tuning import AdamWTowards, recipe_from, start_of
from stormcell.training.recipes import Recipe, override


@pytest.fixture
def start(tmp_path, card_of):
    torch.manual_seed(1)
    nowcaster = Nowcaster(inputs=3, channels=4, detail_channels=5, encoder="convolution")
    torch.nn.init.normal_(nowcaster.correction.weight)
    model_file.save(tmp_path / "start.safetensors", nowcaster, card_of(nowcaster))
    return str(tmp_path / "start.safetensors")


def test_recipe_from_a_model_has_its_architecture(start):
    recipe = recipe_from(start)
    assert (recipe.inputs, recipe.channels, recipe.detail_channels) == (3, 4, 5)
    assert recipe.encoder == "convolution"
    assert recipe.learning_rate < Recipe().learning_rate


def test_start_of_a_recipe_is_the_model(start):
    network, card = start_of(recipe_from(start))
    expected = model_file.load(start)[0].state_dict()
    assert network.training
    assert card.arguments["channels"] == 4
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert start_of(Recipe()) is None


def test_start_of_another_architecture_is_refused(start):
    with pytest.raises(RecipeError, match=r"recipe: channels: expected 4, as in .*, found 8"):
        start_of(override(recipe_from(start), ["channels=8"]))


def test_recipe_from_another_network_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        recipe_from(str(tmp_path / "none.safetensors"))


def test_adamw_towards_zero_is_adamw():
    gradients = np.random.default_rng(0).normal(size=(5, 3))

    def trained(make):
        weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
        optimizer = make(weight)
        for gradient in gradients:
            weight.grad = torch.from_numpy(gradient)
            optimizer.step()
        return weight.detach()

    zero = [torch.zeros(3, dtype=torch.float64)]
    found = trained(lambda w: AdamWTowards([w], zero, lr=0.01, weight_decay=0.5))
    expected = trained(lambda w: torch.optim.AdamW([w], lr=0.01, weight_decay=0.5))
    # AdamW shrinks weights before its step and not after it: a share of 0.005 of steps of 0.01, five times.
    torch.testing.assert_close(found, expected, rtol=0, atol=5 * 0.005 * 0.011)


def test_adamw_towards_a_start_returns_to_it_without_a_gradient():
    weight = torch.nn.Parameter(torch.tensor([5.0]))
    optimizer = AdamWTowards([weight], [torch.tensor([2.0])], lr=0.1, weight_decay=1.0)
    for _ in range(10):
        weight.grad = torch.zeros(1)
        optimizer.step()
    assert weight.item() == pytest.approx(2 + 3 * 0.9**10)
