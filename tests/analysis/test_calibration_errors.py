from __future__ import annotations

import numpy as np
import pytest

from brs_detr.analysis.score_measures import bins_of, dece, laace, laece, mean_over_classes

NONE = np.zeros(0)


def test_laece_by_hand() -> None:
    scores = np.array([0.03, 0.01, 0.5, 0.9])  # the first two share a bin: 0.02 too high, each
    ious = np.array([0.0, 0.0, 0.7, 0.8])
    assert laece(scores, ious) == pytest.approx((0.04 + 0.2 + 0.1) / 4)


def test_errors_within_a_bin_cancel_in_laece_and_add_up_in_laace() -> None:
    scores, ious = np.array([0.49, 0.51]), np.array([0.4, 0.6])
    assert laece(scores, ious) == pytest.approx(0)
    assert laace(scores, ious) == pytest.approx(0.09)


def test_dece_by_hand() -> None:
    scores = np.array([0.95, 0.55, 0.55, 1.0])
    is_true = np.array([True, True, False, False])
    assert dece(scores, is_true) == pytest.approx((2 * 0.475 + 2 * 0.05) / 4)


def test_an_edge_belongs_to_the_bin_below() -> None:
    assert bins_of(np.array([0.0, 0.5, 0.51, 1.0]), 10).tolist() == [0, 4, 5, 9]
    assert dece(np.array([0.5, 0.55]), np.array([True, False])) == pytest.approx((0.5 + 0.55) / 2)


def test_bins_up_to_a_small_score() -> None:
    assert bins_of(np.array([0.0, 0.001, 0.011, 0.02]), 10, 0.02).tolist() == [0, 0, 5, 9]


def test_nothing_to_measure() -> None:
    assert dece(NONE, NONE.astype(bool)) == laece(NONE, NONE) == laace(NONE, NONE) == mean_over_classes([-1, -1]) == -1
    assert mean_over_classes([0.2, -1, 0.4]) == pytest.approx(0.3)


def test_scores_that_are_probabilities() -> None:
    random = np.random.default_rng(0)
    scores = random.random(20_000)
    assert dece(scores, random.random(20_000) < scores) < 0.02
    assert dece(scores / 2, random.random(20_000) < scores) > 0.2
    assert laece(scores, scores) == laace(scores, scores) == 0
