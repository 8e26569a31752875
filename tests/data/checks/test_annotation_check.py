from __future__ import annotations

import copy

import numpy as np
import pytest

from brs_detr.data.boxes import xywh_from_xyxy
from brs_detr.data.checks.annotation_check import fitting_readings, shared_mistake, shifted_ids
from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.data.kinds import EMPTY_BOXES, FRACTION_BOXES, NEGATIVE_BOXES, UNTRAINED_BOXES, ZERO_AREA_BOX
from brs_detr.errors import UserError

SIZES = np.tile([100, 200], (30, 1))  # (h, w)
CORNERS = np.array([[6.2 * at, 3.1 * at, 6.2 * at + 20, 3.1 * at + 10] for at in range(30)])
BOXES = xywh_from_xyxy(CORNERS)
MIDDLES = BOXES + np.hstack([BOXES[:, 2:] / 2, np.zeros((30, 2))])


def test_good_boxes_have_nothing_in_common() -> None:
    assert shared_mistake(BOXES) is None and fitting_readings(BOXES, SIZES) == []
    assert shared_mistake(BOXES[:0]) is None and fitting_readings(BOXES[:0], SIZES[:0]) == []


@pytest.mark.parametrize(
    ("boxes", "kind"),
    [
        (BOXES / [200, 100, 200, 100], FRACTION_BOXES),
        (BOXES * [1, 1, 0.01, 0.01], FRACTION_BOXES),
        (BOXES * [1, 1, -1, 1], NEGATIVE_BOXES),
        (BOXES * [1, 1, 1, 0], EMPTY_BOXES),
        (np.vstack([BOXES * np.nan, BOXES[:1] * 0]), EMPTY_BOXES),
        ((BOXES / [200, 100, 200, 100]).round() + [0, 0, 1, 1], FRACTION_BOXES),
        (BOXES * [1, 1, 0.01, 1], UNTRAINED_BOXES),
        (BOXES / [200, 1, 200, 1], UNTRAINED_BOXES),
    ],
)
def test_what_half_of_the_boxes_have_in_common(boxes: np.ndarray, kind: object) -> None:
    mistake = shared_mistake(boxes)
    assert mistake is not None and mistake[0] == kind
    assert mistake[1].tolist() == np.isfinite(boxes).all(axis=1).tolist()
    assert shared_mistake(np.vstack([boxes[:1], BOXES])) is None


def test_fractions_that_were_rounded_are_known_by_all_numbers() -> None:
    rounded = np.array([[0.0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1], [0, 0, 1, 1]])
    mistake = shared_mistake(rounded)
    assert mistake is not None and mistake[0] == FRACTION_BOXES and mistake[1].all()


def test_a_few_narrow_boxes_are_no_mistake_of_all() -> None:
    narrow = BOXES * [1, 1, 0.01, 1]
    assert shared_mistake(np.vstack([narrow[:20], BOXES[:10]])) is None
    mistake = shared_mistake(np.vstack([narrow[:28], BOXES[:2]]))
    assert mistake is not None and mistake[0] == UNTRAINED_BOXES and mistake[1].sum() == 28


def test_points_of_one_pixel_are_no_fractions() -> None:
    assert shared_mistake(np.array([[5.0, 6, 1, 1], [0, 0, 1, 1]])) is None


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (CORNERS, "corners x1, y1, x2, y2 in place of x, y, width, height"),
        (np.hstack([CORNERS[:, :2] - CORNERS[:, 2:] / 2, CORNERS[:, 2:]]), "corners x1, y1, x2, y2 in place of middle"),
        (MIDDLES, "begin with the middle in place"),
        (2 * BOXES - MIDDLES, "begin with the upper left corner in place"),
        (BOXES[:, [1, 0, 3, 2]], "x and y are exchanged"),
        (CORNERS[:, [1, 0, 3, 2]], "corners y1, x1, y2, x2 in place of x, y, width, height"),
        (BOXES * [5, 10, 5, 10], "x, y, width, height are in thousandths"),
        (CORNERS * [5, 10, 5, 10], "corners x1, y1, x2, y2 in thousandths"),
    ],
)
def test_a_reading_by_which_all_boxes_fit_is_named(boxes: np.ndarray, words: str) -> None:
    assert any(words in text for text in fitting_readings(boxes, SIZES))


def test_thousandths_are_thought_of_where_boxes_fill_their_square() -> None:
    assert fitting_readings(BOXES * [3, 6, 3, 6], SIZES) == []


def test_one_slip_is_no_other_way_of_writing() -> None:
    boxes = BOXES.copy()
    boxes[3] = [150, 20, 90, 9]
    assert fitting_readings(boxes, SIZES) == []


def test_ids_that_are_all_off_by_one() -> None:
    assert shifted_ids([0, 1, 1, 2], [1, 2, 3]) == ["0 to 2 in the annotations, 1 to 3 in the list of categories"]
    assert shifted_ids([2, 1], [0, 1]) == ["1 to 2 in the annotations, 0 to 1 in the list of categories"]
    for used, known in (([1, 2], [1, 2, 3]), ([1, 2, 7], [1, 2]), ([], [1]), ([0, 1, 2], [1, 2, 4])):
        assert shifted_ids(used, known) == []
    assert shifted_ids([0], [1], "images") == ["0 to 0 in the annotations, 1 to 1 in the list of images"]


def test_cleaning_drops_clips_sorts_and_completes(coco) -> None:
    coco.data["annotations"][0]["bbox"] = [-0.5, 0, 41, 30]
    coco.data["annotations"][2]["bbox"] = [3, 3, 0, 9]
    before = copy.deepcopy(coco.data)
    clean, findings = clean_annotations(coco.data, coco.split.annotation_file)
    assert coco.data == before
    assert [category["name"] for category in clean["categories"]] == ["cat", "dog"]
    first, second = clean["annotations"]
    assert first["bbox"] == [0, 0, 40, 30] and first["area"] == 1200
    assert second["bbox"] == [5.5, 6, 10, 10] and (second["area"], second["iscrowd"]) == (100, 0)
    assert findings.count(ZERO_AREA_BOX) == 1
    assert len(clean["images"]) == 3  # images without an object stay


def test_cleaning_refuses_what_the_check_refuses(coco) -> None:
    coco.data["annotations"][0]["category_id"] = 8
    with pytest.raises(UserError, match="annotation 1: category 8"):
        clean_annotations(coco.data, coco.split.annotation_file)
