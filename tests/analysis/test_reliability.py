from __future__ import annotations

import numpy as np
import pytest

from brs_detr.analysis.score_measures import reliability


def test_by_hand() -> None:
    part = reliability(np.array([0.95, 0.55, 0.55, 1.0]), np.array([True, True, False, False]))
    assert part.counts.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 2]
    assert part.precision[5] == part.precision[9] == 0.5
    assert part.mean_score[9] == pytest.approx(0.975)
    assert np.isnan(part.precision[0]) and np.isnan(part.lowest[0])


def test_small_scores_are_told_apart() -> None:
    scores = np.linspace(0.0001, 0.02, 200)
    assert reliability(scores, scores > 0.01, upper=0.02).counts.min() >= 19
    assert reliability(scores, scores > 0.01).counts.tolist() == [200] + [0] * 9


def test_the_interval_is_wider_with_fewer_detections() -> None:
    few, many = (reliability(np.full(n, 0.55), np.arange(n) % 2 == 0) for n in (4, 400))
    assert 0 < few.lowest[5] < many.lowest[5] < 0.5 < many.highest[5] < few.highest[5] < 1
    assert many.highest[5] - many.lowest[5] == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.01)


def test_nothing_was_found() -> None:
    assert reliability(np.zeros(0), np.zeros(0, bool)).counts.sum() == 0
