from __future__ import annotations

import pytest

from brs_detr.finetune.batch_plan import BatchPlan, plan_batch, scaled_learning_rate


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
    assert scaled_learning_rate(1e-4, 16, 16) == 1e-4
    assert scaled_learning_rate(1e-4, 16, 64) == pytest.approx(2e-4)
    assert scaled_learning_rate(1e-4, 16, 4) == pytest.approx(5e-5)
