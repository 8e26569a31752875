from __future__ import annotations

import numpy as np
import pytest

from brs_detr.data.boxes import iou_matrix, resize_scales
from brs_detr.data.checks.box_check import BoxTable, find_odd_boxes, find_repeats, tabulate_boxes
from brs_detr.data.kinds import (
    CONFLICTING_BOX,
    CORNER_BOXES,
    NARROW_BOX,
    OVERHANGING_BOX,
    PERCENT_BOXES,
    REPEATED_BOX,
    TINY_BOX,
    WHOLE_IMAGE_BOX,
    WHOLE_IMAGE_BOXES,
    FaultKind,
)


def table(
    *boxes: tuple[int, list[float]], image_ids: list[int] | None = None, iscrowd: int = 0, height: int = 100
) -> BoxTable:
    """Boxes (category, [x, y, w, h]) on images that are 200 pixels wide."""
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 200, "height": height} for number in (1, 2)]
    annotations = [
        {"id": place, "image_id": image_id, "category_id": category, "bbox": box, "iscrowd": iscrowd}
        for place, ((category, box), image_id) in enumerate(zip(boxes, image_ids or [1] * len(boxes), strict=True))
    ]
    categories = [{"id": 1, "name": "ant"}, {"id": 2, "name": "cat"}]
    return tabulate_boxes({"images": images, "annotations": annotations, "categories": categories}, ["ant", "cat"])


def kinds(boxes: BoxTable, resized_to: tuple[int, int] = (200, 100)) -> dict[FaultKind, int]:
    return {finding.kind: finding.count for finding in find_odd_boxes(boxes, resized_to)}


def test_ordinary_boxes_are_not_odd() -> None:
    assert kinds(table((1, [0, 0, 50, 50]), (1, [20, 20, 50, 50]), (2, [60, 40, 140, 60]))) == {}
    assert kinds(table()) == {}


def test_the_table_holds_usable_boxes_alone_and_clips_them() -> None:
    boxes = table(
        (1, [-0.5, 0, 10, 10]), (2, [5, 5, 0, 3]), (1, [300, 0, 10, 10]), (9, [1, 1, 2, 2]), (2, [1, 2, 3, 4])
    )
    assert [entry["id"] for entry in boxes.annotations] == [0, 4]
    assert boxes.boxes_xyxy.tolist() == [[0, 0, 9.5, 10], [1, 2, 4, 6]] and boxes.labels.tolist() == [0, 1]
    assert boxes.sides.tolist() == [[9.5, 10], [3, 4]] and boxes.sizes.tolist() == [[100, 200]] * 2


def test_repeats_are_almost_the_same_box_of_one_image() -> None:
    near = [10.5, 10, 60, 60]
    assert find_repeats(table((1, [10, 10, 60, 60]), (1, near))) == ({1: 0}, {})
    assert find_repeats(table((1, [10, 10, 60, 60]), (2, near))) == ({}, {1: 0})
    assert find_repeats(table((1, [10, 10, 60, 60]), (1, [14, 10, 60, 60]))) == ({}, {})
    assert find_repeats(table((1, [10, 10, 60, 60]), (1, near), image_ids=[1, 2])) == ({}, {})
    assert find_repeats(table((1, [10, 10, 60, 60]), (1, near), iscrowd=1)) == ({}, {})


@pytest.mark.parametrize("num_pairs", [1, 50, 1 << 17])
def test_many_boxes_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch, num_pairs: int) -> None:
    monkeypatch.setattr("brs_detr.data.checks.box_check._NUM_PAIRS", num_pairs)
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(1, 3)), [*rng.integers(0, 3, 2).tolist(), 90, 90]) for _ in range(40)]
    image_ids = rng.integers(1, 3, 40).tolist()
    boxes = table(*rows, image_ids=image_ids)
    is_close = iou_matrix(boxes.boxes_xyxy) > 0.95
    repeated, conflicting = {}, {}
    for later in range(40):
        for before in reversed(range(later)):
            if image_ids[before] == image_ids[later] and is_close[before, later]:
                (repeated if rows[before][0] == rows[later][0] else conflicting)[later] = before
    assert find_repeats(boxes) == (repeated, conflicting) and repeated and conflicting


def test_three_of_one_box_are_two_repeats_of_the_first() -> None:
    (finding,) = find_odd_boxes(table(*[(1, [10.0, 10.0, 60.0, 60.0])] * 3), (200, 100))
    assert (finding.kind, finding.count, finding.total) == (REPEATED_BOX, 2, 3)
    assert all(text.endswith("as annotation 0") for text in finding.examples)
    assert [example.annotation_id for example in finding.shown] == [1, 2]


def test_a_conflict_is_no_repeat() -> None:
    assert kinds(table((1, [10, 10, 60, 60]), (2, [10, 10, 60, 60]))) == {CONFLICTING_BOX: 1}


@pytest.mark.parametrize(
    ("resized_to", "is_tiny"), [((200, 100), True), ((201, 400), False), ((120, 201), True), ((300, 150), False)]
)
def test_tiny_is_what_is_small_after_resizing(resized_to: tuple[int, int], is_tiny: bool) -> None:
    assert kinds(table((1, [10, 10, 3, 30])), resized_to) == ({TINY_BOX: 1} if is_tiny else {})


def test_odd_shapes() -> None:
    assert kinds(table((1, [10, 10, 0.5, 30])), (2000, 1000)) == {NARROW_BOX: 1}
    assert kinds(table((1, [150, 10, 50.6, 30]))) == {OVERHANGING_BOX: 1}
    assert kinds(table((1, [150, 10, 50.000001, 30]))) == {}
    assert kinds(table((1, [0, 0, 199.5, 100]))) == {WHOLE_IMAGE_BOX: 1}
    assert kinds(table((1, [0, 0, 200, 100]), iscrowd=1)) == {}


def test_what_nearly_all_boxes_have_in_common_is_a_warning() -> None:
    whole, other = (1, [0, 0, 200, 100]), (1, [60, 40, 140, 60])
    assert kinds(table(*[whole] * 18, *[other] * 2))[WHOLE_IMAGE_BOXES] == 18
    assert WHOLE_IMAGE_BOX in kinds(table(*[whole] * 17, *[other] * 3))
    corner = [(1, [5 * at, 2 * at, 20, 10]) for at in range(20)]
    assert kinds(table(*corner))[CORNER_BOXES] == 1 and CORNER_BOXES.severity == "warning"
    assert CORNER_BOXES not in kinds(table(*corner[:-1], other))
    assert CORNER_BOXES not in kinds(table(*corner[:-1]))


def test_boxes_that_fill_a_square_of_100_seem_to_be_in_percent() -> None:
    boxes = [(1, [4.0 * at, 4.0 * at, 18.0, 18.0]) for at in range(20)]
    assert kinds(table(*boxes, height=120)) == {PERCENT_BOXES: 1}
    assert PERCENT_BOXES not in kinds(table(*boxes, height=100))
    assert PERCENT_BOXES not in kinds(table(*boxes[:-1], height=120))
    assert PERCENT_BOXES not in kinds(table(*boxes, (1, [150, 4, 18, 18]), height=120))


def test_iou_matrix_and_scales() -> None:
    assert iou_matrix([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]).round(3).tolist() == [
        [1, 0.333, 0],
        [0.333, 1, 0],
        [0, 0, 1],
    ]
    assert resize_scales([(100, 200), (300, 100), (1, 1)], (400, 300)).tolist() == [2, 4 / 3, 300]
