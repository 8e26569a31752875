"""Samples of one-to-many heads as decoder queries."""

from __future__ import annotations

import pytest
import torch

from co_detr.auxiliary_heads import MIN_QUERIES, HeadSamples, positives_to_queries

NUM_CLASSES = 3
SIZE = (50, 100)


def make_samples(num_positives: int, num_negatives: int) -> HeadSamples:
    n = num_positives + num_negatives
    boxes = torch.arange(n, dtype=torch.float)[:, None] + torch.tensor([0.0, 0.0, 10.0, 20.0])
    labels = torch.tensor([1] * num_positives + [NUM_CLASSES] * num_negatives)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return HeadSamples(boxes[order], labels[order], boxes[order] + 1, boxes[order])


def queries(*counts: tuple[int, int], max_queries: int = 300):
    samples = [make_samples(*count) for count in counts]
    return positives_to_queries(samples, [SIZE] * len(counts), NUM_CLASSES, max_queries)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([(12, 90), (30, 90)], 30), ([(2, 90), (0, 90)], MIN_QUERIES), ([(500, 10), (3, 900)], 300)],
)
def test_every_image_has_as_many_queries_as_the_one_with_most_positives(counts, expected):
    result = queries(*counts)
    assert result.boxes.shape == (2, expected, 4)
    is_positive = result.labels < NUM_CLASSES
    assert is_positive.sum(1).tolist() == [min(positives, expected) for positives, _ in counts]
    assert result.is_sample.all()
    assert (is_positive | (result.labels == NUM_CLASSES)).all()


def test_positives_beyond_the_cap_are_dropped_at_random():
    kept = [set(map(tuple, queries((50, 0), max_queries=20).boxes[0].tolist())) for _ in range(2)]
    assert len(kept[0]) == len(kept[1]) == 20
    assert kept[0] != kept[1]


def test_boxes_are_normalised_by_the_image_and_features_follow_them():
    result = queries((12, 0))
    w, h = SIZE[1], SIZE[0]
    corner = result.feats[0, :, :2]  # the features are the boxes themselves
    assert torch.allclose(result.boxes[0, :, 0] * w, corner[:, 0] + 5)
    assert torch.allclose(result.boxes[0, :, 1] * h, corner[:, 1] + 10)
    assert torch.allclose(result.target_boxes[0, :, 0] * w, corner[:, 0] + 6)


def test_images_with_too_few_samples_are_filled_with_places_that_do_not_count():
    result = queries((1, 2), (20, 50))
    assert result.is_sample.sum(1).tolist() == [3, 20]
    assert result.boxes.isfinite().all()
    assert (result.labels < NUM_CLASSES).sum(1).tolist() == [1, 20]


def test_no_samples_at_all():
    result = queries((0, 0))
    assert result.boxes.shape == (1, MIN_QUERIES, 4)
    assert not result.is_sample.any()
