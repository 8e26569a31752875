from __future__ import annotations

import json

import numpy as np
import pytest

from brs_detr.runtime.score_map import MOST_KNOTS, ScoreMap, logit


def test_a_line_is_a_line_in_the_logit() -> None:
    scores, labels = np.array([0.1, 0.5, 0.9], np.float32), np.array([0, 1, 1])
    mapped = ScoreMap.lines([2.0, 0.5], [1.0, -1.0])(scores, labels)
    slopes, offsets = np.array([2.0, 0.5, 0.5]), np.array([1.0, -1.0, -1.0])
    np.testing.assert_allclose(logit(mapped), slopes * logit(scores) + offsets, atol=1e-9)


def test_straight_between_knots_and_beyond() -> None:
    score_map = ScoreMap(np.array([[-2.0, 0.0, 1.0]]), np.array([[-1.0, 0.0, 3.0]]))
    logits = np.array([-4.0, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0])
    mapped = score_map(1 / (1 + np.exp(-logits)), np.zeros(7, np.int64))
    np.testing.assert_allclose(logit(mapped), [-2.0, -1.0, -0.5, 0.0, 1.5, 3.0, 6.0], atol=1e-9)


def test_the_least_and_the_largest_score_have_a_logit() -> None:
    mapped = ScoreMap.lines([1.0], [0.0])(np.array([0.0, 1.0], np.float32), np.zeros(2, np.int64))
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
    assert 0 < mapped[0] < 1e-30 and 1 - 1e-7 < mapped[1] <= 1
    assert len(ScoreMap.lines([1.0], [0.0])(np.zeros(0, np.float32), np.zeros(0, np.int64))) == 0


@pytest.mark.parametrize(
    ("knots", "values"),
    [
        ([[0, 1]], [[0, 1, 2]]),
        ([[0]], [[0]]),
        ([0, 1], [0, 1]),
        ([[1, 0]], [[0, 1]]),
        ([[0, 1]], [[1, 1]]),
        ([[0, float("nan")]], [[0, 1]]),
        ([[0, 1]], [[0, float("inf")]]),
        ([[0, 1e-300]], [[0, 1]]),
        ([[0, 1e300]], [[0, 1e300]]),
        ([[0, 1]], [[0, 1e-60]]),
        ([["0", "1"]], [[0, 1]]),
        ([list(range(MOST_KNOTS + 1))], [list(range(MOST_KNOTS + 1))]),
    ],
)
def test_what_is_no_rising_map_is_refused(knots: list, values: list) -> None:
    with pytest.raises(ValueError):
        ScoreMap.from_json({"knots": knots, "values": values})


def test_json_keeps_every_digit() -> None:
    score_map = ScoreMap.lines([1 / 3, np.pi], [-1e-7, 12.3])
    assert ScoreMap.from_json(json.loads(json.dumps(score_map.to_json()))) == score_map
    assert score_map != ScoreMap.lines([1 / 3, np.pi], [0.0, 12.3])
