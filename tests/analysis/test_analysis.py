from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_detections import dataset_of, found, random_case

from brs_detr.analysis.analysis import analyse
from brs_detr.analysis.coco_ap import coco_ap
from brs_detr.analysis.confusion import boxes_by_image
from brs_detr.analysis.curves import MOST_POINTS

BOX = [20.0, 20.0, 40.0, 40.0]


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_parts_agree_with_each_other(seed: int) -> None:
    dataset, results = random_case(seed)
    analysis = analyse(dataset, results)
    metrics = coco_ap(dataset, results).metrics
    assert analysis.ap.metrics == metrics
    of_all, *of_classes = analysis.pr_curves
    if metrics["AP"] >= 0:
        assert np.isclose(of_all.precision.mean(), metrics["AP"], rtol=0, atol=1e-12)
        assert np.isclose(of_all.precision50.mean(), metrics["AP50"], rtol=0, atol=1e-12)
    for curve, row in zip(of_classes, analysis.ap.per_class, strict=True):
        assert np.isclose(np.nan_to_num(curve.precision.mean(), nan=-1), row.AP, rtol=0, atol=1e-12)
        assert (curve.name, curve.num_boxes) == (row.name, row.num_boxes)
    # Every object is in one place of its row; every detection that reaches the threshold in one place of its column.
    confusion = analysis.confusion
    objects = [annotation for annotation in dataset["annotations"] if not annotation["iscrowd"]]
    in_class = [sum(annotation["category_id"] == place for annotation in objects) for place in range(1, 5)]
    assert confusion.counts[:-1].sum(1).tolist() == in_class
    kept = list(boxes_by_image(dataset, analysis.shown))
    assert confusion.counts[:, :-1].sum() <= sum(len(image.detections) for image in kept)
    assert confusion.counts[-1, -1] == 0
    assert sum(error.missed for error in analysis.worst_images) == confusion.counts[:-1, -1].sum()
    assert sum(error.false for error in analysis.worst_images) == confusion.counts[-1].sum()
    off_diagonal = confusion.counts[:-1, :-1].sum() - np.trace(confusion.counts[:-1, :-1])
    assert sum(error.confused for error in analysis.worst_images) == off_diagonal
    totals = [error.total for error in analysis.worst_images]
    assert totals == sorted(totals, reverse=True)
    curves = analysis.raw.curves
    assert (np.diff(curves.scores) > 0).all()
    assert (np.diff(curves.recall) <= 0).all()
    if curves.best_f1 > 0:
        assert np.isclose(curves.f1.max(), curves.best_f1, rtol=0, atol=1e-12)
        assert np.isclose(curves.f1[np.searchsorted(curves.scores, curves.recommended)], curves.best_f1)


def test_thresholds_by_counting() -> None:
    dataset = dataset_of([(1, 1, BOX), (2, 1, BOX), (2, 2, BOX)], num_images=2)
    results = [
        found(1, 1, BOX, 0.9),
        found(2, 1, [100.0, 100.0, 9.0, 9.0], 0.8),
        found(2, 2, BOX, 0.8),
        found(2, 1, BOX, 0.3),
    ]
    curves = analyse(dataset, results).raw.curves
    assert curves.scores.tolist() == [0.3, 0.8, 0.9]
    assert curves.precision == pytest.approx([3 / 4, 2 / 3, 1])
    assert curves.recall == pytest.approx([1, 2 / 3, 1 / 3])
    assert curves.f1 == pytest.approx([6 / 7, 4 / 6, 2 / 4])
    assert curves.recommended == 0.3
    assert curves.per_class == {"class 1": (0.3, pytest.approx(4 / 5)), "class 2": (0.8, pytest.approx(1))}


def test_many_scores_are_thinned_for_drawing() -> None:
    results = [found(1, 1, BOX, score) for score in np.linspace(0.01, 0.99, 90)]
    results += [found(n, 1, BOX, score) for n in range(2, 12) for score in np.random.default_rng(n).random(90)]
    curves = analyse(dataset_of([(1, 1, BOX)], num_images=11), results).raw.curves
    assert MOST_POINTS * 0.8 <= len(curves.scores) <= MOST_POINTS + 1
    assert curves.recommended in curves.scores
    assert curves.f1.max() == curves.best_f1


def test_confusion_by_hand() -> None:
    """A right detection keeps its object although a wrong one has a higher score and overlaps it more."""
    near = [22.0, 20.0, 40.0, 40.0]
    dataset = dataset_of([(1, 1, BOX), (2, 1, BOX), (2, 2, [120.0, 120.0, 40.0, 40.0])], num_images=2)
    results = [found(1, 2, BOX, 0.9), found(1, 1, near, 0.8), found(2, 2, BOX, 0.7), found(2, 1, BOX, 0.1)]
    analysis = analyse(dataset, results, threshold=0.5)
    assert analysis.confusion.counts.tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert [(e.file_name, e.missed, e.false, e.confused) for e in analysis.worst_images] == [
        ("2.jpg", 1, 0, 1),
        ("1.jpg", 0, 1, 0),
    ]


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong() -> None:
    dataset = dataset_of([(1, 1, [0.0, 0.0, 100.0, 100.0])])
    dataset["annotations"][0]["iscrowd"] = 1
    analysis = analyse(dataset, [found(1, 2, BOX, 0.9)], threshold=0.5)
    assert analysis.confusion.counts.sum() == 0
    assert analysis.worst_images == ()


@pytest.mark.parametrize("case", ["no detections", "no objects", "nothing", "unknown category", "one class"])
def test_odd_input(case: str) -> None:
    dataset = dataset_of(
        [] if case in ("no objects", "nothing") else [(1, 1, BOX)], num_classes=1 + (case != "one class")
    )
    results = {"unknown category": [found(1, 77, BOX, 0.5)]}.get(case, [found(1, 1, BOX, 0.5)])
    analysis = analyse(dataset, [] if case in ("no detections", "nothing") else results)
    assert len(analysis.error_types) == 6
    assert all(kind.lost_AP50 >= 0 for kind in analysis.error_types)
    assert len(analysis.pr_curves) == 1 + len(analysis.class_names)


def test_only_the_best_detections_of_an_image_count() -> None:
    results = [found(1, 1, BOX, n / 1000) for n in range(150)]
    (image,) = boxes_by_image(dataset_of([(1, 1, BOX)]), results)
    assert len(image.detections) == 100
    assert image.scores[0] == 0.149


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_ids_of_annotations_do_not_matter(seed: int) -> None:
    """Ids from Roboflow start at 0, which pycocotools takes for "unmatched"."""
    dataset, results = random_case(seed)
    expected = analyse(dataset, results)
    for place, annotation in enumerate(dataset["annotations"]):
        annotation["id"] = 3 * (len(dataset["annotations"]) - 1 - place)
    analysis = analyse(dataset, results)
    assert analysis.ap == expected.ap
    assert analysis.error_types == expected.error_types
    assert analysis.worst_images == expected.worst_images


def test_a_hundred_detections_of_each_class_count() -> None:
    """As in COCO, many detections of one class do not displace those of another."""
    dataset = dataset_of([(1, 1, BOX), (1, 2, BOX)])
    crowd = [found(1, 2, [100.0, 100.0, 10.0, 10.0], 0.9) for _ in range(120)]
    analysis = analyse(dataset, [*crowd, found(1, 1, BOX, 0.5)], threshold=0.1)
    assert pytest.approx(1) == analysis.ap.per_class[0].AP
    assert analysis.confusion.counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 100, 0]]
    assert {kind.name: kind.count for kind in analysis.error_types}["background"] == 100
