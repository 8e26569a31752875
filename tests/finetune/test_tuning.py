from __future__ import annotations

from dataclasses import replace

import pytest

from brs_detr.checkpoints.weights_file import Start
from brs_detr.finetune.batch_plan import plan_batch
from brs_detr.finetune.recipe import RECIPES, size_of
from brs_detr.finetune.recipe_table import recipe_rows
from brs_detr.finetune.training_facts import TrainingFacts
from brs_detr.finetune.tuning import Tuning


def decide(num_images: int, start: Start = "detector", batch: int = 2, width: int = 256, **settings) -> Tuning:
    recipe = replace(RECIPES[size_of(num_images), start], **settings)
    plan = plan_batch(batch, recipe.effective_batch, 1, num_images)
    return Tuning(recipe, start, TrainingFacts(num_images, 7), plan, frozenset(settings), width)


def test_few_images_are_seen_more_often() -> None:
    assert decide(400).epochs == 50
    assert decide(30).epochs == 150  # 2 steps an epoch, 300 in all
    assert decide(30, epochs=5).epochs == 5
    assert decide(30).val_interval == 6
    assert decide(30).iterations == 150 * 15


def test_learning_rate() -> None:
    assert decide(400).learning_rate == pytest.approx(1e-4)
    assert decide(400, effective_batch=4).learning_rate == pytest.approx(0.5e-4)
    assert decide(400, effective_batch=4, learning_rate=3e-4).learning_rate == 3e-4
    assert decide(400, "nothing", width=128).learning_rate == pytest.approx(1e-3)
    assert decide(400, "nothing", width=256).learning_rate == pytest.approx(0.5e-3)
    assert decide(400, "nothing", width=64).learning_rate == pytest.approx(1e-3)


def test_every_line_of_the_table_has_a_value_and_most_a_reason() -> None:
    for size in (100, 1000, 10_000):
        for start in ("detector", "backbone", "nothing"):
            rows = {row.what: row for row in recipe_rows(decide(size, start), (1024, 640), 300)}
            assert all(row.value for row in rows.values())
            assert all(rows[what].why for what in ("epochs", "batch", "learning rate", "frozen", "queries"))
            assert all(len(row.why) <= 32 for row in rows.values())


def test_table_tells_among_how_many_images_is_ranked() -> None:
    for joint, value in ((False, "among 2 images"), (True, "among 16 images")):
        rows = {row.what: row for row in recipe_rows(decide(400, joint_ranking=joint), None, 300, is_ranking=True)}
        assert rows["ranking"].value == value
    assert "ranking" not in {row.what for row in recipe_rows(decide(400), None, 300)}


def test_table_tells_what_was_asked_for() -> None:
    rows = {row.what: row for row in recipe_rows(decide(30, epochs=5, flip=0, crop=0, colour=False), None, None)}
    assert rows["epochs"].why == rows["augmentation"].why == "as you asked"
    assert rows["augmentation"].value == "none"
    assert rows["image size"].value == "as they are, 0.6 to 1 of it"
    assert "queries" not in rows
    assert {row.what: row for row in recipe_rows(decide(30), None, None)}["epochs"].why == "at least 300 steps"
