from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from brs_detr.errors import UserError
from brs_detr.recipes.recipe import RECIPES, change_recipe, size_of

FEW = RECIPES["few", "detector"]


@pytest.mark.parametrize(
    ("num_images", "size"), [(1, "few"), (499, "few"), (500, "some"), (4999, "some"), (5000, "many"), (118_000, "many")]
)
def test_size(num_images: int, size: str) -> None:
    assert size_of(num_images) == size


def test_recipes_say_what_is_agreed_on() -> None:
    assert len(RECIPES) == 9
    for (size, start), recipe in RECIPES.items():
        assert not recipe.mosaic
        assert (recipe.frozen_stages == -1) == (start == "nothing")
        assert recipe.effective_batch == 16 or (start == "nothing" and size != "many")
        assert recipe.multi_scale[1] <= 1.0  # the batch search tries the largest size
    for start in ("detector", "backbone", "nothing"):
        few, some, many = (RECIPES[size, start] for size in ("few", "some", "many"))
        assert few.epochs >= some.epochs > many.epochs
        assert few.ema and few.frozen_stages >= some.frozen_stages >= many.frozen_stages


def test_settings_are_changed_and_survive_json() -> None:
    recipe = change_recipe(FEW, {"epochs": 7, "flip": 0, "resolution": [640, 480], "queries": None, "mosaic": True})
    assert (recipe.epochs, recipe.flip, recipe.resolution, recipe.mosaic) == (7, 0, (640, 480), True)
    assert change_recipe(RECIPES["many", "nothing"], json.loads(json.dumps(asdict(recipe)))) == recipe


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epoch", 3, "Did you mean 'epochs'"),
        ("epochs", 0, "epochs=0 cannot be used.\n  It must be a whole number, at least 1"),
        ("epochs", 2.5, "It must be a whole number"),
        ("epochs", True, "It must be a whole number"),
        ("colour", 1, "It must be True or False"),
        ("flip", "often", "It must be a number"),
        ("flip", 2, "between 0 and 1"),
        ("patience", -1, "0 or more"),
        ("learning_rate", 0, "above 0"),
        ("layer_decay", 1.5, "at most 1"),
        ("schedule", "linear", "cosine or step"),
        ("frozen_stages", 5, "from -1"),
        ("multi_scale", (1.0, 0.5), "the smaller one first"),
        ("multi_scale", 0.5, "It must be a pair"),
        ("resolution", (480, 640), "the long one first"),
        ("resolution", (480, 8), "neither below 32"),
        ("queries", 0, "at least 1, or None"),
    ],
)
def test_setting_that_cannot_be(name: str, value: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        change_recipe(FEW, {name: value})
    assert message in str(error.value)
