from __future__ import annotations

import json

import numpy as np
import pytest

from brs_detr.runtime.calibration import Calibration
from brs_detr.runtime.score_map import ScoreMap, logit

BENT = ScoreMap(np.array([[-2.0, 0, 1], [-1, 0, 3]]), np.array([[-3.0, 0, 0.5], [0, 1, 9]]))


def sigmoid(logits: list[float]) -> np.ndarray:
    return 1 / (1 + np.exp(-np.array(logits)))


def test_lines() -> None:
    score_map = ScoreMap.lines([2.0, 0.5], [1.0, -1.0])
    assert score_map.is_affine
    np.testing.assert_allclose(score_map(sigmoid([0, 1, 0, 1]), np.array([0, 0, 1, 1])), sigmoid([1, 3, -1, -0.5]))


def test_straight_between_knots_and_on_beyond_them() -> None:
    assert not BENT.is_affine
    found = BENT(sigmoid([-4, -1, 0.5, 3]), np.zeros(4, int))
    np.testing.assert_allclose(found, sigmoid([-6, -1.5, 0.25, 1.5]))
    np.testing.assert_allclose(BENT(sigmoid([2]), np.array([1])), sigmoid([1 + 2 * 8 / 3]))


def test_certain_scores_stay_finite_and_in_order() -> None:
    scores = np.array([0, 1e-45, 1e-9, 0.5, 1 - 2.0**-24, 1], np.float32)
    assert np.isfinite(logit(scores)).all()
    mapped = BENT(scores, np.zeros(6, int))
    assert (np.diff(mapped) >= 0).all() and (np.diff(mapped)[1:4] > 0).all()
    assert ((mapped >= 0) & (mapped <= 1)).all()


@pytest.mark.parametrize(
    ("knots", "values"),
    [
        ([[0.0, 1]], [[1.0, 0]]),
        ([[0.0, 1]], [[1.0, 1]]),
        ([[1.0, 1]], [[0.0, 1]]),
        ([[0.0]], [[1.0]]),
        ([[0.0, np.nan]], [[0.0, 1]]),
        ([[0.0, 1]], [[0.0, 1, 2]]),
        ([0.0, 1], [0.0, 1]),
    ],
)
def test_what_is_no_increasing_map_is_refused(knots: list, values: list) -> None:
    with pytest.raises(ValueError, match=r"knots"):
        ScoreMap(np.array(knots), np.array(values))


def test_a_calibration_survives_json() -> None:
    calibration = Calibration(BENT, "isotonic", 7, (3, 4), (0.25, 0.75), "precision 0.9")
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json())), 2)
    assert (again.kind, again.num_images, again.thresholds, again.goal) == (
        "isotonic",
        7,
        (0.25, 0.75),
        "precision 0.9",
    )
    np.testing.assert_array_equal(again.score_map.values, BENT.values)


@pytest.mark.parametrize(
    "change",
    [
        {"score_map": {"knots": [[0, 1]], "values": [[0, 1]]}},  # of one class
        {"score_map": None},
        {"num_detections": [1]},
        {"thresholds": [0.5]},
        {"thresholds": 1.5},
        {"thresholds": float("nan")},
        {"thresholds": "half"},
        {"num_images": []},
    ],
)
def test_damaged_calibrations_are_refused(change: dict) -> None:
    stored = Calibration(BENT, "isotonic", 7, (3, 4)).to_json()
    with pytest.raises(ValueError):
        Calibration.from_json({**stored, **change}, 2)
