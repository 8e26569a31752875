from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_detections import Dataset, Results, dataset_of, found, random_case

from brs_detr.analysis.coco_ap import evaluate_boxes
from brs_detr.analysis.matching import read_overlaps

BOX = [20.0, 20.0, 40.0, 40.0]
BESIDE = [40.0, 20.0, 40.0, 40.0]  # IoU 1/3 with BOX
AWAY = [120.0, 120.0, 40.0, 40.0]


def ious_of(dataset: Dataset, results: Results) -> dict[int, float]:
    """Return the IoU of each detection that counts, by its index."""
    overlaps = read_overlaps(evaluate_boxes(dataset, results))
    assert (overlaps.matching.is_true == (overlaps.ious > 0)).all()
    return dict(zip(overlaps.matching.detections.tolist(), overlaps.ious.tolist(), strict=True))


def test_the_best_detection_takes_an_object_however_little_it_overlaps() -> None:
    results = [found(1, 1, BOX, 0.8), found(1, 1, BESIDE, 0.9), found(1, 2, BOX, 0.9)]
    assert ious_of(dataset_of([(1, 1, BOX)]), results) == {0: 0, 1: pytest.approx(1 / 3), 2: 0}


def test_a_detection_beside_all_objects_takes_none() -> None:
    results = [found(1, 1, AWAY, 0.9), found(1, 1, BOX, 0.1)]
    assert ious_of(dataset_of([(1, 1, BOX)]), results) == {0: 0, 1: pytest.approx(1)}


def test_what_lies_in_a_crowd_does_not_count() -> None:
    dataset = dataset_of([(1, 1, BOX), (1, 1, AWAY)])
    dataset["annotations"][1]["iscrowd"] = 1
    results = [found(1, 1, AWAY, 0.9), found(1, 1, BOX, 0.8)]
    assert ious_of(dataset, results) == {1: pytest.approx(1)}


def test_nothing_was_found() -> None:
    assert ious_of(dataset_of([(1, 1, BOX)]), []) == {}


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_against_a_slow_matching(seed: int) -> None:
    dataset, results = random_case(seed)
    assert ious_of(dataset, results) == pytest.approx(slow_ious(dataset, results))


def slow_ious(dataset: Dataset, results: Results) -> dict[int, float]:
    """Match one detection at a time."""
    ious, free = {}, [annotation for annotation in dataset["annotations"] if not annotation["iscrowd"]]
    for place in np.argsort([-entry["score"] for entry in results], kind="stable").tolist():
        key = results[place]["image_id"], results[place]["category_id"]
        of_key = [a for a in dataset["annotations"] if (a["image_id"], a["category_id"]) == key]
        shares = [(shared(results[place]["bbox"], a["bbox"]), a) for a in of_key]
        candidates = [(part / union, n) for n, ((part, union), a) in enumerate(shares) if a in free and part > 0]
        if candidates:
            ious[place], chosen = max(candidates)
            free.remove(of_key[chosen])
        elif not any(part > 0 and a["iscrowd"] for (part, _), a in shares):
            ious[place] = 0.0
    return ious


def shared(first: list[float], second: list[float]) -> tuple[float, float]:
    """Return the areas of intersection and union of two boxes x, y, w, h."""
    sides = [min(first[n] + first[n + 2], second[n] + second[n + 2]) - max(first[n], second[n]) for n in (0, 1)]
    part = max(sides[0], 0) * max(sides[1], 0)
    return part, first[2] * first[3] + second[2] * second[3] - part
