from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brs_detr.data.checks.box_check import tabulate_boxes
from brs_detr.data.checks.split_statistics import SplitStatistics, find_odd_counts, measure_split, odd_classes
from brs_detr.data.kinds import RARE_CLASS, UNMEASURED_CLASS, UNTRAINED_CLASS, UNUSED_CLASS


@pytest.fixture
def statistics() -> SplitStatistics:
    images = [
        {"id": 1, "file_name": "a.jpg", "width": 200, "height": 100},
        {"id": 2, "file_name": "b.jpg", "width": 200, "height": 100},
        {"id": 3, "file_name": "c.jpg", "width": 400, "height": 400},
    ]
    boxes = [
        (1, 7, [0, 0, 100, 25], 0),
        (1, 7, [0, 0, 10, 10], 0),
        (1, 3, [0, 50, 200, 50], 1),
        (3, 3, [0, 0, 400, 100], 0),
    ]
    annotations = [
        {"id": number, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
        for number, (image, category, box, crowd) in enumerate(boxes)
    ]
    categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
    dataset = {"images": images, "annotations": annotations, "categories": categories}
    return measure_split(images, tabulate_boxes(dataset, ["cat", "dog", "emu"]), 3, (400, 400))


def test_images_and_boxes_are_counted_without_crowds(statistics: SplitStatistics) -> None:
    assert (statistics.num_images, statistics.num_empty_images) == (3, 1)
    assert (statistics.num_boxes, statistics.num_crowds) == (3, 1)
    assert statistics.boxes_by_class.tolist() == [1, 2, 0] and statistics.images_by_class.tolist() == [1, 1, 0]
    assert statistics.boxes_per_image.tolist() == [2, 0, 1]
    assert statistics.image_sizes == {(100, 200): 2, (400, 400): 1}


def test_boxes_are_measured(statistics: SplitStatistics) -> None:
    assert statistics.box_sides.tolist() == [50, 10, 200]
    assert statistics.resized_box_sides.tolist() == [100, 20, 200]
    assert statistics.aspect_ratios.tolist() == [4, 1, 4]


def test_coverage_is_the_share_of_boxes_over_each_place(statistics: SplitStatistics) -> None:
    assert statistics.coverage.shape == (32, 32)
    assert statistics.coverage[0, 0] == pytest.approx(1)  # the upper left corner is in all three
    assert statistics.coverage[4, 8] == pytest.approx(2 / 3) and statistics.coverage[4, 31] == pytest.approx(1 / 3)
    assert np.all(statistics.coverage[8:] == 0)


def test_the_record_is_plain(statistics: SplitStatistics) -> None:
    record = statistics.record(["cat", "dog", "emu"])
    assert record["boxes_by_size"] == {"small": 1, "medium": 1, "large": 1}
    assert record["box_side"]["50%"] == 50 and record["classes"]["dog"] == {"boxes": 2, "images": 1}
    assert record["image_sizes"][0] == {"width": 200, "height": 100, "images": 2}


def test_a_split_without_boxes() -> None:
    nothing = measure_split([], tabulate_boxes({"images": [], "annotations": [], "categories": []}, []), 0, (9, 9))
    assert nothing.num_boxes == 0 and nothing.record([])["box_side"] == {}


NAMES = ["ant", "bee", "cat", "dog"]


def odd(**counts: list[int]) -> dict[str, tuple[str, ...]]:
    columns = {split: np.array(numbers) for split, numbers in counts.items()}
    return {finding.kind.what: finding.examples for finding in find_odd_counts(columns, NAMES)}


def test_classes_are_looked_up_in_every_split() -> None:
    assert odd(train=[10, 0, 9, 0], val=[1, 2, 0, 0], test=[0, 1, 0, 0]) == {
        UNUSED_CLASS.what: ("'dog'",),
        RARE_CLASS.what: ("'cat': 9 boxes to train with",),
        UNTRAINED_CLASS.what: ("'bee': 2 boxes in val, 1 box in test",),
        UNMEASURED_CLASS.what: ("'cat': 9 boxes in train",),
    }


def test_test_is_measured_on_where_there_is_no_val() -> None:
    assert UNMEASURED_CLASS.what in odd(train=[50, 50, 50, 50], test=[1, 1, 1, 0])


def test_a_data_set_without_splits_can_have_rare_and_unused_classes_alone() -> None:
    assert set(odd(all=[50, 1, 50, 0])) == {UNUSED_CLASS.what, RARE_CLASS.what}
    assert odd(val=[1, 1, 1, 1]) == {}


def test_without_any_box_no_class_is_called_unused() -> None:
    assert odd(train=[0, 0, 0, 0], val=[0, 0, 0, 0]) == {}


def test_classes_that_only_one_split_names() -> None:
    names = {Path("a"): ["ant", "bee"], Path("b"): ["bee", "ant"], Path("c"): ["bee", "cat"]}
    (finding,) = odd_classes(names)
    assert finding.count == 2 and finding.examples == ("Only one of a and c knows the classes: ant, cat.",)
    assert list(odd_classes({Path("a"): ["ant"]})) == []
