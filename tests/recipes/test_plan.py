from __future__ import annotations

from dataclasses import replace

import pytest

from brs_detr.checkpoints.weights_file import Start
from brs_detr.recipes.plan import BatchPlan, TrainingFacts, TrainingPlan, plan_batch, recipe_rows
from brs_detr.recipes.recipe import RECIPES, size_of


@pytest.mark.parametrize(
    ("batch", "effective", "processes", "num_images", "plan", "seen"),
    [
        (2, 16, 1, 1000, (2, 8), 16),
        (2, 16, 8, 1000, (2, 1), 16),
        (4, 16, 2, 1000, (4, 2), 16),
        (32, 16, 1, 1000, (16, 1), 16),
        (3, 16, 1, 1000, (3, 5), 15),
        (4, 4, 1, 3, (3, 1), 3),
        (4, 16, 1, 1, (1, 16), 1),
        (2, 16, 32, 1000, (1, 1), 32),
    ],
)
def test_effective_batch_is_reached_by_accumulation(batch, effective, processes, num_images, plan, seen) -> None:
    planned = plan_batch(batch, effective, processes, num_images)
    assert (planned.batch, planned.accumulation) == plan
    assert planned.effective == seen


def test_batch_that_was_asked_for_stands() -> None:
    planned = plan_batch(32, 16, 1, 1000, is_asked=True)
    assert (planned.batch, planned.accumulation, planned.effective) == (32, 1, 32)


def test_steps_of_an_epoch() -> None:
    plan = BatchPlan(batch=2, accumulation=8, processes=1, num_images=30)
    assert (plan.iterations, plan.updates) == (15, 2)
    assert BatchPlan(2, 8, 2, 30).iterations == 8
    assert str(plan) == "16 images: 2 x 8 accumulated"
    assert str(BatchPlan(2, 1, 8, 1000)) == "16 images: 2 x 8 processes"
    assert str(BatchPlan(4, 1, 1, 1000)) == "4 images"


def test_learning_rate_follows_the_root_of_the_batch() -> None:
    for batch, rate in ((16, 1e-4), (64, 2e-4), (4, 5e-5)):
        assert decide(400, effective_batch=batch).learning_rate == pytest.approx(rate)


def decide(num_images: int, start: Start = "detector", batch: int = 2, width: int = 256, **settings) -> TrainingPlan:
    recipe = replace(RECIPES[size_of(num_images), start], **settings)
    plan = plan_batch(batch, recipe.effective_batch, 1, num_images)
    return TrainingPlan(recipe, start, TrainingFacts(num_images, 7), plan, frozenset(settings), width)


def test_few_images_are_seen_more_often() -> None:
    assert decide(400).epochs == 50
    assert decide(30).epochs == 150  # 2 steps per epoch, 300 in total
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
    assert rows["epochs"].why == rows["augmentation"].why == "your setting"
    assert rows["augmentation"].value == "none"
    assert rows["image size"].value == "original, scaled by 0.6 to 1"
    assert "queries" not in rows
    assert {row.what: row for row in recipe_rows(decide(30), None, None)}["epochs"].why == "at least 300 steps"
