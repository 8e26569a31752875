from __future__ import annotations

import numpy as np
import pytest

from brs_detr.analysis.curves import Goal, class_thresholds, rates_at

SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2] * 2)
IS_TRUE = np.array([1, 1, 0, 1, 1, 0, 0, 0] + [1, 0, 0, 0, 0, 1, 0, 0], bool)
LABELS = np.repeat([0, 1], 8)
OBJECTS = np.array([12, 10])


@pytest.mark.parametrize(
    ("goal", "first", "second"),
    [
        (Goal("F1"), 0.45, 0.35),  # 4 of 5 kept and 12 wanted: 8 / 17; 2 of 6 and 10: 4 / 16
        (Goal("precision", 0.8), 0.45, 0.85),  # the lowest that keeps to it, though 3 of 4 above it do not
        (Goal("recall", 0.25), 0.55, None),
        (Goal("recall", 0.2), 0.55, 0.35),
    ],
)
def test_thresholds_lie_between_scores(goal: Goal, first: float, second: float | None) -> None:
    chosen = class_thresholds(SCORES, LABELS, IS_TRUE, OBJECTS, goal)
    assert chosen.thresholds[0] == pytest.approx(first)
    if second is None:
        assert chosen.missed == (1,)
    else:
        assert chosen.thresholds[1] == pytest.approx(second) and chosen.missed == ()


def test_the_goal_is_reached_where_it_can_be() -> None:
    chosen = class_thresholds(SCORES, LABELS, IS_TRUE, OBJECTS, Goal("precision", 0.8))
    rates = rates_at(SCORES, LABELS, IS_TRUE, OBJECTS, np.array(chosen.thresholds))
    np.testing.assert_allclose(rates, [[0.8, 4 / 12, 8 / 17], [1.0, 0.1, 2 / 11]])


def test_few_objects_take_the_threshold_of_all() -> None:
    chosen = class_thresholds(SCORES, LABELS, IS_TRUE, np.array([12, 3]), Goal("F1"))
    of_all = class_thresholds(SCORES, np.zeros(16, int), IS_TRUE, np.array([15]), Goal("F1"))
    assert chosen.pooled == (1,)
    assert chosen.thresholds[1] == of_all.thresholds[0]


def test_a_class_that_was_never_found_keeps_the_default() -> None:
    chosen = class_thresholds(SCORES[:8], LABELS[:8], IS_TRUE[:8], OBJECTS, Goal("recall", 0.1))
    assert chosen.thresholds[1] == 0.5 and chosen.missed == (1,)
    rates = rates_at(SCORES[:8], LABELS[:8], IS_TRUE[:8], np.array([12, 0]), np.array([0.5, 0.5]))
    assert np.isnan(rates[1]).all()


def test_goals_have_names() -> None:
    assert [str(goal) for goal in (Goal("F1"), Goal("precision", 0.9), Goal("recall", 0.95))] == [
        "best F1",
        "precision 0.9",
        "recall 0.95",
    ]
