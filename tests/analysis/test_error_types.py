from __future__ import annotations

import numpy as np
import pytest
from made_up_detections import dataset_of, found, random_case

from brs_detr.analysis.analysis import analyse
from brs_detr.analysis.coco_ap import evaluate_boxes
from brs_detr.analysis.error_types import TYPES
from brs_detr.analysis.matching import read_matching

BOX = [20.0, 20.0, 40.0, 40.0]


def shifted(pixels: float) -> list[float]:
    return [BOX[0] + pixels, *BOX[1:]]


CASES = {
    "class": [found(1, 2, BOX, 0.9)],
    "localisation": [found(1, 1, shifted(20), 0.9)],  # IoU 1/3
    "both": [found(1, 2, shifted(20), 0.9)],
    "duplicate": [found(1, 1, BOX, 0.9), found(1, 1, shifted(2), 0.8)],
    "background": [found(1, 1, [120.0, 120.0, 40.0, 40.0], 0.9)],
    "missed": [],
}


@pytest.mark.parametrize("name", TYPES)
def test_one_error_of_each_kind(name: str) -> None:
    """A second object, of the other class, is found, so that there is an AP."""
    dataset = dataset_of([(1, 1, BOX), (2, 2, BOX)], num_images=2)
    kinds = {kind.name: kind for kind in analyse(dataset, [*CASES[name], found(2, 2, BOX, 0.95)]).error_types}
    is_unexplained = name in ("both", "background", "missed")
    expected = {kind: int(kind == name or (kind == "missed" and is_unexplained)) for kind in TYPES}
    assert {kind: kinds[kind].count for kind in TYPES} == expected
    assert list(kinds) == list(TYPES)


def test_mending_gives_back_what_was_lost() -> None:
    dataset = dataset_of([(1, 1, BOX), (2, 2, BOX)], num_images=2)
    lost = {
        kind.name: kind.lost_AP50 for kind in analyse(dataset, [*CASES["class"], found(2, 2, BOX, 0.8)]).error_types
    }
    assert lost["class"] == pytest.approx(0.75)  # class 1 from 0 to 1; class 2, with nothing wrong ahead, from 1/2 to 1
    assert lost["missed"] == 0
    lost = {kind.name: kind.lost_AP50 for kind in analyse(dataset, [*CASES["localisation"]]).error_types}
    assert lost["localisation"] == pytest.approx(0.5)
    assert lost["missed"] == 0  # class 2 would not be measured any more, class 1 stays at 0


def test_a_mended_error_does_not_find_an_object_twice() -> None:
    dataset = dataset_of([(1, 1, BOX)], num_classes=2)
    wrong_twice = [found(1, 2, BOX, 0.9), found(1, 2, shifted(1), 0.8)]
    lost = {kind.name: kind.lost_AP50 for kind in analyse(dataset, wrong_twice).error_types}
    assert lost["class"] == pytest.approx(1.0)
    right_already = [found(1, 1, BOX, 0.5), *wrong_twice]
    assert analyse(dataset, right_already).error_types[0].lost_AP50 == 0


@pytest.mark.parametrize("seed", range(5))
def test_kinds_part_what_is_wrong(seed: int) -> None:
    dataset, results = random_case(seed)
    matching = read_matching(evaluate_boxes(dataset, results))
    kinds = {kind.name: kind for kind in analyse(dataset, results).error_types}
    assert sum(kind.count for kind in kinds.values()) - kinds["missed"].count == int((~matching.is_true).sum())
    assert all(kind.lost_AP50 >= 0 for kind in kinds.values())
    assert kinds["missed"].count <= int((~matching.is_found).sum())


def test_ap_is_that_of_the_referee() -> None:
    """The AP without corrections equals pycocotools' AP50."""
    from brs_detr.analysis.error_types import _mean_ap

    for seed in range(10):
        dataset, results = random_case(seed)
        analysis = analyse(dataset, results)
        matching = read_matching(evaluate_boxes(dataset, results))
        ours = _mean_ap(
            matching.scores, matching.is_true, matching.detection_classes, matching.object_classes,
            len(analysis.class_names),
        )  # fmt: skip
        assert np.isclose(ours, analysis.ap.metrics["AP50"], rtol=0, atol=1e-12)
