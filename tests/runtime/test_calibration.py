from __future__ import annotations

import json
from typing import Any

import pytest

from brs_detr.errors import UserError
from brs_detr.runtime.calibration import Calibration, by_name, choose_thresholds
from brs_detr.runtime.score_map import ScoreMap

NAMES = ("cat", "dog")
CALIBRATION = Calibration(ScoreMap.lines([1.0, 2.0], [0.5, 0.0]), "Platt", 40, (100, 7), (0.3, 0.6), "F1")


def test_json_keeps_it() -> None:
    stored = json.loads(json.dumps(CALIBRATION.to_json()))
    assert Calibration.from_json(stored, 2) == CALIBRATION


@pytest.mark.parametrize(
    "change",
    [
        {"score_map": None},
        {"score_map": {"knots": [[0, 1]], "values": [[0, 1]]}},
        {"score_map": {"knots": [[0, 10**400]] * 2, "values": [[0, 1]] * 2}},
        {"score_map": {"knots": [[0, 1], [1, 0]], "values": [[0, 1]] * 2}},
        {"num_images": float("inf")},
        {"num_detections": [1]},
        {"num_detections": 3},
        {"thresholds": [0.5]},
        {"thresholds": [0.5, 1.5]},
        {"thresholds": float("nan")},
        {"thresholds": {}},
        {"kind": None},
        {"goal": ["F1"]},
        {"num_detections": "17"},
    ],
    ids=str,
)
def test_a_damaged_one_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Calibration.from_json({**CALIBRATION.to_json(), **change}, 2)


def test_what_is_no_calibration_is_refused() -> None:
    for stored in ({}, [], None, "Platt"):
        with pytest.raises(ValueError):
            Calibration.from_json(stored, 2)  # type: ignore[arg-type]


def test_thresholds_of_users() -> None:
    assert choose_thresholds(None, (0.1, 0.2), NAMES) == (0.1, 0.2)
    assert choose_thresholds(0.0, (0.1, 0.2), NAMES) == 0.0
    assert choose_thresholds({"dog": 0.9}, (0.1, 0.2), NAMES) == (0.1, 0.9)
    assert choose_thresholds({"dog": 0.9}, 0.5, NAMES) == (0.5, 0.9)
    assert by_name((0.1, 0.9), NAMES) == {"cat": 0.1, "dog": 0.9}
    assert by_name(0.5, NAMES) == 0.5


def test_thresholds_that_are_none() -> None:
    with pytest.raises(UserError, match="no class 'dogg'") as caught:
        choose_thresholds({"dogg": 0.5}, 0.5, NAMES)
    assert caught.value.hint == "Did you mean 'dog'?"
    for given in (1.5, float("nan"), {"cat": -0.1}):
        with pytest.raises(UserError, match=r"not in \[0, 1\]"):
            choose_thresholds(given, 0.5, NAMES)


def test_lists_within_lists_are_never_unfolded() -> None:
    """A pickle names one list many times: this one would have 10 ** 30 numbers, and takes a few hundred bytes."""
    nested: list[Any] = [0.0, 1.0]
    for _ in range(30):
        nested = [nested] * 10
    for change in (
        {"score_map": {"knots": nested, "values": nested}},
        {"kind": nested},
        {"num_detections": nested},
        {"thresholds": nested},
    ):
        with pytest.raises(ValueError):
            Calibration.from_json({**CALIBRATION.to_json(), **change}, 2)
