from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up_detections import Dataset, Results, dataset_of, found
from scipy.special import expit, logit

from brs_detr.analysis.analysis import analyse, shown_predictions
from brs_detr.analysis.score_measures import MEASURES
from brs_detr.errors import UserError
from brs_detr.evaluation.calibrate import in_order_of
from brs_detr.runtime.calibration import Calibration
from brs_detr.runtime.score_map import ScoreMap

BOX = [20.0, 20.0, 40.0, 40.0]
BESIDE = [40.0, 20.0, 40.0, 40.0]  # IoU 1/3 with BOX
AWAY = [120.0, 120.0, 40.0, 40.0]
SLOPE, OFFSET = 0.5, -5.0  # of made-up raw scores


def calibration_of(slopes: list[float], offsets: list[float], thresholds: float | tuple[float, ...]) -> Calibration:
    return Calibration(ScoreMap.lines(slopes, offsets), "Platt", 9, (1,) * len(slopes), thresholds)


def probable(num_images: int = 800) -> tuple[Dataset, Results, Calibration]:
    """Make one object and one detection per image; the map turns scores into probabilities."""
    random = np.random.default_rng(7)
    dataset = dataset_of([(n, 1, BOX) for n in range(1, num_images + 1)], num_images, num_classes=1)
    probabilities = random.random(num_images)
    results = [
        found(n, 1, BOX if random.random() < probability else AWAY, float(expit(SLOPE * logit(probability) + OFFSET)))
        for n, probability in enumerate(probabilities, 1)
    ]
    return dataset, results, calibration_of([1 / SLOPE], [-OFFSET / SLOPE], 0.5)


def test_measures_by_hand() -> None:
    dataset = dataset_of([(1, 1, BOX), (2, 1, BOX), (2, 2, BOX)], num_images=4, num_classes=3)
    results = [
        found(1, 1, BESIDE, 0.9),
        found(2, 1, BOX, 0.6),
        found(3, 1, BOX, 0.7),
        found(2, 2, BOX, 0.8),
        found(4, 2, BOX, 0.1),
        found(4, 3, BOX, 0.2),  # of a class without objects
    ]
    measures = analyse(dataset, results, calibration=calibration_of([1, 1, 1], [0, 0, 0], (0.65, 0.5, 0.5))).calibrated
    first = abs(0.9 - 1 / 3) + 0.4 + 0.7
    second = 0.2 + 0.1
    assert measures.per_class["class 1"]["LaACE_0"] == pytest.approx(first / 3)
    assert measures.per_class["class 2"]["LaECE_0"] == pytest.approx(second / 2)
    assert measures.per_class["class 3"]["LaECE_0"] == pytest.approx(0.2)
    expected = {
        "LaECE_0": (first / 3 + second / 2) / 2,  # no two of a class share a bin
        "LaACE_0": (first / 3 + second / 2) / 2,
        "LaECE_0_shown": ((first - 0.4) / 2 + 0.2) / 2,
        "LaACE_0_shown": ((first - 0.4) / 2 + 0.2) / 2,
        "D_ECE": (0.9 + 0.4 + 0.7 + 0.2 + 0.1 + 0.2) / 6,
        "D_ECE_shown": (0.9 + 0.7 + 0.2) / 3,
        "D_ECE_from_0.3": (0.9 + 0.4 + 0.7 + 0.2) / 4,
        "false_alarms": 1 / 2,
        "F1": 2 * 1 / (3 + 3),
        "best_F1": 2 * 2 / (4 + 3),
        "best_threshold": 0.6,
    }
    assert measures.overall == pytest.approx(expected)
    assert set(MEASURES) == set(expected)
    assert measures.per_class["class 1"]["F1"] == 0 and measures.per_class["class 2"]["F1"] == 1
    assert measures.per_class["class 3"]["F1"] == -1
    assert [measures.per_class[f"class {n}"]["threshold"] for n in (1, 2, 3)] == [0.65, 0.5, 0.5]
    assert "threshold" not in measures.to_json()


def test_a_map_makes_scores_probabilities() -> None:
    dataset, results, calibration = probable()
    analysis = analyse(dataset, results, calibration=calibration)
    raw, calibrated = analysis.raw.overall, analysis.calibrated.overall
    assert calibrated["D_ECE"] < 0.05 < 0.3 < raw["D_ECE"]
    assert calibrated["LaECE_0"] < 0.1 < 0.3 < raw["LaECE_0"]  # an IoU of 1 or 0: right or wrong
    assert raw["D_ECE_from_0.3"] == -1
    assert calibrated["best_F1"] == pytest.approx(raw["best_F1"])
    assert analysis.raw.reliability.edges[-1] == pytest.approx(max(entry["score"] for entry in results))
    assert analysis.calibrated.reliability.edges[-1] == 1
    part = analysis.calibrated.reliability
    assert ((part.lowest < part.mean_score) & (part.mean_score < part.highest)).sum() >= 8  # 95 % of ten, about


def test_what_is_shown_goes_by_the_calibrated_score() -> None:
    dataset = dataset_of([(1, 1, BOX), (1, 2, AWAY)])
    results = [found(1, 1, BOX, 0.1), found(1, 2, AWAY, 0.1), found(1, 77, BOX, 0.9)]
    lines = calibration_of([1, 1], [float(-logit(0.1)), 0], (0.4, 0.2))  # of class 1 a raw 0.1 is one half
    analysis = analyse(dataset, results, calibration=lines)
    assert [(entry["category_id"], pytest.approx(entry["score"])) for entry in analysis.shown] == [(1, 0.5)]
    assert analysis.confusion.counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert analysis.worst_images[0].missed == 1
    assert analysis.ap == analyse(dataset, results).ap
    assert len(analyse(dataset, results, 0.05, lines).shown) == 2
    assert shown_predictions(dataset, results, 0.2) == []  # of known categories


def test_images_without_objects() -> None:
    results = [found(2, 1, BOX, 0.9), found(3, 1, BOX, 0.9), found(3, 1, AWAY, 0.9), found(4, 1, AWAY, 0.9)]
    dataset = dataset_of([(1, 1, BOX), (4, 1, BOX)], num_images=4)
    dataset["annotations"][1]["iscrowd"] = 1  # something is there
    assert analyse(dataset, [*results, found(1, 1, BOX, 0.9)]).raw.overall["false_alarms"] == 3 / 2
    assert analyse(dataset_of([(1, 1, BOX)]), results[:0]).raw.overall["false_alarms"] == -1


def test_nothing_to_measure() -> None:
    overall = analyse(dataset_of([]), []).raw.overall
    assert {key for key, value in overall.items() if value != -1} == {"best_threshold", "false_alarms"}


def test_classes_in_another_order() -> None:
    first = calibration_of([1, 2], [0, 1], (0.3, 0.4))
    other = in_order_of(first, ("cat", "dog"), ("dog", "cat"))
    assert other.thresholds == (0.4, 0.3)
    assert other.score_map(np.array([0.2]), np.array([1])) == first.score_map(np.array([0.2]), np.array([0]))
    assert in_order_of(replace(first, thresholds=0.5), ("cat", "dog"), ("dog", "cat")).thresholds == 0.5
    with pytest.raises(UserError, match=r"only one of them has cow, dog"):
        in_order_of(first, ("cat", "dog"), ("cow", "cat"))
